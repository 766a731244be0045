"""Requests by datagrams: the hot loop that stamps each one, and says what became of it. Linux only.

Like `requests`, but nothing is sure to arrive, and nothing is sent again. So the answers say by
their tag what they answer: they may be missing, come too late, twice, or in another order, and all
of that is a result. In a closed loop a client gives a request up after GIVE_UP_S and asks the next,
so that one lost datagram does not silence it; what is answered after that is late. In an open loop
nobody waits, and an answer is in time until the end of the drain.

Every socket is connected, so that it hears its server and nobody else, and is told by ICMP when
nobody is there (udp(7)): that is an error of its connection, as a reset would be.

The tags of a drive follow those of the drive before: what comes in for an earlier one is told from
what is wrong.
"""

import errno
import select
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from loadgen.engine.buffers import (
    EAGAIN,
    EINTR,
    EPOLL_CTL_ADD,
    EPOLLERR,
    EPOLLIN,
    NAP_NS,
    SyscallBuffers,
    arrival_stamps,
    connection_of,
    last_error,
    next_transmit_stamp,
    receive,
    stamp_what_leaves,
    watch,
    write_tag,
)
from loadgen.engine.loop import (
    Loop,
    collected,
    finish,
    has_room,
    is_out_of_time,
    let_it_be,
    look_at_clock,
    new_loop,
    new_rows,
    next_events,
    read_due_clocks,
    start,
)
from loadgen.engine.samples import UNSOLICITED, Outcome, Samples
from loadgen.engine.syscalls import (
    EPOLL_EVENT_WORDS,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    NS_PER_S,
    Bools,
    Int64s,
    compiled,
    memcmp,
    memcpy,
    send,
)
from loadgen.workload import arrivals
from loadgen.workload.dialogue import hello_echo
from loadgen.workload.load import MAX_REQUESTS, Load

# How long a client of a closed loop waits for an answer. On one machine an answer takes less than a
# millisecond, and 64 clients of a slow server wait for some of them.
GIVE_UP_S = 0.1

# As of `requests`.
_CLOSED_LOOP_MAX_PER_S = 400_000
STAMP_EVERY = 67
SENDS_PER_RECEIVE = 4

_OK, _MISMATCHED, _ERROR, _TIMED_OUT = map(int, Outcome)
_ECONNREFUSED = errno.ECONNREFUSED
_MSG_TRUNC = 0x20  # the same on every machine (linux/socket.h)
_TAG_BYTES, _TAGS = 8, 2**32
_LETTERS_A = 0x6161616161616161
_NEVER = 2**62
_MOST_ANSWERS = 65_535

_REQUEST = np.dtype(
    [
        ("intended_ns", np.int64),
        ("sent_ns", np.int64),
        ("arrived_ns", np.int64),
        ("read_ns", np.int64),
        ("connection", np.int32),
        ("answers", np.uint16),  # right ones, whenever they came
        ("outcome", np.uint8),
        ("given_up", np.bool_),
        ("reordered", np.bool_),
    ],
    align=True,
)

_LINK = np.dtype(
    [
        ("fd", np.int32),
        ("index", np.int32),
        ("asked", np.int32),  # the last request, or -1
        ("newest", np.int32),  # the last of those that were answered, or -1
        ("stamped", np.int32),  # the request whose transmit stamp is awaited, or -1
        ("error", np.int32),
        ("armed", np.bool_),  # the kernel stamps the next request when it leaves
    ],
    align=True,
)


class Account(NamedTuple):
    """What became of the datagrams of a window; `sent` is answered + lost + late.

    Those that were answered wrong are left out: they are no matter of the transport.
    """

    sent: int
    answered: int
    """in time, and right"""
    lost: int
    """not answered by the end of the drain"""
    late: int
    """answered when the client had given them up"""
    duplicated: int
    """answers to what had been answered before"""
    reordered: int
    """answers that came after that to a later request of their client"""


@dataclass(frozen=True)
class DatagramSamples(Samples):
    """As `Samples`, where a request that is not answered in time is TIMED_OUT."""

    answers: np.ndarray[Any, np.dtype[np.uint16]] = field(
        default_factory=lambda: np.zeros(0, np.uint16)
    )
    """uint16[n]: right ones, whenever they came"""
    reordered: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    """bool[n]: the first answer came after that to a later request of the same client"""

    @property
    def account(self) -> Account:
        """What became of the requests of the window."""
        inside = self.in_window & (self.sent_ns > 0)
        answers, in_time = self.answers[inside], self.outcome[inside] == Outcome.OK
        unanswered = self.outcome[inside] == Outcome.TIMED_OUT
        right = in_time | unanswered
        late = unanswered & (answers > 0)
        return Account(
            sent=int(right.sum()),
            answered=int(in_time.sum()),
            lost=int((unanswered & ~late).sum()),
            late=int(late.sum()),
            duplicated=int(np.maximum(answers[right].astype(np.int64) - 1, 0).sum()),
            reordered=int(self.reordered[inside][right].sum()),
        )


class _Rules(NamedTuple):
    """What a drive by datagrams needs besides a `Loop`."""

    first_tag: int  # of the drive: that of request 0
    give_up_ns: int
    is_open: bool
    oldest: Int64s  # [0]: closed loop: all requests before it are answered or given up
    missing: Int64s  # [0]: given up, and not answered since
    repeated: Int64s  # [0]: answers to what had been answered


@compiled
def _read_tag(buffers: SyscallBuffers, offset: int) -> int:
    """The number that `write_tag` wrote, out of what was received; -1: it is none."""
    memcpy(buffers.tag.ctypes.data, buffers.received.ctypes.data + offset, _TAG_BYTES)
    digits = buffers.tag[0] - _LETTERS_A
    if digits & 0x0F0F0F0F0F0F0F0F != digits:
        return -1
    digits = (digits | digits >> 4) & 0x00FF00FF00FF00FF
    digits = (digits | digits >> 8) & 0x0000FFFF0000FFFF
    return int((digits | digits >> 16) & 0x00000000FFFFFFFF)


@compiled
def _arm(loop: Loop, link: Any) -> None:
    """Have the next request stamped when it leaves, if it is the turn of one."""
    progress = loop.progress[0]
    if progress.begun >= progress.next_stamped and not link.armed:
        progress.next_stamped = progress.begun + STAMP_EVERY
        link.armed = stamp_what_leaves(loop.buffers, link.fd, True)


@compiled
def _take_transmit_stamps(loop: Loop, link: Any, requests: Any) -> bool:
    """Take the kernel's stamps of what has left; was there any?"""
    progress = loop.progress[0]
    left_ns = next_transmit_stamp(loop.buffers, link.fd)
    found = left_ns >= 0
    while left_ns >= 0:
        if link.stamped >= 0 and left_ns >= requests[link.stamped].sent_ns:
            loop.left_ns[progress.stamped, 0] = link.stamped
            loop.left_ns[progress.stamped, 1] = left_ns
            progress.stamped += 1
            link.stamped = -1
        left_ns = next_transmit_stamp(loop.buffers, link.fd)
    return found


@compiled
def _submit(loop: Loop, link: Any, requests: Any, rules: _Rules, intended_ns: int) -> None:
    """Send the next request.

    What the kernel does not take is as lost as what it drops later. An error that it reports was
    left behind by an earlier datagram, and this one was not sent: it is sent again.
    """
    buffers, progress = loop.buffers, loop.progress[0]
    request = progress.begun
    progress.begun += 1
    record = requests[request]
    record.intended_ns = intended_ns
    record.connection = link.index
    record.sent_ns = progress.now_ns
    link.asked = request
    write_tag(buffers, buffers.request_tag, rules.first_tag + request)
    start, length = buffers.request.ctypes.data, len(buffers.request)
    for _ in range(2):
        count = send(link.fd, start, length, MSG_DONTWAIT | MSG_NOSIGNAL)
        if count >= 0:
            break
        error = last_error(buffers)
        if error not in (EAGAIN, EINTR):
            link.error = error
    if link.armed:
        link.armed = False
        stamp_what_leaves(buffers, link.fd, False)
        if count >= 0:
            link.stamped = request


@compiled
def _ask_next(loop: Loop, link: Any, requests: Any, rules: _Rules) -> None:
    """In a closed loop the next request follows, until the window is over."""
    progress = loop.progress[0]
    if progress.now_ns < progress.window_end_ns and has_room(loop, len(requests)):
        _submit(loop, link, requests, rules, progress.now_ns)


@compiled
def _wrong(loop: Loop, link: Any, requests: Any) -> bool:
    """Something came that answers nothing: blame the last request for it, or else the connection.
    Is a client of a closed loop free by it to ask the next?"""
    if link.asked >= 0:
        record = requests[link.asked]
        if record.outcome == _TIMED_OUT and not record.given_up:
            record.outcome = _MISMATCHED
            loop.progress[0].ended += 1
            return True
    link.error = UNSOLICITED
    return False


@compiled
def _answer(loop: Loop, link: Any, requests: Any, rules: _Rules) -> bool:
    """Receive a datagram; does it let a client of a closed loop ask its next request?"""
    buffers, progress = loop.buffers, loop.progress[0]
    count = receive(buffers, link.fd, len(buffers.received))
    if count < 0:
        error = last_error(buffers)
        if error not in (EAGAIN, EINTR):
            link.error = error
        return False
    arrived_ns, read_ns = arrival_stamps(buffers)
    let_it_be(loop, read_ns)
    if count != len(buffers.answer) or buffers.header[6] & _MSG_TRUNC:
        return _wrong(loop, link, requests)
    offset = buffers.answer_tag.ctypes.data - buffers.answer.ctypes.data
    tag = _read_tag(buffers, offset)
    write_tag(buffers, buffers.answer_tag, tag)
    request = tag - rules.first_tag
    if tag < 0 or memcmp(buffers.received.ctypes.data, buffers.answer.ctypes.data, count) != 0:
        return _wrong(loop, link, requests)
    if request < 0:
        return False  # it answers a drive before
    if request >= progress.begun or requests[request].connection != link.index:
        return _wrong(loop, link, requests)
    record = requests[request]
    if record.answers > 0:
        rules.repeated[0] += 1
        if record.answers < _MOST_ANSWERS:
            record.answers += 1
        return False
    record.answers = 1
    record.reordered = request < link.newest
    link.newest = max(link.newest, request)
    if record.given_up:
        rules.missing[0] -= 1
        return False
    if record.outcome != _TIMED_OUT:
        return False  # it was blamed for something wrong before
    record.outcome = _OK
    record.arrived_ns, record.read_ns = arrived_ns, read_ns
    progress.ended += 1
    return True


@compiled
def _handle(loop: Loop, links: Any, requests: Any, rules: _Rules, event: int) -> None:
    """Do what an event asks for."""
    buffers = loop.buffers
    events = buffers.events[event * EPOLL_EVENT_WORDS]
    link = links[connection_of(buffers, event)]
    if events & EPOLLERR and _take_transmit_stamps(loop, link, requests):
        events &= ~EPOLLERR
    if events:
        if not rules.is_open:
            _arm(loop, link)
        if _answer(loop, link, requests, rules) and not rules.is_open:
            _ask_next(loop, link, requests, rules)


@compiled
def _give_up(loop: Loop, links: Any, requests: Any, rules: _Rules) -> None:
    """Let clients that have waited for too long ask the next. In a closed loop requests are sent
    in their order, so none has waited longer than the oldest."""
    progress = loop.progress[0]
    while rules.oldest[0] < progress.begun:
        record = requests[rules.oldest[0]]
        waits = record.outcome == _TIMED_OUT and not record.given_up
        if waits and progress.now_ns < record.sent_ns + rules.give_up_ns:
            return
        rules.oldest[0] += 1
        if waits:
            record.given_up = True
            progress.ended += 1
            rules.missing[0] += 1
            _ask_next(loop, links[record.connection], requests, rules)


@compiled
def _until_due_ns(loop: Loop, offsets_ns: Int64s) -> int:
    """Return how long it is until an open loop sends again; NAP_NS if there is nothing to send."""
    progress = loop.progress[0]
    if progress.begun >= len(offsets_ns):
        return NAP_NS
    return int(progress.start_ns + offsets_ns[progress.begun] - progress.now_ns)


@compiled
def _send_due(loop: Loop, links: Any, requests: Any, rules: _Rules, offsets_ns: Int64s) -> bool:
    """Send what an open loop is late with, SENDS_PER_RECEIVE at most. Was there anything?"""
    sent = 0
    while sent < SENDS_PER_RECEIVE and _until_due_ns(loop, offsets_ns) <= 0:
        request = loop.progress[0].begun
        intended_ns = loop.progress[0].start_ns + offsets_ns[request]
        _submit(loop, links[request % len(links)], requests, rules, intended_ns)
        _arm(loop, links[(request + 1) % len(links)])
        look_at_clock(loop)
        sent += 1
    return sent > 0


@compiled
def _is_over(loop: Loop, capacity: int, rules: _Rules) -> bool:
    """Is everything answered, and nothing more to be expected? A server that answers late, or
    twice, is listened to until the end of the drain."""
    progress = loop.progress[0]
    if progress.ended < progress.begun or rules.missing[0] > 0:
        return False
    if rules.is_open or capacity == 0:
        over = bool(progress.begun == capacity and progress.clocks_read == 2)
    else:
        over = bool(progress.now_ns >= progress.window_end_ns)
    return over and rules.repeated[0] == 0


@compiled
def _run(loop: Loop, links: Any, requests: Any, rules: _Rules, offsets_ns: Int64s) -> None:
    """Drive until everything is answered or the time is over; without `offsets_ns` if not open."""
    buffers = loop.buffers
    for index in range(len(links)):
        link = links[index]
        while receive(buffers, link.fd, len(buffers.received)) >= 0:
            pass  # what is there answers nothing of this drive
        watch(buffers, link, EPOLL_CTL_ADD, EPOLLIN)
        if len(loop.left_ns):  # a drive before may have ended when it was about to send
            stamp_what_leaves(buffers, link.fd, False)
    start(loop)
    if not rules.is_open:
        for index in range(len(links)):
            look_at_clock(loop)
            _ask_next(loop, links[index], requests, rules)
    while True:
        read_due_clocks(loop)
        if _is_over(loop, len(requests), rules) or is_out_of_time(loop):
            break
        count = next_events(loop, _until_due_ns(loop, offsets_ns))
        acted = count > 0
        if rules.is_open and acted:
            look_at_clock(loop)
        for turn in range(max(count, 1)):
            if rules.is_open and _send_due(loop, links, requests, rules, offsets_ns):
                acted = True
            if turn < count:
                _handle(loop, links, requests, rules, turn)
        if acted:
            look_at_clock(loop)
        if not rules.is_open:
            _give_up(loop, links, requests, rules)
    finish(loop)


def drive(
    fds: Sequence[int],
    load: Load,
    offsets_ns: Int64s | None = None,
    server_clocks: Sequence[int] = (),
    spin: bool = True,
    stop: Int64s | None = None,
    give_up_s: float = GIVE_UP_S,
) -> DatagramSamples:
    """Load a server over connected UDP sockets, and stamp, verify and account for every request.

    `fds` are the sockets (connected, SO_TIMESTAMPNS set), one per `load.connections`. `give_up_s`
    is how long a client of a closed loop waits for its answer. The others are as of
    `requests.drive`.

    Always returns by the end of the drain; when nothing is missing, at the end of the window.
    Raises ValueError for an invalid load.
    """
    load.validate_for_datagrams()
    if len(fds) != load.connections:
        raise ValueError(f"{len(fds)} descriptors were given for {load.connections} connections")
    if not load.is_open:
        offsets_ns = np.zeros(0, np.int64)
    elif offsets_ns is None:
        offsets_ns = arrivals.schedule(load)
    links = new_rows(len(fds), _LINK, asked=-1, newest=-1, stamped=-1)
    links.fd = fds
    links.index = np.arange(len(fds))
    capacity = len(offsets_ns) if load.is_open else _closed_loop_capacity(load)
    requests = new_rows(capacity, _REQUEST, outcome=_TIMED_OUT)
    rules = _Rules(
        _tags.taken(capacity),
        round(give_up_s * NS_PER_S),
        load.is_open,
        *(np.zeros(1, np.int64) for _ in range(3)),
    )
    said = hello_echo(load.message_bytes)
    stamped = capacity // STAMP_EVERY + 1
    with select.epoll() as epoll:
        loop = new_loop(epoll.fileno(), load, said, server_clocks, spin, stop, stamped)
        # Not the first ones: they find everything cold.
        loop.progress[0].next_stamped = len(fds) if fds else _NEVER
        _run(loop, links, requests, rules, offsets_ns)
    progress = loop.progress[0]
    if load.is_open:
        # Those that a stop or a stall kept from being submitted were scheduled all the same.
        requests.intended_ns = progress.start_ns + offsets_ns
        requests.connection = np.arange(len(requests)) % max(1, len(links))
    else:
        requests = requests[: progress.begun]
    found = collected(loop, requests, requests.intended_ns, requests.sent_ns, links.error)
    return DatagramSamples(**vars(found), answers=requests.answers, reordered=requests.reordered)


class _Tags:
    """Whose tags are which: a drive begins where the one before ended, as long as there are any."""

    def __init__(self) -> None:
        self._next = 0

    def taken(self, count: int) -> int:
        """The first of so many tags that nobody has had lately."""
        if self._next + count > _TAGS:
            self._next = 0
        first = self._next
        self._next += count
        return first


_tags = _Tags()


def compile() -> None:
    """Compile the hot loop, or load it from the cache, by using it once without a client."""
    drive([], Load(connections=0, warmup_s=0, duration_s=0.001, drain_s=0))


def _closed_loop_capacity(load: Load) -> int:
    """How many requests a closed loop has room for."""
    if not load.connections:
        return 0
    length_s = load.warmup_s + load.duration_s
    return min(load.connections + round(length_s * _CLOSED_LOOP_MAX_PER_S), MAX_REQUESTS)
