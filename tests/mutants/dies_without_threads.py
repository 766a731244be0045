"""Expects that there is always one more thread."""

import socket
import threading

from servers import common
from servers import threaded_server as server
from servers.protocol import Session


def start(sock: socket.socket, session: Session) -> None:
    threading.Thread(target=server.converse, args=(sock, session), daemon=True).start()


server.start = start
common.main(server.serve)
