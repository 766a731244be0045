"""Edge-triggered, and lets the others have their turn, but does not come back by itself."""

import socket

from servers import common
from servers import epoll_et_server as server
from servers.protocol import Session

converse = server.converse


def converse_once(sock: socket.socket, session: Session, turns: int) -> bool:
    converse(sock, session, 2)
    return True


server.converse = converse_once
common.main(server.serve)
