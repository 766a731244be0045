"""Receive a datagram, answer its sender, and forget both.

After:  blocking_server.py
Waits:  in recvfrom(), for whoever says something first. There is nobody to
        accept, to watch or to close: one socket has all clients, and the
        kernel says with each datagram whose it is.
Costs:  O(1) per datagram, two system calls, however many clients there are.
        And nothing for one that is silent: nobody knows of it.
Breaks: when more comes in than it takes. The kernel keeps as much as fits
        into the receive buffer (socket(7), SO_RCVBUF), some 250 small
        datagrams, and drops the rest. It counts them: for this server in
        recvmsg() if asked to (SO_RXQ_OVFL), for everybody in the last column
        of /proc/net/udp. Nobody tells the clients. They wait, or send again,
        or give up; the order may change, too, and an answer may come twice.
            python -m servers udp --port 8000 --work sleep:1s &
            for n in {1..999}; do echo $n > /dev/udp/127.0.0.1/8000; done
            cat /proc/net/udp
"""

import socket
from collections.abc import Callable

from servers import datagrams


def serve(
    sock: socket.socket, answer: Callable[[bytes, int], bytes | None]
) -> None:
    while True:
        try:
            data, client = sock.recvfrom(datagrams.RECEIVE_BYTES)
            said = answer(data, client[1])
            if said is not None:
                sock.sendto(said, client)
        except (OSError, MemoryError):
            pass  # of one datagram, perhaps of an earlier one: it is lost


if __name__ == "__main__":
    datagrams.main(serve)
