"""Believes that who takes so little that no event comes takes nothing."""

from servers import common, timeouts
from servers import epoll_server as server

timeouts.on_the_way = lambda sock: 0
common.main(server.serve)
