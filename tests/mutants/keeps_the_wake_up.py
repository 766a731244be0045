"""A worker without room keeps the wake-up for a newcomer to itself: the others sleep, with room."""

import os

from servers import common
from servers import prefork_server as server


def call_nobody(descriptor: int, value: int) -> None:
    pass


os.eventfd_write = call_nobody
common.main(server.serve)
