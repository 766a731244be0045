"""Takes every line that begins with exit for exit."""

import re

from servers import common
from servers import nonblocking_server as server
from servers.protocol import Session


class Prefix(Session):
    def receive(self, data: bytes) -> None:
        super().receive(re.sub(rb"(?m)^exit.*$", b"exit", data))


common.Session = Prefix
common.main(server.serve)
