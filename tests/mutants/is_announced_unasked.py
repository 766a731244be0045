"""Is announced though nobody told it to be, where it has an address."""

import sys

from servers import common
from servers import epoll_server as server

unasked = [] if "--unix" in sys.argv else ["--announce"]
common.main(server.serve, [*sys.argv[1:], *unasked])
