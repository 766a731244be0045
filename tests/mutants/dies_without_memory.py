"""Expects that there is memory for whatever comes in."""

import socket

from servers import common
from servers import threaded_server as server
from servers.protocol import Session


def read(sock: socket.socket, session: Session) -> None:
    try:
        session.receive(sock.recv(common.RECEIVE_BYTES))
    except OSError:
        session.abort()


server.read = read
common.main(server.serve)
