"""Wants to hear which answers met nobody, and does not expect to."""

import socket
from collections.abc import Callable

from servers import datagrams

IP_RECVERR = 11


def serve(sock: socket.socket, answer: Callable[[bytes, int], bytes | None]) -> None:
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    while True:
        data, client = sock.recvfrom(datagrams.RECEIVE_BYTES)
        said = answer(data, client[1])
        if said is not None:
            sock.sendto(said, client)


datagrams.main(serve)
