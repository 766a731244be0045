"""A greenlet goes on as long as its socket is ready, and all others wait."""

import sys

from servers import common
from servers import gevent_server as server

server.TURNS = sys.maxsize
common.main(server.serve)
