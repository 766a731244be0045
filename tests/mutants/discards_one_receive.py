"""Throws away one receive of what came after the end, not all of it: the rest becomes a reset."""

from servers import common
from servers import epoll_server as server

common.DISCARDS = 1
common.main(server.serve)
