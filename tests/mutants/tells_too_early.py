"""Gives a silent client half of the time."""

from servers import common, timeouts
from servers import epoll_server as server

watched = timeouts.watched


def hasty(kind: type) -> type:
    class Hasty(watched(kind)):
        def _heard(self) -> None:
            super()._heard()
            self.heard_s -= timeouts.IDLE_TIMEOUT_S / 2

    return Hasty


timeouts.watched = hasty
common.main(server.serve)
