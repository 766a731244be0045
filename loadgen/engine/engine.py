"""The hot loop: drives many connections, stamps and verifies every request. Linux only.

Everything that is called per request is compiled, touches no Python object and holds no lock, so a
`drive` belongs in a thread of its own, pinned to a CPU of its own; the calling process stays
responsive and ends it with the `stop` flag. A request costs one send, one recvmsg and its share of
an epoll_wait.

Four stamps per request, all CLOCK_REALTIME because the kernel stamps in it (socket(7),
SO_TIMESTAMP): `intended` (the schedule said so), `sent` (just before send), `arrived` (the kernel
got the last byte of the answer), `read` (the loop got to it).

For TCP the stamp that recvmsg returns is that of the last segment it copied from (net/ipv4/tcp.c,
tcp_update_recv_tstamps). So a receive asks for no more than the answer in turn still lacks. Where
the kernel merged the segments of several waiting answers, they all carry the stamp of the last one:
never too early, late by at most the time they waited to be read.
"""

import errno
import select
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from loadgen.engine.syscalls import (
    EPOLL_DATA_WORD,
    EPOLL_EVENT_WORDS,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    NS_PER_S,
    compiled,
    epoll_wait,
    memcmp,
    send,
)
from loadgen.engine.wire import (
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    EAGAIN,
    EINTR,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLIN,
    EPOLLOUT,
    EVENTS,
    GREETING,
    NAP_NS,
    Bytes,
    Edges,
    Int32s,
    Int64s,
    Wire,
    clock,
    edges_of,
    kernel_stamp,
    last_error,
    nap,
    new_wire,
    receive,
    stamp_tag,
    take_edge,
    watch,
)
from loadgen.workload import arrivals
from loadgen.workload.workload import MAX_REQUESTS, Workload

Bools = npt.NDArray[np.bool_]


# Why a connection failed, where errno has no word for it.
CLOSED = -1
UNSOLICITED = -2
NOT_GREETED = -3

# More than any generator of one core has sent; decides how many stamps a closed loop has room for.
_CLOSED_LOOP_MAX_PER_S = 400_000


class Outcome(IntEnum):
    """What became of a request."""

    OK = 0
    WRONG = 1
    ERROR = 2
    UNFINISHED = 3


_OK, _WRONG, _ERROR, _UNFINISHED = map(int, Outcome)


@dataclass(frozen=True)
class Drive:
    """All that was stamped, one element per request, in the order they were intended in."""

    intended_ns: Int64s
    sent_ns: Int64s
    """0: never sent"""
    arrived_ns: Int64s
    """0: no complete answer"""
    read_ns: Int64s
    """0: no complete answer"""
    connection: Int32s
    """index into `fds`"""
    outcome: Bytes
    """an Outcome each"""
    window_start_ns: int
    window_end_ns: int
    edges: Edges
    errors: Int32s
    """int32[connections]: 0, an errno, CLOSED or UNSOLICITED"""
    unstamped: int
    """answers without a kernel stamp; `arrived` is `read` for them"""
    full: bool
    """a closed loop ended early because there was no room for more stamps; the window ends there"""

    @property
    def in_window(self) -> Bools:
        """Mask of the requests that belong to the window, by their intended time; bool[n]."""
        return (self.window_start_ns <= self.intended_ns) & (self.intended_ns < self.window_end_ns)


class Greetings(NamedTuple):
    """One element per connection."""

    greeted: Bools
    arrived_ns: Int64s
    """kernel stamp (CLOCK_REALTIME) of the last byte of the greeting; 0: not greeted"""
    errors: Int32s
    """0 (greeted, or not yet), an errno, CLOSED, or NOT_GREETED (it said something else)"""


def error_name(code: int) -> str:
    """Return the word for an element of `Drive.errors` or `Greetings.errors`, say "ECONNRESET".

    0 is no error; who was not greeted all the same is still waiting.
    """
    words = {
        0: "waiting for the greeting",
        CLOSED: "closed",
        UNSOLICITED: "unsolicited bytes",
        NOT_GREETED: "wrong greeting",
    }
    return words.get(code) or errno.errorcode.get(code, f"errno {code}")


def by_name(codes: Int32s) -> Counter[str]:
    """Count errors by their names."""
    return Counter(map(error_name, codes.tolist()))


_REQUEST = np.dtype(
    [
        ("intended_ns", np.int64),
        ("sent_ns", np.int64),
        ("arrived_ns", np.int64),
        ("read_ns", np.int64),
        ("connection", np.int32),
        ("following", np.int32),  # the next request on the same connection, or -1
        ("outcome", np.uint8),
    ],
    align=True,
)

_LINK = np.dtype(
    [
        ("fd", np.int32),
        ("index", np.int32),
        ("answering", np.int32),  # the request whose answer is due, or -1
        ("sending", np.int32),  # the first request that is not completely sent, or -1
        ("last", np.int32),  # the last request, or -1
        ("error", np.int32),
        ("sent_bytes", np.int64),  # of `sending`
        ("received_bytes", np.int64),  # of the answer to `answering`
        ("mismatch", np.bool_),  # in the answer to `answering`
        ("blocked", np.bool_),  # waits until it can be written to
        ("is_open", np.bool_),
    ],
    align=True,
)


@compiled
def _fail(wire: Wire, link: Any, requests: Any, error: int) -> int:
    """Give up a connection; return how many requests were outstanding on it."""
    link.error = error
    link.is_open = False
    watch(wire, link, EPOLL_CTL_DEL, 0)
    if error == UNSOLICITED and link.answering < 0 and link.last >= 0:
        # The answer before was not complete but too long.
        requests[link.last].outcome = _WRONG
    outstanding = 0
    wrong = link.mismatch or error == UNSOLICITED
    request = link.answering
    while request >= 0:
        requests[request].outcome = _WRONG if wrong else _ERROR
        wrong = False
        outstanding += 1
        request = requests[request].following
    link.answering = -1
    link.sending = -1
    return outstanding


@compiled
def _transmit(wire: Wire, link: Any, requests: Any, now_ns: int) -> int:
    """Send what the connection takes; return how many requests ended because it failed."""
    size_bytes = len(wire.request)
    while link.sending >= 0:
        stamp_tag(wire, link.sending)
        if link.sent_bytes == 0:
            requests[link.sending].sent_ns = now_ns
        rest_bytes = size_bytes - link.sent_bytes
        start = wire.request.ctypes.data + link.sent_bytes
        count = send(link.fd, start, rest_bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
        if count < 0:
            error = last_error(wire)
            if error == EINTR:
                continue
            if error != EAGAIN:
                return _fail(wire, link, requests, error)
            count = 0
        if count < rest_bytes:
            link.sent_bytes += count
            if not link.blocked:
                link.blocked = True
                watch(wire, link, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT)
            return 0
        link.sent_bytes = 0
        link.sending = requests[link.sending].following
        if link.sending >= 0:
            now_ns = clock(wire, CLOCK_REALTIME)
    if link.blocked:
        link.blocked = False
        watch(wire, link, EPOLL_CTL_MOD, EPOLLIN)
    return 0


@compiled
def _submit(
    wire: Wire, link: Any, requests: Any, request: int, intended_ns: int, now_ns: int
) -> int:
    """Append a request to a connection; return how many requests ended because it failed."""
    record = requests[request]
    record.intended_ns = intended_ns
    record.connection = link.index
    if not link.is_open:
        record.outcome = _ERROR
        return 1
    if link.answering < 0:
        link.answering = request
    else:
        requests[link.last].following = request
    link.last = request
    if link.sending >= 0:
        return 0  # behind one that waits until the connection can be written to
    link.sending = request
    return _transmit(wire, link, requests, now_ns)


@compiled
def _answer(wire: Wire, link: Any, requests: Any, unstamped: Int64s) -> int:
    """Receive from a connection that can be read; return how many requests ended by it.

    An answer that differs by its bytes is WRONG and the next one is awaited; bytes that no request
    asked for end the connection.
    """
    due = link.answering
    expected_bytes = len(wire.answer)
    want_bytes = min(expected_bytes - link.received_bytes, len(wire.buffer))
    count = receive(wire, link.fd, want_bytes)
    if count < 0:
        error = last_error(wire)
        return 0 if error in (EAGAIN, EINTR) else _fail(wire, link, requests, error)
    if count == 0:
        return _fail(wire, link, requests, CLOSED)
    if due < 0 or due == link.sending:
        return _fail(wire, link, requests, UNSOLICITED)
    stamp_tag(wire, due)
    expected = wire.answer.ctypes.data + link.received_bytes
    if memcmp(wire.buffer.ctypes.data, expected, count) != 0:
        link.mismatch = True
    link.received_bytes += count
    if link.received_bytes < expected_bytes:
        return 0
    record = requests[due]
    record.read_ns = clock(wire, CLOCK_REALTIME)
    record.arrived_ns = kernel_stamp(wire)
    if record.arrived_ns == 0:
        record.arrived_ns = record.read_ns
        unstamped[0] += 1
    record.outcome = _WRONG if link.mismatch else _OK
    link.mismatch = False
    link.received_bytes = 0
    link.answering = record.following
    return 1


@compiled
def _await_greetings(
    wire: Wire, links: Any, requests: Any, timeout_ns: int, unstamped: Int64s
) -> None:
    """A greeting is the answer to a request that is never sent."""
    deadline_ns = clock(wire, CLOCK_MONOTONIC) + timeout_ns
    for index in range(len(links)):
        links[index].answering = index
        watch(wire, links[index], EPOLL_CTL_ADD, EPOLLIN)
    waiting = len(links)
    while waiting > 0 and clock(wire, CLOCK_MONOTONIC) < deadline_ns:
        nap(wire, NAP_NS)
        for event in range(epoll_wait(wire.epoll, wire.events.ctypes.data, EVENTS, 0)):
            link = links[wire.events[event * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD]]
            ended = _answer(wire, link, requests, unstamped)
            waiting -= ended
            if ended and link.is_open:
                watch(wire, link, EPOLL_CTL_DEL, 0)


@compiled
def _run(
    wire: Wire,
    links: Any,
    requests: Any,
    offsets_ns: Int64s,
    is_open_loop: bool,
    greedy_pipeline: int,
    lengths_ns: Int64s,
    server_clocks: Int64s,
    edges: Int64s,
    unstamped: Int64s,
    stop: Int64s,
    spin: bool,
) -> tuple[int, int, int, bool]:
    """Drive until everything is answered or the time is over.

    `lengths_ns` are those of warm-up, window and drain; `edges` is int64[2, 4 + server clocks].
    Returns how many requests were submitted, both ends of the window, and whether a closed loop ran
    out of room.
    """
    for index in range(len(links)):
        watch(wire, links[index], EPOLL_CTL_ADD, EPOLLIN)

    now_ns = start_ns = clock(wire, CLOCK_REALTIME)
    window_start_ns = start_ns + lengths_ns[0]
    window_end_ns = window_start_ns + lengths_ns[1]
    capacity = len(requests)
    submitted = ended = edges_taken = idle_ns = 0
    full = False

    if not is_open_loop:
        for index in range(len(links)):
            for _ in range(greedy_pipeline if index == 0 and greedy_pipeline > 0 else 1):
                now_ns = clock(wire, CLOCK_REALTIME)
                ended += _submit(wire, links[index], requests, submitted, now_ns, now_ns)
                submitted += 1

    while True:
        if edges_taken == 0 and now_ns >= window_start_ns:
            now_ns = take_edge(wire, edges[0], start_ns + idle_ns, server_clocks)
            edges_taken = 1
        if edges_taken == 1 and now_ns >= window_end_ns:
            now_ns = take_edge(wire, edges[1], start_ns + idle_ns, server_clocks)
            edges_taken = 2
        if ended == submitted and (edges_taken == 2 if submitted == capacity else not is_open_loop):
            break  # in a closed loop: the window is over, or no connection is left
        if now_ns >= window_end_ns + lengths_ns[2] or stop[0] != 0:
            break

        asked_ns = now_ns
        if not spin:
            is_next_known = is_open_loop and submitted < capacity
            nap(wire, start_ns + offsets_ns[submitted] - now_ns if is_next_known else NAP_NS)
        count = epoll_wait(wire.epoll, wire.events.ctypes.data, EVENTS, 0)
        now_ns = clock(wire, CLOCK_REALTIME)
        if count == 0:
            idle_ns += now_ns - asked_ns
        acted = count > 0

        # A turn is one receive and, in an open loop, one send if one is due: neither can starve the
        # other.
        for turn in range(max(count, 1)):
            if turn < count:
                events = wire.events[turn * EPOLL_EVENT_WORDS]
                link = links[wire.events[turn * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD]]
                if events & EPOLLOUT:
                    now_ns = clock(wire, CLOCK_REALTIME)
                    ended += _transmit(wire, link, requests, now_ns)
                if events & ~EPOLLOUT and link.is_open:
                    due = link.answering
                    ended += _answer(wire, link, requests, unstamped)
                    if due >= 0 and requests[due].read_ns != 0:
                        now_ns = requests[due].read_ns
                        if not is_open_loop and now_ns < window_end_ns:
                            if submitted == capacity:
                                full = True
                                window_end_ns = max(now_ns, window_start_ns)
                            else:
                                ended += _submit(wire, link, requests, submitted, now_ns, now_ns)
                                submitted += 1
            if is_open_loop and submitted < capacity and start_ns + offsets_ns[submitted] <= now_ns:
                link = links[submitted % len(links)]
                ended += _submit(
                    wire, link, requests, submitted, start_ns + offsets_ns[submitted], now_ns
                )
                submitted += 1
                acted = True
        if acted:
            now_ns = clock(wire, CLOCK_REALTIME)

    for edge in range(edges_taken, 2):
        take_edge(wire, edges[edge], start_ns + idle_ns, server_clocks)
    for index in range(len(links)):
        link = links[index]
        if link.is_open and link.answering < 0:
            _answer(wire, link, requests, unstamped)  # nothing is due: what is there is too much
        elif link.is_open and link.mismatch:
            requests[link.answering].outcome = _WRONG
    return submitted, window_start_ns, window_end_ns, full


def greet(fds: Sequence[int], deadline_s: float) -> Greetings:
    """Wait until the server has greeted on every connection; leave what follows unread.

    `fds` are connected sockets with SO_TIMESTAMPNS set, `deadline_s` is the time from now. Never
    raises for what a server does: see `Greetings`.
    """
    links, requests = _links(fds), _requests(len(fds))
    unstamped = np.zeros(1, np.int64)
    with select.epoll() as epoll:
        greeting = np.frombuffer(bytearray(GREETING), np.uint8)
        wire = new_wire(epoll.fileno(), 2)._replace(answer=greeting, tag_digits=0)
        _await_greetings(wire, links, requests, round(deadline_s * NS_PER_S), unstamped)
    errors = np.where(requests.outcome == _WRONG, NOT_GREETED, links.error).astype(np.int32)
    greeted = requests.outcome == _OK
    return Greetings(greeted, np.where(greeted, requests.arrived_ns, 0), errors)


def drive(
    fds: Sequence[int],
    workload: Workload,
    offsets_ns: Int64s | None = None,
    server_clocks: Sequence[int] = (),
    spin: bool = True,
    stop: Int64s | None = None,
) -> Drive:
    """Load a server over connections that it has greeted, and stamp and verify every request.

    `fds` are the connected sockets (TCP_NODELAY and SO_TIMESTAMPNS set), one per
    `workload.connections`. `offsets_ns` (sorted int64[n], ns from the start of the warm-up)
    replaces the schedule of an open loop; request i goes to connection i modulo connections.
    `server_clocks` are clock ids (`syscalls.process_cpu_clock`) to be read at both edges of the
    window. `spin` asks the kernel without pause and needs a CPU of its own. Whoever sets `stop[0]`
    (int64[1]) from another thread ends the drive within a millisecond.

    Always returns by the end of the drain, whatever the server does. Raises ValueError for an
    invalid workload.
    """
    workload.validate()
    if len(fds) != workload.connections:
        raise ValueError(
            f"{len(fds)} descriptors were given for {workload.connections} connections"
        )
    is_open_loop = workload.mode == "open"
    if not is_open_loop:
        offsets_ns = np.zeros(0, np.int64)
        length_s = workload.warmup_s + workload.duration_s
        at_start = workload.connections + workload.greedy_pipeline
        capacity = min(at_start + round(length_s * _CLOSED_LOOP_MAX_PER_S), MAX_REQUESTS)
        if not workload.connections:
            capacity = 0  # all of them are submitted, and what is left is to wait for the edges
    else:
        offsets_ns = arrivals.schedule(workload) if offsets_ns is None else offsets_ns
        capacity = len(offsets_ns)

    links, requests = _links(fds), _requests(capacity)
    lengths_s = np.array([workload.warmup_s, workload.duration_s, workload.drain_s])
    lengths_ns = (lengths_s * NS_PER_S).round().astype(np.int64)
    edges = np.zeros((2, 4 + len(server_clocks)), np.int64)
    unstamped = np.zeros(1, np.int64)
    with select.epoll() as epoll:
        submitted, window_start_ns, window_end_ns, full = _run(
            new_wire(epoll.fileno(), workload.message_bytes),
            links,
            requests,
            offsets_ns,
            is_open_loop,
            workload.greedy_pipeline,
            lengths_ns,
            np.array(server_clocks, np.int64),
            edges,
            unstamped,
            np.zeros(1, np.int64) if stop is None else stop,
            spin,
        )
    if is_open_loop:
        # Those that a stop or a stall kept from being submitted were scheduled all the same.
        requests.intended_ns = window_start_ns - lengths_ns[0] + offsets_ns
        requests.connection = np.arange(capacity) % len(links)
    else:
        requests = requests[:submitted]
    return Drive(
        intended_ns=requests.intended_ns,
        sent_ns=requests.sent_ns,
        arrived_ns=requests.arrived_ns,
        read_ns=requests.read_ns,
        connection=requests.connection,
        outcome=requests.outcome,
        window_start_ns=window_start_ns,
        window_end_ns=window_end_ns,
        edges=edges_of(edges),
        errors=links.error,
        unstamped=int(unstamped[0]),
        full=full,
    )


def compile() -> None:
    """Compile the hot loop, or load it from the cache, by using it once on a closed connection."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(GREETING)
        greet([ours.fileno()], 1.0)
        drive([ours.fileno()], Workload(warmup_s=0, duration_s=0.001, drain_s=0))


def _links(fds: Sequence[int]) -> Any:
    links = np.recarray(len(fds), _LINK)
    links.fill(0)
    links.fd = fds
    links.index = np.arange(len(fds))
    links.answering = links.sending = links.last = -1
    links.is_open = True
    return links


def _requests(capacity: int) -> Any:
    # Written to before the clock starts: the pages of a fresh array appear when they are first
    # touched.
    requests = np.recarray(capacity, _REQUEST)
    requests.fill(0)
    requests.following = -1
    requests.outcome = _UNFINISHED
    return requests
