"""Keeps no worker's listening socket: who waits in its backlog is reset when the worker dies."""

import os
import socket
import time
from collections.abc import Callable

from servers import common
from servers import reuseport_server as server
from servers.protocol import Session


def serve(
    listener: socket.socket, new_session: Callable[[], Session], workers: int | None = None
) -> None:
    address = socket.socket(listener.family, listener.type)  # bound, so that it stays ours
    address.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    address.bind(listener.getsockname())
    with listener:
        server.hire(listener, new_session)
    hired = 1
    while True:
        while hired < (workers or 2):
            with server.another(address) as other:
                server.hire(other, new_session)
            hired += 1
        os.wait()
        time.sleep(common.RETRY_S)
        hired -= 1


serve.__module__ = server.__name__  # where REUSE_PORT is
common.main(serve)
