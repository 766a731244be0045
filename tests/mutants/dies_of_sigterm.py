"""Leaves SIGTERM to the kernel: it dies, but not with status 0."""

from servers import common, process
from servers import epoll_server as server

process.stop_when_told = lambda: None
common.main(server.serve)
