"""The clients that are measured: connected, and greeted by the server."""

import errno
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from loadgen.engine import requests
from loadgen.engine.samples import Greetings, by_name, error_name
from loadgen.engine.syscalls import SO_TIMESTAMPNS, Int64s
from loadgen.target.address import Address
from loadgen.workload.load import Protocol

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
    greeted_ns    int64[socks]: when it arrived, CLOCK_REALTIME
    failed        how many were not greeted, by reason
    """

    socks: list[socket.socket]
    greeting_ns: Int64s
    greeted_ns: Int64s
    failed: dict[str, int]

    @property
    def attempted(self) -> int:
        """How many there were to be."""
        return len(self.socks) + sum(self.failed.values())


@contextmanager
def connected(
    address: Address,
    count: int,
    greeting_s: float = GREETING_S,
    enough: int | None = None,
    protocol: Protocol = "hello",
) -> Iterator[ConnectedClients]:
    """`count` clients, connected and greeted, CONNECT_AT_ONCE at a time.

    address     numeric: nothing is looked up while the clock runs
    greeting_s  how long the greetings of such a group are awaited
    enough      greetings that end the wait: of more than so many clients the server greets none
    protocol    without a greeting, who is connected counts as greeted, in the order of coming

    Raises OSError for an address that is not numeric.
    """
    family, peer = address.numeric()
    greet = _greeted if protocol == "hello" else _connected
    socks: list[socket.socket] = []
    greeted: list[socket.socket] = []
    greeting_ns = [np.zeros(0, np.int64)]
    greeted_ns = [np.zeros(0, np.int64)]
    failed: Counter[str] = Counter()
    try:
        for first in range(0, count, CONNECT_AT_ONCE):
            group: list[socket.socket] = []
            started_ns: list[int] = []
            for _ in range(min(CONNECT_AT_ONCE, count - first)):
                sock = socket.socket(family, socket.SOCK_STREAM)
                socks.append(sock)
                sock.setblocking(False)
                if family != socket.AF_UNIX:
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
            answers = greet(group, greeting_s, None if enough is None else enough - len(greeted))
            greeted += [s for s, good in zip(group, answers.greeted, strict=True) if good]
            greeting_ns.append(
                (answers.arrived_ns - np.array(started_ns, np.int64))[answers.greeted]
            )
            greeted_ns.append(answers.arrived_ns[answers.greeted])
            failed.update(by_name(answers.errors[~answers.greeted]))
        yield ConnectedClients(
            greeted, np.concatenate(greeting_ns), np.concatenate(greeted_ns), dict(failed)
        )
    finally:
        for sock in socks:
            sock.close()


def _greeted(socks: Sequence[socket.socket], deadline_s: float, enough: int | None) -> Greetings:
    """Who is greeted by the server, stamped by the kernel where it stamps."""
    return requests.greet([sock.fileno() for sock in socks], deadline_s, enough)


def _connected(socks: Sequence[socket.socket], deadline_s: float, enough: int | None) -> Greetings:
    """Who is connected, stamped when that is seen; beyond `enough` it is the kernel alone that has
    completed a connection, and nobody counts."""
    arrived_ns = np.zeros(len(socks), np.int64)
    errors = np.zeros(len(socks), np.int32)
    poller = select.poll()
    waiting = {sock.fileno(): number for number, sock in enumerate(socks)}
    for fd in waiting:
        poller.register(fd, select.POLLOUT)
    deadline = time.monotonic() + deadline_s
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        for fd, _ in poller.poll(1000 * left_s):
            poller.unregister(fd)
            number = waiting.pop(fd)
            arrived_ns[number] = time.time_ns()
            errors[number] = socks[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    greeted = (arrived_ns > 0) & (errors == 0)
    if enough is not None:
        greeted &= np.cumsum(greeted) <= enough
    return Greetings(greeted, np.where(greeted, arrived_ns, 0), errors)


@contextmanager
def connected_datagrams(address: Address, count: int) -> Iterator[ConnectedClients]:
    """`count` UDP sockets that hear the server at an address and nobody else. Nobody greets them.

    address     numeric

    Raises OSError for an address that is not numeric.
    """
    family, peer = address.numeric()
    socks: list[socket.socket] = []
    failed: Counter[str] = Counter()
    with ExitStack() as around:
        for _ in range(count):
            sock = around.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            if code := sock.connect_ex(peer):
                failed[error_name(code)] += 1
            else:
                socks.append(sock)
        never = np.zeros(0, np.int64)
        yield ConnectedClients(socks, never, never, dict(failed))


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
