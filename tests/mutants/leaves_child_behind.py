"""Starts a process of its own and does not take it along when it stops."""

import os
import signal

from servers import common
from servers import nonblocking_server as server


def serve(*args: object) -> None:
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pause()
    server.serve(*args)


common.main(serve)
