"""Waits for the client to speak first."""

from servers import common
from servers import select_server as server
from servers.protocol import Session


class Shy(Session):
    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.sent(len(self.outgoing))


common.Session = Shy
common.main(server.serve)
