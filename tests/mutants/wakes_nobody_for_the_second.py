"""Its workers hear of an edge at the shared listener and accept one newcomer: who came with him
wakes nobody."""

import select
from collections.abc import Callable

from servers import common
from servers import prefork_server as server


class Edges:
    def __init__(self) -> None:
        self._epoll = epoll()

    def register(self, file: object, events: int) -> None:
        if events & select.EPOLLEXCLUSIVE:
            events |= select.EPOLLET
        self._epoll.register(file, events)

    def __getattr__(self, name: str) -> Callable[..., object]:
        return getattr(self._epoll, name)


epoll, select.epoll = select.epoll, Edges
common.ACCEPTS_PER_WAKE_UP = 1
common.main(server.serve)
