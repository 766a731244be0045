"""Lets a client go that has said nothing for three seconds."""

import socket

from servers import common
from servers import threaded_server as server
from servers.protocol import Session

read = server.read


def read_impatiently(sock: socket.socket, session: Session) -> None:
    sock.settimeout(3)
    read(sock, session)


server.read = read_impatiently
common.main(server.serve)
