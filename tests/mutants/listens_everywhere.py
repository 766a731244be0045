"""Listens on all addresses, whichever it is told."""

import socket

from servers import common
from servers import epoll_server as server

listen = common.listen


class Elsewhere(socket.socket):
    def getsockname(self) -> tuple[str, int]:
        return told, super().getsockname()[1]


def listen_everywhere(host: str, port: int, reuse_port: bool = False) -> socket.socket:
    global told
    told = host
    listener = listen("::" if ":" in host else "0.0.0.0", port, reuse_port)
    return Elsewhere(listener.family, listener.type, fileno=listener.detach())


told = ""
common.listen = listen_everywhere
common.main(server.serve)
