"""Takes a half-close for a close, even before it has read what came first."""

import socket

from servers import common
from servers import select_server as server
from servers.protocol import Session

CLOSE_WAIT = 8  # the peer has sent its end of file: tcp_states.h
read = server.read


def read_unless_closing(sock: socket.socket, session: Session) -> None:
    if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == CLOSE_WAIT:
        session.abort()
    else:
        read(sock, session)


server.read = read_unless_closing
common.main(server.serve)
