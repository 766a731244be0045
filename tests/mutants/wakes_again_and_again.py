"""Looks a hundred times a second whether there is something to do."""

import select
from collections.abc import Callable

from servers import common
from servers import poll_server as server


class Restless:
    def __init__(self) -> None:
        self._poll = poll()

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        return self._poll.poll(10)

    def __getattr__(self, name: str) -> Callable[..., object]:
        return getattr(self._poll, name)


poll, select.poll = select.poll, Restless
common.main(server.serve)
