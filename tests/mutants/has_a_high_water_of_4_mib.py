"""Keeps sixteen times as many answers as it may for a client that does not take them."""

from servers import common
from servers import poll_server as server
from servers.protocol import Session


class Roomy(Session):
    def __init__(self, **options: object) -> None:
        super().__init__(**options, high_water_bytes=4 * 2**20)


common.Session = Roomy
common.main(server.serve)
