"""Lets no more than 128 clients wait to be accepted."""

from servers import common
from servers import epoll_server as server

common.BACKLOG = 128
common.main(server.serve)
