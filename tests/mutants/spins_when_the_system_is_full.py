"""Knows that a process can run out of descriptors, and not that the whole system can."""

import errno

from servers import common
from servers import epoll_server as server

common.EXHAUSTED = {errno.EMFILE}
common.main(server.serve)
