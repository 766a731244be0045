"""Measured clients connect and are greeted; what becomes of them when things fail."""

import errno
import socket
import threading
import time

import pytest
from stubs import DEADLINE_S, Stub

from loadgen.clients import connect
from loadgen.clients.connect import connected
from loadgen.engine import requests
from loadgen.target.address import Address
from servers.protocol import GREETING

pytestmark = pytest.mark.measures

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    requests.compile()


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
def test_clients_are_connected_and_greeted(host: str) -> None:
    with Stub(host=host) as stub, connected(Address(host, stub.port), 5) as found:
        assert [sock.getpeername()[:2] for sock in found.socks] == [(host, stub.port)] * 5
        assert (found.greeting_ns > 0).all()
        assert found.failed == {}


def test_groups_connect_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "CONNECT_AT_ONCE", 3)
    with Stub() as stub, connected(Address(LOOPBACK, stub.port), 7) as found:
        assert len(found.socks) == len(found.greeting_ns) == 7


def test_no_clients() -> None:
    with Stub() as stub, connected(Address(LOOPBACK, stub.port), 0) as found:
        assert found.socks == []
        assert found.greeting_ns.tolist() == []


def test_who_cannot_connect_is_named_by_the_reason_and_the_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Out of ports: connect(2) says so, a later recv(2) would only know ENOTCONN."""
    connect_ex = socket.socket.connect_ex
    tried: list[socket.socket] = []

    def second_finds_no_port(sock: socket.socket, address: tuple[str, int]) -> int:
        tried.append(sock)
        return errno.EADDRNOTAVAIL if len(tried) == 2 else connect_ex(sock, address)

    with Stub() as stub:
        monkeypatch.setattr(socket.socket, "connect_ex", second_finds_no_port)
        with connected(Address(LOOPBACK, stub.port), 3) as found:
            assert found.failed == {"EADDRNOTAVAIL": 1}
            assert len(found.socks) == len(found.greeting_ns) == 2
    assert [sock.fileno() for sock in tried] == [-1] * 3


def test_nobody_listening_is_named() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    with connected(Address(LOOPBACK, port), 2) as found:
        assert found.failed == {"ECONNREFUSED": 2}


def test_who_waits_for_a_greeting_is_counted() -> None:
    with (
        Stub(greeting=b"Welc") as stub,
        connected(Address(LOOPBACK, stub.port), 2, greeting_s=0.0) as found,
    ):
        assert found.failed == {"waiting for the greeting": 2}


def test_nobody_is_waited_for_who_cannot_be_greeted() -> None:
    """The server takes one client and leaves the others in its backlog, for ever."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        taken: list[socket.socket] = []

        def greet_one() -> None:
            taken.append(listener.accept()[0])
            taken[0].sendall(GREETING)

        thread = threading.Thread(target=greet_one)
        thread.start()
        started = time.monotonic()
        address = Address(LOOPBACK, listener.getsockname()[1])
        with connected(address, 3, greeting_s=DEADLINE_S, enough=1) as found:
            assert time.monotonic() - started < DEADLINE_S / 2
            assert len(found.socks) == 1
            assert found.failed == {"waiting for the greeting": 2}
        thread.join()
        taken[0].close()


def test_a_name_is_not_looked_up() -> None:
    with pytest.raises(OSError, match="not known"), connected(Address("localhost", 1), 1):
        pass


@pytest.mark.parametrize(("default", "asked"), [(b"bbr", [b"reno"]), (b"cubic", [])])
def test_clients_do_not_pace_what_they_send(default: bytes, asked: list[bytes]) -> None:
    found: list[bytes] = []

    class Sock:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_CONGESTION)
            return default.ljust(size, b"\0")

        def setsockopt(self, level: int, option: int, value: bytes) -> None:
            found.append(value)
            raise PermissionError

    connect.do_not_pace(Sock())  # type: ignore[arg-type]
    assert found == asked


def test_no_connected_client_is_paced() -> None:
    with Stub() as stub, connected(Address(LOOPBACK, stub.port), 1) as found:
        how = found.socks[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert not how.startswith(connect.PACED)
