"""Waits for the end of file of a client for as long as that goes on speaking."""

import time

from servers import common, timeouts
from servers import epoll_server as server

watched = timeouts.watched


def friendly(kind: type) -> type:
    class Friendly(watched(kind)):
        def receive(self, data: bytes) -> None:
            super().receive(data)
            self.heard_s = time.monotonic()

    return Friendly


timeouts.watched = friendly
common.main(server.serve)
