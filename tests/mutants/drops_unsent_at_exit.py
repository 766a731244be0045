"""Forgets what it owed before when a client says exit."""

from servers import common
from servers import poll_server as server
from servers.protocol import Session


class Brusque(Session):
    def receive(self, data: bytes) -> None:
        before = len(self.outgoing)
        super().receive(data)
        if self._finished and data:
            self.sent(before)


common.Session = Brusque
common.main(server.serve)
