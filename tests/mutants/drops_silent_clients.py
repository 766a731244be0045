"""Lets a client go that has said nothing for three seconds."""

import socket

from servers import common
from servers import threaded_server as server

accept = server.accept


def accept_impatiently(listener: socket.socket) -> socket.socket | None:
    sock = accept(listener)
    if sock is not None:
        sock.settimeout(3)
    return sock


server.accept = accept_impatiently
common.main(server.serve)
