"""Expects no error from a socket but that it would block."""

import socket
from contextlib import suppress

from servers import common
from servers import epoll_server as server
from servers.protocol import Session


def write(sock: socket.socket, session: Session) -> None:
    with suppress(BlockingIOError):
        session.sent(sock.send(session.outgoing))


server.write = write
common.main(server.serve)
