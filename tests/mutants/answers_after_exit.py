"""Goes on after exit: says what it owes, but does not close."""

from servers import common
from servers import select_server as server
from servers.protocol import Session


class Stubborn(Session):
    def receive(self, data: bytes) -> None:
        super().receive(data.replace(b"exit\n", b""))


common.Session = Stubborn
common.main(server.serve)
