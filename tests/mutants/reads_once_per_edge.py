"""Edge-triggered, but reads once and not until there is nothing more: nobody will tell it again."""

import socket

from servers import common
from servers import epoll_et_server as server
from servers.protocol import Session


def converse(sock: socket.socket, session: Session, turns: int) -> bool:
    try:
        if session.wants_read:
            session.receive(sock.recv(common.RECEIVE_BYTES))
    except BlockingIOError:
        pass
    except OSError:
        session.abort()
    try:
        while session.wants_write:
            session.sent(sock.send(session.outgoing))
    except BlockingIOError:
        pass
    except OSError:
        session.abort()
    return True


server.converse = converse
common.main(server.serve)
