"""Says that it will close, and waits for more."""

from servers import common, http_session
from servers import selectors_server as server
from servers.http_session import HttpSession


class Faithful(HttpSession):
    def _finish(self) -> None:
        if self._ended:
            super()._finish()


http_session.HttpSession = Faithful
common.main(server.serve)
