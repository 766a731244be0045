"""Forgets those who left after newcomers got their descriptors: it forgets the newcomers."""

import socket
from collections.abc import Callable

from servers import common
from servers import nonblocking_server as server
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    listener.setblocking(False)
    while True:
        left = []
        for fd, (sock, session) in clients.items():
            if session.wants_read:
                server.read(sock, session)
            if session.wants_write:
                server.write(sock, session)
            if not session.wants_read and not session.wants_write:
                left.append(fd)
                common.hang_up(sock)
        for sock in server.accept(listener)[0]:
            clients[sock.fileno()] = sock, new_session()
        for fd in left:
            del clients[fd]


common.main(serve)
