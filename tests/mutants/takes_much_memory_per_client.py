"""Has a buffer of 256 KiB for every client, whether it says something or not."""

from servers import common
from servers import select_server as server
from servers.protocol import Session


class Spacious(Session):
    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.buffer = bytearray(b"\1" * 262_144)


common.Session = Spacious
common.main(server.serve)
