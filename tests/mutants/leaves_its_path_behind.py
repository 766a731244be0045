"""Ends as it does without a name in the file system, and leaves the name of its socket there."""

from servers import common, process
from servers import epoll_server as server

process.remove_at_the_end = lambda path: None
common.main(server.serve)
