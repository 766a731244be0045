"""Asks when it may read though it does not want to: it always may."""

import select

from servers import common
from servers import epoll_server as server

wanted = server.wanted

server.wanted = lambda session: wanted(session) and wanted(session) | select.EPOLLIN
common.main(server.serve)
