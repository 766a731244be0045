"""Says once what it owes when a client says exit, and closes whatever was taken of it."""

import socket

from servers import common
from servers import epoll_server as server
from servers.protocol import Session

write = server.write


def write_and_end(sock: socket.socket, session: Session) -> None:
    write(sock, session)
    if session._finished:
        session.abort()


server.write = write_and_end
common.main(server.serve)
