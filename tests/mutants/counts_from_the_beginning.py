"""Forgets to begin anew when a client says something: counts from when it came."""

from servers import common, timeouts
from servers import select_server as server

watched = timeouts.watched


def once(kind: type) -> type:
    class Once(watched(kind)):
        def _heard(self) -> None:
            before_s = self.heard_s
            super()._heard()
            self.heard_s = before_s

    return Once


timeouts.watched = once
common.main(server.serve)
