"""Clients that only look on: who is greeted, who is not, whose connection breaks. Nothing of it is
timed."""

import select
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from loadgen.target.address import Address

State = Literal["greeted", "waiting", "broken"]


@contextmanager
def coming(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """`count` clients that have just begun to connect; the kernel completes that for a server that
    does nothing, too. Raises OSError for an address that is not numeric."""
    family, _, _, _, peer = socket.getaddrinfo(
        *address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    socks = [socket.socket(family, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for sock in socks:
            sock.setblocking(False)
            sock.connect_ex(peer)
        yield socks
    finally:
        for sock in socks:
            sock.close()


def state(sock: socket.socket) -> State:
    """What a client that has sent nothing can see without taking it."""
    try:
        return "greeted" if sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) else "broken"
    except BlockingIOError:
        return "waiting"
    except OSError:
        return "broken"


def states(socks: Sequence[socket.socket], patience_s: float) -> Counter[State]:
    """How many clients are in each state, as soon as none waits any more or the time is up."""
    poller = select.poll()
    waiting = {sock.fileno(): sock for sock in socks}
    for fd in waiting:
        poller.register(fd, select.POLLIN)
    deadline = time.monotonic() + patience_s
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        for fd, _ in poller.poll(1000 * left_s):
            poller.unregister(fd)
            del waiting[fd]
    return Counter(map(state, socks))
