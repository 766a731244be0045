"""Knows that a connection may be reset, and not that it may also time out."""

import socket

from servers import common
from servers import poll_server as server
from servers.protocol import Session


def read(sock: socket.socket, session: Session) -> None:
    try:
        session.receive(sock.recv(common.RECEIVE_BYTES))
    except BlockingIOError:
        pass
    except (ConnectionError, MemoryError):
        session.abort()


server.read = read
common.main(server.serve)
