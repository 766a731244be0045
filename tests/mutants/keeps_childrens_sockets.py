"""Does not close its own copies of the sockets that it gave to its children."""

import os
import socket

from servers import common, process
from servers import fork_server as server
from servers.protocol import Session

kept = []


def start(listener: socket.socket, sock: socket.socket, session: Session) -> None:
    if process.fork():
        kept.append(sock)
        return
    listener.close()
    common.hang_up = socket.socket.close  # shutdown() would end the parent's, too
    server.converse(sock, session)
    os._exit(0)


server.start = start
common.main(server.serve)
