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
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from loadgen import arrivals
from loadgen.syscalls import (
    EPOLL_DATA_WORD,
    EPOLL_EVENT_WORDS,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    NS_PER_S,
    SO_TIMESTAMPNS,
    SOL_SOCKET,
    clock_gettime,
    compiled,
    epoll_ctl,
    epoll_wait,
    errno_location,
    memcmp,
    memcpy,
    ppoll,
    recvmsg,
    send,
)
from loadgen.workload import MAX_REQUESTS, Workload

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

GREETING = b"Welcome!\n"
PREFIX, SUFFIX = b"Hello, ", b"!\n"

# Why a connection failed, where errno has no word for it.
CLOSED = -1
UNSOLICITED = -2
NOT_GREETED = -3

# More than any generator of one core has sent; decides how many stamps a closed loop has room for.
_CLOSED_LOOP_MAX_PER_S = 400_000
# A tag of 8 digits to the base 16, written as letters from a to p, is unique among MAX_REQUESTS.
_TAG_DIGITS = 8
# Long answers are received and verified in pieces: no connection has a buffer of its own.
_RECEIVE_BYTES = 65_536
_EVENTS = 64
# How long a loop that does not spin sleeps at most, and so how late it sees the stop flag.
_NAP_NS = 1_000_000


class Outcome(IntEnum):
    """What became of a request."""

    OK = 0
    WRONG = 1
    ERROR = 2
    UNFINISHED = 3


_OK, _WRONG, _ERROR, _UNFINISHED = map(int, Outcome)


class Edges(NamedTuple):
    """Clocks read inside the loop at the start [0] and at the end [1] of the window, in ns."""

    realtime_ns: Int64s
    """int64[2]"""
    monotonic_ns: Int64s
    """int64[2]"""
    generator_cpu_ns: Int64s
    """int64[2]: CPU time of the thread that drives"""
    busy_ns: Int64s
    """int64[2]: time since the start, without that spent asking in vain for something to do"""
    server_cpu_ns: Int64s
    """int64[2, k]: one column per server clock; -1 where it could not be read"""


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
    """Return the word for an element of `Drive.errors` or `Greetings.errors`, say "ECONNRESET"."""
    words = {
        0: "none",
        CLOSED: "closed",
        UNSOLICITED: "unsolicited bytes",
        NOT_GREETED: "wrong greeting",
    }
    return words.get(code) or errno.errorcode.get(code, f"errno {code}")


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


class _Wire(NamedTuple):
    """The memory that the kernel reads and writes, and the texts to send and to expect."""

    epoll: int
    header: Int64s  # struct msghdr (recvmsg(2)) in 64-bit words
    vector: Int64s  # struct iovec
    control: Int64s  # struct cmsghdr and its struct timespec
    buffer: Bytes
    events: Int32s  # struct epoll_event[_EVENTS]
    interest: Int32s  # struct epoll_event
    ready: Int32s  # struct pollfd
    time: Int64s  # struct timespec
    errno: Int32s
    request: Bytes
    answer: Bytes
    tag_digits: int


def _wire(epoll: int, message_bytes: int) -> _Wire:
    # Letters without a period, so that bytes lost inside a long line are noticed.
    line = np.random.default_rng(0).integers(97, 123, message_bytes - 1, np.uint8).tobytes()
    answer = PREFIX + line + SUFFIX
    buffer = np.zeros(min(len(answer), _RECEIVE_BYTES), np.uint8)
    control = np.zeros(8, np.int64)
    vector = np.array([buffer.ctypes.data, 0], np.int64)
    header = np.array([0, 0, vector.ctypes.data, 1, control.ctypes.data, 0, 0], np.int64)
    return _Wire(
        epoll=epoll,
        header=header,
        vector=vector,
        control=control,
        buffer=buffer,
        events=np.zeros(_EVENTS * EPOLL_EVENT_WORDS, np.int32),
        interest=np.zeros(EPOLL_EVENT_WORDS, np.int32),
        ready=np.array([epoll, _EPOLLIN], np.int32),
        time=np.zeros(2, np.int64),
        errno=np.zeros(1, np.int32),
        request=np.frombuffer(bytearray(line + b"\n"), np.uint8),
        answer=np.frombuffer(bytearray(answer), np.uint8),
        tag_digits=min(_TAG_DIGITS, len(line)),
    )


_PREFIX_BYTES = len(PREFIX)
_EPOLLIN, _EPOLLOUT = select.EPOLLIN, select.EPOLLOUT
_EPOLL_CTL_ADD, _EPOLL_CTL_DEL, _EPOLL_CTL_MOD = 1, 2, 3
_CLOCK_REALTIME, _CLOCK_MONOTONIC, _CLOCK_THREAD_CPUTIME_ID = 0, 1, 3
_EAGAIN, _EINTR = errno.EAGAIN, errno.EINTR
_A = ord("a")


@compiled
def _clock(wire: _Wire, clock: int) -> int:
    if clock_gettime(clock, wire.time.ctypes.data) != 0:
        return -1
    return int(wire.time[0] * NS_PER_S + wire.time[1])


@compiled
def _errno(wire: _Wire) -> int:
    memcpy(wire.errno.ctypes.data, errno_location(), 4)
    return int(wire.errno[0])


@compiled
def _watch(wire: _Wire, link: Any, operation: int, events: int) -> None:
    wire.interest[0] = events
    wire.interest[EPOLL_DATA_WORD] = link.index
    epoll_ctl(wire.epoll, operation, link.fd, wire.interest.ctypes.data)


@compiled
def _stamp_tag(wire: _Wire, request: int) -> None:
    for digit in range(wire.tag_digits):
        letter = _A + ((request >> (4 * digit)) & 15)
        wire.request[digit] = letter
        wire.answer[_PREFIX_BYTES + digit] = letter


@compiled
def _receive(wire: _Wire, fd: int, count: int) -> int:
    """Receive at most `count` bytes into the buffer; return what recvmsg returns."""
    wire.vector[1] = count
    wire.header[5] = wire.control.nbytes  # recvmsg overwrites it with what it used
    return recvmsg(fd, wire.header.ctypes.data, MSG_DONTWAIT)


@compiled
def _kernel_stamp(wire: _Wire) -> int:
    """Return when what was last received had arrived, or 0 if that was before stamping was on."""
    is_stamp = wire.header[5] >= 32 and wire.control[1] == (SO_TIMESTAMPNS << 32 | SOL_SOCKET)
    return wire.control[2] * NS_PER_S + wire.control[3] if is_stamp else 0


@compiled
def _fail(wire: _Wire, link: Any, requests: Any, error: int) -> int:
    """Give up a connection; return how many requests were outstanding on it."""
    link.error = error
    link.is_open = False
    _watch(wire, link, _EPOLL_CTL_DEL, 0)
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
def _transmit(wire: _Wire, link: Any, requests: Any, now_ns: int) -> int:
    """Send what the connection takes; return how many requests ended because it failed."""
    size_bytes = len(wire.request)
    while link.sending >= 0:
        _stamp_tag(wire, link.sending)
        if link.sent_bytes == 0:
            requests[link.sending].sent_ns = now_ns
        rest_bytes = size_bytes - link.sent_bytes
        start = wire.request.ctypes.data + link.sent_bytes
        count = send(link.fd, start, rest_bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
        if count < 0:
            error = _errno(wire)
            if error == _EINTR:
                continue
            if error != _EAGAIN:
                return _fail(wire, link, requests, error)
            count = 0
        if count < rest_bytes:
            link.sent_bytes += count
            if not link.blocked:
                link.blocked = True
                _watch(wire, link, _EPOLL_CTL_MOD, _EPOLLIN | _EPOLLOUT)
            return 0
        link.sent_bytes = 0
        link.sending = requests[link.sending].following
        if link.sending >= 0:
            now_ns = _clock(wire, _CLOCK_REALTIME)
    if link.blocked:
        link.blocked = False
        _watch(wire, link, _EPOLL_CTL_MOD, _EPOLLIN)
    return 0


@compiled
def _submit(
    wire: _Wire, link: Any, requests: Any, request: int, intended_ns: int, now_ns: int
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
def _answer(wire: _Wire, link: Any, requests: Any, unstamped: Int64s) -> int:
    """Receive from a connection that can be read; return how many requests ended by it.

    An answer that differs by its bytes is WRONG and the next one is awaited; bytes that no request
    asked for end the connection.
    """
    due = link.answering
    expected_bytes = len(wire.answer)
    want_bytes = min(expected_bytes - link.received_bytes, len(wire.buffer))
    count = _receive(wire, link.fd, want_bytes)
    if count < 0:
        error = _errno(wire)
        return 0 if error in (_EAGAIN, _EINTR) else _fail(wire, link, requests, error)
    if count == 0:
        return _fail(wire, link, requests, CLOSED)
    if due < 0 or due == link.sending:
        return _fail(wire, link, requests, UNSOLICITED)
    _stamp_tag(wire, due)
    expected = wire.answer.ctypes.data + link.received_bytes
    if memcmp(wire.buffer.ctypes.data, expected, count) != 0:
        link.mismatch = True
    link.received_bytes += count
    if link.received_bytes < expected_bytes:
        return 0
    record = requests[due]
    record.read_ns = _clock(wire, _CLOCK_REALTIME)
    record.arrived_ns = _kernel_stamp(wire)
    if record.arrived_ns == 0:
        record.arrived_ns = record.read_ns
        unstamped[0] += 1
    record.outcome = _WRONG if link.mismatch else _OK
    link.mismatch = False
    link.received_bytes = 0
    link.answering = record.following
    return 1


@compiled
def _take_edge(wire: _Wire, edge: Int64s, busy_ns: int, server_clocks: Int64s) -> None:
    edge[0] = _clock(wire, _CLOCK_REALTIME)
    edge[1] = _clock(wire, _CLOCK_MONOTONIC)
    edge[2] = _clock(wire, _CLOCK_THREAD_CPUTIME_ID)
    edge[3] = busy_ns
    for k in range(len(server_clocks)):
        edge[4 + k] = _clock(wire, server_clocks[k])


@compiled
def _nap(wire: _Wire, longest_ns: int) -> None:
    """Sleep until something is ready: by ppoll(2), as epoll_wait(2) counts in milliseconds."""
    wire.time[0] = 0
    wire.time[1] = min(max(longest_ns, 0), _NAP_NS)
    ppoll(wire.ready.ctypes.data, 1, wire.time.ctypes.data, 0)


@compiled
def _await_greetings(
    wire: _Wire, links: Any, requests: Any, timeout_ns: int, unstamped: Int64s, stop: Int64s
) -> None:
    """A greeting is the answer to a request that is never sent."""
    deadline_ns = _clock(wire, _CLOCK_MONOTONIC) + timeout_ns
    for index in range(len(links)):
        links[index].answering = index
        _watch(wire, links[index], _EPOLL_CTL_ADD, _EPOLLIN)
    waiting = len(links)
    while waiting > 0 and stop[0] == 0 and _clock(wire, _CLOCK_MONOTONIC) < deadline_ns:
        _nap(wire, _NAP_NS)
        for event in range(epoll_wait(wire.epoll, wire.events.ctypes.data, _EVENTS, 0)):
            link = links[wire.events[event * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD]]
            ended = _answer(wire, link, requests, unstamped)
            waiting -= ended
            if ended and link.is_open:
                _watch(wire, link, _EPOLL_CTL_DEL, 0)


@compiled
def _run(
    wire: _Wire,
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
        _watch(wire, links[index], _EPOLL_CTL_ADD, _EPOLLIN)

    now_ns = start_ns = _clock(wire, _CLOCK_REALTIME)
    window_start_ns = start_ns + lengths_ns[0]
    window_end_ns = window_start_ns + lengths_ns[1]
    capacity = len(requests)
    submitted = ended = edges_taken = idle_ns = 0
    full = False

    if not is_open_loop:
        for index in range(len(links)):
            for _ in range(greedy_pipeline if index == 0 and greedy_pipeline > 0 else 1):
                now_ns = _clock(wire, _CLOCK_REALTIME)
                ended += _submit(wire, links[index], requests, submitted, now_ns, now_ns)
                submitted += 1

    while True:
        if edges_taken == 0 and now_ns >= window_start_ns:
            _take_edge(wire, edges[0], now_ns - start_ns - idle_ns, server_clocks)
            edges_taken = 1
        if edges_taken == 1 and now_ns >= window_end_ns:
            _take_edge(wire, edges[1], now_ns - start_ns - idle_ns, server_clocks)
            edges_taken = 2
        if ended == submitted and (edges_taken == 2 if submitted == capacity else not is_open_loop):
            break  # in a closed loop: the window is over, or no connection is left
        if now_ns >= window_end_ns + lengths_ns[2] or stop[0] != 0:
            break

        asked_ns = now_ns
        if not spin:
            is_next_known = is_open_loop and submitted < capacity
            _nap(wire, start_ns + offsets_ns[submitted] - now_ns if is_next_known else _NAP_NS)
        count = epoll_wait(wire.epoll, wire.events.ctypes.data, _EVENTS, 0)
        now_ns = _clock(wire, _CLOCK_REALTIME)
        if count == 0:
            idle_ns += now_ns - asked_ns
        acted = count > 0

        # A turn is one receive and, in an open loop, one send if one is due: neither can starve the
        # other.
        for turn in range(max(count, 1)):
            if turn < count:
                events = wire.events[turn * EPOLL_EVENT_WORDS]
                link = links[wire.events[turn * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD]]
                if events & _EPOLLOUT:
                    now_ns = _clock(wire, _CLOCK_REALTIME)
                    ended += _transmit(wire, link, requests, now_ns)
                if events & ~_EPOLLOUT and link.is_open:
                    due = link.answering
                    ended += _answer(wire, link, requests, unstamped)
                    if due >= 0 and requests[due].read_ns != 0:
                        now_ns = requests[due].read_ns
                        if not is_open_loop and now_ns < window_end_ns:
                            if submitted == capacity:
                                full = True
                                window_end_ns = now_ns
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
            now_ns = _clock(wire, _CLOCK_REALTIME)

    for edge in range(edges_taken, 2):
        _take_edge(wire, edges[edge], now_ns - start_ns - idle_ns, server_clocks)
    for index in range(len(links)):
        link = links[index]
        if link.is_open and link.answering < 0:
            _answer(wire, link, requests, unstamped)  # nothing is due: what is there is too much
        elif link.is_open and link.mismatch:
            requests[link.answering].outcome = _WRONG
    return submitted, window_start_ns, window_end_ns, full


def greet(fds: Sequence[int], deadline_s: float, stop: Int64s | None = None) -> Greetings:
    """Wait until the server has greeted on every connection; leave what follows unread.

    `fds` are connected sockets with SO_TIMESTAMPNS set, `deadline_s` is the time from now; whoever
    sets `stop[0]` (int64[1]) ends the wait. Never raises for what a server does: see `Greetings`.
    """
    links, requests = _links(fds), _requests(len(fds))
    unstamped = np.zeros(1, np.int64)
    with select.epoll() as epoll:
        greeting = np.frombuffer(bytearray(GREETING), np.uint8)
        wire = _wire(epoll.fileno(), 2)._replace(answer=greeting, tag_digits=0)
        stop = np.zeros(1, np.int64) if stop is None else stop
        _await_greetings(wire, links, requests, round(deadline_s * NS_PER_S), unstamped, stop)
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
            _wire(epoll.fileno(), workload.message_bytes),
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
        edges=Edges(edges[:, 0], edges[:, 1], edges[:, 2], edges[:, 3], edges[:, 4:]),
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
