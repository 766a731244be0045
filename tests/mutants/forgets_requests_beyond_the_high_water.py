"""Stops at the high water and does not go on when the client has taken its answers."""

from servers import common, http_session
from servers import nonblocking_server as server
from servers.http_session import HttpSession


class Stopped(HttpSession):
    def sent(self, count: int) -> None:
        if self._waiting and self._file is None:
            self._waiting = False
            self._incoming = b""
        super().sent(count)


http_session.HttpSession = Stopped
common.main(server.serve)
