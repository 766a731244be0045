"""Says that a line is too long, and nothing else that it owes."""

from servers import common
from servers import select_server as server
from servers.protocol import Session


class Indignant(Session):
    def receive(self, data: bytes) -> None:
        super().receive(data)
        if b"Error: " in self.outgoing[-100:]:
            self.sent(self.outgoing.rindex(b"Error: "))


common.Session = Indignant
common.main(server.serve)
