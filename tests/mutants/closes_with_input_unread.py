"""Closes at once: the kernel sends a reset for the unread input, and it overtakes the answers."""

import socket

from servers import common
from servers import poll_server as server

common.hang_up = socket.socket.close
common.main(server.serve)
