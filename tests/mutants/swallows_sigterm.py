"""Raises an exception to stop, where somebody takes it for one client's trouble."""

import signal

from servers import blocking_server as server
from servers import common, process


def stop(*_: object) -> None:
    raise ConnectionError("stopping")


process.stop_when_told = lambda: signal.signal(signal.SIGTERM, stop)
common.main(server.serve)
