"""What the compiled loops share: the memory that the kernel reads and writes, and single steps.

A `Wire` is made once per drive and belongs to one thread. Nothing here allocates or blocks, except
`nap`. One long line is sent and expected again and again; only its tag differs, so that an answer
that belongs to another request is noticed.
"""

import errno
import select
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from loadgen.engine.syscalls import (
    EPOLL_DATA_WORD,
    EPOLL_EVENT_WORDS,
    MSG_DONTWAIT,
    NS_PER_S,
    SO_TIMESTAMPNS,
    SOL_SOCKET,
    clock_gettime,
    compiled,
    epoll_ctl,
    errno_location,
    memcpy,
    ppoll,
    recvmsg,
)

Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

GREETING = b"Welcome!\n"
PREFIX, SUFFIX = b"Hello, ", b"!\n"
# How many events are taken from the kernel at once.
EVENTS = 64
# How long a loop that does not spin sleeps at most, and so how late it sees the stop flag.
NAP_NS = 1_000_000
EPOLLIN, EPOLLOUT = select.EPOLLIN, select.EPOLLOUT
EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID = 0, 1, 3
EAGAIN, EINTR = errno.EAGAIN, errno.EINTR

# A tag of 8 digits to the base 16, written as letters from a to p, is unique among MAX_REQUESTS.
_TAG_DIGITS = 8
# Long answers are received and verified in pieces: no connection has a buffer of its own.
_RECEIVE_BYTES = 65_536
_PREFIX_BYTES = len(PREFIX)
_A = ord("a")


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

    @property
    def elapsed_ns(self) -> int:
        """From edge to edge; 1 at least, because a window can be empty."""
        return max(1, int(np.diff(self.realtime_ns)[0]))

    @property
    def busy_fraction(self) -> float:
        """The share of that time that was not spent asking in vain for something to do."""
        return int(np.diff(self.busy_ns)[0]) / self.elapsed_ns

    @property
    def cpu_fraction(self) -> float:
        """The share of that time for which the driving thread had a CPU."""
        return int(np.diff(self.generator_cpu_ns)[0]) / self.elapsed_ns


def edges_of(clocks_ns: Int64s) -> Edges:
    """Name the columns of int64[2, 4 + server clocks]."""
    return Edges(
        clocks_ns[:, 0], clocks_ns[:, 1], clocks_ns[:, 2], clocks_ns[:, 3], clocks_ns[:, 4:]
    )


class Wire(NamedTuple):
    """The memory that the kernel reads and writes, and the texts to send and to expect."""

    epoll: int
    header: Int64s  # struct msghdr (recvmsg(2)) in 64-bit words
    vector: Int64s  # struct iovec
    control: Int64s  # struct cmsghdr and its struct timespec
    buffer: Bytes
    events: Int32s  # struct epoll_event[EVENTS]
    interest: Int32s  # struct epoll_event
    ready: Int32s  # struct pollfd
    time: Int64s  # struct timespec
    errno: Int32s
    request: Bytes
    answer: Bytes
    tag_digits: int


def new_wire(epoll: int, message_bytes: int) -> Wire:
    """Make the memory of one drive, for lines of `message_bytes` with their newline."""
    # Letters without a period, so that bytes lost inside a long line are noticed.
    line = np.random.default_rng(0).integers(97, 123, message_bytes - 1, np.uint8).tobytes()
    answer = PREFIX + line + SUFFIX
    buffer = np.zeros(min(len(answer), _RECEIVE_BYTES), np.uint8)
    control = np.zeros(8, np.int64)
    vector = np.array([buffer.ctypes.data, 0], np.int64)
    header = np.array([0, 0, vector.ctypes.data, 1, control.ctypes.data, 0, 0], np.int64)
    return Wire(
        epoll=epoll,
        header=header,
        vector=vector,
        control=control,
        buffer=buffer,
        events=np.zeros(EVENTS * EPOLL_EVENT_WORDS, np.int32),
        interest=np.zeros(EPOLL_EVENT_WORDS, np.int32),
        ready=np.array([epoll, EPOLLIN], np.int32),
        time=np.zeros(2, np.int64),
        errno=np.zeros(1, np.int32),
        request=np.frombuffer(bytearray(line + b"\n"), np.uint8),
        answer=np.frombuffer(bytearray(answer), np.uint8),
        tag_digits=min(_TAG_DIGITS, len(line)),
    )


@compiled
def clock(wire: Wire, clock_id: int) -> int:
    """Return what a clock shows, in nanoseconds, or -1 if it cannot be read."""
    if clock_gettime(clock_id, wire.time.ctypes.data) != 0:
        return -1
    return int(wire.time[0] * NS_PER_S + wire.time[1])


@compiled
def last_error(wire: Wire) -> int:
    """Return errno of the libc call before."""
    memcpy(wire.errno.ctypes.data, errno_location(), 4)
    return int(wire.errno[0])


@compiled
def watch(wire: Wire, link: Any, operation: int, events: int) -> None:
    """Add, change or delete the interest in a connection (a record with `fd` and `index`)."""
    wire.interest[0] = events
    wire.interest[EPOLL_DATA_WORD] = link.index
    epoll_ctl(wire.epoll, operation, link.fd, wire.interest.ctypes.data)


@compiled
def stamp_tag(wire: Wire, request: int) -> None:
    """Make the line to send and the answer to expect those of a request, by its number."""
    for digit in range(wire.tag_digits):
        letter = _A + ((request >> (4 * digit)) & 15)
        wire.request[digit] = letter
        wire.answer[_PREFIX_BYTES + digit] = letter


@compiled
def receive(wire: Wire, fd: int, count: int) -> int:
    """Receive at most `count` bytes into the buffer; return what recvmsg returns."""
    wire.vector[1] = count
    wire.header[5] = wire.control.nbytes  # recvmsg overwrites it with what it used
    return recvmsg(fd, wire.header.ctypes.data, MSG_DONTWAIT)


@compiled
def kernel_stamp(wire: Wire) -> int:
    """Return when what was last received had arrived, or 0 if that was before stamping was on."""
    is_stamp = wire.header[5] >= 32 and wire.control[1] == (SO_TIMESTAMPNS << 32 | SOL_SOCKET)
    return wire.control[2] * NS_PER_S + wire.control[3] if is_stamp else 0


@compiled
def take_edge(wire: Wire, edge: Int64s, busy_since_ns: int, server_clocks: Int64s) -> int:
    """Read all clocks into a row of what `edges_of` reads; int64[4 + server clocks].

    `busy_since_ns` is the start of the loop, put off by all that it has idled. Returns the time of
    the edge: idling counts from there, so between two edges there is never more of it than time.
    """
    now_ns = clock(wire, CLOCK_REALTIME)
    edge[0] = now_ns
    edge[1] = clock(wire, CLOCK_MONOTONIC)
    edge[2] = clock(wire, CLOCK_THREAD_CPUTIME_ID)
    edge[3] = now_ns - busy_since_ns
    for k in range(len(server_clocks)):
        edge[4 + k] = clock(wire, server_clocks[k])
    return now_ns


@compiled
def nap(wire: Wire, longest_ns: int) -> None:
    """Sleep until something is ready: by ppoll(2), as epoll_wait(2) counts in milliseconds."""
    wire.time[0] = 0
    wire.time[1] = min(max(longest_ns, 0), NAP_NS)
    ppoll(wire.ready.ctypes.data, 1, wire.time.ctypes.data, 0)
