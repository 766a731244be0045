"""Does not notice that a client has hung up."""

from servers import common
from servers import epoll_server as server
from servers.protocol import Session


class Deaf(Session):
    def receive(self, data: bytes) -> None:
        if data:
            super().receive(data)


common.Session = Deaf
common.main(server.serve)
