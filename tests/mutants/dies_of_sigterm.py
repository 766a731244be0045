"""Leaves SIGTERM to the kernel: it dies, but not with status 0."""

import signal

from servers import common
from servers import epoll_server as server

common.stop = signal.SIG_DFL
common.main(server.serve)
