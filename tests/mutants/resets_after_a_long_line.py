"""Closes at once after a line that was too long: the kernel sends a reset for what came after."""

import socket

from servers import common
from servers import threaded_server as server
from servers.protocol import Session


class Offended(Session):
    offended = False

    def receive(self, data: bytes) -> None:
        super().receive(data)
        Offended.offended = self.outgoing.endswith(b" bytes\n")


def hang_up(sock: socket.socket) -> None:
    if not Offended.offended:
        common.finish(sock)
    sock.close()


common.Session = Offended
common.hang_up = hang_up
common.main(server.serve)
