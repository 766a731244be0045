"""Forgets those who left after newcomers got their descriptors: it forgets the newcomers.

On epoll, because what happens while it is held comes as one batch whatever it was held at. A
sweep that is held half-way meets the newcomers before it meets those who left.
"""

import select
import socket
from collections.abc import Callable

from servers import common
from servers import epoll_server as server
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    interest = select.epoll()
    interest.register(listener, select.EPOLLIN)
    listener.setblocking(False)
    while True:
        left = []
        for fd, _ in interest.poll():
            if fd not in clients:
                continue
            sock, session = clients[fd]
            if session.wants_read:
                server.read(sock, session)
            if session.wants_write:
                server.write(sock, session)
            if wanted := server.wanted(session):
                interest.modify(fd, wanted)
            else:
                left.append(fd)
                common.hang_up(sock)
        for sock in server.accept(listener)[0]:
            clients[sock.fileno()] = sock, new_session()
            interest.register(sock, select.EPOLLOUT)
        for fd in left:
            del clients[fd]


common.main(serve)
