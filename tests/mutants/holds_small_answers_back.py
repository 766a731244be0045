"""Lets the kernel wait with an answer until the one before has been acknowledged (RFC 896)."""

import socket

from servers import common
from servers import threaded_server as server

accept = server.accept


def accept_lazily(listener: socket.socket) -> socket.socket | None:
    sock = accept(listener)
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    return sock


server.accept = accept_lazily
common.main(server.serve)
