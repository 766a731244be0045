"""Lets a client go whose line is not complete after three seconds, though it goes on speaking."""

import time

from servers import common
from servers import epoll_server as server
from servers.protocol import Session


class Hurried(Session):
    __slots__ = ("since",)

    def receive(self, data: bytes) -> None:
        if not self._unfinished:
            self.since = time.monotonic()
        super().receive(data)
        if self._unfinished and time.monotonic() - self.since > 3:
            self.abort()


common.Session = Hurried
common.main(server.serve)
