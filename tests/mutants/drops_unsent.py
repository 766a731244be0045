"""Throws away what send() did not take."""

import socket
from contextlib import suppress

from servers import common
from servers import epoll_server as server
from servers.protocol import Session


def write(sock: socket.socket, session: Session) -> None:
    with suppress(OSError):
        sock.send(session.outgoing)
    session.sent(len(session.outgoing))


server.write = write
common.main(server.serve)
