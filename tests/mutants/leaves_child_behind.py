"""Starts a process of its own and does not take it along when it stops."""

import os
import signal

from servers import common
from servers import nonblocking_server as server

if os.fork() == 0:
    signal.pause()
common.main(server.serve)
