"""Ends when it is told to, and lets its children go on with their clients."""

import os

from servers import common, process
from servers import fork_server as server

process.fork = os.fork
common.main(server.serve)
