"""Takes the carriage return of telnet for a part of the line."""

from servers import common
from servers import epoll_server as server
from servers.protocol import Session


class Literal(Session):
    def receive(self, data: bytes) -> None:
        super().receive(data.replace(b"\r\n", b"\r\r\n"))


common.Session = Literal
common.main(server.serve)
