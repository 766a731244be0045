"""Lets in clients whose descriptors select() cannot name."""

import sys

from servers import common
from servers import select_server as server

server.FD_SETSIZE = sys.maxsize
common.main(server.serve)
