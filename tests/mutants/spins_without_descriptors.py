"""Asks for newcomers again and again though it has no descriptor for them."""

from servers import common
from servers import epoll_server as server

common.exhausted = lambda error: False
common.main(server.serve)
