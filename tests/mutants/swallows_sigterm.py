"""Raises an exception to stop, where somebody takes it for one client's trouble."""

from servers import blocking_server as server
from servers import common


def stop(*_: object) -> None:
    raise ConnectionError("stopping")


common.stop = stop
common.main(server.serve)
