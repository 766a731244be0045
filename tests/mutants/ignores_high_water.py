"""Reads on and on from a client that takes no answers."""

from servers import common
from servers import poll_server as server
from servers.protocol import Session


class Greedy(Session):
    def __init__(self, **options: object) -> None:
        super().__init__(**options, high_water_bytes=2**60)


common.Session = Greedy
common.main(server.serve)
