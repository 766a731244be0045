"""Is announced by a process that does not notice when the server was killed."""

import os

from servers import announce, common
from servers import epoll_server as server

os.pidfd_open = lambda pid: os.pipe()[0]
announce.keep_only = lambda descriptors: None
common.main(server.serve)
