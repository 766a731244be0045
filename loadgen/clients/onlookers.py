"""Clients that only look on: who is greeted, who is not, whose connection breaks, and who is told
that it was silent for too long. What is timed of it, the kernel has stamped."""

import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from loadgen.engine.syscalls import SO_TIMESTAMPNS
from loadgen.target.address import Address

# What a server says to a client of which nothing was heard.
TIMED_OUT = b"Error: timed out\n"
# struct timespec, as the kernel has it (socket(7), SCM_TIMESTAMPNS is SO_TIMESTAMPNS).
TIMESPEC = struct.Struct("@ll")

State = Literal["greeted", "waiting", "broken"]


@contextmanager
def coming(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """`count` clients that have just begun to connect; the kernel completes that for a server that
    does nothing, too. Raises OSError for an address that is not numeric."""
    family, peer = address.numeric()
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


def told(socks: Sequence[socket.socket], patience_s: float) -> list[int | None]:
    """When each client, of which nothing but its greeting was read, was told that it was silent for
    too long (CLOCK_REALTIME, ns, the kernel's stamp); None: it was not, or something else, or the
    connection did not end with it. As soon as all are told, or the time is up."""
    states(socks, patience_s)
    return [_told(sock, patience_s) for sock in socks]


def _told(sock: socket.socket, patience_s: float) -> int | None:
    try:
        data, ancillary, _, _ = sock.recvmsg(
            len(TIMED_OUT) + 1, socket.CMSG_SPACE(TIMESPEC.size), socket.MSG_DONTWAIT
        )
        if data != TIMED_OUT:
            return None
        # The end of file comes a moment after the line.
        sock.settimeout(patience_s)
        if sock.recv(1):
            return None
    except OSError:  # nothing has come, or the connection broke
        return None
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = TIMESPEC.unpack(value)
            return int(seconds) * 10**9 + int(nanoseconds)
    return None
