"""Does not wait for the end of file of a client, though there is a time-out for it."""

from servers import common, timeouts
from servers import epoll_server as server

timeouts.Silence.linger = lambda self, sock, session: False
common.main(server.serve)
