"""Believes that a receive returns a whole line: answers before the newline has come."""

from servers import common
from servers import threaded_server as server
from servers.protocol import Session


class Hasty(Session):
    def receive(self, data: bytes) -> None:
        super().receive(data if not data or data.endswith(b"\n") else data + b"\n")


common.Session = Hasty
common.main(server.serve)
