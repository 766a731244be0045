"""Who is told which servers there are, and who is not; and that to ask makes no storm.

What the tests ask on this host goes over the loopback interface, where other servers may answer
too: they look for the port of their own. A network is made of namespaces where that is permitted.
"""

import dataclasses
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import harness
import pytest
from harness import Server, comes_soon, members, settings, wait_for, wait_until
from hypothesis import given
from hypothesis import strategies as st

from servers import announce, catalog, discover
from servers.announce import Announced, Heard
from servers.catalog import Model

Start = Callable[..., Server]
Result = subprocess.CompletedProcess[str]

NONCE = b"0123456789abcdef"
LAST = b"f" * 16
QUESTION = announce.question(NONCE)
LOOPBACK = announce.LOOPBACK_BROADCAST, announce.PORT
ROUTED = announce.HOPS - 1


def run(*arguments: str, within: tuple[str, ...] = ()) -> Result:
    """`python -m servers discover ...`, to its end."""
    return subprocess.run(
        [*within, sys.executable, "-m", "servers", "discover", *arguments],
        cwd=harness.ROOT,
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )


def expect_error(result: Result, status: int, *words: str) -> None:
    """One line that names what is wrong."""
    assert result.returncode == status, result.stderr
    *usage, line = result.stderr.splitlines()
    assert not usage or (status == 2 and usage[0].startswith("usage: "))
    assert "error: " in line
    for word in words:
        assert word in line


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """What asks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, announce.HOPS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        sock.bind(("", 0))
        yield sock


def answered(sock: socket.socket, server: Server) -> list[bytes]:
    """What has come from a server so far."""
    port = b" %d\n" % server.address[1]
    found = []
    with suppress(BlockingIOError):
        while True:
            data = sock.recv(65_536, socket.MSG_DONTWAIT)
            if data.endswith(port):
                found.append(data)
    return found


def asked_until_answered(
    sock: socket.socket, server: Server, questions: Iterator[bytes]
) -> list[bytes]:
    """Ask until a server answers: UDP may lose a question, and another test may ask too much. Who
    has asked several times waits for as many answers, as long as they come."""
    said: list[bytes] = []
    asked = 0

    def ask() -> bool:
        nonlocal asked
        asked += 1
        sock.sendto(next(questions), LOOPBACK)
        wait_for(sock, select.POLLIN, 0.1)
        said.extend(answered(sock, server))
        return bool(said)

    wait_until(ask, "it answers")
    while len(said) < asked and comes_soon(sock, select.POLLIN):
        said.extend(answered(sock, server))
    return said


def answers(sock: socket.socket, server: Server, data: bytes = QUESTION) -> bytes:
    """The first answer to a question that is asked as often as it takes."""
    return asked_until_answered(sock, server, itertools.repeat(data))[0]


def is_from(data: bytes, server: Server) -> bool:
    """Is it an answer of that server? None of another says its port at the end."""
    return data.endswith(b" %d\n" % server.address[1])


def heard_until(sock: socket.socket, server: Server, nonce: bytes) -> list[bytes]:
    """Ask until a server answers; all that has come meanwhile, whoever said it."""
    said: list[bytes] = []

    def asked() -> bool:
        sock.sendto(announce.question(nonce), LOOPBACK)
        wait_for(sock, select.POLLIN, 0.1)
        with suppress(BlockingIOError):
            while True:
                said.append(sock.recv(65_536, socket.MSG_DONTWAIT))
        return any(is_from(data, server) and nonce in data for data in said)

    wait_until(asked, "it answers")
    return said


def keeps_silent(sock: socket.socket, server: Server) -> bool:
    """Does nothing come from a server for a stretch?"""
    said = answered(sock, server)
    while not said and comes_soon(sock, select.POLLIN):
        said = answered(sock, server)
    return not said


# Words.


def test_a_question_is_known_by_every_byte() -> None:
    assert announce.nonce_of(QUESTION) == NONCE
    assert len(QUESTION) == announce.QUESTION_BYTES
    for at in range(len(QUESTION)):
        for byte in (0, 10, ord("g"), 255):
            changed = QUESTION[:at] + bytes([byte]) + QUESTION[at + 1 :]
            assert announce.nonce_of(changed) in (None, NONCE)
            assert (announce.nonce_of(changed) is None) == (changed != QUESTION)
    for data in (b"", QUESTION[:-1], QUESTION + b"\0", QUESTION.rstrip(b"\0"), QUESTION * 2):
        assert announce.nonce_of(data) is None


@given(st.binary(max_size=2 * announce.QUESTION_BYTES))
def test_anything_else_is_no_question(data: bytes) -> None:
    nonce = announce.nonce_of(data)
    assert nonce is None or data == announce.question(nonce)


def announced(**fields: object) -> Announced:
    plain = Announced(socket.AF_INET, "127.0.0.1", 8000, "epoll", "hello/tcp", 1)
    return plain._replace(**fields)  # type: ignore[arg-type]


@given(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=announce.NAME_CHARACTERS),
    st.sampled_from(["hello/tcp", "hello/udp", "http/tcp"]),
    st.integers(1, 65_535),
)
def test_no_answer_is_longer_than_its_question(name: str, protocol: str, port: int) -> None:
    """Who asks in somebody else's name must gain nothing by it."""
    said = announce.answer(NONCE, announced(name=name, protocol=protocol, port=port))
    assert len(said) <= len(QUESTION)
    match = announce.ANSWER.fullmatch(said)
    assert match is not None
    assert match.groups() == (NONCE, name.encode(), protocol.encode(), str(port).encode())
    assert announce.nonce_of(said) is None, "or two servers would ask each other for ever"


@pytest.mark.parametrize("model", catalog.MODELS, ids=lambda model: model.name)
def test_the_names_of_all_servers_can_be_said(model: Model) -> None:
    said = announce.answer(NONCE, announced(name=model.name))
    assert announce.ANSWER.fullmatch(said)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"io-lab 1 here fedcba9876543210 epoll hello/tcp 8000\n",  # another's
        b"io-lab 1 here 0123456789abcdef epoll hello/tcp 65536\n",
        b"io-lab 1 here 0123456789abcdef epoll hello/tcp 0\n",
        b"io-lab 1 here 0123456789abcdef epoll gopher/tcp 8000\n",
        b"io-lab 1 here 0123456789abcdef \x1b[2J hello/tcp 8000\n",
        b"io-lab 1 here 0123456789abcdef epoll hello/tcp 8000\n ",
        b"io-lab 1 here 0123456789abcdef %s hello/tcp 8000\n" % (b"x" * 41),
        QUESTION,
    ],
)
def test_what_is_no_answer_is_not_listed(said: bytes) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        ours.bind(("127.0.0.1", 0))
        ours.settimeout(settings.deadline_s)
        good = announce.answer(NONCE, announced())
        for data in (said, good):
            theirs.sendto(data, ours.getsockname())
        assert discover.take(ours, NONCE) is None
        found = discover.take(ours, NONCE)
        assert found == discover.Found("epoll", "hello/tcp", "127.0.0.1", 8000)


# How often.


class Clock:
    """Goes as the test says."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_some_answers_at_once_and_then_so_many_a_second() -> None:
    clock = Clock()
    may_answer = announce.rate_limit(clock)
    assert [may_answer() for _ in range(1000)].count(True) == announce.BURST
    clock.now_s += 1 / announce.ANSWERS_PER_S
    assert [may_answer() for _ in range(3)] == [True, False, False]
    clock.now_s += 3600
    assert [may_answer() for _ in range(1000)].count(True) == announce.BURST


@given(st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_in_no_stretch_of_time_are_there_more(pauses_s: list[float]) -> None:
    clock = Clock()
    may_answer = announce.rate_limit(clock)
    answered_s = []
    for pause_s in pauses_s:
        clock.now_s += pause_s
        if may_answer():
            answered_s.append(clock.now_s)
    for first, start_s in enumerate(answered_s):
        for last, end_s in enumerate(answered_s[first:], first):
            most = announce.BURST + announce.ANSWERS_PER_S * (end_s - start_s)
            assert last - first + 1 <= most + 1e-6


# To whom.

HERE, ELSEWHERE = True, False
ETHERNET, OTHER = 2, 3


@pytest.mark.parametrize(
    ("home", "interface", "hops", "is_here", "concerned"),
    [
        (announce.LOOPBACK_INDEX, announce.LOOPBACK_INDEX, 255, HERE, True),
        (announce.LOOPBACK_INDEX, ETHERNET, 255, HERE, True),
        (announce.LOOPBACK_INDEX, ETHERNET, 255, ELSEWHERE, False),
        (0, announce.LOOPBACK_INDEX, 255, HERE, True),
        (0, ETHERNET, 255, ELSEWHERE, True),
        (ETHERNET, ETHERNET, 255, ELSEWHERE, True),
        (ETHERNET, ETHERNET, 255, HERE, True),
        (ETHERNET, OTHER, 255, ELSEWHERE, False),
        (0, ETHERNET, 254, ELSEWHERE, False),
        (ETHERNET, ETHERNET, 64, ELSEWHERE, False),
        (0, ETHERNET, 0, ELSEWHERE, False),  # the kernel did not say
    ],
)
def test_who_can_reach_a_server_is_told(
    home: int, interface: int, hops: int, is_here: bool, concerned: bool
) -> None:
    heard = Heard(QUESTION, ("192.0.2.1", 40_000), interface, hops)
    assert announce.concerns(announced(home=home), heard, is_here) is concerned


def test_the_kernel_is_asked_which_addresses_there_are() -> None:
    found = announce.interfaces()
    assert found["127.0.0.1"] == announce.LOOPBACK_INDEX
    numbers = {number for number, _ in socket.if_nameindex()}
    assert set(found.values()) <= numbers


# Real servers, over the loopback interface.


def test_is_found_where_it_listens(start: Start, model: Model) -> None:
    server = start("--announce")
    port = server.address[1]
    rows: list[dict[str, object]] = []

    def found() -> bool:
        result = run("--json", "--wait", "0.3", "--interface", "lo")
        rows[:] = [row for row in json.loads(result.stdout) if row["port"] == port]
        return bool(rows)

    wait_until(found, "it is found")
    name = model.name if "-m servers" in settings.command else rows[0]["name"]
    assert rows == [{"name": name, "protocol": "hello/tcp", "host": "127.0.0.1", "port": port}]
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def announcers(server: Server) -> set[int]:
    """Those of a server's processes that were started by nobody who is still there."""
    family = {server.pid}
    found = set()
    for pid in members(server.pid, living=True):
        columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if pid not in family and int(columns[1]) not in members(server.pid):
            found.add(pid)
    return found


def test_goes_on_without_whoever_announces_it(start: Start) -> None:
    """Servers that bury their workers and hire others do not take it for one of them."""
    server = start("--announce")
    (pid,) = announcers(server)
    before = set(server.pids()) - {pid}
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in members(server.pid, living=True), "it has gone")
    assert server.greeted().ask(b"world") == b"Hello, world!\n"
    assert before <= set(server.pids())


# One server stands for all from here on: what differs is not theirs.

plain = pytest.mark.parametrize(
    "model", [catalog.find("epoll")], ids=lambda model: model.name, indirect=True
)


@plain
def test_says_nothing_unless_it_was_told_to(start: Start, sock: socket.socket) -> None:
    """While another one that was told to answers again and again."""
    server, other = start(), start("--announce")
    said = []
    for _ in range(announce.BURST):
        said += heard_until(sock, other, NONCE)
    assert not [data for data in said if is_from(data, server)]
    assert keeps_silent(sock, server)


@plain
def test_an_answer_multiplies_nothing(start: Start, sock: socket.socket) -> None:
    server = start("--announce")
    questions = (announce.question(b"%016x" % number) for number in itertools.count())
    said = asked_until_answered(sock, server, questions)
    while comes_soon(sock, select.POLLIN):
        said.extend(answered(sock, server))
    assert all(len(data) <= len(QUESTION) for data in said)
    answered_to = [data.split()[3] for data in said]
    assert len(answered_to) == len(set(answered_to)), "one question, one answer"


JUNK = {
    "nothing": b"",
    "too short": QUESTION[:-1],
    "too long": QUESTION + b"\0",
    "very long": QUESTION.ljust(60_000, b"\0"),
    "not padded": QUESTION.rstrip(b"\0"),
    "padded otherwise": QUESTION.replace(b"\0", b" "),
    "another version": QUESTION.replace(b" 1 ", b" 2 "),
    "capitals": QUESTION.upper(),
    "no nonce": QUESTION.replace(NONCE, b" " * 16),
    "an answer": announce.answer(NONCE, announced()).ljust(len(QUESTION), b"\0"),
}


@plain
def test_what_is_no_question_gets_no_answer(start: Start, sock: socket.socket) -> None:
    server = start("--announce")
    answers(sock, server)
    for data in JUNK.values():
        sock.sendto(data, LOOPBACK)
    # One comes after the other: when it has answered this one, it has heard all before.
    said = [data for data in heard_until(sock, server, LAST) if is_from(data, server)]
    assert {data.split()[3] for data in said} <= {NONCE, LAST}
    assert not [data for data in said if NONCE in data][1:], "of those before at most one is late"


@plain
def test_what_came_through_a_router_gets_no_answer(start: Start, sock: socket.socket) -> None:
    server = start("--announce")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ROUTED)
    for _ in range(3):
        sock.sendto(QUESTION, LOOPBACK)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, announce.HOPS)
    said = [data for data in heard_until(sock, server, LAST) if is_from(data, server)]
    assert {data.split()[3] for data in said} == {LAST}


def flood(sock: socket.socket, server: Server, to: tuple[str, int]) -> None:
    """Ask a thousand times, and count."""
    began = time.monotonic()
    said = []
    for number in range(1000):
        sock.sendto(QUESTION, to)
        if number % 50 == 0:
            wait_for(sock, select.POLLIN, 0.01)  # it can keep up
            said += answered(sock, server)
    while comes_soon(sock, select.POLLIN):
        said += answered(sock, server)
    most = announce.BURST + announce.ANSWERS_PER_S * (time.monotonic() - began)
    assert 0 < len(said) <= most


@plain
def test_a_flood_of_questions_gets_few_answers(start: Start, sock: socket.socket) -> None:
    server = start("--announce")
    answers(sock, server)
    flood(sock, server, LOOPBACK)
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


@plain
def test_is_not_announced_longer_than_it_lives(start: Start) -> None:
    server = start("--announce")
    assert announcers(server)
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not members(server.pid, living=True), "nothing of it is left")


@plain
def test_several_on_a_host_all_hear_a_question(start: Start) -> None:
    servers = [start("--announce") for _ in range(3)]
    ports = {server.address[1] for server in servers}

    def found() -> bool:
        result = run("--json", "--wait", "0.3")
        return ports <= {row["port"] for row in json.loads(result.stdout)}

    wait_until(found, "all of them are found")


@plain
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "::ffff:127.0.0.1"])
def test_who_asks_on_the_same_host_is_told_of_one_address(start: Start, host: str) -> None:
    server = start("--announce", "--host", host)
    port = server.address[1]
    found: list[str] = []

    def heard() -> bool:
        rows = json.loads(run("--json", "--wait", "0.5").stdout)
        found[:] = [row["host"] for row in rows if row["port"] == port]
        return bool(found)

    wait_until(heard, "it is found")
    assert found == ["::1" if host in ("::", "::1") else "127.0.0.1"]


@plain
def test_a_table_for_people(start: Start) -> None:
    server = start("--announce")
    row = f"epoll  hello/tcp  127.0.0.1:{server.address[1]}"

    def found() -> bool:
        lines = run("--wait", "0.3", "--interface", "lo").stdout.splitlines()
        return row in [" ".join(line.split()).replace(" ", "  ") for line in lines]

    wait_until(found, "it is listed")


# The command line.


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--wait", "0"], "0.1 to 60"),
        (["--wait", "-1"], "0.1 to 60"),
        (["--wait", "nan"], "0.1 to 60"),
        (["--wait", "inf"], "0.1 to 60"),
        (["--wait", "1e3"], "0.1 to 60"),
        (["--wait", "soon"], "soon"),
        (["--interface", "nosuch0"], "nosuch0"),
        (["--interface", "a name much longer than an interface may have"], "much longer"),
        (["--interface", ""], "''"),
        (["surplus"], "surplus"),
    ],
)
def test_wrong_command_line(arguments: list[str], word: str) -> None:
    result = run(*arguments)
    expect_error(result, 2, word)
    assert not result.stdout


def test_a_unix_socket_is_not_announced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    result = subprocess.run(
        [sys.executable, "-m", "servers", "epoll", "--announce", "--unix", str(path)],
        cwd=harness.ROOT,
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )
    if "unrecognized arguments: --unix" in result.stderr:
        pytest.skip("these servers know no Unix sockets")
    expect_error(result, 2, "--announce", "--unix")
    assert not path.exists()


def test_a_port_that_is_not_shared_is_reported() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(LOOPBACK)
        except OSError:
            pytest.skip("somebody on this host announces a server")
        result = subprocess.run(
            [sys.executable, "-m", "servers", "epoll", "--announce"],
            cwd=harness.ROOT,
            capture_output=True,
            text=True,
            timeout=settings.deadline_s,
        )
    expect_error(result, 1, "cannot announce", os.strerror(98))
    assert not result.stdout


# A network of namespaces.


@dataclasses.dataclass(frozen=True)
class Network:
    """Hosts on one bridge; each is a namespace, whose interface is `eth0`."""

    hosts: tuple[str, ...]

    def within(self, host: int) -> tuple[str, ...]:
        """What stands before a command that is run there."""
        return ("ip", "netns", "exec", self.hosts[host])

    def address(self, host: int) -> str:
        """On the bridge (RFC 5737: nobody's)."""
        return f"198.51.100.{host + 1}"

    def inside(self, host: int) -> str:
        """Of a second link, between the first two hosts only."""
        return f"203.0.113.{host + 1}"

    def ip(self, host: int, *words: str) -> str:
        """`ip ...` there."""
        return ip("-n", self.hosts[host], *words)

    def found(self, host: int, *options: str) -> list[tuple[str, int]]:
        """The addresses and ports of the servers that are found from a host."""
        result = run("--json", "--wait", "0.5", *options, within=self.within(host))
        return [(row["host"], row["port"]) for row in json.loads(result.stdout)]

    def found_at_last(self, host: int, number: int) -> list[tuple[str, int]]:
        """The first list of so many: a busy machine may answer one question late, and not the
        next."""
        lists: list[list[tuple[str, int]]] = []

        def enough() -> bool:
            lists.append(self.found(host))
            return len(lists[-1]) >= number

        wait_until(enough, f"{number} are found")
        return lists[-1]


def ip(*words: str) -> str:
    """`ip ...`. Raises CalledProcessError."""
    return subprocess.run(
        ["ip", *words], check=True, capture_output=True, text=True, timeout=settings.deadline_s
    ).stdout


@pytest.fixture
def network() -> Iterator[Network]:
    """Three hosts on a bridge, which is in a namespace of its own: whose names say whose they
    are, and with which all links go."""
    if shutil.which("ip") is None:
        pytest.skip("there is no ip (iproute2) to make a network with")
    names = [f"iolab{os.getpid()}{letter}" for letter in "abcx"]
    *hosts, hub = names
    made = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("-n", hub, "link", "add", "bridge0", "type", "bridge")
            ip("-n", hub, "link", "set", "bridge0", "up")
            for number, host in enumerate(hosts):
                peer = ("peer", "name", f"port{number}", "netns", hub)
                ip("-n", host, "link", "add", "eth0", "type", "veth", *peer)
                ip("-n", hub, "link", "set", f"port{number}", "master", "bridge0", "up")
                ip("-n", host, "addr", "add", f"198.51.100.{number + 1}/24", "dev", "eth0")
                ip("-n", host, "link", "set", "eth0", "up")
            peer = ("peer", "name", "eth1", "netns", hosts[1])
            ip("-n", hosts[0], "link", "add", "eth1", "type", "veth", *peer)
            for number, host in enumerate(hosts[:2]):
                ip("-n", host, "addr", "add", f"203.0.113.{number + 1}/24", "dev", "eth1")
                ip("-n", host, "link", "set", "eth1", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network can be made here: {error.stderr.strip()}")
        yield Network(tuple(hosts))
    finally:
        for name in made:
            ip("netns", "delete", name)


@contextmanager
def on(network: Network, host: int) -> Iterator[None]:
    """Servers that are started meanwhile are on that host."""
    command = settings.command
    settings.command = " ".join((*network.within(host), command))
    try:
        yield
    finally:
        settings.command = command


@plain
def test_two_hosts_are_found_from_a_third(start: Start, network: Network) -> None:
    expected = []
    for host in (0, 1):
        with on(network, host):
            server = start("--announce", "--host", "0.0.0.0")
            start("--host", "0.0.0.0")  # which nobody told to answer
            start("--announce")  # which can be reached from its own host only
            expected.append((network.address(host), server.address[1]))
    assert network.found_at_last(2, len(expected)) == expected


@plain
def test_who_listens_on_loopback_is_found_on_its_host_only(start: Start, network: Network) -> None:
    with on(network, 0):
        server = start("--announce")
    there = ("127.0.0.1", server.address[1])
    wait_until(lambda: network.found(0) == [there], "it is found where it is")
    assert network.found(1) == network.found(2) == []


@plain
def test_over_ipv6(start: Start, network: Network) -> None:
    for host in (0, 1, 2):
        wait_until(
            lambda host=host: "tentative" not in network.ip(host, "-6", "addr"),
            "its addresses are its own (RFC 4862, 5.4)",
        )
    with on(network, 0):
        server = start("--announce", "--host", "::")
        start("--announce", "--host", "::1")
        start("--host", "::")
    port = server.address[1]
    (v4, v4_port), (v6, v6_port) = network.found_at_last(2, 2)  # once in each family
    assert (v4, v4_port, v6_port) == (network.address(0), port, port)
    assert v6.startswith("fe80::")
    assert v6.endswith("%eth0")
    ask = "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])));"
    greeting = subprocess.run(
        [*network.within(2), sys.executable, "-c", ask + "print(s.recv(9))", v6, str(port)],
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )
    assert greeting.stdout == "b'Welcome!\\n'\n", greeting.stderr


@plain
def test_is_announced_on_the_link_of_its_address(start: Start, network: Network) -> None:
    """The first two hosts have two links; one address belongs to one of them."""
    with on(network, 0):
        bound = start("--announce", "--host", network.inside(0)).address[1]
        anywhere = start("--announce", "--host", "0.0.0.0").address[1]
    wait_until(
        lambda: (
            network.found(1, "--interface", "eth1")
            == [(network.inside(0), port) for port in sorted((bound, anywhere))]
        ),
        "both are found where both can be reached",
    )
    wait_until(
        lambda: network.found(1, "--interface", "eth0") == [(network.address(0), anywhere)],
        "one is found through the bridge",
    )
    assert network.found_at_last(2, 1) == [(network.address(0), anywhere)]


@plain
def test_a_flood_through_a_network_gets_few_answers(start: Start, network: Network) -> None:
    with on(network, 0):
        server = start("--announce", "--host", "0.0.0.0")
    wait_until(lambda: network.found(2), "it answers")
    code = (
        "import socket, sys, time, select; sys.path[:0] = ['tests'];"
        "from servers import announce;"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1);"
        "s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255);"
        "began = time.monotonic(); q = announce.question(b'0' * 16);"
        "[s.sendto(q, ('198.51.100.255', announce.PORT)) for _ in range(1000)];"
        "n = 0\n"
        "while select.select([s], [], [], 0.5)[0]: s.recv(200); n += 1\n"
        "print(n, announce.BURST + announce.ANSWERS_PER_S * (time.monotonic() - began))"
    )
    result = subprocess.run(
        [*network.within(2), sys.executable, "-c", code],
        cwd=harness.ROOT,
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )
    count, most = map(float, result.stdout.split())
    assert 0 < count <= most
    assert server.log() == ""


def test_an_interface_that_is_down_is_named(network: Network) -> None:
    network.ip(2, "link", "set", "eth0", "down")
    result = run("--interface", "eth0", within=network.within(2))
    expect_error(result, 2, "eth0 is down")
    assert not result.stdout
    assert network.found(2) == [], "the others are asked all the same"


def test_nobody_answers(network: Network) -> None:
    result = run("--wait", "0.2", within=network.within(2))
    expect_error(result, 1, "no server answered within 0.2 s on lo, eth0")
    assert not result.stdout
    network.ip(2, "link", "set", "eth0", "down")
    network.ip(2, "link", "set", "lo", "down")
    result = run("--wait", "0.2", within=network.within(2))
    expect_error(result, 1, "no interface is up")
