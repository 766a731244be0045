"""Says goodbye to clients that leave, but keeps their sockets."""

import socket
from contextlib import suppress

from servers import common
from servers import select_server as server

kept = []


def hang_up(sock: socket.socket) -> None:
    kept.append(sock)
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


common.hang_up = hang_up
common.main(server.serve)
