"""Takes HEAD for another word for GET."""

from servers import common, http_session
from servers import select_server as server
from servers.http_session import HttpSession


class Talkative(HttpSession):
    def _begin(self, method: bytes, *more: object) -> None:
        super()._begin(b"GET" if method == b"HEAD" else method, *more)


http_session.HttpSession = Talkative
common.main(server.serve)
