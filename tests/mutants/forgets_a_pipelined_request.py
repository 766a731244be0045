"""Believes that a receive returns one request: answers the first, forgets the others."""

from servers import blocking_server as server
from servers import common, http_session
from servers.http_session import HttpSession


class OneRequest(HttpSession):
    def receive(self, data: bytes) -> None:
        head, end, _ = data.partition(b"\r\n\r\n")
        super().receive(head + end)


http_session.HttpSession = OneRequest
common.main(server.serve)
