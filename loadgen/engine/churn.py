"""A connection per request, in a compiled loop: connect, greeting, one line and exit, end. IPv4.

Each of N slots holds one conversation at a time and begins the next when that has ended. The line
and `exit` are sent together, as HTTP/1.0 clients do, so that a conversation costs the server one
receive and what is measured is coming and going.

Neither ports nor TIME_WAIT are the limit. The server ends the conversation, so its side keeps the
TIME_WAIT (tcp(7), RFC 9293 3.3.2) and the client's port is free at once; and the clients come from
many addresses of 127.0.0.0/8, whose ports are chosen in connect() (ip(7), IP_BIND_ADDRESS_NO_PORT).
No SO_LINGER: a reset instead of the last acknowledgement would be another conversation.
No TCP_NODELAY: there is only one thing to send, and nothing before it that is not acknowledged.
"""

import errno
import select
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from loadgen.engine import engine
from loadgen.engine.engine import Drive, Outcome
from loadgen.engine.syscalls import (
    EPOLL_DATA_WORD,
    EPOLL_EVENT_WORDS,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    NS_PER_S,
    SO_TIMESTAMPNS,
    SOL_SOCKET,
    bind,
    close,
    compiled,
    connect,
    epoll_wait,
    memcmp,
    send,
    setsockopt,
)
from loadgen.engine.syscalls import socket as new_socket
from loadgen.engine.wire import (
    CLOCK_REALTIME,
    EAGAIN,
    EINTR,
    EPOLL_CTL_ADD,
    EPOLLIN,
    EVENTS,
    GREETING,
    Bytes,
    Int64s,
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
from loadgen.workload.workload import Workload

# More conversations than one core has ever begun; decides how many there is room for.
_MAX_PER_S = 100_000
_SOURCES = 250
_FIRST_SOURCE = "127.2.0.1"
_LAST_BYTE = 7  # of the address in struct sockaddr_in (ip(7)): family, port, address

_OK, _WRONG, _ERROR, _UNFINISHED = map(int, Outcome)
_GREETING, _ANSWER, _END = 0, 1, 2  # what a slot waits for
_KIND = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_AF_INET, _IPPROTO_IP = socket.AF_INET, socket.IPPROTO_IP
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
_EINPROGRESS = errno.EINPROGRESS

_CONVERSATION = np.dtype(
    [
        ("started_ns", np.int64),
        ("greeted_ns", np.int64),
        ("arrived_ns", np.int64),
        ("read_ns", np.int64),
        ("slot", np.int32),
        ("error", np.int32),
        ("outcome", np.uint8),
    ],
    align=True,
)

_SLOT = np.dtype(
    [
        ("fd", np.int32),  # -1: between two conversations
        ("index", np.int32),
        ("conversation", np.int32),
        ("awaits", np.int32),
        ("received_bytes", np.int64),  # of what it awaits
        ("mismatch", np.bool_),
    ],
    align=True,
)


class _Ends(NamedTuple):
    """What a connection is made from; struct sockaddr_in twice, and an option's value."""

    source: Bytes
    server: Bytes
    on: Any
    greeting: Bytes


@dataclass(frozen=True)
class Churn:
    """All conversations that were begun, in that order.

    drive       as of requests: intended = sent = just before connect(), arrived = the kernel had
                the last byte of the answer, read = the loop had it; `connection` is the slot,
                `errors` has one element per conversation
    greeted_ns  int64[n], kernel stamp of the last byte of the greeting; 0: not greeted
    """

    drive: Drive
    greeted_ns: Int64s


@compiled
def _fail(slot: Any, conversation: Any, outcome: int, error: int) -> int:
    """End a conversation that went wrong; returns 1, the number of those that ended."""
    conversation.outcome = outcome
    conversation.error = error
    close(slot.fd)
    slot.fd = -1
    return 1


@compiled
def _begin(wire: Any, ends: _Ends, slot: Any, conversation: Any, serial: int, now_ns: int) -> int:
    """Begin conversation number `serial` in a slot; returns how many ended because it failed."""
    conversation.started_ns = now_ns
    conversation.slot = slot.index
    slot.conversation = serial
    slot.awaits = _GREETING
    slot.received_bytes = 0
    slot.mismatch = False
    slot.fd = new_socket(_AF_INET, _KIND, 0)
    if slot.fd < 0:
        conversation.outcome = _ERROR
        conversation.error = last_error(wire)
        return 1
    on = ends.on.ctypes.data
    setsockopt(slot.fd, SOL_SOCKET, SO_TIMESTAMPNS, on, 4)
    setsockopt(slot.fd, _IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, on, 4)
    ends.source[_LAST_BYTE] = 1 + serial % _SOURCES
    failed = bind(slot.fd, ends.source.ctypes.data, len(ends.source))
    if failed == 0:
        failed = connect(slot.fd, ends.server.ctypes.data, len(ends.server))
    if failed != 0:
        error = last_error(wire)
        if error != _EINPROGRESS:
            return _fail(slot, conversation, _ERROR, error)
    watch(wire, slot, EPOLL_CTL_ADD, EPOLLIN)
    return 0


@compiled
def _go_on(wire: Any, ends: _Ends, slot: Any, conversation: Any, unstamped: Int64s) -> int:
    """Take what has come for a slot; returns how many conversations ended by it."""
    while True:
        if slot.awaits == _GREETING:
            expected, expected_bytes = ends.greeting.ctypes.data, len(ends.greeting)
        elif slot.awaits == _ANSWER:
            expected, expected_bytes = wire.answer.ctypes.data, len(wire.answer)
        else:
            expected, expected_bytes = wire.answer.ctypes.data, 1  # to see that nothing follows
        want_bytes = expected_bytes - slot.received_bytes
        count = receive(wire, slot.fd, want_bytes)
        if count < 0:
            error = last_error(wire)
            if error in (EAGAIN, EINTR):
                return 0
            return _fail(slot, conversation, _ERROR, error)
        if slot.awaits == _END:
            wrong = count > 0 or slot.mismatch
            close(slot.fd)
            slot.fd = -1
            conversation.outcome = _WRONG if wrong else _OK
            return 1
        if count == 0:
            return _fail(slot, conversation, _ERROR, engine.CLOSED)
        if slot.awaits == _ANSWER:
            stamp_tag(wire, slot.conversation)
        if memcmp(wire.buffer.ctypes.data, expected + slot.received_bytes, count) != 0:
            slot.mismatch = True
        slot.received_bytes += count
        if count < want_bytes:
            continue
        read_ns = clock(wire, CLOCK_REALTIME)
        arrived_ns = kernel_stamp(wire)
        if arrived_ns == 0:
            arrived_ns = read_ns
            unstamped[0] += 1
        slot.received_bytes = 0
        if slot.awaits == _ANSWER:
            conversation.arrived_ns = arrived_ns
            conversation.read_ns = read_ns
            slot.awaits = _END
            continue
        if slot.mismatch:
            return _fail(slot, conversation, _WRONG, engine.NOT_GREETED)
        conversation.greeted_ns = arrived_ns
        slot.awaits = _ANSWER
        stamp_tag(wire, slot.conversation)
        flags = MSG_DONTWAIT | MSG_NOSIGNAL
        sent = send(slot.fd, wire.request.ctypes.data, len(wire.request), flags)
        if sent != len(wire.request):  # it fits into any send buffer: see workload.MAX_CHURN_BYTES
            error = last_error(wire) if sent < 0 else EAGAIN
            return _fail(slot, conversation, _ERROR, error)
        return 0


@compiled
def _run(
    wire: Any,
    ends: _Ends,
    slots: Any,
    conversations: Any,
    lengths_ns: Int64s,
    server_clocks: Int64s,
    edges: Int64s,
    unstamped: Int64s,
    stop: Int64s,
    spin: bool,
) -> tuple[int, int, int, bool]:
    """Converse until the time is over; arguments and results as those of engine._run."""
    now_ns = start_ns = clock(wire, CLOCK_REALTIME)
    window_start_ns = start_ns + lengths_ns[0]
    window_end_ns = window_start_ns + lengths_ns[1]
    begun = ended = edges_taken = idle_ns = 0
    full = False
    for index in range(len(slots)):
        now_ns = clock(wire, CLOCK_REALTIME)
        ended += _begin(wire, ends, slots[index], conversations[begun], begun, now_ns)
        begun += 1
    while True:
        if edges_taken == 0 and now_ns >= window_start_ns:
            now_ns = take_edge(wire, edges[0], start_ns + idle_ns, server_clocks)
            edges_taken = 1
        if edges_taken == 1 and now_ns >= window_end_ns:
            now_ns = take_edge(wire, edges[1], start_ns + idle_ns, server_clocks)
            edges_taken = 2
        if ended == begun or now_ns >= window_end_ns + lengths_ns[2] or stop[0] != 0:
            break
        asked_ns = now_ns
        if not spin:
            nap(wire, lengths_ns[1])
        count = epoll_wait(wire.epoll, wire.events.ctypes.data, EVENTS, 0)
        now_ns = clock(wire, CLOCK_REALTIME)
        if count == 0:
            idle_ns += now_ns - asked_ns
        for event in range(count):
            slot = slots[wire.events[event * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD]]
            over = _go_on(wire, ends, slot, conversations[slot.conversation], unstamped)
            ended += over
            now_ns = clock(wire, CLOCK_REALTIME)
            if over and now_ns < window_end_ns:
                if begun == len(conversations):
                    full = True
                    window_end_ns = max(now_ns, window_start_ns)
                else:
                    ended += _begin(wire, ends, slot, conversations[begun], begun, now_ns)
                    begun += 1
    for edge in range(edges_taken, 2):
        take_edge(wire, edges[edge], start_ns + idle_ns, server_clocks)
    for index in range(len(slots)):
        if slots[index].fd >= 0:
            close(slots[index].fd)
    return begun, window_start_ns, window_end_ns, full


def drive(
    address: tuple[str, int],
    workload: Workload,
    server_clocks: Sequence[int] = (),
    spin: bool = True,
    stop: Int64s | None = None,
) -> Churn:
    """Converse with a server on loopback, `workload.connections` at a time.

    `server_clocks`, `spin` and `stop` as for `engine.drive`. A slot whose conversation could not
    even begin stays empty. Always returns by the end of the drain. Raises ValueError for an invalid
    workload or an address that is not IPv4, OSError when there is no descriptor to begin with.
    """
    workload.validate()
    try:
        server = _endpoint(*address)
    except OSError as error:
        raise ValueError(f"{address[0]} is no IPv4 address: churn knows no other") from error
    slots = np.recarray(workload.connections, _SLOT)
    slots.fill(0)
    slots.fd = -1
    slots.index = np.arange(workload.connections)
    length_s = workload.warmup_s + workload.duration_s
    conversations = np.recarray(workload.connections + round(length_s * _MAX_PER_S), _CONVERSATION)
    conversations.fill(0)
    conversations.outcome = _UNFINISHED
    lengths_s = np.array([workload.warmup_s, workload.duration_s, workload.drain_s])
    edges = np.zeros((2, 4 + len(server_clocks)), np.int64)
    unstamped = np.zeros(1, np.int64)
    ends = _Ends(
        source=_endpoint(_FIRST_SOURCE, 0),
        server=server,
        on=np.ones(1, np.int32),
        greeting=np.frombuffer(bytearray(GREETING), np.uint8),
    )
    # The kernel stamps while any socket asks for it, and begins to do so only a little later
    # (net/core/dev.c, net_enable_timestamp): one that asks all the time.
    with socket.socket() as keeper, select.epoll() as epoll:
        keeper.setsockopt(SOL_SOCKET, SO_TIMESTAMPNS, 1)
        wire = new_wire(epoll.fileno(), workload.message_bytes)
        request = bytearray(wire.request.tobytes() + b"exit\n")
        begun, window_start_ns, window_end_ns, full = _run(
            wire._replace(request=np.frombuffer(request, np.uint8)),
            ends,
            slots,
            conversations,
            (lengths_s * NS_PER_S).round().astype(np.int64),
            np.array(server_clocks, np.int64),
            edges,
            unstamped,
            np.zeros(1, np.int64) if stop is None else stop,
            spin,
        )
    done: Any = conversations[:begun]
    return Churn(
        drive=Drive(
            intended_ns=done.started_ns,
            sent_ns=done.started_ns,
            arrived_ns=done.arrived_ns,
            read_ns=done.read_ns,
            connection=done.slot,
            outcome=done.outcome,
            window_start_ns=window_start_ns,
            window_end_ns=window_end_ns,
            edges=edges_of(edges),
            errors=done.error,
            unstamped=int(unstamped[0]),
            full=full,
        ),
        greeted_ns=done.greeted_ns,
    )


def compile() -> None:
    """Compile the loop, or load it from the cache, by using it once where nobody listens."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        drive(silent.getsockname(), Workload(driver="churn", warmup_s=0, duration_s=0.001))


def _endpoint(host: str, port: int) -> Bytes:
    """struct sockaddr_in; uint8[16]. Raises OSError for what is not IPv4."""
    packed = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host)
    return np.frombuffer(bytearray(packed.ljust(16, b"\0")), np.uint8)
