"""The loop that connects anew for every request: what it holds, counts and refuses."""

import itertools
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
import stubs
from harness import settings
from stubs import Stub

from loadgen.engine import churn
from loadgen.engine.samples import CLOSED, Outcome, error_name
from loadgen.workload.load import Load

pytestmark = pytest.mark.measures


def conversation(number: int, line: bytes) -> Iterator[bytes]:
    if line == b"exit":
        raise ConnectionAbortedError
    yield stubs.answer(line)


def test_the_window_is_empty_when_the_record_is_full_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Room for one conversation per slot."""
    monkeypatch.setattr(churn, "_MAX_PER_S", 0)
    load = Load(connections=3, warmup_s=stubs.DEADLINE_S)
    with Stub(conversation) as stub:
        samples = churn.drive(("127.0.0.1", stub.port), load).samples
    assert samples.full
    assert len(samples.outcome) == 3
    assert samples.window_end_ns >= samples.window_start_ns
    assert not samples.in_window.any()


class Visitors:
    """A server that takes one client after the other, and counts what each did.

    behave   from the number of the client (the first is 0) and its line to what it is told after
             the greeting; None: closed without a greeting
    """

    def __init__(self, behave: Callable[[int, bytes], bytes] | None) -> None:
        self.lines: list[bytes] = []
        self.addresses: list[str] = []
        self.closed_first = 0
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # accept() ends with an error
        self._thread.join(settings.deadline_s)
        self._listener.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        for number in itertools.count():
            try:
                client, (host, _) = self._listener.accept()
            except OSError:
                return
            with client, suppress(ConnectionError):
                client.settimeout(settings.deadline_s)
                self.addresses.append(host)
                if self._behave is None:
                    continue
                client.sendall(b"Welcome!\n")
                said = b""
                while not said.endswith(b"exit\n") and (piece := client.recv(4096)):
                    said += piece
                if not said:
                    continue
                line, _, rest = said.partition(b"\n")
                assert rest == b"exit\n"
                self.lines.append(line)
                client.sendall(self._behave(number, line))
                client.shutdown(socket.SHUT_WR)
                self.closed_first += client.recv(1) == b""


def greet_and_answer(_: int, line: bytes) -> bytes:
    return b"Hello, " + line + b"!\n"


def churned(
    behave: Callable[[int, bytes], bytes] | None, **changes: Any
) -> tuple[Visitors, churn.Churn]:
    load = {"warmup_s": 0.0, "duration_s": 0.15, "drain_s": settings.deadline_s, **changes}
    churn.compile()
    with Visitors(behave) as server:
        held = churn.drive(server.address, Load(**load), spin=False)
    return server, held


@pytest.mark.parametrize("slots", [1, 7])
def test_churn_holds_whole_conversations_and_the_server_counts_the_same(slots: int) -> None:
    server, held = churned(greet_and_answer, connections=slots)

    drive = held.samples
    assert len(drive.outcome) == len(server.lines) == server.closed_first > slots
    assert (drive.outcome == Outcome.OK).all()
    assert len(set(server.lines)) == len(server.lines), "every line is another one"
    assert {len(line) for line in server.lines} == {Load().message_bytes - 1}
    # The kernel begins to stamp a moment after it was asked to.
    assert drive.unstamped < len(drive.outcome)
    assert (drive.sent_ns < held.greeted_ns).all()
    assert (held.greeted_ns < drive.arrived_ns).all()
    assert (drive.arrived_ns <= drive.read_ns).all()
    at_once = np.unique(drive.connection)
    assert at_once.tolist() == list(range(slots))


def test_churn_comes_from_many_addresses_so_that_ports_are_not_the_limit() -> None:
    server, held = churned(greet_and_answer, connections=4)

    counts = Counter(server.addresses)
    assert len(counts) == min(250, len(held.samples.outcome))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(address.startswith("127.2.0.") for address in counts)


def test_a_wrong_answer_is_counted_as_such_and_no_other() -> None:
    def third_is_wrong(number: int, line: bytes) -> bytes:
        answer = greet_and_answer(number, line)
        return answer.replace(b"Hello", b"Hallo") if number % 3 == 2 else answer

    server, held = churned(third_is_wrong)

    expected = [Outcome.MISMATCHED if n % 3 == 2 else Outcome.OK for n in range(len(server.lines))]
    assert held.samples.outcome.tolist() == expected
    assert Outcome.MISMATCHED in expected


@pytest.mark.parametrize(
    ("behave", "outcome", "error"),
    [
        (lambda n, line: greet_and_answer(n, line) + b"x", Outcome.MISMATCHED, 0),
        (lambda n, line: greet_and_answer(n, line)[:-1], Outcome.ERROR, CLOSED),
        (None, Outcome.ERROR, CLOSED),
    ],
    ids=["too much", "too little", "no greeting"],
)
def test_what_ends_otherwise_is_not_ok(
    behave: Callable[[int, bytes], bytes] | None, outcome: Outcome, error: int
) -> None:
    _, held = churned(behave)

    assert len(held.samples.outcome) > 0
    assert set(held.samples.outcome.tolist()) == {outcome}
    assert set(held.samples.errors.tolist()) == {error}


def test_where_nobody_listens_every_conversation_is_an_error_and_it_ends_in_time() -> None:
    churn.compile()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        load = Load(connections=3, warmup_s=0, duration_s=0.02)
        held = churn.drive(silent.getsockname(), load)

    assert {error_name(code) for code in held.samples.errors.tolist()} == {"ECONNREFUSED"}
    assert set(held.samples.outcome.tolist()) == {Outcome.ERROR}


def test_a_server_that_never_greets_times_everything_out_and_is_left_in_time() -> None:
    churn.compile()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        load = Load(connections=3, warmup_s=0, duration_s=0.02, drain_s=0.02)
        held = churn.drive(silent.getsockname(), load)

    assert held.samples.outcome.tolist() == [Outcome.TIMED_OUT] * 3


def test_churn_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="no address that churn knows"):
        churn.drive(("localhost", 1), Load())
    with pytest.raises(ValueError, match="a path of 108 bytes"):
        churn.drive("/" * 108, Load())
    with pytest.raises(ValueError, match="message_bytes is 5000"):
        churn.drive(("127.0.0.1", 1), Load(message_bytes=5000))
