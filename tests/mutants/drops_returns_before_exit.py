"""Drops all carriage returns at the end of a line when it looks for exit."""

import re

from servers import common
from servers import select_server as server
from servers.protocol import Session


class Generous(Session):
    def receive(self, data: bytes) -> None:
        super().receive(re.sub(rb"(?m)^exit\r+$", b"exit", data))


common.Session = Generous
common.main(server.serve)
