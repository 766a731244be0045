"""The memory that the kernel reads and writes, and the single steps that the compiled loops take.

`SyscallBuffers` are made once per drive and belong to one thread. Nothing here allocates or blocks,
except `nap`.
"""

import errno
import select
from typing import Any, NamedTuple

import numpy as np

from loadgen.engine.syscalls import (
    EPOLL_DATA_WORD,
    EPOLL_EVENT_WORDS,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    NS_PER_S,
    SO_TIMESTAMPING,
    SO_TIMESTAMPNS,
    SOF_TIMESTAMPING_OPT_TSONLY,
    SOF_TIMESTAMPING_SOFTWARE,
    SOF_TIMESTAMPING_TX_SOFTWARE,
    SOL_SOCKET,
    Bytes,
    Int32s,
    Int64s,
    clock_gettime,
    compiled,
    epoll_ctl,
    errno_location,
    memcmp,
    memcpy,
    ppoll,
    recvmsg,
    setsockopt,
)
from loadgen.workload.dialogue import Dialogue

# How many events are taken from the kernel at once.
EVENTS = 256
# How long a loop that does not spin sleeps at most, and so how late it sees the stop flag.
NAP_NS = 1_000_000
# Two clocks were read at once when they were read within this; and how often that is tried.
AT_ONCE_NS = 20_000
CLOCK_ATTEMPTS = 5
EPOLLERR, EPOLLIN, EPOLLOUT = select.EPOLLERR, select.EPOLLIN, select.EPOLLOUT
EPOLLET = -(2**31)  # EPOLLET is bit 31 of an int32
EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID = 0, 1, 3
EAGAIN, EINTR = errno.EAGAIN, errno.EINTR

# Long answers are received and verified in pieces: no connection has a buffer of its own.
_RECEIVE_BYTES = 65_536
# struct cmsghdr and a struct timespec: 16 bytes each. A kernel that also reports transmit stamps
# would say the same of an arrival once more, in a message that it drops where there is no room.
_STAMP_BYTES = 32
# Level and type of a control message, one 64-bit word (Numba knows little-endian machines only).
_ARRIVAL_STAMP = SO_TIMESTAMPNS << 32 | SOL_SOCKET
_KERNEL_STAMPS = SO_TIMESTAMPING << 32 | SOL_SOCKET
# Eight letters "a", as a number.
_LETTERS_A = 0x6161616161616161


class SyscallBuffers(NamedTuple):
    """The memory that the kernel reads and writes, and the texts to send and to expect."""

    epoll: int
    header: Int64s  # struct msghdr (recvmsg(2)) in 64-bit words
    vector: Int64s  # struct iovec
    control: Int64s  # struct cmsghdr and its struct timespec
    received: Bytes
    events: Int32s  # struct epoll_event[EVENTS]
    interest: Int32s  # struct epoll_event
    ready: Int32s  # struct pollfd
    option: Int32s  # the value of a socket option
    time: Int64s  # struct timespec
    errno: Int32s
    unstamped: Int64s  # [0]: how many answers came without a kernel stamp
    tag: Int64s  # [0]: eight letters
    request: Bytes
    answer: Bytes
    request_tag: Bytes  # where it is in `request`, in the same memory
    answer_tag: Bytes
    opaque_start: int  # of the bytes of `answer` that may be any
    opaque_end: int  # 0: there are none


def new_buffers(epoll: int, said: Dialogue) -> SyscallBuffers:
    """Make the memory of one drive."""
    request, answer = as_array(said.request), as_array(said.answer)
    longest_bytes = max(len(said.greeting), len(said.answer))
    received = np.zeros(min(longest_bytes, _RECEIVE_BYTES), np.uint8)
    control = np.zeros(8, np.int64)
    vector = np.array([received.ctypes.data, 0], np.int64)
    header = np.array([0, 0, vector.ctypes.data, 1, control.ctypes.data, 0, 0], np.int64)
    return SyscallBuffers(
        epoll=epoll,
        header=header,
        vector=vector,
        control=control,
        received=received,
        events=np.zeros(EVENTS * EPOLL_EVENT_WORDS, np.int32),
        interest=np.zeros(EPOLL_EVENT_WORDS, np.int32),
        ready=np.array([epoll, EPOLLIN], np.int32),
        option=np.zeros(1, np.int32),
        time=np.zeros(2, np.int64),
        errno=np.zeros(1, np.int32),
        unstamped=np.zeros(1, np.int64),
        tag=np.zeros(1, np.int64),
        request=request,
        answer=answer,
        request_tag=request[said.request_tag_offset :][: said.tag_digits],
        answer_tag=answer[said.answer_tag_offset :][: said.tag_digits],
        opaque_start=said.opaque.start,
        opaque_end=said.opaque.stop,
    )


def as_array(text: bytes) -> Bytes:
    """Return a copy that can be written to; uint8[n]."""
    return np.frombuffer(bytearray(text), np.uint8)


@compiled
def clock(buffers: SyscallBuffers, clock_id: int) -> int:
    """Return what a clock shows, in nanoseconds, or -1 if it cannot be read."""
    if clock_gettime(clock_id, buffers.time.ctypes.data) != 0:
        return -1
    return int(buffers.time[0] * NS_PER_S + buffers.time[1])


@compiled
def last_error(buffers: SyscallBuffers) -> int:
    """Return errno of the libc call before."""
    memcpy(buffers.errno.ctypes.data, errno_location(), 4)
    return int(buffers.errno[0])


@compiled
def watch(buffers: SyscallBuffers, link: Any, operation: int, events: int) -> None:
    """Add, change or delete the interest in a connection (a record with `fd` and `index`)."""
    buffers.interest[0] = events
    buffers.interest[EPOLL_DATA_WORD] = link.index
    epoll_ctl(buffers.epoll, operation, link.fd, buffers.interest.ctypes.data)


@compiled
def connection_of(buffers: SyscallBuffers, event: int) -> int:
    """Return the index of the connection that something happened to."""
    return int(buffers.events[event * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD])


@compiled
def write_tag(buffers: SyscallBuffers, tag: Bytes, request: int) -> None:
    """Make the line to send, or the answer to expect, that of a request: by its number.

    tag  `buffers.request_tag` or `buffers.answer_tag`

    Eight digits to the base 16 become eight bytes at once: each step moves the upper half of every
    group of digits away from the lower one.
    """
    digits = int(request)  # 64 bits, of which 32 are used
    digits = (digits | digits << 16) & 0x0000FFFF0000FFFF
    digits = (digits | digits << 8) & 0x00FF00FF00FF00FF
    digits = (digits | digits << 4) & 0x0F0F0F0F0F0F0F0F
    buffers.tag[0] = digits + _LETTERS_A
    memcpy(tag.ctypes.data, buffers.tag.ctypes.data, len(tag))


@compiled
def receive(buffers: SyscallBuffers, fd: int, count: int) -> int:
    """Receive at most `count` bytes into the buffer; return what recvmsg returns."""
    buffers.vector[1] = count
    buffers.header[5] = _STAMP_BYTES  # recvmsg overwrites it with what it used
    return recvmsg(fd, buffers.header.ctypes.data, MSG_DONTWAIT)


@compiled
def is_answer(buffers: SyscallBuffers, offset: int, count: int) -> bool:
    """Is what was received the part of the answer of `count` bytes that begins at `offset`?"""
    received, expected = buffers.received.ctypes.data, buffers.answer.ctypes.data + offset
    if buffers.opaque_end == 0:
        return bool(memcmp(received, expected, count) == 0)
    before = min(max(buffers.opaque_start - offset, 0), count)
    after = min(max(buffers.opaque_end - offset, 0), count)
    return bool(
        memcmp(received, expected, before) == 0
        and memcmp(received + after, expected + after, count - after) == 0
    )


@compiled
def stamp_what_leaves(buffers: SyscallBuffers, fd: int, on: bool) -> bool:
    """Have the kernel stamp what is sent when it leaves, or no longer; False: it refused.

    Not by a control message of a sendmsg, as one would: that is another way through the kernel
    than that of the requests that are not stamped, and a longer one.
    """
    buffers.option[0] = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY
    if on:
        buffers.option[0] |= SOF_TIMESTAMPING_TX_SOFTWARE
    return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, buffers.option.ctypes.data, 4) == 0


@compiled
def next_transmit_stamp(buffers: SyscallBuffers, fd: int) -> int:
    """Return the next kernel stamp of a request's leaving, or -1: there is none (any more).

    They come by the error queue of the socket (Documentation/networking/timestamping.rst). The
    stamp is reported as it was asked for, and as any stamp is where SO_TIMESTAMPNS is set: first.
    """
    buffers.vector[1] = 0
    buffers.header[5] = buffers.control.nbytes
    if recvmsg(fd, buffers.header.ctypes.data, MSG_DONTWAIT | MSG_ERRQUEUE) < 0:
        return -1
    control = buffers.control
    if buffers.header[5] >= _STAMP_BYTES and control[1] in (_ARRIVAL_STAMP, _KERNEL_STAMPS):
        return int(control[2] * NS_PER_S + control[3])
    return 0


@compiled
def arrival_stamps(buffers: SyscallBuffers) -> tuple[int, int]:
    """Return when what was last received had arrived, and when it was read, which is now.

    Arrived is the kernel's stamp; where it gave none, because stamping was not on yet, that counts
    as unstamped and as arrived when it was read.
    """
    read_ns = clock(buffers, CLOCK_REALTIME)
    control = buffers.control
    if buffers.header[5] >= _STAMP_BYTES and control[1] == _ARRIVAL_STAMP:
        return int(control[2] * NS_PER_S + control[3]), read_ns
    buffers.unstamped[0] += 1
    return read_ns, read_ns


@compiled
def read_clocks(
    buffers: SyscallBuffers, clocks_ns: Int64s, busy_since_ns: int, server_clocks: Int64s
) -> int:
    """Read all clocks into a row of what `window_clocks` reads; int64[4 + server clocks].

    `busy_since_ns` is the start of the loop, put off by all that it has idled. Returns the time of
    the reading: idling counts from there, so between two of them there is never more of it than
    time.

    Who loses the CPU between two clocks reads them apart, as if one had been set: read again then.
    """
    now_ns = clock(buffers, CLOCK_REALTIME)
    before_ns = after_ns = clock(buffers, CLOCK_MONOTONIC)
    for _ in range(CLOCK_ATTEMPTS):
        before_ns = clock(buffers, CLOCK_MONOTONIC)
        now_ns = clock(buffers, CLOCK_REALTIME)
        after_ns = clock(buffers, CLOCK_MONOTONIC)
        if after_ns - before_ns < AT_ONCE_NS:
            break
    clocks_ns[0] = now_ns
    clocks_ns[1] = before_ns + (after_ns - before_ns) // 2
    clocks_ns[2] = clock(buffers, CLOCK_THREAD_CPUTIME_ID)
    clocks_ns[3] = now_ns - busy_since_ns
    for k in range(len(server_clocks)):
        clocks_ns[4 + k] = clock(buffers, server_clocks[k])
    return now_ns


@compiled
def nap(buffers: SyscallBuffers, longest_ns: int) -> None:
    """Sleep until something is ready: by ppoll(2), as epoll_wait(2) counts in milliseconds."""
    buffers.time[0] = 0
    buffers.time[1] = min(max(longest_ns, 0), NAP_NS)
    ppoll(buffers.ready.ctypes.data, 1, buffers.time.ctypes.data, 0)
