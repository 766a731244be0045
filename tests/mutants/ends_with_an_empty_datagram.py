"""Takes an empty datagram for the end of file that it would be on a connection."""

import socket
from collections.abc import Callable

from servers import datagrams


def serve(sock: socket.socket, answer: Callable[[bytes, int], bytes | None]) -> None:
    while True:
        data, client = sock.recvfrom(datagrams.RECEIVE_BYTES)
        if not data:
            return
        said = answer(data, client[1])
        if said is not None:
            sock.sendto(said, client)


datagrams.main(serve)
