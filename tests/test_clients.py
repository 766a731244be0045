"""Clients that connect, and the thread that drives them: what becomes of them when things fail."""

import errno
import os
import socket
import threading

import pytest
import stubs
from stubs import Stub

from loadgen.clients import clients
from loadgen.engine import requests
from loadgen.engine.syscalls import Int64s

HERE = frozenset(os.sched_getaffinity(0))
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    requests.compile()


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
def test_clients_are_connected_and_greeted(host: str) -> None:
    with Stub(host=host) as stub, clients.connected((host, stub.port), 5) as found:
        assert [sock.getpeername()[:2] for sock in found.socks] == [(host, stub.port)] * 5
        assert (found.greeting_ns > 0).all()
        assert found.failed == {}


def test_groups_connect_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "CONNECT_AT_ONCE", 3)
    with Stub() as stub, clients.connected((LOOPBACK, stub.port), 7) as found:
        assert len(found.socks) == len(found.greeting_ns) == 7


def test_no_clients() -> None:
    with Stub() as stub, clients.connected((LOOPBACK, stub.port), 0) as found:
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
        with clients.connected((LOOPBACK, stub.port), 3) as found:
            assert found.failed == {"EADDRNOTAVAIL": 1}
            assert len(found.socks) == len(found.greeting_ns) == 2
    assert [sock.fileno() for sock in tried] == [-1] * 3


def test_nobody_listening_is_named() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    with clients.connected((LOOPBACK, port), 2) as found:
        assert found.failed == {"ECONNREFUSED": 2}


def test_who_waits_for_a_greeting_is_counted() -> None:
    with (
        Stub(greeting=b"Welc") as stub,
        clients.connected((LOOPBACK, stub.port), 2, greeting_s=0.0) as found,
    ):
        assert found.failed == {"waiting for the greeting": 2}


def test_a_name_is_not_looked_up() -> None:
    with pytest.raises(OSError, match="not known"), clients.connected(("localhost", 1), 1):
        pass


# ------------------------------------------------------------------------------- the driving thread


def until_stopped(stop: Int64s) -> str:
    deadline = threading.Event()
    for _ in range(round(stubs.DEADLINE_S * 100)):
        if stop[0]:
            return "stopped"
        deadline.wait(0.01)
    return "ran on"


def test_work_is_done_on_its_cpus_and_told_of() -> None:
    cpu = frozenset([max(HERE)])
    seen: list[bool] = []
    found = clients.on_cpus(
        cpu,
        lambda stop: os.sched_getaffinity(0),
        lambda ended: seen.append(ended.wait(stubs.DEADLINE_S)),
    )
    assert found == cpu
    assert seen == [True]
    assert os.sched_getaffinity(0) == HERE


@pytest.mark.parametrize("cpus", [HERE, frozenset([10_000])], ids=["work", "pinning"])
def test_what_fails_in_the_thread_fails_here(cpus: frozenset[int]) -> None:
    """Even before any work: whoever waits for the end must not wait for ever."""
    ended_in_time: list[bool] = []

    def work(stop: Int64s) -> None:
        raise OSError("no such luck")

    with pytest.raises(OSError, match=r"luck|Invalid argument"):
        clients.on_cpus(cpus, work, lambda e: ended_in_time.append(e.wait(stubs.DEADLINE_S)))
    assert ended_in_time == [True]


def test_an_interrupt_stops_the_work_and_waits_for_it() -> None:
    ends: list[str] = []

    def interrupted(ended: threading.Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clients.on_cpus(HERE, lambda stop: ends.append(until_stopped(stop)), interrupted)
    assert ends == ["stopped"]


def test_an_interrupt_while_the_thread_is_started_stops_the_work_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends: list[str] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clients.on_cpus(HERE, lambda stop: ends.append(until_stopped(stop)), lambda _: None)
    assert ends == ["stopped"]


def test_a_thread_that_cannot_be_started_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="can't start"):
        clients.on_cpus(HERE, lambda stop: None, lambda _: None)
