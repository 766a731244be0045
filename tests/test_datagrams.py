"""The servers without connections: one datagram is one line, and whatever is lost, they go on."""

import errno
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import planting
import pytest
from harness import ROOT, TOO_LONG, Server, link, settings, stretch, wait_until
from test_cli_servers import Result, closed_pipe, expect_error, full_disk, no_output, run, run_into

from servers import catalog
from servers.catalog import Model

Start = Callable[..., Server]

# RFC 768 and RFC 791: the longest datagram, and the longest line whose answer is no longer.
MOST_BYTES = 65_507
MOST_LINE_BYTES = MOST_BYTES - len(b"Hello, !\n")


@pytest.fixture(params=catalog.DATAGRAMS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> Model:
    """Every such server in the catalog, one after the other."""
    one: Model = request.param
    if reason := one.missing():
        pytest.skip(reason)
    return one


class Client:
    """A UDP socket that is connected to a server; every wait has the deadline of the tests."""

    def __init__(self, address: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(settings.deadline_s)
        self.sock.connect(address)

    def send(self, data: bytes) -> None:
        """One datagram."""
        self.sock.send(data)

    def answer(self) -> bytes:
        """The next datagram."""
        return self.sock.recv(2 * MOST_BYTES)

    def ask(self, data: bytes) -> bytes:
        """What answers a datagram."""
        self.send(data)
        return self.answer()

    def is_silent(self) -> bool:
        """Does nothing come for a stretch?"""
        stretch()
        return not select.select([self.sock], [], [], 0)[0]

    @property
    def port(self) -> int:
        """This end's."""
        port: int = self.sock.getsockname()[1]
        return port


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[[], Client]]:
    """Makes clients of the server under test."""
    made: list[Client] = []

    def client() -> Client:
        made.append(Client(server.address))
        return made[-1]

    yield client
    for one in made:
        one.sock.close()


@pytest.fixture
def client(connect: Callable[[], Client]) -> Client:
    """One of them."""
    return connect()


def answer_to(data: bytes, limit_bytes: int = MOST_LINE_BYTES) -> bytes:
    """The oracle: written from the protocol's description, one byte after the other."""
    line = list(data)
    ended = bool(line) and line[-1] == ord("\n")
    if ended:
        line.pop()
    if len(line) > limit_bytes:
        return TOO_LONG % limit_bytes
    if ended and line and line[-1] == ord("\r"):
        line.pop()
    return b"Hello, " + bytes(line) + b"!\n"


def drops(port: int, name: str = "udp") -> int:
    """What the kernel has dropped before the socket of a port (proc(5), /proc/net/udp)."""
    rows = [row.split() for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return sum(int(row[-1]) for row in rows if row[1].endswith(f":{port:04X}"))


# What it says.


def test_answers_a_line(client: Client) -> None:
    assert client.ask(b"world\n") == b"Hello, world!\n"


def test_says_where_it_is_and_nothing_else(server: Server, client: Client) -> None:
    assert server.ready_line == b"listening on 127.0.0.1:%d\n" % server.address[1]
    assert client.is_silent(), "nobody connects, so nobody is greeted"
    assert client.ask(b"world") == b"Hello, world!\n"
    assert client.is_silent(), "a datagram is answered once"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a", b"a"),
        (b"a\n", b"a"),
        (b"a\r\n", b"a"),
        (b"a\r\r\n", b"a\r"),
        (b"a\r", b"a\r"),
        (b"\r\n", b""),
        (b"\n", b""),
        (b"\n\n", b"\n"),
        (b"two\nlines\n", b"two\nlines"),
        (bytes(range(256)), bytes(range(256))),
    ],
)
def test_one_newline_at_the_end_and_one_return_before_it_are_dropped(
    client: Client, data: bytes, line: bytes
) -> None:
    assert client.ask(data) == b"Hello, " + line + b"!\n" == answer_to(data)


def test_whatever_the_bytes_are(client: Client) -> None:
    chance = random.Random(1)
    for _ in range(200):
        data = chance.randbytes(chance.choice([0, 1, 2, 10, 1_000, 9_000]))
        data += chance.choice([b"", b"\n", b"\r\n", b"\r"])
        assert client.ask(data) == answer_to(data)


def test_an_empty_datagram_is_an_empty_line(client: Client) -> None:
    """And not the end of anything, as a receive of no bytes is on a connection."""
    for _ in range(3):
        assert client.ask(b"") == b"Hello, !\n"


@pytest.mark.parametrize("line", [b"exit", b"exit\n", b"exit\r\n"])
def test_exit_is_a_line_like_others(client: Client, line: bytes) -> None:
    assert client.ask(line) == b"Hello, exit!\n"
    assert client.ask(b"still there?\n") == b"Hello, still there?!\n"


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("size", [1_024, 2_048, 4_096, 65_000, MOST_LINE_BYTES])
def test_what_was_sent_as_one_is_answered_as_one(client: Client, size: int, end: bytes) -> None:
    line = random.Random(size).randbytes(size - 1) + b"x"
    assert client.ask(line + end) == b"Hello, " + line + b"!\n"


@pytest.mark.parametrize("size", [MOST_LINE_BYTES + 1, 65_500, MOST_BYTES])
def test_what_no_datagram_can_answer_is_an_error(client: Client, size: int) -> None:
    assert client.ask(b"x" * size) == TOO_LONG % MOST_LINE_BYTES
    assert client.ask(b"world") == b"Hello, world!\n"


def test_refuses_a_longer_line_than_it_is_told(start: Start) -> None:
    client = Client(start("--max-line", "10").address)
    with client.sock:
        assert client.ask(b"x" * 10) == b"Hello, xxxxxxxxxx!\n"
        assert client.ask(b"x" * 10 + b"\n") == b"Hello, xxxxxxxxxx!\n"
        for data in (b"x" * 11, b"x" * 11 + b"\n", b"x" * 10 + b"\r\n", b"x" * MOST_BYTES):
            assert client.ask(data) == TOO_LONG % 10 == answer_to(data, 10)


def test_works_as_long_as_it_is_told(start: Start) -> None:
    server = start("--work", "cpu:30ms")
    client = Client(server.address)
    with client.sock:
        used_s = server.cpu_s()
        assert client.ask(b"a") == b"Hello, a!\n"
        assert server.cpu_s() - used_s >= 0.030


def test_over_ipv6(start: Start) -> None:
    server = start("--host", "::1")
    assert server.ready_line == b"listening on [::1]:%d\n" % server.address[1]
    client = Client(server.address)
    with client.sock:
        assert client.ask(b"world\n") == b"Hello, world!\n"
        assert client.ask(b"x" * MOST_LINE_BYTES) == answer_to(b"x" * MOST_LINE_BYTES)
        assert client.ask(b"x" * MOST_BYTES) == TOO_LONG % MOST_LINE_BYTES


# To whom.


def test_everybody_gets_their_own_answers(server: Server, connect: Callable[[], Client]) -> None:
    """Though all of them are there before the first is received, one between the other."""
    clients = [connect() for _ in range(40)]
    server.pause()
    for turn in range(3):
        for client in clients:
            client.send(b"%d of %d\n" % (turn, client.port))
    server.resume()
    for client in clients:
        said = [client.answer() for _ in range(3)]
        assert said == [b"Hello, %d of %d!\n" % (turn, client.port) for turn in range(3)]
    assert clients[0].is_silent()


def test_no_answer_is_answered(client: Client) -> None:
    """Else two servers would answer each other for ever, once somebody has sent something to one
    of them in the name of the other: that is easy with UDP."""
    for data in (b"a", b"", b"x" * MOST_LINE_BYTES, b"x" * MOST_BYTES, b"Hello, a", b"two\nlines"):
        client.send(client.ask(data))
        assert client.is_silent(), f"it answered its own answer to {data[:20]!r}"
    assert client.ask(b"world") == b"Hello, world!\n"


def test_who_only_looks_like_a_server_is_answered(client: Client) -> None:
    for data in (b"Hello, ", b"Hello, world\n", b"Error: ", b"hello, a!\n", b"a!\n"):
        assert client.ask(data) == answer_to(data)


def test_no_service_is_answered(server: Server, client: Client) -> None:
    """Nor are those that answer whatever comes (echo, chargen): no client has such a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        try:
            service.bind(("127.0.0.1", 1019))
        except OSError as error:
            pytest.skip(f"no such port can be had here: {error.strerror}")
        service.sendto(b"a", server.address)
        assert client.ask(b"world") == b"Hello, world!\n"
        assert not select.select([service], [], [], 0)[0]


# Whatever is lost, it goes on.


def test_a_sender_that_has_gone(server: Server, connect: Callable[[], Client]) -> None:
    """The answer meets nobody: the kernel hears so by ICMP (RFC 1122, 4.1.3.1)."""
    stays = connect()
    for _ in range(20):
        server.pause()
        vanishes = connect()
        vanishes.send(b"here I am")
        vanishes.sock.close()
        stays.send(b"and I am here")
        server.resume()
        assert stays.answer() == b"Hello, and I am here!\n"
        assert stays.ask(b"still?") == b"Hello, still?!\n"


ERRORS = [
    *(errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM),
    *(errno.ENOBUFS, errno.ENOMEM, errno.EMSGSIZE, errno.EINVAL),
]


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("what", ["receive", "send"])
def test_a_call_fails_once(start: Start, what: str, code: int) -> None:
    if reason := planting.why_not():
        pytest.skip(reason)
    server = start(planted=True)
    client = Client(server.address)
    with client.sock:
        assert client.ask(b"before") == b"Hello, before!\n"
        assert server.planter is not None
        server.planter.plant(
            code,
            lambda call: (
                call.what == what and link(call.thread, call.descriptor).startswith("socket:")
            ),
            1,
        )
        client.send(b"perhaps lost")
        wait_until(lambda: server.planter and server.planter.hits == 1, "a call has failed")
        client.send(b"after")
        said = {client.answer()}
        while b"Hello, after!\n" not in said:
            said.add(client.answer())
        assert said <= {b"Hello, after!\n", b"Hello, perhaps lost!\n"}


def test_a_full_receive_buffer(server: Server, client: Client) -> None:
    """The kernel drops what has no room, and counts it: all else is answered."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)  # as far as it goes
    before, port = drops(server.address[1]), server.address[1]
    server.pause()
    sent = 0
    while drops(port) - before < 20:
        client.send(b"%d" % sent)
        sent += 1
    dropped = drops(port) - before
    server.resume()
    expected = sent - dropped
    answers = [client.answer() for _ in range(expected)]
    assert answers == [b"Hello, %d!\n" % number for number in range(expected)], (
        "in their order, from the first to the last that had room"
    )
    assert drops(port) - before == dropped
    assert drops(client.port) == 0
    assert client.ask(b"world") == b"Hello, world!\n"
    assert client.is_silent()


def test_a_silent_client_costs_nothing(server: Server, connect: Callable[[], Client]) -> None:
    connect().ask(b"a")
    held = server.footprint()
    for _ in range(300):
        connect().ask(b"a")
    assert server.footprint() == held


def test_an_idle_server_sleeps(server: Server, client: Client) -> None:
    assert client.ask(b"a") == b"Hello, a!\n"
    used_s = server.cpu_s()
    stretch()
    assert server.cpu_s() - used_s < 0.02


# Stopping.


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_stops_while_idle(server: Server, client: Client, by: signal.Signals) -> None:
    client.ask(b"a")
    server.stop(by)


def test_stops_in_the_middle_of_work(start: Start) -> None:
    server = start("--work", "sleep:60s")
    client = Client(server.address)
    with client.sock:
        client.send(b"a")
        wait_until(lambda: unread_bytes(server) == 0, "it has received that")
        server.stop()


def unread_bytes(server: Server) -> int:
    """What waits in its socket (proc(5), /proc/net/udp)."""
    rows = [row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:]]
    (row,) = (row for row in rows if row[1].endswith(f":{server.address[1]:04X}"))
    return int(row[4].split(":")[1], 16)


def unread_from(server: Server) -> int:
    """What waits in the socket of its only client."""
    rows = [row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:]]
    (row,) = (row for row in rows if row[2].endswith(f":{server.address[1]:04X}"))
    return int(row[4].split(":")[1], 16)


# The command line.


def test_port_taken(model: Model) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        result = run(model.name, "--port", str(port))
    expect_error(result, 1, "127.0.0.1", str(port), os.strerror(errno.EADDRINUSE))


def test_a_port_is_free_again_at_once(server: Server, start: Start, client: Client) -> None:
    client.ask(b"a")
    server.stop()
    again = start("--port", str(server.address[1]))
    assert again.address == server.address


@pytest.mark.parametrize("host", ["192.0.2.1", "nosuch.invalid", "..", "\udcff"])
def test_not_our_address(model: Model, host: str) -> None:
    expect_error(run(model.name, "--host", host), 1, "cannot listen on")


@pytest.mark.parametrize(
    "option",
    [
        *("--port=-1", "--max-line=0", "--work=hard", "--receive-bytes=5", "--unix=/tmp/x"),
        *("--idle-timeout=1", "--protocol=http", "--workers=2", "surplus"),
    ],
)
def test_wrong_command_line(model: Model, option: str) -> None:
    expect_error(run(model.name, option), 2, option.split("=")[0])


@pytest.mark.parametrize("output", [closed_pipe, full_disk, no_output])
def test_cannot_say_where_it_listens(model: Model, output: Callable[..., object]) -> None:
    with output() as stdout:  # type: ignore[attr-defined]
        expect_error(run_into(stdout, model.name), 1, "standard output")


def test_runs_as_a_module_of_its_own(model: Model) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", model.module], cwd=ROOT, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"listening on 127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(settings.deadline_s) == 0


def test_starts_without_anything_installed(model: Model) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {model.module}"
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, timeout=settings.deadline_s
    )


# The client program.


def talk(port: int, stdin: str) -> Result:
    return run("client", "--udp", "--port", str(port), stdin=stdin)


def test_client_prints_every_answer(server: Server) -> None:
    result = talk(server.address[1], "world\n\nexit\nlast line without a newline")
    assert result.stdout == (
        "Hello, world!\nHello, !\nHello, exit!\nHello, last line without a newline!\n"
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_client_says_that_nothing_came() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        result = talk(port, "a\nb\n")
        assert [silent.recv(100), silent.recv(100)] == [b"a\n", b"b\n"], "it goes on"
    assert (result.returncode, result.stdout) == (1, "")
    said = f"error: no answer from 127.0.0.1 port {port} within 1 s"
    assert result.stderr.splitlines() == [said, said]


def test_client_without_a_server() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as keeper:
        keeper.bind(("127.0.0.1", 0))
        port = keeper.getsockname()[1]
    expect_error(talk(port, "a\n"), 1, "127.0.0.1", str(port), "refused")


def test_client_with_a_wrong_host() -> None:
    result = run("client", "--udp", "--port", "1", "--host", "nosuch.invalid", stdin="a\n")
    expect_error(result, 1, "cannot talk to", "nosuch.invalid")


def test_client_with_options_of_connections() -> None:
    expect_error(run("client", "--udp", "--port", "1", "--idle-timeout", "1"), 2, "--idle-timeout")


def test_client_shows_what_comes_late(server: Server) -> None:
    """An answer that came when nobody waited any more is not taken for that to the next line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "servers", "client", "--udp", "--port", str(server.address[1])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process, suppress(BrokenPipeError):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        server.pause()
        process.stdin.write(b"late\n")
        process.stdin.flush()
        assert process.stderr.readline().endswith(b"within 1 s\n")
        server.resume()
        wait_until(lambda: unread_from(server) > 0, "it is answered")
        process.stdin.write(b"next\n")
        process.stdin.close()
        assert process.stdout.read() == b"Hello, late!\nHello, next!\n"
        assert process.wait(settings.deadline_s) == 1
