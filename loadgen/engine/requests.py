"""Requests on connections that stay: the hot loop that stamps and verifies each one. Linux only.

Everything that is called per request is compiled, touches no Python object and holds no lock, so a
`drive` belongs in a thread of its own, pinned to a CPU of its own; the calling process stays
responsive and ends it with the `stop` flag. A request costs one send, one recvmsg and its share of
an epoll_wait.

Four stamps per request, all CLOCK_REALTIME because the kernel stamps in it (socket(7),
SO_TIMESTAMP): `intended` (the schedule said so), `sent` (just before send), `arrived` (the kernel
got the last byte of the answer), `read` (the loop got to it).

Between `sent` and the wire lies our own way through the kernel, 1 to 2 us: of one request in
STAMP_EVERY the kernel stamps the leaving too (Documentation/networking/timestamping.rst), and
`Samples.service_ns` leaves that way out. Only of one that nothing waits for, so that neither the
send buffer nor the congestion window held it back, and of no line that is still being sent while
its beginning is on its way.

For TCP the stamp that recvmsg returns is that of the last segment it copied from (net/ipv4/tcp.c,
tcp_update_recv_tstamps). So a receive asks for no more than the answer in turn still lacks. Where
the kernel merged the segments of several waiting answers, they all carry the stamp of the last one:
never too early, late by at most the time they waited to be read.
"""

import select
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np

from loadgen.engine.buffers import (
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    EAGAIN,
    EINTR,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLIN,
    EPOLLOUT,
    EVENTS,
    NAP_NS,
    SyscallBuffers,
    arrival_stamps,
    clock,
    connection_of,
    is_answer,
    last_error,
    nap,
    new_buffers,
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
from loadgen.engine.samples import (
    CLOSED,
    NOT_GREETED,
    UNSOLICITED,
    Greetings,
    Outcome,
    Samples,
)
from loadgen.engine.syscalls import (
    EPOLL_EVENT_WORDS,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    NS_PER_S,
    Int64s,
    compiled,
    epoll_wait,
    send,
)
from loadgen.workload import arrivals, dialogue
from loadgen.workload.dialogue import GREETING, hello_echo
from loadgen.workload.load import MAX_REQUESTS, Load

# More than any generator of one core has sent; decides how many stamps a closed loop has room for.
_CLOSED_LOOP_MAX_PER_S = 400_000
# A prime, so that it does not keep step with the clients.
STAMP_EVERY = 67
# The longest line whose leaving is one moment: it fits into a segment of loopback.
STAMPED_MOST_BYTES = 16_384
_NEVER = 2**62
SENDS_PER_RECEIVE = 4

_OK, _MISMATCHED, _ERROR, _TIMED_OUT = map(int, Outcome)

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
        ("stamped", np.int32),  # the request whose transmit stamp is awaited, or -1
        ("error", np.int32),
        ("sent_bytes", np.int64),  # of `sending`
        ("received_bytes", np.int64),  # of the answer to `answering`
        ("mismatch", np.bool_),  # in the answer to `answering`
        ("blocked", np.bool_),  # waits until it can be written to
        ("armed", np.bool_),  # the kernel stamps the next request when it leaves
        ("is_open", np.bool_),
    ],
    align=True,
)


@compiled
def _fail(buffers: SyscallBuffers, link: Any, requests: Any, error: int) -> int:
    """Give up a connection; return how many requests were outstanding on it."""
    link.error = error
    link.is_open = False
    watch(buffers, link, EPOLL_CTL_DEL, 0)
    if error == UNSOLICITED and link.answering < 0 and link.last >= 0:
        # The answer before was not complete but too long.
        requests[link.last].outcome = _MISMATCHED
    outstanding = 0
    mismatched = link.mismatch or error == UNSOLICITED
    request = link.answering
    while request >= 0:
        requests[request].outcome = _MISMATCHED if mismatched else _ERROR
        mismatched = False
        outstanding += 1
        request = requests[request].following
    link.answering = -1
    link.sending = -1
    return outstanding


@compiled
def _arm(loop: Loop, link: Any) -> None:
    """Have the next request stamped when it leaves, if it is the turn of one.

    Before its time comes: it must not take longer than the others.
    """
    progress = loop.progress[0]
    if progress.begun >= progress.next_stamped and link.is_open and not link.armed:
        progress.next_stamped = progress.begun + STAMP_EVERY
        link.armed = stamp_what_leaves(loop.buffers, link.fd, True)


@compiled
def _disarm(loop: Loop, link: Any, whole: bool) -> None:
    """It was sent, or the `whole` of it was not: then nothing is learned from its stamp, as little
    as from one of a request that had others before it."""
    link.armed = False
    stamp_what_leaves(loop.buffers, link.fd, False)
    if whole and link.sending == link.answering:
        link.stamped = link.sending


@compiled
def _take_transmit_stamps(loop: Loop, link: Any, requests: Any) -> bool:
    """Take the kernel's stamps of what has left a connection; was there any?

    One that nobody waits for is of a drive before.
    """
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
def _transmit(loop: Loop, link: Any, requests: Any, now_ns: int) -> int:
    """Send what the connection takes; return how many requests ended because it failed."""
    buffers = loop.buffers
    size_bytes = len(buffers.request)
    while link.sending >= 0:
        write_tag(buffers, buffers.request_tag, link.sending)
        if link.sent_bytes == 0:
            requests[link.sending].sent_ns = now_ns
        rest_bytes = size_bytes - link.sent_bytes
        start = buffers.request.ctypes.data + link.sent_bytes
        count = send(link.fd, start, rest_bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
        if link.armed:
            _disarm(loop, link, count == size_bytes)
        if count < 0:
            error = last_error(buffers)
            if error == EINTR:
                continue
            if error != EAGAIN:
                return _fail(buffers, link, requests, error)
            count = 0
        if count < rest_bytes:
            link.sent_bytes += count
            if not link.blocked:
                link.blocked = True
                watch(buffers, link, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT)
            return 0
        link.sent_bytes = 0
        link.sending = requests[link.sending].following
        if link.sending >= 0:
            now_ns = clock(buffers, CLOCK_REALTIME)
    if link.blocked:
        link.blocked = False
        watch(buffers, link, EPOLL_CTL_MOD, EPOLLIN)
    return 0


@compiled
def _submit(loop: Loop, link: Any, requests: Any, intended_ns: int) -> None:
    """Append the next request to a connection, and send it now unless others wait before it."""
    progress = loop.progress[0]
    request = progress.begun
    progress.begun += 1
    record = requests[request]
    record.intended_ns = intended_ns
    record.connection = link.index
    if not link.is_open:
        record.outcome = _ERROR
        progress.ended += 1
        return
    if link.answering < 0:
        link.answering = request
    else:
        requests[link.last].following = request
    link.last = request
    if link.sending >= 0:
        return  # behind one that waits until the connection can be written to
    link.sending = request
    progress.ended += _transmit(loop, link, requests, progress.now_ns)


@compiled
def _answer(buffers: SyscallBuffers, link: Any, requests: Any) -> int:
    """Receive from a connection that can be read; return how many requests ended by it.

    An answer that differs by its bytes is MISMATCHED and the next one is awaited; bytes that no
    request asked for end the connection.
    """
    due = link.answering
    expected_bytes = len(buffers.answer)
    want_bytes = min(expected_bytes - link.received_bytes, len(buffers.received))
    count = receive(buffers, link.fd, want_bytes)
    if count < 0:
        error = last_error(buffers)
        return 0 if error in (EAGAIN, EINTR) else _fail(buffers, link, requests, error)
    if count == 0:
        return _fail(buffers, link, requests, CLOSED)
    if due < 0 or due == link.sending:
        return _fail(buffers, link, requests, UNSOLICITED)
    write_tag(buffers, buffers.answer_tag, due)
    if not is_answer(buffers, link.received_bytes, count):
        link.mismatch = True
    link.received_bytes += count
    if link.received_bytes < expected_bytes:
        return 0
    record = requests[due]
    record.arrived_ns, record.read_ns = arrival_stamps(buffers)
    record.outcome = _MISMATCHED if link.mismatch else _OK
    link.mismatch = False
    link.received_bytes = 0
    link.answering = record.following
    return 1


@compiled
def _await_greetings(
    buffers: SyscallBuffers, links: Any, requests: Any, timeout_ns: int, enough: int
) -> None:
    """A greeting is the answer to a request that is never sent."""
    deadline_ns = clock(buffers, CLOCK_MONOTONIC) + timeout_ns
    for index in range(len(links)):
        links[index].answering = index
        watch(buffers, links[index], EPOLL_CTL_ADD, EPOLLIN)
    waiting, greeted = len(links), 0
    while waiting > 0 and greeted < enough and clock(buffers, CLOCK_MONOTONIC) < deadline_ns:
        nap(buffers, NAP_NS)
        for event in range(epoll_wait(buffers.epoll, buffers.events.ctypes.data, EVENTS, 0)):
            index = connection_of(buffers, event)
            link = links[index]
            ended = _answer(buffers, link, requests)
            waiting -= ended
            greeted += ended > 0 and requests[index].outcome == _OK
            if ended and link.is_open:
                watch(buffers, link, EPOLL_CTL_DEL, 0)


@compiled
def _begin(loop: Loop, links: Any, requests: Any, pipeline_depth: int) -> None:
    """Send what a closed loop keeps outstanding."""
    for index in range(len(links)):
        for _ in range(pipeline_depth if index == 0 and pipeline_depth > 0 else 1):
            look_at_clock(loop)
            _submit(loop, links[index], requests, loop.progress[0].now_ns)


@compiled
def _handle(loop: Loop, links: Any, requests: Any, event: int, is_open: bool) -> None:
    """Do what an event asks for; in a closed loop the next request follows an answer."""
    buffers, progress = loop.buffers, loop.progress[0]
    events = buffers.events[event * EPOLL_EVENT_WORDS]
    link = links[connection_of(buffers, event)]
    if events & EPOLLOUT:
        look_at_clock(loop)
        progress.ended += _transmit(loop, link, requests, progress.now_ns)
    if events & EPOLLERR and _take_transmit_stamps(loop, link, requests):
        events &= ~EPOLLERR
    if events & ~EPOLLOUT and link.is_open:
        due = link.answering
        if not is_open and due == link.last:
            _arm(loop, link)
        progress.ended += _answer(buffers, link, requests)
        if due >= 0 and requests[due].read_ns != 0:
            let_it_be(loop, requests[due].read_ns)
            in_window = progress.now_ns < progress.window_end_ns
            if not is_open and in_window and has_room(loop, len(requests)):
                _submit(loop, link, requests, progress.now_ns)


@compiled
def _until_due_ns(loop: Loop, offsets_ns: Int64s) -> int:
    """Return how long it is until an open loop sends again; NAP_NS if there is nothing to send."""
    progress = loop.progress[0]
    if progress.begun >= len(offsets_ns):
        return NAP_NS
    return int(progress.start_ns + offsets_ns[progress.begun] - progress.now_ns)


@compiled
def _send_due(loop: Loop, links: Any, requests: Any, offsets_ns: Int64s) -> bool:
    """Send what an open loop is late with, SENDS_PER_RECEIVE at most: an answer can wait, because
    the kernel has stamped it, but not for ever. Was there anything?"""
    sent = 0
    while sent < SENDS_PER_RECEIVE and _until_due_ns(loop, offsets_ns) <= 0:
        request = loop.progress[0].begun
        intended_ns = loop.progress[0].start_ns + offsets_ns[request]
        _submit(loop, links[request % len(links)], requests, intended_ns)
        _arm(loop, links[(request + 1) % len(links)])
        look_at_clock(loop)
        sent += 1
    return sent > 0


@compiled
def _is_over(loop: Loop, capacity: int, is_open: bool) -> bool:
    """Is everything answered, and in a closed loop: the window over, or no connection left?"""
    progress = loop.progress[0]
    if progress.ended < progress.begun:
        return False
    return bool(progress.clocks_read == 2 if progress.begun == capacity else not is_open)


@compiled
def _settle(loop: Loop, links: Any, requests: Any) -> None:
    """Give their outcome to the requests whose answers are already known to be none."""
    for index in range(len(links)):
        link = links[index]
        if link.is_open and link.answering < 0:
            # Nothing is due: what is there is too much.
            _answer(loop.buffers, link, requests)
        elif link.is_open and link.mismatch:
            requests[link.answering].outcome = _MISMATCHED


@compiled
def _run(
    loop: Loop, links: Any, requests: Any, offsets_ns: Int64s, is_open: bool, pipeline_depth: int
) -> None:
    """Drive until everything is answered or the time is over; without `offsets_ns` if not open."""
    for index in range(len(links)):
        watch(loop.buffers, links[index], EPOLL_CTL_ADD, EPOLLIN)
        if len(loop.left_ns):  # a drive before may have ended when it was about to send
            stamp_what_leaves(loop.buffers, links[index].fd, False)
    start(loop)
    if not is_open:
        _begin(loop, links, requests, pipeline_depth)
    while True:
        read_due_clocks(loop)
        if _is_over(loop, len(requests), is_open) or is_out_of_time(loop):
            break
        count = next_events(loop, _until_due_ns(loop, offsets_ns))
        acted = count > 0
        if is_open and acted:
            look_at_clock(loop)
        for turn in range(max(count, 1)):
            if is_open and _send_due(loop, links, requests, offsets_ns):
                acted = True
            if turn < count:
                _handle(loop, links, requests, turn, is_open)
        if acted:
            look_at_clock(loop)
    finish(loop)
    _settle(loop, links, requests)


def greet(fds: Sequence[int], deadline_s: float, enough: int | None = None) -> Greetings:
    """Wait until the server has greeted on every connection, or on `enough` of them; leave what
    follows unread.

    `fds` are connected sockets with SO_TIMESTAMPNS set, `deadline_s` is the time from now. Never
    raises for what a server does: see `Greetings`.
    """
    enough = len(fds) if enough is None else enough
    links, requests = _new_links(fds), _new_requests(len(fds))
    said = hello_echo(2)._replace(answer=GREETING, tag_digits=0)
    with select.epoll() as epoll:
        buffers = new_buffers(epoll.fileno(), said)
        _await_greetings(buffers, links, requests, round(deadline_s * NS_PER_S), enough)
    errors = np.where(requests.outcome == _MISMATCHED, NOT_GREETED, links.error).astype(np.int32)
    greeted = requests.outcome == _OK
    return Greetings(greeted, np.where(greeted, requests.arrived_ns, 0), errors)


def drive(
    fds: Sequence[int],
    load: Load,
    offsets_ns: Int64s | None = None,
    server_clocks: Sequence[int] = (),
    spin: bool = True,
    stop: Int64s | None = None,
) -> Samples:
    """Load a server over connections that it has greeted, and stamp and verify every request.

    `fds` are the connected sockets (SO_TIMESTAMPNS set, and TCP_NODELAY where they are TCP's), one
    per `load.connections`. Where the protocol has no greeting they need only be connected.
    `offsets_ns` (sorted int64[n], ns from the start of the warm-up) replaces the schedule of an
    open loop; request i goes to connection i modulo connections. `server_clocks` are clock ids
    (`syscalls.process_cpu_clock`) to be read at the start and the end of the window. `spin` asks
    the kernel without pause and needs a CPU of its own. Whoever sets `stop[0]` (int64[1]) from
    another thread ends the drive within a millisecond.

    Always returns by the end of the drain, whatever the server does. Raises ValueError for an
    invalid load.
    """
    load.validate()
    if len(fds) != load.connections:
        raise ValueError(f"{len(fds)} descriptors were given for {load.connections} connections")
    if not load.is_open:
        offsets_ns = np.zeros(0, np.int64)
    elif offsets_ns is None:
        offsets_ns = arrivals.schedule(load)
    links = _new_links(fds)
    requests = _new_requests(len(offsets_ns) if load.is_open else _closed_loop_capacity(load))
    said = dialogue.of(load.protocol, load.message_bytes)
    stamping = load.message_bytes <= STAMPED_MOST_BYTES and _may_have_transmit_stamps(fds)
    stamped = len(requests) // STAMP_EVERY + 1 if stamping else 0
    with select.epoll() as epoll:
        loop = new_loop(epoll.fileno(), load, said, server_clocks, spin, stop, stamped)
        # Not the first ones: they find everything cold.
        loop.progress[0].next_stamped = len(fds) if stamping else _NEVER
        _run(loop, links, requests, offsets_ns, load.is_open, load.pipeline_depth)
    progress = loop.progress[0]
    if load.is_open:
        # Those that a stop or a stall kept from being submitted were scheduled all the same.
        requests.intended_ns = progress.start_ns + offsets_ns
        requests.connection = np.arange(len(requests)) % len(links)
    else:
        requests = requests[: progress.begun]
    return collected(loop, requests, requests.intended_ns, requests.sent_ns, links.error)


def _may_have_transmit_stamps(fds: Sequence[int]) -> bool:
    """Only TCP has them. All connections are alike."""
    if not fds:
        return False
    try:
        first = socket.socket(fileno=fds[0])
    except OSError:
        return False
    family = first.family
    first.detach()  # it is not ours
    return family in (socket.AF_INET, socket.AF_INET6)


def compile() -> None:
    """Compile the hot loop, or load it from the cache, by using it once on a closed connection."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(GREETING)
        greet([ours.fileno()], 1.0)
        drive([ours.fileno()], Load(warmup_s=0, duration_s=0.001, drain_s=0))


def _closed_loop_capacity(load: Load) -> int:
    """How many requests a closed loop has room for."""
    if not load.connections:
        return 0  # all of them are submitted, and what is left is to wait for the window to end
    at_start = load.connections + load.pipeline_depth
    length_s = load.warmup_s + load.duration_s
    return min(at_start + round(length_s * _CLOSED_LOOP_MAX_PER_S), MAX_REQUESTS)


def _new_links(fds: Sequence[int]) -> Any:
    links = new_rows(len(fds), _LINK, answering=-1, sending=-1, last=-1, stamped=-1, is_open=True)
    links.fd = fds
    links.index = np.arange(len(fds))
    return links


def _new_requests(capacity: int) -> Any:
    return new_rows(capacity, _REQUEST, following=-1, outcome=_TIMED_OUT)
