"""The clients that are measured: connected, and greeted by the server."""

import errno
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from loadgen.engine import requests
from loadgen.engine.samples import by_name, error_name
from loadgen.engine.syscalls import SO_TIMESTAMPNS, Int64s
from loadgen.target.address import Address

# Clients that connect at once; less than any backlog, so that no SYN is dropped.
CONNECT_AT_ONCE = 1000
# How clients keep from congesting the network. BBR would pace what they send by timers, on the
# generator's CPU, and let requests that are due wait and share a segment.
PACED, UNPACED = b"bbr", b"reno"
# How long each such group waits for its greetings.
GREETING_S = 3.0


@dataclass(frozen=True)
class ConnectedClients:
    """The clients that were greeted, and what became of the others.

    socks         of the greeted ones
    greeting_ns   int64[socks]: how long each of them waited for its greeting, from connect() on
    failed        how many were not greeted, by reason
    """

    socks: list[socket.socket]
    greeting_ns: Int64s
    failed: dict[str, int]


@contextmanager
def connected(
    address: Address, count: int, greeting_s: float = GREETING_S, enough: int | None = None
) -> Iterator[ConnectedClients]:
    """`count` clients, connected and greeted, CONNECT_AT_ONCE at a time.

    address     numeric: nothing is looked up while the clock runs
    greeting_s  how long the greetings of such a group are awaited
    enough      greetings that end the wait: of more than so many clients the server greets none

    Raises OSError for an address that is not numeric.
    """
    family, _, _, _, peer = socket.getaddrinfo(
        *address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    socks: list[socket.socket] = []
    greeted: list[socket.socket] = []
    greeting_ns = [np.zeros(0, np.int64)]
    failed: Counter[str] = Counter()
    try:
        for first in range(0, count, CONNECT_AT_ONCE):
            group: list[socket.socket] = []
            started_ns: list[int] = []
            for _ in range(min(CONNECT_AT_ONCE, count - first)):
                sock = socket.socket(family, socket.SOCK_STREAM)
                socks.append(sock)
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                do_not_pace(sock)
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                now_ns = time.time_ns()
                code = sock.connect_ex(peer)
                if code in (0, errno.EINPROGRESS):
                    group.append(sock)
                    started_ns.append(now_ns)
                else:
                    failed[error_name(code)] += 1
            fds = [sock.fileno() for sock in group]
            answers = requests.greet(
                fds, greeting_s, None if enough is None else enough - len(greeted)
            )
            greeted += [s for s, good in zip(group, answers.greeted, strict=True) if good]
            greeting_ns.append(
                (answers.arrived_ns - np.array(started_ns, np.int64))[answers.greeted]
            )
            failed.update(by_name(answers.errors[~answers.greeted]))
        yield ConnectedClients(greeted, np.concatenate(greeting_ns), dict(failed))
    finally:
        for sock in socks:
            sock.close()


def do_not_pace(sock: socket.socket) -> None:
    """Have what is sent leave at once, where the system would pace it: every kernel has Reno, and
    lets everybody use it (tcp(7), tcp_allowed_congestion_control) unless somebody took it away."""
    congestion_control = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    if congestion_control.startswith(PACED):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)


@contextmanager
def kernel_stamps() -> Iterator[None]:
    """Have the kernel stamp arrivals from now on, before the first one counts.

    The kernel begins when the first socket asks for stamps, but leaves it to a work queue
    (net/core/dev.c, net_enable_timestamp): the first answers of a trial would have none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        yield
