"""Receives all that is there, and then answers whoever came last."""

import socket
from collections.abc import Callable

from servers import datagrams


def serve(sock: socket.socket, answer: Callable[[bytes, int], bytes | None]) -> None:
    while True:
        data, client = sock.recvfrom(datagrams.RECEIVE_BYTES)
        answers = [answer(data, client[1])]
        try:
            while True:
                data, client = sock.recvfrom(datagrams.RECEIVE_BYTES, socket.MSG_DONTWAIT)
                answers.append(answer(data, client[1]))
        except BlockingIOError:
            pass
        for said in answers:
            if said is not None:
                sock.sendto(said, client)


datagrams.main(serve)
