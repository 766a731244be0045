"""Answers the lines of one receive last come, first served."""

from servers import common
from servers import threaded_server as server
from servers.protocol import Session


class Reverse(Session):
    def receive(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        super().receive(b"".join(line + b"\n" for line in reversed(lines)) + rest)


common.Session = Reverse
common.main(server.serve)
