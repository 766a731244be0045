"""Asks when it may write though it has nothing to write: it always may."""

import select

from servers import common
from servers import poll_server as server

wanted = server.wanted

server.wanted = lambda session: wanted(session) and wanted(session) | select.POLLOUT
common.main(server.serve)
