"""Clients of every kind reach a server over IPv4, IPv6 and a Unix-domain socket, and speak hello or
HTTP with it."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stubs
from driving import check_invariants, closed_loop, count, open_loop, tag
from stubs import DEADLINE_S, HTTP, Stub

from loadgen.clients import background, onlookers, scripted
from loadgen.clients.connect import connected, kernel_stamps
from loadgen.clients.scripted import ConversationError
from loadgen.engine import churn, requests
from loadgen.engine.samples import CLOSED, Outcome, Samples
from loadgen.machine.cpus import choose_pinning
from loadgen.target.address import Address
from loadgen.workload.load import Load, Protocol

pytestmark = pytest.mark.measures

CPUS = set(choose_pinning().generator)
TRANSPORTS = ("ipv4", "ipv6", "unix")
PROTOCOLS: tuple[Protocol, ...] = ("hello", "http")


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Iterator[None]:
    requests.compile()
    churn.compile()
    with kernel_stamps():
        yield


def stub(transport: str, folder: Path, protocol: Protocol = "hello", **changes: Any) -> Stub:
    where: dict[str, Any] = {
        "ipv4": {},
        "ipv6": {"host": "::1"},
        "unix": {"path": folder / "socket"},
    }[transport]
    speaks: dict[str, Any] = HTTP if protocol == "http" else {}
    return Stub(**{**where, **speaks, **changes})


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_requests_are_answered_and_compared(
    transport: str, protocol: Protocol, tmp_path: Path
) -> None:
    with (
        stub(transport, tmp_path, protocol) as server,
        connected(server.address, 3, protocol=protocol) as found,
    ):
        assert (found.failed, len(found.socks)) == ({}, 3)
        assert (found.greeting_ns > 0).all()
        fds = [sock.fileno() for sock in found.socks]
        result = requests.drive(fds, closed_loop(3, protocol=protocol))

    check_invariants(result)
    assert count(result) == {"OK": len(server.served)}
    assert len(server.served) > 30
    if transport == "unix":
        assert result.unstamped == len(server.served)
        assert (result.arrived_ns == result.read_ns).all()
        assert not len(result.send_path_ns)
    else:
        assert not result.unstamped


def test_every_request_over_http_has_a_tag_of_its_own(tmp_path: Path) -> None:
    with (
        stub("ipv4", tmp_path, "http") as server,
        connected(server.address, 2, protocol="http") as found,
    ):
        fds = [sock.fileno() for sock in found.socks]
        load = open_loop(2, offered_per_s=500.0, protocol="http", message_bytes=100)
        requests.drive(fds, load)
    names = [served.line.split(b" ")[1].removeprefix(b"/?") for served in server.served]
    assert sorted(map(tag, names)) == list(range(len(names)))
    assert {len(name) for name in names} == {99}


def driven(folder: Path, behaviour: stubs.Behaviour, **load: Any) -> Samples:
    """Over HTTP, against a stub that answers as it likes."""
    with (
        stub("ipv4", folder, "http", behaviour=behaviour) as server,
        connected(server.address, 1, protocol="http") as found,
    ):
        result = requests.drive([found.socks[0].fileno()], closed_loop(1, protocol="http", **load))
    check_invariants(result)
    return result


@pytest.mark.parametrize("message_bytes", [16, 200_000])
def test_any_byte_over_http_that_is_wrong_is_noticed_but_for_those_of_the_date(
    message_bytes: int, tmp_path: Path
) -> None:
    """One byte of each answer is another one, at a place that moves along; pieces end anywhere."""
    places: list[int] = []
    size = len(stubs.http_answer(b"GET /?" + b"x" * (message_bytes - 1) + b" "))
    step = 1 if size < 1000 else size // 211

    def behave(number: int, head: bytes) -> Iterator[bytes]:
        text = bytearray(stubs.http_answer(head))
        place = (number * step) % len(text)
        places.append(place)
        text[place] ^= 1
        cut = (number * 7) % len(text)
        yield bytes(text[:cut])
        yield bytes(text[cut:])

    result = driven(tmp_path, behave, message_bytes=message_bytes, duration_s=0.5)

    head = stubs.http_answer(b"GET /?" + b"x" * (message_bytes - 1) + b" ")
    date = head.index(b"Date: ") + len(b"Date: ")
    expected = [Outcome.OK if date <= place < date + 29 else Outcome.MISMATCHED for place in places]
    assert result.outcome.tolist() == expected
    assert Outcome.MISMATCHED in expected


def test_an_answer_over_http_that_belongs_to_another_request_is_noticed(tmp_path: Path) -> None:
    heads: list[bytes] = []

    def behave(number: int, head: bytes) -> Iterator[bytes]:
        heads.append(head)
        yield stubs.http_answer(heads[0])

    result = driven(tmp_path, behave)
    assert result.outcome.tolist() == [Outcome.OK] + [Outcome.MISMATCHED] * (len(heads) - 1)
    assert len(heads) > 1


def test_answers_over_http_may_come_in_single_bytes(tmp_path: Path) -> None:
    def behave(number: int, head: bytes) -> Iterator[bytes]:
        for byte in stubs.http_answer(head):
            yield bytes([byte])

    assert count(driven(tmp_path, behave)).keys() == {"OK"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_clients_come_and_go(transport: str, protocol: Protocol, tmp_path: Path) -> None:
    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if line == b"exit":
            raise ConnectionAbortedError
        yield stubs.answer(line)

    changes = {} if protocol == "http" else {"behaviour": behave}
    load = Load(connections=4, warmup_s=0, duration_s=0.2, drain_s=DEADLINE_S, protocol=protocol)
    with stub(transport, tmp_path, protocol, **changes) as server:
        held = churn.drive(server.address.sockaddr, load)
        served = [served.line for served in server.served]

    samples = held.samples
    asked = [line for line in served if line != b"exit"]
    assert len(asked) == len(set(asked)) == len(samples.outcome) > 4
    assert (samples.outcome == Outcome.OK).all()
    assert (samples.sent_ns < held.greeted_ns).all()
    assert (held.greeted_ns < samples.arrived_ns).all()
    assert samples.unstamped == 0 if transport != "unix" else samples.unstamped > 0
    if protocol == "http":
        assert all(b"Connection: close" in line for line in asked)


def kept_open(number: int, head: bytes) -> Iterator[bytes]:
    """Asked to close, and does not."""
    yield stubs.http_answer(head)


def says_more(number: int, head: bytes) -> Iterator[bytes]:
    yield stubs.http_answer(head) + b"x"
    raise ConnectionAbortedError


def says_less(number: int, head: bytes) -> Iterator[bytes]:
    yield stubs.http_answer(head)[:-1]
    raise ConnectionAbortedError


@pytest.mark.parametrize(
    ("behave", "outcome", "error"),
    [
        (kept_open, Outcome.TIMED_OUT, 0),
        (says_more, Outcome.MISMATCHED, 0),
        (says_less, Outcome.ERROR, CLOSED),
    ],
)
def test_a_visit_over_http_that_ends_otherwise_is_not_ok(
    behave: stubs.Behaviour, outcome: Outcome, error: int, tmp_path: Path
) -> None:
    load = Load(connections=2, warmup_s=0, duration_s=0.05, drain_s=0.2, protocol="http")
    with stub("ipv4", tmp_path, "http", behaviour=behave) as server:
        held = churn.drive(server.address.sockaddr, load)
    assert set(held.samples.outcome.tolist()) == {outcome}
    assert set(held.samples.errors.tolist()) == {error}


@pytest.mark.parametrize("transport", ["ipv4", "ipv6"])
def test_a_visit_over_http_where_nobody_listens_is_refused(transport: str, tmp_path: Path) -> None:
    with stub(transport, tmp_path, "http") as server:
        sockaddr = server.address.sockaddr
    load = Load(connections=3, warmup_s=0, duration_s=0.02, protocol="http")
    held = churn.drive(sockaddr, load)
    assert set(held.samples.outcome.tolist()) == {Outcome.ERROR}
    assert not held.greeted_ns.any() or not held.samples.arrived_ns.any()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_silent_clients_are_connected(transport: str, protocol: Protocol, tmp_path: Path) -> None:
    with (
        stub(transport, tmp_path, protocol) as server,
        background.prepare(server.address, 5, cpus=CPUS, protocol=protocol) as clients,
    ):
        assert clients.connect() == (5, {}, 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_silent_clients_that_are_refused_are_counted_as_such(
    protocol: Protocol, tmp_path: Path
) -> None:
    with stub("ipv6", tmp_path, protocol) as server:
        address = server.address
    with background.prepare(address, 2, cpus=CPUS, protocol=protocol) as clients:
        assert clients.connect() == (0, {"ECONNREFUSED": 2}, 0)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_onlookers_see_who_is_greeted(transport: str, tmp_path: Path) -> None:
    with (
        stub(transport, tmp_path) as server,
        onlookers.coming(server.address, 3) as socks,
    ):
        assert onlookers.states(socks, DEADLINE_S) == {"greeted": 3}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_is_verified(transport: str, protocol: Protocol, tmp_path: Path) -> None:
    with stub(transport, tmp_path, protocol, **({} if protocol == "http" else LINES)) as server:
        scripted.verify(server.address, protocol)


def until_exit(number: int, line: bytes) -> Iterator[bytes]:
    if line == b"exit":
        raise ConnectionAbortedError
    yield stubs.answer(line.removesuffix(b"\r"))


LINES: Any = {"behaviour": until_exit}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"200 OK", b"200 Ok"),
        (b"Hello, t", b"Hallo, t"),
        (b"GMT", b"UTC"),
        (b"Date: ", b"date: "),
        (b"Content-Length: ", b"Content-Length:  "),
    ],
)
def test_a_server_that_answers_http_otherwise_is_not_measured(
    old: bytes, new: bytes, tmp_path: Path
) -> None:
    def behave(number: int, head: bytes) -> Iterator[bytes]:
        yield stubs.http_answer(head).replace(old, new)
        if b"Connection: close" in head:
            raise ConnectionAbortedError

    with (
        stub("ipv4", tmp_path, "http", behaviour=behave) as server,
        pytest.raises(ConversationError, match="instead of"),
    ):
        scripted.verify(server.address, "http")


def test_a_server_that_goes_on_after_the_last_answer_is_not_measured(tmp_path: Path) -> None:
    with (
        stub("ipv4", tmp_path, "http", behaviour=says_more) as server,
        pytest.raises(ConversationError, match=r"instead of|after `Connection: close`"),
    ):
        scripted.verify(server.address, "http")


def test_of_a_backlog_only_so_many_count_as_are_served() -> None:
    """The kernel completes a connection whether anybody accepts it or not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
        with connected(address, 3, enough=1, protocol="http") as found:
            assert len(found.socks) == 1
            assert found.failed == {"waiting for the greeting": 2}
            first, _ = listener.accept()
            with first:
                assert first.getpeername() == found.socks[0].getsockname()


def test_the_path_of_a_socket_that_nobody_listens_at_is_named(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "none"))
    with pytest.raises(scripted.UnreachableError, match="nobody listens at unix:"):
        scripted.resolve(address)
