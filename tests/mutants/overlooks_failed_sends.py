"""Takes a send that failed for one that sent everything: its client waits for ever."""

import socket

from servers import common
from servers import poll_server as server
from servers.protocol import Session


def write(sock: socket.socket, session: Session) -> None:
    try:
        count = sock.send(session.outgoing)
    except BlockingIOError:
        return
    except OSError:
        count = len(session.outgoing)
    session.sent(count)


server.write = write
common.main(server.serve)
