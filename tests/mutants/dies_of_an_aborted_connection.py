"""Expects accept() to fail for want of descriptors or because nobody has come."""

import socket

from servers import common
from servers import epoll_server as server


def accept(listener: socket.socket) -> tuple[list[socket.socket], bool]:
    try:
        sock, _ = listener.accept()
    except BlockingIOError:
        return [], True
    except OSError as error:
        if not common.exhausted(error):
            raise
        return [], False
    sock.setblocking(False)
    return [sock], True


server.accept = accept
common.main(server.serve)
