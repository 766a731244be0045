"""Keeps one buffer for the unfinished lines of all clients."""

from servers import common
from servers import poll_server as server
from servers.protocol import Session

shared = bytearray()


class Sharing(Session):
    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self._unfinished = shared


common.Session = Sharing
common.main(server.serve)
