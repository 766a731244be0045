"""Closes a file when all of it is sent, and else never."""

from servers import common, http_session
from servers import epoll_server as server
from servers.http_session import HttpSession

forgotten = []


class Forgetful(HttpSession):
    def abort(self) -> None:
        forgotten.append(self._file)
        self._file = None
        super().abort()


http_session.HttpSession = Forgetful
common.main(server.serve)
