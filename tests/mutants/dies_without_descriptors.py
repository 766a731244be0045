"""Expects accept() to succeed whenever somebody has come."""

import socket

from servers import common
from servers import threaded_server as server


def accept(listener: socket.socket) -> socket.socket:
    return listener.accept()[0]


server.accept = accept
common.main(server.serve)
