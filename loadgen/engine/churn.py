"""A connection per request, in a compiled loop: connect, greeting, one request, end.

Each of N slots holds one conversation at a time and begins the next when that has ended. A request
asks the server to close: the line and `exit` are sent together, as HTTP/1.0 clients do, so that a
conversation costs the server one receive and what is measured is coming and going; over HTTP it
says `Connection: close`. There nobody is greeted: who is connected asks.

Neither ports nor TIME_WAIT are the limit. The server ends the conversation, so its side keeps the
TIME_WAIT (tcp(7), RFC 9293 3.3.2) and the client's port is free at once; and over IPv4 the clients
come from many addresses of 127.0.0.0/8, whose ports are chosen in connect() (ip(7),
IP_BIND_ADDRESS_NO_PORT). IPv6 has one loopback address only (RFC 4291, 2.5.3), whose ports come
round sooner; a TIME_WAIT on the server's side lets a newer connection in (RFC 6191).
No SO_LINGER: a reset instead of the last acknowledgement would be another conversation.
No TCP_NODELAY: there is only one thing to send, and nothing before it that is not acknowledged.
"""

import errno
import os
import select
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from loadgen.engine.buffers import (
    CLOCK_REALTIME,
    EAGAIN,
    EINTR,
    EPOLL_CTL_ADD,
    EPOLLET,
    EPOLLIN,
    EPOLLOUT,
    NAP_NS,
    SyscallBuffers,
    arrival_stamps,
    as_array,
    clock,
    connection_of,
    is_answer,
    last_error,
    receive,
    watch,
    write_tag,
)
from loadgen.engine.loop import (
    Loop,
    collected,
    finish,
    has_room,
    is_out_of_time,
    look_at_clock,
    new_loop,
    new_rows,
    next_events,
    read_due_clocks,
    start,
)
from loadgen.engine.samples import CLOSED, NOT_GREETED, Outcome, Samples
from loadgen.engine.syscalls import (
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SO_TIMESTAMPNS,
    SOL_SOCKET,
    Bytes,
    Int64s,
    bind,
    close,
    compiled,
    connect,
    memcmp,
    send,
    setsockopt,
)
from loadgen.engine.syscalls import socket as new_socket
from loadgen.workload import dialogue
from loadgen.workload.load import Load

Sockaddr = tuple[str, int] | str
"""As socket calls want it: numeric host and port, or the path of a Unix-domain socket."""

# More conversations than one core has ever begun; decides how many there is room for.
_MAX_PER_S = 100_000
_SOURCES = 250
_FIRST_SOURCE = "127.2.0.1"
_LAST_BYTE = 7  # of the address in struct sockaddr_in (ip(7)): family, port, address

_OK, _MISMATCHED, _ERROR, _TIMED_OUT = map(int, Outcome)
_GREETING, _ANSWER, _END = 0, 1, 2  # what a slot waits for
_KIND = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_IPPROTO_IP = socket.IPPROTO_IP
_LONGEST_PATH = 107  # unix(7): sun_path has 108 bytes, the last of them 0
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
_EINPROGRESS = errno.EINPROGRESS

_CONVERSATION = np.dtype(
    [
        ("started_ns", np.int64),
        ("greeted_ns", np.int64),
        ("arrived_ns", np.int64),
        ("read_ns", np.int64),
        ("connection", np.int32),  # the slot
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
    """What a connection is made from."""

    family: int
    source: Bytes  # struct sockaddr_in
    binds: bool  # the clients come from addresses after `source`
    server: Bytes  # struct sockaddr_in, sockaddr_in6 or sockaddr_un
    on: Any
    greeting: Bytes


@dataclass(frozen=True)
class Churn:
    """All conversations that were begun, in that order.

    samples     as of requests: intended = sent = just before connect(), arrived = the kernel had
                the last byte of the answer, read = the loop had it; `connection` is the slot,
                `errors` has one element per conversation
    greeted_ns  int64[n], kernel stamp of the last byte of the greeting; 0: not greeted
    """

    samples: Samples
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
def _begin(loop: Loop, ends: _Ends, slot: Any, conversations: Any) -> None:
    """Begin the next conversation in a slot."""
    buffers, progress = loop.buffers, loop.progress[0]
    serial = progress.begun
    progress.begun += 1
    conversation = conversations[serial]
    conversation.started_ns = progress.now_ns
    conversation.connection = slot.index
    slot.conversation = serial
    slot.awaits = _GREETING
    slot.received_bytes = 0
    slot.mismatch = False
    slot.fd = new_socket(ends.family, _KIND, 0)
    if slot.fd < 0:
        conversation.outcome = _ERROR
        conversation.error = last_error(buffers)
        progress.ended += 1
        return
    on = ends.on.ctypes.data
    setsockopt(slot.fd, SOL_SOCKET, SO_TIMESTAMPNS, on, 4)
    failed = 0
    if ends.binds:
        setsockopt(slot.fd, _IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, on, 4)
        ends.source[_LAST_BYTE] = 1 + serial % _SOURCES
        failed = bind(slot.fd, ends.source.ctypes.data, len(ends.source))
    if failed == 0:
        failed = connect(slot.fd, ends.server.ctypes.data, len(ends.server))
    if failed != 0:
        error = last_error(buffers)
        if error != _EINPROGRESS:
            progress.ended += _fail(slot, conversation, _ERROR, error)
            return
    if len(ends.greeting) > 0:
        watch(buffers, slot, EPOLL_CTL_ADD, EPOLLIN)
    else:  # once when it is connected, and then when something comes
        watch(buffers, slot, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT | EPOLLET)


@compiled
def _ask(buffers: SyscallBuffers, slot: Any, conversation: Any) -> int:
    """Send the request; returns how many conversations ended because it failed."""
    slot.awaits = _ANSWER
    write_tag(buffers, buffers.request_tag, slot.conversation)
    size_bytes = len(buffers.request)
    sent = send(slot.fd, buffers.request.ctypes.data, size_bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent != size_bytes:  # it fits into any send buffer: see load.MAX_CHURN_BYTES
        error = last_error(buffers) if sent < 0 else EAGAIN
        return _fail(slot, conversation, _ERROR, error)
    return 0


@compiled
def _go_on(buffers: SyscallBuffers, ends: _Ends, slot: Any, conversation: Any) -> int:
    """Take what has come for a slot; returns how many conversations ended by it."""
    if slot.awaits == _GREETING and len(ends.greeting) == 0:
        conversation.greeted_ns = clock(buffers, CLOCK_REALTIME)
        return _ask(buffers, slot, conversation)
    while True:
        if slot.awaits == _GREETING:
            expected_bytes = len(ends.greeting)
        elif slot.awaits == _ANSWER:
            expected_bytes = len(buffers.answer)
        else:
            expected_bytes = 1  # to see that nothing follows
        want_bytes = expected_bytes - slot.received_bytes
        count = receive(buffers, slot.fd, want_bytes)
        if count < 0:
            error = last_error(buffers)
            if error in (EAGAIN, EINTR):
                return 0
            return _fail(slot, conversation, _ERROR, error)
        if slot.awaits == _END:
            mismatched = count > 0 or slot.mismatch
            close(slot.fd)
            slot.fd = -1
            conversation.outcome = _MISMATCHED if mismatched else _OK
            return 1
        if count == 0:
            return _fail(slot, conversation, _ERROR, CLOSED)
        if slot.awaits == _ANSWER:
            write_tag(buffers, buffers.answer_tag, slot.conversation)
            if not is_answer(buffers, slot.received_bytes, count):
                slot.mismatch = True
        else:
            expected = ends.greeting.ctypes.data + slot.received_bytes
            if memcmp(buffers.received.ctypes.data, expected, count) != 0:
                slot.mismatch = True
        slot.received_bytes += count
        if count < want_bytes:
            continue
        arrived_ns, read_ns = arrival_stamps(buffers)
        slot.received_bytes = 0
        if slot.awaits == _ANSWER:
            conversation.arrived_ns = arrived_ns
            conversation.read_ns = read_ns
            slot.awaits = _END
            continue
        if slot.mismatch:
            return _fail(slot, conversation, _MISMATCHED, NOT_GREETED)
        conversation.greeted_ns = arrived_ns
        return _ask(buffers, slot, conversation)


@compiled
def _run(loop: Loop, ends: _Ends, slots: Any, conversations: Any) -> None:
    """Converse until the time is over."""
    progress = loop.progress[0]
    start(loop)
    for index in range(len(slots)):
        look_at_clock(loop)
        _begin(loop, ends, slots[index], conversations)
    while True:
        read_due_clocks(loop)
        if progress.ended == progress.begun or is_out_of_time(loop):
            break
        for event in range(next_events(loop, NAP_NS)):
            slot = slots[connection_of(loop.buffers, event)]
            over = _go_on(loop.buffers, ends, slot, conversations[slot.conversation])
            progress.ended += over
            look_at_clock(loop)
            in_window = progress.now_ns < progress.window_end_ns
            if over and in_window and has_room(loop, len(conversations)):
                _begin(loop, ends, slot, conversations)
    finish(loop)
    for index in range(len(slots)):
        if slots[index].fd >= 0:
            close(slots[index].fd)


def drive(
    address: Sockaddr,
    load: Load,
    server_clocks: Sequence[int] = (),
    spin: bool = True,
    stop: Int64s | None = None,
) -> Churn:
    """Converse with a server on loopback, `load.connections` at a time.

    `server_clocks`, `spin` and `stop` as for `requests.drive`. A slot whose conversation could not
    even begin stays empty. Always returns by the end of the drain. Raises ValueError for an invalid
    load or an address that is not numeric, OSError when there is no descriptor to begin with.
    """
    load.validate_for_churn()
    try:
        server = _endpoint(address)
    except OSError as error:
        raise ValueError(f"{address!r} is no address that churn knows: {error}") from error
    family = int.from_bytes(server[:2].tobytes(), sys.byteorder)
    slots = new_rows(load.connections, _SLOT, fd=-1)
    slots.index = np.arange(load.connections)
    capacity = load.connections + round((load.warmup_s + load.duration_s) * _MAX_PER_S)
    conversations = new_rows(capacity, _CONVERSATION, outcome=_TIMED_OUT)
    said = dialogue.of(load.protocol, load.message_bytes, only=True)
    ends = _Ends(
        family=family,
        source=_endpoint((_FIRST_SOURCE, 0)),
        binds=family == socket.AF_INET,
        server=server,
        on=np.ones(1, np.int32),
        greeting=as_array(said.greeting),
    )
    # The kernel stamps while any socket asks for it, and begins to do so only a little later
    # (net/core/dev.c, net_enable_timestamp): one that asks all the time.
    with socket.socket() as keeper, select.epoll() as epoll:
        keeper.setsockopt(SOL_SOCKET, SO_TIMESTAMPNS, 1)
        loop = new_loop(epoll.fileno(), load, said, server_clocks, spin, stop)
        _run(loop, ends, slots, conversations)
    held = conversations[: loop.progress[0].begun]
    samples = collected(loop, held, held.started_ns, held.started_ns, held.error)
    return Churn(samples, held.greeted_ns)


def compile() -> None:
    """Compile the loop, or load it from the cache, by using it once where nobody listens."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        drive(silent.getsockname(), Load(warmup_s=0, duration_s=0.001))


def _endpoint(address: Sockaddr) -> Bytes:
    """struct sockaddr_in (ip(7)), sockaddr_in6 (ipv6(7)) or sockaddr_un (unix(7)). Raises OSError
    for what is none of them."""
    if isinstance(address, str):
        path = os.fsencode(address)
        if len(path) > _LONGEST_PATH:
            raise OSError(f"a path of {len(path)} bytes, and a socket's has {_LONGEST_PATH}")
        return as_array(struct.pack("=H", socket.AF_UNIX) + path + b"\0")
    host, port = address[0], struct.pack("!H", address[1])
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
        return as_array(struct.pack("=H", socket.AF_INET6) + port + bytes(4) + packed + bytes(4))
    packed = socket.inet_pton(socket.AF_INET, host)
    return as_array((struct.pack("=H", socket.AF_INET) + port + packed).ljust(16, b"\0"))
