"""What clients and kernels do to servers. Every fault on every model.

As in the conformance tests, models differ by capabilities in the catalog and never by name.
"""

import errno
import itertools
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import planting
import pytest
from harness import (
    QUIET_NAPS,
    QUIET_S,
    ROOT,
    TINY_BUFFER_BYTES,
    TOO_LONG,
    TOO_MANY,
    Client,
    Server,
    allow_descriptors,
    expect_said,
    held_port,
    settings,
    stretch,
    wait_until,
)

from servers.catalog import Model
from servers.protocol import GREETING, HIGH_WATER_BYTES, MAX_LINE_BYTES, TIMED_OUT

Start = Callable[..., Server]


def largest_buffer_bytes(name: str) -> int:
    """What a buffer of the kernel may grow to (tcp(7), tcp_rmem and tcp_wmem: the last number)."""
    return int(Path("/proc/sys/net/ipv4", name).read_text().split()[-1])


# More than all buffers on the way can hold: what is said in that of the client, which sends, and in
# that of the server, which has grown while it read; what is answered in that of the server; and
# what servers keep themselves.
ENDLESS_BYTES = largest_buffer_bytes("tcp_rmem") + 2 * largest_buffer_bytes("tcp_wmem") + 4_000_000

# What one client may cost a server: the answers to a receive full of empty lines, as Python
# objects, are 8 MB; whoever keeps what a client does not take needs several times as much.
MEMORY_BYTES = 16_000_000

# What a server keeps for a client that takes nothing: the high water, and the answers to what it
# had received by then. asyncio receives 256 KiB at a time, and lines of 99 bytes grow by 8.
KEPT_BYTES = 4 * HIGH_WATER_BYTES

# What a client that is only connected may cost: a stack, a task, a session, some kernel objects.
CLIENT_BYTES = 131_072

# How long a client may be silent or slow: for ever. But a test has to end.
PATIENCE_S = 6.0

# Less than this a server that nobody speaks to may wake up in that time.
FEW_WAKE_UPS = 10

# The share of a CPU that counts as none. Whoever spins uses ten times as much even when two
# others want the same CPU; when twenty do, it is still one that wants to run.
IDLE_CPU_FRACTION = 0.03


@pytest.fixture
def many_at_once(model: Model) -> None:
    """For tests that need several clients to be served at the same time."""
    if reason := model.why_not_all(2):
        pytest.skip(reason)


@cache
def endless_lines() -> bytes:
    """Lines that cannot be mistaken for one another."""
    return b"".join(b"%099d\n" % number for number in range(ENDLESS_BYTES // 100))


def answers_to_lines(stream: bytes) -> bytes:
    """As answers_to(), fast: for plain lines only."""
    return b"".join(b"Hello, %b!\n" % line for line in stream.split(b"\n")[:-1])


def filled(server: Server) -> tuple[Client, int]:
    """A client for which the server can do nothing more until it reads: (client, bytes that
    the server and the kernel accepted from it)."""
    client = server.greeted(receive_buffer_bytes=TINY_BUFFER_BYTES)
    accepted = client.pour(endless_lines())
    assert accepted < ENDLESS_BYTES, "the server reads for ever from a client that takes nothing"
    return client, accepted


def reads(server: Server, client: Client, data: bytes) -> bool:
    """Does the server read what a client says?"""
    client.send(data)
    for _ in range(QUIET_NAPS * 50):
        if server.unread_bytes(client) == 0:
            return True
        select.poll().poll(1)
    return False


def expect_idle(server: Server, model: Model) -> None:
    """Wait for a stretch in which the server uses no CPU and after which it does not want any,
    if its model can do that at all."""

    def idle() -> bool:
        before_s = server.cpu_s()
        stretch()
        used_s = server.cpu_s() - before_s
        return used_s < IDLE_CPU_FRACTION * QUIET_S and server.thread_states() == {"S"}

    if model.sleeps:
        wait_until(idle, "the server uses no CPU")


def expect_footprint(server: Server, footprint: tuple[int, int, int]) -> None:
    """Wait until no descriptor, thread or process of clients that have gone is left."""
    descriptors, threads, processes = footprint
    wait_until(
        lambda: server.footprint() == footprint,
        f"it has {descriptors} descriptors, {threads} threads and {processes} processes as before",
    )


def expect_all_workers(server: Server, model: Model) -> None:
    """Wait until each worker has begun: when the first one answers, the next may not exist."""
    if model.processes == "one per worker":
        expect_idle(server, model)


def settled_footprint(server: Server, model: Model) -> tuple[int, int, int]:
    """What the server needs without clients, once it has served one: on its ready line it may
    still be about to open what its model needs."""
    expect_all_workers(server, model)
    served = 0

    def serves_one() -> bool:
        """Until it has been looked at: with a time-out, and on a busy machine, it may be told to go
        before."""
        nonlocal served
        with server.greeted() as client, suppress(ConnectionError):
            if client.ask(b"world") != b"Hello, world!\n":
                return False
            if model.sleeps:
                wait_until(lambda: server.thread_states() == {"S"}, "all that it needs is there")
            served = server.footprint()[0]
            return client.ask(b"world") == b"Hello, world!\n"
        return False

    wait_until(serves_one, "it answers one client twice")
    wait_until(lambda: server.footprint()[0] < served, "the first client has gone")
    wait_until(lambda: max(server.threads()) == model.threads, "it has its own threads only")
    if model.processes != "one per worker":
        wait_until(lambda: len(server.pids()) == 1, "its process has gone")
    return server.footprint()


def take_all_descriptors(server: Server, model: Model) -> tuple[int, int, int]:
    """From now on accept() fails with EMFILE, whoever comes: the server's footprint.

    But for the first one of each process or thread: an accept() that waits already has its
    descriptor (Linux reserves it before it waits), so somebody has to come, use it up and leave.
    """
    footprint = settled_footprint(server, model)
    server.allow_no_more_descriptors()
    server.connect().close()
    return footprint


def unless(model: Model, what: str) -> None:
    """Skip what a model leaves undone, with the reason that the catalog gives."""
    if reason := model.gaps.get(what):
        pytest.skip(reason)


# Clients that do not take their answers.


def test_a_full_server_stops_reading_and_loses_nothing(server: Server, model: Model) -> None:
    before_bytes = server.resident_bytes()
    client, accepted = filled(server)
    assert server.resident_bytes() - before_bytes < MEMORY_BYTES
    kept_bytes = server.kept_bytes(client, endless_lines()[:accepted], answers_to_lines)
    assert kept_bytes < KEPT_BYTES or "high water" in model.gaps
    client.half_close()
    expect_said(client.rest(), answers_to_lines(endless_lines()[:accepted]))


def test_a_full_server_goes_on_where_it_stopped(server: Server) -> None:
    client, accepted = filled(server)
    stream = endless_lines()[: accepted + 2_000_000]
    expect_said(client.converse(stream[accepted:]), answers_to_lines(stream))


def test_memory_is_bounded_when_answers_are_longer_than_lines(server: Server, model: Model) -> None:
    unless(model, "many answers")
    client = server.greeted(receive_buffer_bytes=TINY_BUFFER_BYTES)
    before_bytes = server.resident_bytes()
    accepted = client.pour(b"\n" * ENDLESS_BYTES)
    assert server.resident_bytes() - before_bytes < 3 * MEMORY_BYTES  # of 256 KiB at a time, 32 MB
    client.half_close()
    expect_said(client.rest(), b"Hello, !\n" * accepted)


def test_a_full_server_uses_no_cpu(server: Server, model: Model) -> None:
    client, accepted = filled(server)
    expect_idle(server, model)
    for _ in range(endless_lines().count(b"\n", 0, accepted)):
        client.line()
    client.send(b"\n")
    client.line()
    expect_idle(server, model)
    assert client.ask(b"world") == b"Hello, world!\n"


@pytest.mark.parametrize(
    ("end", "last_words"),
    [
        (b"exit\n", b""),
        (b"x" * (MAX_LINE_BYTES + 1), TOO_LONG % MAX_LINE_BYTES),
        (b"unfinished", b""),
    ],
    ids=["exit", "long line", "end of file"],
)
def test_nothing_owed_is_lost_at_the_end(server: Server, end: bytes, last_words: bytes) -> None:
    """Where the server has begun to keep answers, and where it has not yet: so much is said until
    it does not read any more, and again, a little less, before the end."""
    step = endless_lines()[:20_000]
    client = server.greeted(receive_buffer_bytes=TINY_BUFFER_BYTES)
    steps = 0
    while steps < ENDLESS_BYTES // len(step) and reads(server, client, step):
        steps += 1
    client.close()
    for fewer in (1, 4, 11):
        said = step * max(1, steps - fewer)
        client = server.greeted(receive_buffer_bytes=TINY_BUFFER_BYTES)
        reads(server, client, said)
        reads(server, client, end)
        expect_said(client.converse(b""), answers_to_lines(said) + last_words)
        client.close()


@pytest.mark.usefixtures("many_at_once")
def test_a_reader_that_never_reads_harms_nobody_else(server: Server) -> None:
    other = server.greeted()
    filled(server)
    filled(server)
    for number in range(100):
        assert other.ask(b"%d" % number) == b"Hello, %d!\n" % number
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_a_reader_that_starts_late_gets_everything(server: Server) -> None:
    """Eight megabytes, because the buffers of the kernel would swallow one or two, and with them
    the fault of a server that forgets what send() did not take."""
    stream = endless_lines()[:8_000_000]
    client = server.connect(receive_buffer_bytes=TINY_BUFFER_BYTES)
    accepted = client.pour(stream)
    expect_said(client.converse(stream[accepted:]), GREETING + answers_to_lines(stream))


@pytest.mark.usefixtures("many_at_once")
def test_what_a_full_client_said_is_its_own(server: Server) -> None:
    """What it said is kept somewhere while others speak, and is answered when it reads."""
    client, accepted = filled(server)
    other = server.greeted()
    for number in range(100):
        line = b"%d" % number * 20_000
        other.send(line[:60_000] + b"\n")
        assert other.line() == b"Hello, " + line[:60_000] + b"!\n"
    client.half_close()
    expect_said(client.rest(), answers_to_lines(endless_lines()[:accepted]))


# Clients that leave.


@pytest.mark.usefixtures("many_at_once")
def test_who_does_not_leave_after_exit_holds_up_nobody(server: Server) -> None:
    """They keep their end open. So many that half a second for each is more than the deadline."""
    client = server.greeted()
    started_s = time.monotonic()
    for _ in range(64):
        staying = server.greeted()
        staying.send(b"exit\n")
        assert staying.rest() == b""
        assert client.ask(b"world") == b"Hello, world!\n"
    assert time.monotonic() - started_s < settings.deadline_s


def test_an_answer_goes_to_whom_it_belongs(start: Start) -> None:
    """Not to whoever has got the descriptor of the one who asked, and did not wait for it."""
    server = start("--work", "sleep:100ms")
    for number in range(3):
        client = server.greeted()
        client.send(b"first\n")
        server.expect_read(client)
        client.reset()
        newcomer = server.connect()
        assert newcomer.line() == GREETING
        assert newcomer.ask(b"%d" % number) == b"Hello, %d!\n" % number
        newcomer.close()


def test_a_reset_while_sending(server: Server, model: Model) -> None:
    footprint = settled_footprint(server, model)
    client, _ = filled(server)
    client.reset()
    assert server.greeted().ask(b"world") == b"Hello, world!\n"
    server.clients[-1].close()
    expect_footprint(server, footprint)


def test_a_close_with_answers_unread(server: Server, model: Model) -> None:
    footprint = settled_footprint(server, model)
    for number in range(20):
        client = server.greeted()
        client.send(b"%d\n" % number * 1_000)
        client.close()
    assert server.greeted().ask(b"world") == b"Hello, world!\n"
    server.clients[-1].close()
    expect_footprint(server, footprint)


@pytest.mark.parametrize("leave", [Client.reset, Client.close, Client.half_close])
def test_leaves_nothing_behind(
    server: Server, leave: Callable[[Client], None], model: Model
) -> None:
    footprint = settled_footprint(server, model)
    for said in (b"", b"unfinished", b"a\n", b"exit\n"):
        for _ in range(5):
            client = server.greeted()
            client.send(said)
            leave(client)
        with server.greeted() as witness:
            assert witness.ask(b"world") == b"Hello, world!\n"
        expect_footprint(server, footprint)


def test_connect_and_vanish_thousands_of_times(server: Server, model: Model) -> None:
    footprint = settled_footprint(server, model)
    before_bytes = server.resident_bytes()
    for number in range(1_000 if model.processes == "one per client" else 5_000):
        client = Client(server.address)
        if number % 5 == 0:
            client.sock.send(b"a\nunfinished")
        if number % 50 == 0:
            client.close()
        else:
            client.reset()
        if number % 500 == 499:  # never more of them than the backlog holds
            with server.greeted() as witness:
                assert witness.ask(b"world") == b"Hello, world!\n"
    expect_footprint(server, footprint)
    assert server.resident_bytes() - before_bytes < MEMORY_BYTES


def test_everything_at_once(server: Server, model: Model) -> None:
    """Leaving, speaking and arriving in one batch of events: nobody gets what was another's,
    though newcomers get the descriptors of those who left."""
    if reason := model.why_not_all(66):
        pytest.skip(reason)
    footprint = settled_footprint(server, model)
    for _ in range(5):
        resetting = [server.greeted() for _ in range(8)]
        closing = [server.greeted() for _ in range(8)]
        full = [server.greeted(TINY_BUFFER_BYTES) for _ in range(4)]
        speaking = [server.greeted() for _ in range(8)]
        for client in full:
            client.send(endless_lines()[:300_000])
        server.pause()
        for client in (*resetting, *full):
            client.reset()
        for client in closing:
            client.send(b"a\nb")
            client.close()
        for number, client in enumerate(speaking):
            client.send(b"speaking %d\n" % number)
        arriving = [server.connect() for _ in range(30)]
        for number, client in enumerate(arriving):
            client.send(b"arriving %d\n" % number)
        for client in [server.connect() for _ in range(8)]:
            client.reset()
        server.resume()
        for number, client in enumerate(speaking):
            assert client.line() == b"Hello, speaking %d!\n" % number
        for number, client in enumerate(arriving):
            assert client.line() == GREETING
            assert client.line() == b"Hello, arriving %d!\n" % number
        for client in (*speaking, *arriving):
            assert client.ask(b"still here") == b"Hello, still here!\n"
            client.close()
        expect_footprint(server, footprint)


def test_a_greeting_that_cannot_be_sent(start_with: Start, model: Model) -> None:
    """The connection is sound, so no event will ever tell of it: it ends now or never."""
    unless(model, "failed greeting")
    server = start_with("""
        import errno, os, socket
        def fail_once(*arguments):
            if is_first():
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
            return send(*arguments)
        send, socket.socket.send = socket.socket.send, fail_once
    """)
    assert server.connect().rest() == b""
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


# Calls that fail.

# accept(2): what is there too little of, whoever comes next, and what concerns one client.
EXHAUSTED = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
LOST_ON_THE_WAY = [errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.EHOSTUNREACH]

# recv(2), send(2), tcp(7), ip(7): what can happen to one connection.
BROKEN = [
    *[errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETDOWN],
    *[errno.ENOBUFS, errno.ENOMEM],
]


@pytest.fixture
def planted(start: Start, model: Model) -> Server:
    """The server under test, whose system calls fail when they are told to."""
    unless(model, "failing calls")
    if reason := cache(planting.why_not)():
        pytest.skip(reason)
    return start(planted=True)


def expect_hit(server: Server, model: Model) -> None:
    """Newcomers come until the planted fault has struck: an accept() that waits has begun before,
    in each of the server's threads."""
    assert server.planter is not None
    for _ in range(model.threads + 1):
        if not server.planter.hits:
            with server.greeted() as client:
                assert client.ask(b"a") == b"Hello, a!\n"
                client.send(b"exit\n")
                assert client.rest() == b""
    planter = server.planter
    wait_until(lambda: planter.hits, "a call has failed")


def test_accept_fails_once(planted: Server, model: Model) -> None:
    """Whoever is inside goes on, and newcomers get in, if only later."""
    inside = [planted.greeted()] if model.serves(2) == 2 else []
    for error in [*LOST_ON_THE_WAY, *(() if "full accept" in model.gaps else EXHAUSTED)]:
        planted.fail("accept", error)
        expect_hit(planted, model)
        for client in inside:
            assert client.ask(b"world") == b"Hello, world!\n"
        with planted.greeted() as newcomer:
            assert newcomer.ask(b"b") == b"Hello, b!\n"


def test_accept_fails_for_a_while(planted: Server, model: Model) -> None:
    """It waits until there is room again, and does not ask again and again."""
    unless(model, "full accept")
    assert planted.planter is not None
    inside = [planted.greeted()] if model.serves(2) == 2 else []
    for error in EXHAUSTED:
        planted.fail("accept", error, times=None)
        for _ in range(model.threads):  # as in take_all_descriptors()
            planted.connect().close()
        wait_until(lambda: planted.planter and planted.planter.hits, "accept() has failed")
        waiting = [planted.connect() for _ in range(3)]
        if "idle while full" not in model.gaps:
            expect_idle(planted, model)
            expect_few_tries(planted, model)
        for client in inside:
            assert client.ask(b"world") == b"Hello, world!\n"
        planted.planter.lift()
        for client in waiting:
            assert client.line() == GREETING
            assert client.ask(b"b") == b"Hello, b!\n"
            client.close()


# In a stretch, of each thread that accepts: who waits in between makes a few, and who does not
# makes hundreds, even where others have the CPUs.
TRIES = 20


def expect_few_tries(server: Server, model: Model) -> None:
    """That accept() is not called again and again. A busy machine gives who does that little CPU
    time, and the filter takes most of it: so calls are counted."""
    assert server.planter is not None
    if not model.sleeps:
        return
    tried, began = server.planter.hits, time.monotonic()
    stretch()
    stretches = max(1.0, (time.monotonic() - began) / QUIET_S)
    tried = server.planter.hits - tried
    assert tried <= TRIES * model.threads * len(server.pids()) * stretches


@pytest.mark.parametrize("what", ["receive", "send"])
def test_a_call_for_a_client_fails_once(planted: Server, model: Model, what: str) -> None:
    """Its conversation goes on or ends, soon and for good; all others go on."""
    footprint = settled_footprint(planted, model)
    other = planted.greeted() if model.serves(2) == 2 else None
    for error in BROKEN:
        client = planted.greeted()
        planted.fail(what, error, client)
        with suppress(ConnectionError):
            client.send(b"a\n")
            with suppress(OSError):  # it may have gone already
                client.half_close()
            assert client.rest() in (b"", b"Hello, a!\n")
        assert planted.planter is not None
        assert planted.planter.hits == 1
        client.close()
        if other is not None:
            assert other.ask(b"world") == b"Hello, world!\n"
        with planted.greeted() as newcomer:
            assert newcomer.ask(b"b") == b"Hello, b!\n"
    if other is not None:
        other.close()
    expect_footprint(planted, footprint)


# Clients that say too much.


def test_an_endless_line(server: Server) -> None:
    before_bytes = server.resident_bytes()
    client = server.greeted()
    assert client.converse(b"x" * ENDLESS_BYTES) == TOO_LONG % MAX_LINE_BYTES
    assert server.resident_bytes() - before_bytes < MEMORY_BYTES
    client.close()
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


@pytest.mark.parametrize(
    ("end", "last_words"),
    [(b"exit\n", b""), (b"x" * (MAX_LINE_BYTES + 1), TOO_LONG % MAX_LINE_BYTES)],
    ids=["exit", "long line"],
)
def test_what_is_owed_arrives_though_more_was_said(
    server: Server, end: bytes, last_words: bytes
) -> None:
    """A close with unread input is a reset, and a reset overtakes answers that wait because
    their reader is slow."""
    client = server.greeted(receive_buffer_bytes=TINY_BUFFER_BYTES)
    for _ in range(20):
        client.ask(b"x" * 60_000)
    server.hand_over(client, (b"a\n" * 10_000 + end).ljust(300_000, b"y"))
    stretch()  # the reader is slow: it begins when a hasty server has closed
    expect_said(client.rest(), b"Hello, a!\n" * 10_000 + last_words)


def test_urgent_data_does_no_harm(server: Server, model: Model) -> None:
    client = server.greeted()
    client.send(b"wor")
    client.sock.send(b"!", socket.MSG_OOB)
    client.send(b"ld\n")
    while "urgent data" in model.gaps and client.is_silent():
        client.send(b"more\n")
    assert client.line() == b"Hello, world!\n"


class Flood:
    """A client that sends lines and reads answers as fast as it can, in a thread.

    Short lines cost the server much more than the client, so the server never runs out of them.
    """

    def __init__(self, server: Server) -> None:
        self._client = server.greeted()
        self._client.sock.setblocking(False)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered = threading.Event()

    def _run(self) -> None:
        lines = b"a\n" * 30_000
        while not self._over.is_set():
            for step in (lambda: self._client.sock.send(lines), self._read):
                try:
                    step()
                except BlockingIOError:
                    continue
                except OSError:
                    return

    def _read(self) -> None:
        if self._client.sock.recv(262_144):
            self.answered.set()

    def __enter__(self) -> "Flood":
        self._thread.start()
        wait_until(self.answered.is_set, "the flood is answered")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.usefixtures("many_at_once")
def test_a_flood_drowns_nobody_else(server: Server) -> None:
    client = server.greeted()
    with Flood(server):
        for number in range(5):
            assert client.ask(b"%d" % number) == b"Hello, %d!\n" % number
        assert server.greeted().ask(b"world") == b"Hello, world!\n"


# Too many clients.


def test_serves_as_many_as_the_catalog_says(start: Start, model: Model) -> None:
    """With descriptors for everybody; in the order in which they came. One more where Python has a
    libffi of its own (catalog.py, OWN_DESCRIPTORS)."""
    if not allow_descriptors(4_096):
        pytest.skip("the hard limit of descriptors is too low")
    server = start(limits={resource.RLIMIT_NOFILE: 4_096})
    # A process for each has its descriptors for itself, and there are not so many processes.
    clients = [
        server.connect() for _ in range(200 if model.processes == "one per client" else 1_100)
    ]
    room = model.serves(len(clients))
    for client in clients[:room]:
        assert client.line() == GREETING
    if room < len(clients) and not model.leaves_waiting:
        room += clients[room].line() == GREETING
    greeted, others = clients[:room], clients[room:]
    if model.leaves_waiting:
        assert all(client.is_silent() for client in (others[0], others[-1]))
    else:
        assert TOO_MANY == b"Error: too many connections\n"
        for client in others[1:]:
            assert client.rest() == TOO_MANY
    for client in greeted:
        client.send(b"%d\n" % client.port)
    for client in greeted:
        assert client.line() == b"Hello, %d!\n" % client.port
    leaving = greeted[:10]
    for client in leaving:
        client.send(b"exit\n")
        assert client.rest() == b""
    for client in others[: len(leaving)] if model.leaves_waiting else ():
        assert client.line() == GREETING
        client.close()
    for _ in leaving if not model.leaves_waiting else ():
        assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_more_clients_than_descriptors(start: Start, model: Model) -> None:
    """`ulimit -n 64`: the rest waits in the backlog, and gets in as others leave."""
    unless(model, "room")
    server = start(limits={resource.RLIMIT_NOFILE: 64})
    own, _, _ = settled_footprint(server, model)
    clients = [server.connect() for _ in range(72)]
    room = model.serves(64 - own if model.processes == "one" else len(clients))
    for number, client in enumerate(clients):
        client.send(b"%d\n" % number)
    for client in clients[:room]:
        assert client.line() == GREETING
    expect_idle(server, model)
    assert all(client.is_silent() for client in clients[room : room + 1])
    for number, client in enumerate(clients):
        if number >= room:
            assert client.line() == GREETING
        assert client.line() == b"Hello, %d!\n" % number
        assert client.ask(b"bye") == b"Hello, bye!\n"
        client.close()
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_no_descriptor_at_all(server: Server, model: Model) -> None:
    """The limit falls on a running server; newcomers are let in as soon as it rises again."""
    unless(model, "no descriptor")
    footprint = take_all_descriptors(server, model)
    clients = [server.connect() for _ in range(3)]
    expect_idle(server, model)
    assert clients[0].is_silent()
    server.limit_descriptors(64)
    for client in clients:
        assert client.line() == GREETING
        assert client.ask(b"world") == b"Hello, world!\n"
        client.close()
    expect_footprint(server, footprint)


@pytest.mark.usefixtures("many_at_once")
def test_out_of_descriptors_goes_on_serving(server: Server, model: Model) -> None:
    unless(model, "no descriptor")
    unless(model, "room of others")
    inside = [server.greeted() for _ in range(3)]
    expect_all_workers(server, model)
    server.allow_no_more_descriptors()
    waiting = server.connect()
    for number in range(20):
        for client in inside:
            assert client.ask(b"%d" % number) == b"Hello, %d!\n" % number
    inside.pop().close()
    assert waiting.line() == GREETING
    for client in (*inside, waiting):
        assert client.ask(b"world") == b"Hello, world!\n"


@pytest.mark.usefixtures("many_at_once")
def test_fewer_descriptors_allowed_than_are_open(server: Server, model: Model) -> None:
    """The limit falls on a running server, so deep that poll(2) refuses the list of its sockets."""
    unless(model, "fewer descriptors")
    unless(model, "no descriptor")
    inside = [server.greeted() for _ in range(10)]
    expect_all_workers(server, model)
    server.limit_descriptors(5)
    server.connect()  # may get in: see take_all_descriptors()
    waiting = server.connect()
    for number in range(5):
        for client in inside:
            client.send(b"%d\n" % number)
        for client in inside:
            assert client.line() == b"Hello, %d!\n" % number
    expect_idle(server, model)
    assert waiting.is_silent()
    inside.pop().send(b"exit\n")
    inside.pop().reset()
    server.limit_descriptors(64)
    assert waiting.line() == GREETING
    for client in (*inside, waiting):
        assert client.ask(b"world") == b"Hello, world!\n"


@pytest.mark.usefixtures("many_at_once")
def test_more_clients_than_threads(start: Start, model: Model) -> None:
    """Stacks so large that the address space holds two or three of them (setrlimit(2))."""
    unless(model, "too few threads")
    stack_bytes = 1 << 29
    server = start(limits={resource.RLIMIT_STACK: stack_bytes, resource.RLIMIT_AS: 4 * stack_bytes})
    clients = [server.connect() for _ in range(8)]
    first_lines = [client.line() for client in clients]
    served = [client for client, line in zip(clients, first_lines, strict=True) if line == GREETING]
    refused = [client for client in clients if client not in served]
    assert served
    assert bool(refused) == model.refuses_threads
    assert set(first_lines) <= {GREETING, TOO_MANY}
    for client in refused:
        assert client.rest() == b""
    for client in served:
        assert client.ask(b"world") == b"Hello, world!\n"
        client.close()
    wait_until(lambda: max(server.threads()) <= model.threads, "the threads have ended")
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_no_room_in_a_list_of_the_kernel(start_with: Start, model: Model) -> None:
    """Who watches clients by epoll hears ENOSPC there (epoll(7), max_user_watches), here for the
    first of them. The limit is the whole system's, so that no test may lower it."""
    unless(model, "full list")
    server = start_with("""
        import errno, os, select
        def is_client(fd):
            import socket
            number = fd if isinstance(fd, int) else fd.fileno()
            try:
                sock = socket.socket(fileno=number)
            except OSError:
                return False  # no socket at all
            try:
                return sock.family == socket.AF_INET and bool(sock.getpeername())
            except OSError:
                return False
            finally:
                sock.detach()
        class Full:
            def __init__(self, *arguments, **more):
                self.epoll = epoll(*arguments, **more)
            def register(self, fd, *arguments):
                if is_client(fd) and is_first():
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self.epoll.register(fd, *arguments)
            def __getattr__(self, name):
                return getattr(self.epoll, name)
        epoll, select.epoll = select.epoll, Full
    """)
    said = server.connect().converse(b"a\n")
    assert said in (GREETING + b"Hello, a!\n", GREETING + TOO_MANY, TOO_MANY)
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_out_of_memory(start: Start, model: Model) -> None:
    """One client's line is longer than the memory that is left: it has to go, and only it."""
    server = start("--max-line", str(2**30))
    client = server.greeted()
    wait_until(lambda: max(server.threads()) >= model.threads, "it has its threads")
    server.limit_memory(4 * MEMORY_BYTES)
    assert client.converse(b"x" * 8 * MEMORY_BYTES) == b""
    client.close()
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_a_client_costs_little_memory(server: Server, model: Model) -> None:
    if model.processes == "one per client":
        pytest.skip("a process for each")
    before_bytes = server.resident_bytes()
    clients = [server.greeted() for _ in range(model.serves(100))]
    for client, said in zip(clients, itertools.cycle([b"", b"a\n", b"x" * 30_000]), strict=False):
        client.send(said)
        server.expect_read(client)
    grown_bytes = server.resident_bytes() - before_bytes
    assert grown_bytes < 2_000_000 + CLIENT_BYTES * len(clients)


def test_what_was_answered_is_forgotten(server: Server, model: Model) -> None:
    """It may grow while it gets going, thread by thread. But then comes a round for which it needs
    no memory."""
    stream = endless_lines()[:1_000_000]
    sizes = []
    for _ in range(8 + model.threads):
        with server.greeted() as client:
            client.converse(stream)
        sizes.append(server.resident_bytes())
        if len(sizes) > 1 and sizes[-1] - sizes[-2] < len(stream) / 4:
            return
    pytest.fail(f"{len(stream):,} bytes more were said each time; it has grown: {sizes}")


def test_many_may_wait_to_be_accepted(server: Server) -> None:
    """More than they are in any rush, and fewer than the system lets a program ask for."""
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    server.pause()
    try:
        clients = [server.connect() for _ in range(min(600, most))]
    finally:
        server.resume()
    assert clients[0].line() == GREETING


def test_answers_are_sent_at_once(server: Server) -> None:
    """As the kernel has it, because nobody sees it in a conversation by turns (RFC 896)."""
    with server.socket_of(server.greeted()) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# Nothing to do.


def test_nobody_is_too_silent_or_too_slow(start: Start, model: Model) -> None:
    """And a server that nobody speaks to does not wake up."""
    quiet, slow = start(), start()
    silent = quiet.greeted()
    silent.send(b"wor")
    quiet.expect_read(silent)
    slow_one = slow.greeted()
    if model.sleeps:
        wait_until(lambda: quiet.thread_states() == {"S"}, "it sleeps")
    before = quiet.wake_ups()
    for _ in range(int(PATIENCE_S / QUIET_S)):
        stretch()
        slow_one.send(b"x")
    if model.sleeps:
        assert quiet.wake_ups() - before < FEW_WAKE_UPS
    assert silent.ask(b"ld") == b"Hello, world!\n"
    assert slow_one.ask(b"") == b"Hello, " + b"x" * int(PATIENCE_S / QUIET_S) + b"!\n"


def test_an_idle_server_sleeps_if_its_model_can(server: Server, model: Model) -> None:
    clients = [server.greeted() for _ in range(model.serves(50))]
    for client in clients:
        assert client.ask(b"world") == b"Hello, world!\n"
    expect_idle(server, model)
    if not model.sleeps:
        before_s = server.cpu_s()
        wait_until(lambda: server.cpu_s() - before_s > QUIET_S, "it has burnt CPU time")


# Clients that are silent for too long, where somebody has said how long that is.

# Short, so that a test of every model takes no time. What has to happen before it is over is
# checked to have happened in time: a test that was late itself is repeated.
IDLE_S = 0.3
IDLE = ("--idle-timeout", str(IDLE_S))

# For tests in which it must not be over.
PATIENT = ("--idle-timeout", "30")


class LateError(Exception):
    """This test has not spoken in time itself."""


def in_time(attempt: Callable[[], None]) -> None:
    """Try it until the test is not late itself."""
    for _ in range(10):
        with suppress(LateError):
            attempt()
            return
    pytest.skip("the machine is too busy for the test to speak in time")


class Metronome:
    """Says whether the test has been in time between two of its steps."""

    def __init__(self) -> None:
        self._before_s = self._began_s = time.monotonic()

    def check(self) -> None:
        """Late, if the step before the last was begun so long ago that silence may be over."""
        now_s = time.monotonic()
        before_s, self._before_s, self._began_s = self._before_s, self._began_s, now_s
        if now_s - before_s > 0.8 * IDLE_S:
            raise LateError


def test_a_silent_client_is_told_and_let_go(start: Start, model: Model) -> None:
    """Not before its time, whatever it said before; and it need not leave by itself."""
    server = start(*IDLE)
    footprint = settled_footprint(server, model)
    for said, answer in (
        (b"", b""),
        (b"wor", b""),
        (b"world\nb\nwor", b"Hello, world!\nHello, b!\n"),
    ):
        client = server.greeted()
        spoke_s = time.monotonic()
        client.send(said)
        if not said:  # it was heard of last when it was greeted, which may be a moment ago
            spoke_s -= IDLE_S
        for line in [*answer.splitlines(keepends=True), TIMED_OUT, b""]:
            assert client.line() == line
        assert time.monotonic() - spoke_s >= IDLE_S
        expect_footprint(server, footprint)
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_a_client_that_leaves_is_not_waited_for(start: Start, model: Model) -> None:
    server = start(*PATIENT)
    footprint = settled_footprint(server, model)
    for leave in (Client.reset, Client.close):
        for said in (b"", b"a\nunfinished", b"exit\n"):
            client = server.greeted()
            client.send(said)
            leave(client)
        expect_footprint(server, footprint)


def test_who_says_a_little_now_and_then_is_not_silent(start: Start) -> None:
    server = start(*IDLE)

    def attempt() -> None:
        with server.greeted() as client:
            metronome = Metronome()
            try:
                for _ in range(30):
                    client.send(b"x")
                    metronome.check()
                    time.sleep(IDLE_S / 6)
                    metronome.check()
                answer = client.ask(b"")
            except ConnectionError:
                answer = b""
            metronome.check()
            assert answer == b"Hello, " + b"x" * 30 + b"!\n"
            assert client.rest() == TIMED_OUT

    in_time(attempt)


def test_who_waits_for_an_answer_is_not_silent(start: Start) -> None:
    server = start(*IDLE, "--work", f"sleep:{int(2500 * IDLE_S)}ms")
    client = server.greeted()
    client.send(b"a\nb\n")
    expect_said(client.rest(), b"Hello, a!\nHello, b!\n" + TIMED_OUT)


def test_who_breaks_off_while_it_is_worked_for_is_forgotten(start: Start, model: Model) -> None:
    """With one answer failing to be sent while the next one is being made."""
    server = start(*IDLE, "--work", "sleep:100ms")
    footprint = settled_footprint(server, model)
    client = server.greeted()
    client.send(b"a\nb\nc\n")
    client.reset()
    expect_footprint(server, footprint)
    for _ in range(2):  # its time is over before theirs
        assert server.greeted().rest() == TIMED_OUT


def test_who_takes_a_long_answer_slowly_is_not_silent(start: Start) -> None:
    """So slowly that the kernel says nothing of it for several times as long."""
    server = start(*IDLE)
    stream = endless_lines()[:6_000_000]

    def attempt() -> None:
        with server.greeted(receive_buffer_bytes=TINY_BUFFER_BYTES) as client:
            accepted = client.pour(stream)
            client.sock.settimeout(settings.deadline_s)
            said = bytearray()
            metronome = Metronome()
            with suppress(ConnectionError):  # then something is missing below
                for _ in range(40):
                    # All that its buffer holds: with less the server's kernel hears of it only
                    # every third time (TIOCOUTQ stood still for 0.17 s), as if it were later.
                    said += client.sock.recv(8_000)
                    metronome.check()
                    time.sleep(IDLE_S / 6)
                    metronome.check()
                said += client.converse(stream[accepted:], metronome.check)
            metronome.check()
            expect_said(bytes(said), answers_to_lines(stream))

    in_time(attempt)


def test_what_is_owed_comes_before_the_time_is_over(start: Start) -> None:
    """Who begins to take it about when it is told gets the answers to some lines, in full, and then
    it is told, if it is not cut off meanwhile. What it had said beyond that nobody has read."""
    server = start("--idle-timeout", "1")  # longer than it takes to see that it is full
    client, accepted = filled(server)
    for _ in range(8):
        stretch()
    said = bytearray()
    with suppress(ConnectionError):
        while data := client.sock.recv(262_144):
            said += data
    answers = said.removesuffix(TIMED_OUT)
    assert answers == said or answers.endswith(b"\n")
    owed = answers_to_lines(endless_lines()[:accepted])
    expect_said(bytes(answers), owed[: len(answers)])


def test_who_takes_nothing_is_cut_off(start: Start, model: Model) -> None:
    server = start(*IDLE)
    footprint = settled_footprint(server, model)
    client = server.greeted(receive_buffer_bytes=TINY_BUFFER_BYTES)
    with suppress(ConnectionError):
        client.pour(endless_lines())
    expect_footprint(server, footprint)


@pytest.mark.usefixtures("many_at_once")
def test_many_silent_clients_beside_a_busy_one(start: Start, model: Model) -> None:
    server = start(*IDLE)
    footprint = settled_footprint(server, model)

    def attempt() -> None:
        silent = [server.connect() for _ in range(model.serves(101) - 1)]
        with server.greeted() as busy:
            listening = select.poll()
            for client in silent:
                assert client.line() == GREETING
                listening.register(client.sock, select.POLLRDHUP)
                busy.send(b"x")
            assert busy.ask(b"") == b"Hello, " + b"x" * len(silent) + b"!\n"
            metronome = Metronome()
            deadline = time.monotonic() + settings.deadline_s
            while len(listening.poll(0)) < len(silent):
                assert time.monotonic() < deadline, "not all of them were told"
                try:
                    answer = busy.ask(b"world")
                except ConnectionError:
                    answer = b""
                metronome.check()
                assert answer == b"Hello, world!\n"
        for client in silent:
            assert client.rest() == TIMED_OUT

    in_time(attempt)
    expect_footprint(server, footprint)


@pytest.mark.parametrize(
    ("end", "last_words"),
    [(b"exit\n", b""), (b"x" * (MAX_LINE_BYTES + 1), TOO_LONG % MAX_LINE_BYTES)],
    ids=["exit", "long line"],
)
def test_what_is_owed_arrives_though_more_is_said_later(
    start: Start, end: bytes, last_words: bytes
) -> None:
    """A close is answered by a reset as soon as more comes in; who waits for the client's end of
    file does not close before."""
    server = start(*PATIENT)
    client = server.greeted(receive_buffer_bytes=TINY_BUFFER_BYTES)
    client.send(b"a\n" * 1_500 + end)
    server.expect_read(client)
    for _ in range(3):
        stretch()
        client.send(b"more\n")
    stretch()
    expect_said(client.rest(), b"Hello, a!\n" * 1_500 + last_words)


def test_nobody_is_waited_for_longer_than_that(start: Start, model: Model) -> None:
    """Though it goes on speaking, with pauses that are shorter on a busy machine, too."""
    server = start("--idle-timeout", "1")
    footprint = settled_footprint(server, model)
    client = server.greeted()
    client.send(b"exit\n")
    assert client.rest() == b""

    def gone() -> bool:
        with suppress(ConnectionError):
            client.send(b"x")
        return server.footprint() == footprint

    wait_until(gone, "it has closed")


def test_a_timeout_of_the_network_is_not_one_of_ours(start: Start, model: Model) -> None:
    """The same exception in Python (tcp(7), ETIMEDOUT): who cannot be reached is not told."""
    unless(model, "failing calls")
    if reason := cache(planting.why_not)():
        pytest.skip(reason)
    server = start(*PATIENT, planted=True)
    for what in ("receive", "send"):
        with server.greeted() as client:
            server.fail(what, errno.ETIMEDOUT, client)
            with suppress(ConnectionError):
                client.send(b"a\n")
                assert client.rest() in (b"", b"Hello, a!\n")
        with server.greeted() as newcomer:
            assert newcomer.ask(b"b") == b"Hello, b!\n"


# Stopping.


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def stop_signal(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """What people and process managers stop a server with."""
    return request.param


def test_stops_while_idle(server: Server, stop_signal: signal.Signals) -> None:
    server.stop(stop_signal)


def test_stops_in_the_middle_of_conversations(server: Server, stop_signal: signal.Signals) -> None:
    talking, waiting = server.greeted(), server.connect()
    talking.send(b"a\nunfinished")
    assert talking.line() == b"Hello, a!\n"
    server.stop(stop_signal)
    for client in (talking, waiting):
        with suppress(ConnectionResetError):
            assert client.rest() in (b"", GREETING)


def test_stops_while_a_client_takes_nothing(server: Server) -> None:
    filled(server)
    server.stop()


def test_stops_under_heavy_traffic(server: Server, stop_signal: signal.Signals) -> None:
    with Flood(server):
        server.stop(stop_signal)


def test_stops_while_python_is_busy(start_with: Start, stop_signal: signal.Signals) -> None:
    """Deep in C with the GIL held, which is what a thousand threads that queue for it look like to
    whoever waits for it: nothing of Python gets its turn before the server has to be gone."""
    server = start_with(
        f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from servers import protocol
        protocol.hello = lambda line: b"%d" % sum(range(3 * 10**8)) if line else b""  # asked once
        """
    )
    client = server.greeted()
    before_s = server.cpu_s()
    client.send(b"a\n")
    wait_until(lambda: server.cpu_s() - before_s > QUIET_S, "it is busy with the answer")
    server.stop(stop_signal)


def test_stops_without_the_help_of_c(
    start_with: Start, model: Model, stop_signal: signal.Signals
) -> None:
    """No ctypes, or not glibc: a thread of Python waits for the signal."""
    unless(model, "no ctypes")
    server = start_with("import sys; sys.modules['ctypes'] = None")
    assert server.greeted().ask(b"world") == b"Hello, world!\n"
    server.stop(stop_signal)


def test_stops_although_its_parent_blocked_the_signals(
    start: Start, stop_signal: signal.Signals
) -> None:
    """A blocked signal stays blocked in whatever is started (signal(7))."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {stop_signal})
    try:
        server = start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    server.stop(stop_signal)


def test_stops_while_out_of_descriptors(server: Server, model: Model) -> None:
    unless(model, "no descriptor")
    take_all_descriptors(server, model)
    assert server.connect().is_silent()
    server.stop()


def test_starts_again_on_the_port_it_just_left(start: Start) -> None:
    """Connections that the server closed first linger in TIME_WAIT; SO_REUSEADDR (socket(7))."""
    with held_port() as port:
        server = start("--port", str(port))
        client = server.greeted()
        server.stop()
        client.close()
        again = start("--port", str(port))
        assert again.address == server.address
        assert again.greeted().ask(b"world") == b"Hello, world!\n"
