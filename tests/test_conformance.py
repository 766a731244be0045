"""From outside the servers cannot be told apart: one conversation, whatever the I/O model.

Every test runs against every line of the catalog. Where models differ, a capability in the
catalog says so; no test knows a server by its name. What the clients come by is common.py's
affair: so one server of each kind of waiting is tested over IPv6 and over Unix sockets, too.
"""

import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness import TOO_LONG, Client, Server, answers_to, expect_said, settings
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from servers.catalog import MODELS, Model
from servers.protocol import GREETING, MAX_LINE_BYTES

Start = Callable[..., Server]

# That are tested over every transport: calls that block, a loop, a framework's, the kernel's rings,
# and several processes.
SAMPLE = {"blocking", "epoll", "asyncio", "io_uring", "prefork"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every model, and those of the sample once for each transport."""
    if "server" in metafunc.fixturenames:
        cases = [
            pytest.param(model, transport, id="-".join([model.name, *transports]))
            for model in MODELS
            for transport, *transports in (("ipv4",), ("ipv6", "ipv6"), ("unix", "unix"))
            if not transports or model.name in SAMPLE
        ]
        metafunc.parametrize(("model", "transport"), cases, indirect=True)
    elif "model" in metafunc.fixturenames:
        metafunc.parametrize("model", MODELS, ids=lambda model: model.name, indirect=True)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Model:
    """A server in the catalog."""
    one: Model = request.param
    if reason := one.missing():
        pytest.skip(reason)
    return one


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The options that have a server listen on one."""
    if request.param == "ipv6" and not has_ipv6():
        pytest.skip("this machine has no ::1")
    with tempfile.TemporaryDirectory() as folder:  # short: see socket_path() of common.py
        yield {
            "ipv4": [],
            "ipv6": ["--host", "::1"],
            "unix": ["--unix", str(Path(folder) / "socket")],
        }[request.param]


@pytest.fixture
def server(start: Start, transport: list[str]) -> Server:
    """The server under test, running."""
    return start(*transport)


def has_ipv6() -> bool:
    """Can one listen on ::1 here?"""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture
def client(server: Server) -> Client:
    """A client that has been greeted."""
    return server.greeted()


def numbered_lines(count: int) -> bytes:
    """Lines that cannot be mistaken for one another."""
    return b"".join(b"line %d\n" % number for number in range(count))


def send_in_receives_of_their_own(server: Server, client: Client, *pieces: bytes) -> None:
    """Make the server receive each piece by itself."""
    for piece in pieces:
        client.send(piece)
        server.expect_read(client)


def test_greets_before_anything_is_said(server: Server) -> None:
    assert server.connect().line() == b"Welcome!\n"


def test_answers_a_line(client: Client) -> None:
    assert client.ask(b"world") == b"Hello, world!\n"


def test_answers_many_lines_one_after_the_other(client: Client) -> None:
    for number in range(100):
        assert client.ask(b"%d" % number) == b"Hello, %d!\n" % number


def test_answers_without_delay(client: Client) -> None:
    """Hundreds of times as long as it takes, even where a machine is busy: what remains is a
    server that waits before it answers."""
    started_s = time.monotonic()
    for number in range(400):
        assert client.ask(b"%d" % number) == b"Hello, %d!\n" % number
    assert time.monotonic() - started_s < settings.deadline_s


def test_answers_lines_in_order(client: Client) -> None:
    stream = numbered_lines(5_000)
    expect_said(GREETING + client.converse(stream), answers_to(stream))


def test_answers_an_empty_line(client: Client) -> None:
    assert client.ask(b"") == b"Hello, !\n"


def test_drops_one_carriage_return_before_the_newline(client: Client) -> None:
    for line, answer in (
        (b"a\r", b"Hello, a!\n"),
        (b"\r", b"Hello, !\n"),
        (b"a\r\r", b"Hello, a\r!\n"),
        (b"a\rb", b"Hello, a\rb!\n"),
    ):
        assert client.ask(line) == answer


def test_takes_every_byte_but_the_newline(client: Client) -> None:
    line = bytes(set(range(256)) - {ord("\n")}) + b"\0\xff\xfe\x80\0"
    assert client.ask(line) == b"Hello, " + line + b"!\n"


def test_takes_every_byte_wherever_it_stands(client: Client) -> None:
    lines = []
    for byte in map(bytes, ([number] for number in range(256) if number != ord("\n"))):
        lines += [byte, byte * 2, byte + b"a", byte + b"exit", b"a" + byte, b"exit" + byte * 2]
    stream = b"\n".join(lines) + b"\n"
    expect_said(GREETING + client.converse(stream), answers_to(stream))


@pytest.mark.parametrize("byte", [b"\r", b" "])
def test_loses_nothing_where_a_receive_ends(server: Server, client: Client, byte: bytes) -> None:
    """Wherever it ends, in a server that takes as much as there is, or less, at a time."""
    for _ in range(20):
        client.ask(b"x" * 60_000)
    stream = (byte * 49_999 + b"x\n") * 6
    server.hand_over(client, stream)
    client.half_close()
    expect_said(GREETING + client.rest(), answers_to(stream))


def test_takes_a_byte_at_a_time(server: Server, client: Client) -> None:
    stream = b"ab\n\nc\r\nexit\n"
    send_in_receives_of_their_own(server, client, *(bytes([byte]) for byte in stream))
    assert GREETING + client.rest() == answers_to(stream)


def test_takes_everything_glued_together(server: Server) -> None:
    stream = b"ab\n\nc\r\n" + numbered_lines(50) + b"exit\nignored\n"
    client = server.connect()
    client.send(stream)
    assert client.rest() == answers_to(stream)


def test_says_nothing_before_the_line_is_complete(server: Server, client: Client) -> None:
    send_in_receives_of_their_own(server, client, b"wor", b"l")
    assert client.is_silent()
    assert client.ask(b"d") == b"Hello, world!\n"


def test_keeps_the_beginning_of_the_next_line(server: Server, client: Client) -> None:
    send_in_receives_of_their_own(server, client, b"a\nwor", b"ld\n")
    assert client.line() == b"Hello, a!\n"
    assert client.line() == b"Hello, world!\n"


@pytest.mark.parametrize("line", [b"exit", b"exit\r"])
def test_exit_ends_the_conversation(client: Client, line: bytes) -> None:
    client.send(b"a\n" + line + b"\n")
    assert client.rest() == b"Hello, a!\n"


def test_ignores_what_follows_exit(client: Client) -> None:
    client.send(b"exit\na\n" * 1_000)
    assert client.rest() == b""


def test_only_exit_is_exit(client: Client) -> None:
    for line in (
        b"exits",
        b"exit ",
        b" exit",
        b"\texit",
        b"EXIT",
        b"sexit",
        b"exit\r\r",
        b"exit\0",
    ):
        assert client.ask(line) == b"Hello, " + line.removesuffix(b"\r") + b"!\n"


def test_half_close_gets_everything_owed(server: Server, client: Client) -> None:
    server.pause()  # lines and end of file reach it together
    client.send(b"a\nb\nunfinished")
    client.half_close()
    server.resume()
    assert client.rest() == b"Hello, a!\nHello, b!\n"


def test_half_close_before_anything_is_said(server: Server) -> None:
    client = server.connect()
    client.half_close()
    assert client.rest() == GREETING


def test_an_unfinished_exit_is_forgotten(client: Client) -> None:
    client.send(b"a\nexit")
    client.half_close()
    assert client.rest() == b"Hello, a!\n"


def test_answers_the_longest_line(client: Client) -> None:
    line = b"x" * MAX_LINE_BYTES
    client.send(line + b"\n")
    assert client.line() == b"Hello, " + line + b"!\n"


@pytest.mark.parametrize("end", [b"\n", b"", b"\nb\nexit\n"])
def test_a_longer_line_is_an_error(client: Client, end: bytes) -> None:
    client.send(b"a\n" + b"x" * (MAX_LINE_BYTES + 1) + end)
    assert client.rest() == b"Hello, a!\n" + TOO_LONG % MAX_LINE_BYTES


def test_serves_as_many_at_once_as_the_catalog_says(server: Server, model: Model) -> None:
    clients = [server.greeted() for _ in range(model.serves(100))]
    order = random.Random(1)
    for turn in range(3):
        order.shuffle(clients)
        for client in clients:
            client.send(b"turn %d of %d\n" % (turn, client.port))
        order.shuffle(clients)
        for client in clients:
            assert client.line() == b"Hello, turn %d of %d!\n" % (turn, client.port)
    if model.why_not_all(100) and model.leaves_waiting:
        waiting = server.connect()
        waiting.send(b"a\n")
        assert waiting.is_silent(), "the catalog says that it cannot serve so many"
        clients[0].close()
        assert waiting.line() == GREETING
        assert waiting.line() == b"Hello, a!\n"


def test_does_not_mix_unfinished_lines(server: Server, model: Model) -> None:
    if reason := model.why_not_all(2):
        pytest.skip(reason)
    one, other = server.greeted(), server.greeted()
    send_in_receives_of_their_own(server, one, b"on")
    send_in_receives_of_their_own(server, other, b"oth")
    assert one.ask(b"e") == b"Hello, one!\n"
    assert other.ask(b"er") == b"Hello, other!\n"


def test_one_after_the_other(server: Server) -> None:
    for number in range(20):
        with server.greeted() as client:
            assert client.ask(b"%d" % number) == b"Hello, %d!\n" % number


def test_serves_over_ipv6(start: Start) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no ::1")
    server = start("--host", "::1")
    assert server.ready_line.startswith(b"listening on [::1]:")
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_listens_where_it_is_told_and_nowhere_else(start: Start) -> None:
    server = start("--host", "127.0.0.2")
    assert server.ready_line == b"listening on 127.0.0.2:%d\n" % server.address[1]
    assert server.greeted().ask(b"world") == b"Hello, world!\n"
    with pytest.raises(ConnectionRefusedError):
        Client(("127.0.0.1", server.address[1]))


# (bytes, how often they are repeated): long streams in few words.
Repeated = tuple[bytes, int]
parts = st.one_of(
    st.tuples(st.sampled_from([b"\n", b"\r\n", b"x", b"exits\n"]), st.sampled_from([1, 3_000])),
    st.tuples(st.binary(max_size=20).filter(lambda text: b"exit" not in text), st.just(1)),
)
# Little follows an end, because a close overtakes answers while the client goes on sending.
ends = st.sampled_from(
    [(b"", 0), (b"exit", 1), (b"exit\n", 1), (b"exit\r\nmore\n", 1), (b"x", MAX_LINE_BYTES + 1)]
)


def test_any_conversation(server: Server) -> None:
    """Whatever is said, in whatever pieces: what comes back is what the protocol says."""

    @hypothesis_settings(max_examples=25, deadline=None, database=None, phases=[Phase.generate])
    @given(st.lists(parts, max_size=10), ends, st.lists(st.integers(1, 5_000), max_size=10))
    def check(parts: list[Repeated], end: Repeated, cuts: list[int]) -> None:
        rest = stream = b"".join(text * count for text, count in [*parts, (b"\n", 1), end])
        with server.connect() as client:
            with suppress(ConnectionError):  # the server may have closed after the end
                for count in cuts:
                    client.send(rest[:count])
                    rest = rest[count:]
            expect_said(client.converse(rest), answers_to(stream))

    check()
