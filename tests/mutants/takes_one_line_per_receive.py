"""Believes that a receive returns one line: answers the first, forgets the others."""

from servers import blocking_server as server
from servers import common
from servers.protocol import Session


class OneLine(Session):
    def receive(self, data: bytes) -> None:
        line, newline, _ = data.partition(b"\n")
        super().receive(line + newline)


common.Session = OneLine
common.main(server.serve)
