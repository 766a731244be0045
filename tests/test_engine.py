"""The hot loop against servers that do what they should, and against all others."""

import errno
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numba
import numpy as np
import pytest
import stubs
from driving import count, drive, endless, offsets, open_loop, stamping, tag, workload
from stubs import Stub

from loadgen.engine import engine, syscalls
from loadgen.engine.engine import Outcome
from loadgen.engine.syscalls import process_cpu_clock


@pytest.fixture(autouse=True, scope="module")
def _stamping() -> Iterator[None]:
    with stamping():
        yield


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


# ---------------------------------------------------------------- servers that do what they should


@pytest.mark.parametrize("connections", [1, 7])
@pytest.mark.parametrize("message_bytes", [2, 3, 5, 16, 4000])
def test_closed_loop(connections: int, message_bytes: int) -> None:
    with Stub() as stub:
        result = drive(stub, workload(connections, message_bytes=message_bytes))
    assert count(result) == {"OK": len(stub.served)}
    assert {len(request.line) for request in stub.served} == {message_bytes - 1}
    assert b"exit" not in {request.line for request in stub.served}
    assert (result.intended_ns == result.sent_ns).all()
    assert not result.errors.any()
    assert result.unstamped == 0
    assert not result.full
    assert set(result.connection.tolist()) == set(range(connections))
    # One request outstanding per connection: the next is sent when the answer is read.
    for connection in range(connections):
        own = result.connection == connection
        assert (result.sent_ns[own][1:] == result.read_ns[own][:-1]).all()


def test_stamps_enclose_those_of_the_server() -> None:
    """Both take their stamps from one clock, so their order holds for every single request."""
    with Stub(stubs.delayed(200_000)) as stub:
        result = drive(stub, workload())
    received = np.array([request.received_ns for request in stub.served])
    departed = np.array([request.departed_ns for request in stub.served])
    assert (result.sent_ns <= received).all()
    assert (departed <= result.arrived_ns).all()
    assert (result.arrived_ns - result.sent_ns >= 200_000).all()


def test_requests_are_told_apart() -> None:
    with Stub() as stub:
        drive(stub, workload(3))
    lines = [request.line for request in stub.served]
    assert len(set(lines)) == len(lines)


def test_long_messages_need_no_long_buffers() -> None:
    with Stub() as stub:
        result = drive(stub, workload(2, message_bytes=1 << 20), receive_buffer_bytes=16_384)
    assert count(result) == {"OK": len(stub.served)}
    assert {len(request.line) for request in stub.served} == {(1 << 20) - 1}


def test_answers_in_single_bytes() -> None:
    with Stub(stubs.byte_by_byte) as stub:
        result = drive(stub, workload(2))
    assert count(result) == {"OK": len(stub.served)}
    # The stamp is that of the last byte.
    for request in stub.served:
        assert request.departed_ns <= result.arrived_ns[tag(request.line)]


@pytest.mark.parametrize("spin", [True, False])
@pytest.mark.parametrize("connections", [1, 5])
def test_open_loop(connections: int, spin: bool) -> None:
    schedule = offsets(120, 1_000_000)
    with Stub() as stub:
        result = drive(stub, open_loop(connections), schedule, spin=spin)
    assert count(result) == {"OK": 120}
    assert (result.intended_ns - result.intended_ns[0] == schedule).all()
    assert (result.connection == np.arange(120) % connections).all()
    assert result.in_window.sum() == 100
    assert result.window_end_ns - result.window_start_ns == 100_000_000


def test_open_loop_makes_its_own_schedule() -> None:
    load = workload(mode="open", offered_per_s=2000.0, arrivals="poisson", seed=7)
    with Stub() as stub:
        result = drive(stub, load)
    assert count(result) == {"OK": len(stub.served)}
    assert len(result.intended_ns) == pytest.approx(240, abs=5 * 240**0.5)


@pytest.mark.parametrize("connections", [1, 3])
def test_late_requests_are_sent_in_order_and_timed_from_when_they_were_intended(
    connections: int,
) -> None:
    """A schedule that lies in the past: all are late, none is skipped."""
    with Stub() as stub:
        result = drive(stub, open_loop(connections), offsets(3000) - 5_000_000_000)
    assert count(result) == {"OK": 3000}
    assert (result.sent_ns - result.intended_ns >= 5_000_000_000).all()
    assert (np.diff(result.sent_ns) > 0).all()
    response = result.arrived_ns - result.intended_ns
    service, lag = result.arrived_ns - result.sent_ns, result.sent_ns - result.intended_ns
    assert (response == service + lag).all()


def test_requests_queue_on_a_connection_that_is_full() -> None:
    """More than the socket buffers hold: the loop neither waits for the server nor loses any."""
    load = open_loop(1, message_bytes=65_000)
    with Stub() as stub:
        result = drive(stub, load, offsets(300), receive_buffer_bytes=16_384)
    assert count(result) == {"OK": 300}
    assert [tag(request.line) for request in stub.served] == list(range(300))


def test_glued_answers() -> None:
    with Stub(stubs.gluing()) as stub:
        result = drive(stub, open_loop(), offsets(100))
    assert count(result) == {"OK": 100}


def test_greedy_connection_keeps_its_requests_outstanding() -> None:
    """The others keep one: with 20 against one each, they take turns 20 to 1 to 1."""
    with Stub(stubs.delayed(100_000)) as stub:
        result = drive(stub, workload(3, greedy_pipeline=20))
    assert count(result) == {"OK": len(stub.served)}
    outstanding = np.zeros(3, int)
    most = np.zeros(3, int)
    events = [(sent, 1, c) for sent, c in zip(result.sent_ns, result.connection, strict=True)]
    events += [(read, 0, c) for read, c in zip(result.read_ns, result.connection, strict=True)]
    for _, begins, connection in sorted(events):
        outstanding[connection] += 1 if begins else -1
        most[connection] = max(most[connection], outstanding[connection])
    assert most.tolist() == [20, 1, 1]


# ---------------------------------------------------------------------------- servers that do not


def test_corrupted_answers_are_counted_exactly() -> None:
    with Stub(stubs.corrupting(7)) as stub:
        result = drive(stub, open_loop(2), offsets(70))
    assert count(result) == {"OK": 60, "WRONG": 10}


def test_each_byte_of_an_answer_matters() -> None:
    answer_bytes = 16 + 8
    with Stub(stubs.corrupting(1)) as stub:
        result = drive(stub, open_loop(), offsets(answer_bytes))
    assert count(result) == {"WRONG": answer_bytes}


def test_swapped_answers_are_wrong() -> None:
    with Stub(stubs.swapping()) as stub:
        result = drive(stub, open_loop(), offsets(100))
    assert count(result) == {"WRONG": 100}


def test_answers_given_twice_are_wrong() -> None:
    with Stub(stubs.repeating) as stub:
        one = drive(stub, open_loop(), offsets(1))
    assert count(one) == {"WRONG": 1}
    assert one.errors.tolist() == [engine.UNSOLICITED]
    with Stub(stubs.repeating) as stub:
        several = drive(stub, workload(drain_s=0.1))
    assert count(several).get("OK", 0) <= 1


@pytest.mark.parametrize("mode", ["closed", "open"])
@pytest.mark.parametrize("spin", [True, False])
def test_silent_server_cannot_hold_the_loop(mode: str, spin: bool) -> None:
    load = workload(2, drain_s=0.05) if mode == "closed" else open_loop(2, drain_s=0.05)
    started = time.monotonic()
    with Stub(stubs.silent_after(0)) as stub:
        result = drive(stub, load, spin=spin)
    assert time.monotonic() - started < stubs.DEADLINE_S / 2
    assert count(result) == {"UNFINISHED": 2 if mode == "closed" else 120}


def test_server_that_never_reads() -> None:
    load = open_loop(drain_s=0.05, message_bytes=1 << 20)
    with Stub(reads=False) as stub:
        result = drive(stub, load, offsets(50))
    assert count(result) == {"UNFINISHED": 50}
    assert (result.sent_ns > 0).sum() < 50  # the last ones never left
    assert not result.errors.any()


@pytest.mark.parametrize(
    ("how", "error"),
    [(ConnectionAbortedError, engine.CLOSED), (ConnectionResetError, errno.ECONNRESET)],
)
def test_server_that_ends_the_connection(
    how: type[OSError], error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed loop that has no connection left is over, however long its window is."""
    with Stub(stubs.ending_after(10, how)) as stub:
        result = drive(stub, endless(monkeypatch))
    assert count(result) == {"OK": 10, "ERROR": 1}
    assert result.errors.tolist() == [error]


@pytest.mark.parametrize("how", [ConnectionAbortedError, ConnectionResetError])
def test_server_that_ends_the_connection_of_an_open_loop(how: type[OSError]) -> None:
    """What is still due is an error, sent or not. A reset may overtake answers (RFC 9293 3.5.2)."""
    with Stub(stubs.ending_after(10, how)) as stub:
        result = drive(stub, open_loop(), offsets(60, 2_000_000))
    ok = (result.outcome == Outcome.OK).sum()
    assert ok <= 10
    assert result.outcome.tolist() == [Outcome.OK] * ok + [Outcome.ERROR] * (60 - ok)
    assert result.errors[0] in (engine.CLOSED, errno.EPIPE, errno.ECONNRESET)


def test_one_connection_that_ends_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = np.zeros(1, np.int64)

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if number == 30:
            raise ConnectionAbortedError
        if number == 60:
            stop[0] = 1
        yield stubs.answer(line)

    with Stub(behave) as stub:
        result = drive(stub, endless(monkeypatch, 3), stop=stop)
    counts = count(result)
    assert counts["ERROR"] == 1
    # When the stub gets number 60, one request more is outstanding at most.
    assert counts["OK"] >= 57
    assert sorted(result.errors.tolist()) == [engine.CLOSED, 0, 0]


def test_last_words_are_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    last = b"Error: line longer than 8 bytes\n"
    with Stub(stubs.ending_after(3, ConnectionAbortedError, last)) as stub:
        result = drive(stub, endless(monkeypatch))
    assert count(result)["OK"] == 3
    assert count(result)["WRONG"] >= 1


def test_flood() -> None:
    with Stub(stubs.flooding) as stub:
        closed = drive(stub, workload())
    assert set(count(closed)) == {"WRONG"}
    with Stub(stubs.flooding) as stub:
        opened = drive(stub, open_loop(), offsets(50))
    assert count(opened) == {"WRONG": 50}


def test_flood_before_a_long_request_is_sent(closing: ExitStack) -> None:
    """No answer can be right before its request has been sent."""
    load = workload(message_bytes=1 << 20)
    with Stub(greeting=b"Welcome!\n" + b"flood\n" * 10, reads=False) as stub:
        client = closing.enter_context(stub.connect()[0])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        assert engine.greet([client.fileno()], stubs.DEADLINE_S).greeted.all()
        result = engine.drive([client.fileno()], load)
    assert count(result) == {"WRONG": 1}
    assert result.errors.tolist() == [engine.UNSOLICITED]


def test_full_record_ends_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_CLOSED_LOOP_MAX_PER_S", 10)
    with Stub() as stub:
        result = drive(stub, workload(2, warmup_s=0.0, duration_s=stubs.DEADLINE_S))
    assert result.full
    assert count(result) == {"OK": 2 + 10 * stubs.DEADLINE_S}
    assert result.window_end_ns - result.window_start_ns < stubs.DEADLINE_S * 1e9
    assert (result.intended_ns <= result.window_end_ns).all()


def test_stop_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = np.zeros(1, np.int64)

    def stopping(number: int, line: bytes) -> Iterator[bytes]:
        if number == 100:
            stop[0] = 1
        yield stubs.answer(line)

    with Stub(stopping) as stub:
        result = drive(stub, endless(monkeypatch), stop=stop)
    assert not result.full
    assert count(result)["OK"] >= 99
    assert count(result).get("UNFINISHED", 0) <= 1
    assert result.edges.realtime_ns[1] < result.window_end_ns


# ------------------------------------------------------------------------------- edges and clocks


def test_edges() -> None:
    """Each clock by itself: between two of them any time may pass."""
    load = workload(2, warmup_s=0.05, duration_s=0.2)
    before_ns = time.monotonic_ns(), time.thread_time_ns()
    with Stub() as stub:
        result = drive(stub, load, server_clocks=[process_cpu_clock(1 << 22), 2])
    after_ns = time.monotonic_ns(), time.thread_time_ns()
    edges = result.edges
    assert edges.realtime_ns[0] >= result.window_start_ns
    assert edges.realtime_ns[1] >= result.window_end_ns
    for clock_ns, low_ns, high_ns in zip(
        (edges.monotonic_ns, edges.generator_cpu_ns), before_ns, after_ns, strict=True
    ):
        assert low_ns <= clock_ns[0] < clock_ns[1] <= high_ns
    assert 0 < edges.busy_fraction <= 1
    assert edges.server_cpu_ns.shape == (2, 2)
    assert edges.server_cpu_ns[:, 0].tolist() == [-1, -1]  # no such process
    assert np.diff(edges.server_cpu_ns[:, 1])[0] > 0


def test_without_connections_the_window_passes_all_the_same() -> None:
    result = engine.drive([], workload(0), server_clocks=[2])
    assert len(result.outcome) == 0
    assert result.window_end_ns - result.window_start_ns == 100_000_000
    assert result.edges.realtime_ns[0] >= result.window_start_ns
    assert result.edges.realtime_ns[1] >= result.window_end_ns


# -------------------------------------------------------------------------------------- greetings


def test_greetings(closing: ExitStack) -> None:
    with Stub() as stub:
        before_ns = time.time_ns()
        clients = [closing.enter_context(client) for client in stub.connect(20)]
        greetings = engine.greet([client.fileno() for client in clients], stubs.DEADLINE_S)
    assert greetings.greeted.tolist() == [True] * 20
    assert (before_ns <= greetings.arrived_ns).all()
    assert (greetings.arrived_ns <= time.time_ns()).all()
    assert not greetings.errors.any()


@pytest.mark.parametrize(
    ("greeting", "code", "word"),
    [
        (None, engine.CLOSED, "closed"),
        (b"Welcome?\n", engine.NOT_GREETED, "wrong greeting"),
        (b"Welc", 0, "waiting for the greeting"),
    ],
)
def test_no_greeting(greeting: bytes | None, code: int, word: str, closing: ExitStack) -> None:
    with Stub(greeting=greeting) as stub:
        clients = [closing.enter_context(client) for client in stub.connect(2)]
        # Only who may still be greeted is waited for.
        deadline_s = stubs.DEADLINE_S if code else 0.2
        greetings = engine.greet([client.fileno() for client in clients], deadline_s)
    assert greetings.greeted.tolist() == [False, False]
    assert greetings.arrived_ns.tolist() == [0, 0]
    assert greetings.errors.tolist() == [code, code]
    assert engine.error_name(code) == word


def test_refused_connection_is_an_error_of_the_greeting(closing: ExitStack) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    client = closing.enter_context(socket.socket())
    client.setblocking(False)
    assert client.connect_ex(("127.0.0.1", port)) in (errno.EINPROGRESS, errno.ECONNREFUSED)
    greetings = engine.greet([client.fileno()], 0.2)
    assert not greetings.greeted.any()


def test_greeting_leaves_what_follows(closing: ExitStack) -> None:
    with Stub(greeting=b"Welcome!\nHello") as stub:
        client = closing.enter_context(stub.connect()[0])
        assert engine.greet([client.fileno()], stubs.DEADLINE_S).greeted.all()
        assert client.recv(100) == b"Hello"


def test_error_names() -> None:
    assert engine.error_name(errno.ECONNRESET) == "ECONNRESET"
    assert engine.error_name(engine.UNSOLICITED) == "unsolicited bytes"
    assert engine.error_name(4711) == "errno 4711"


# --------------------------------------------------------------------------------------- bad calls


def test_too_few_descriptors() -> None:
    with pytest.raises(ValueError, match="1 descriptors were given for 2 connections"):
        engine.drive([0], workload(2))


def test_invalid_workload() -> None:
    with pytest.raises(ValueError, match="message_bytes is 1"):
        engine.drive([0], workload(message_bytes=1))


def test_no_descriptor_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Stub() as stub:
        for _ in range(3):
            drive(stub, workload(duration_s=0.01))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_old_code_is_not_loaded_where_what_it_inlines_has_changed(tmp_path: Path) -> None:
    folders = []
    for text in ("old", "new"):
        for name in syscalls.INLINED_FROM:
            (tmp_path / name).write_text("same")
        (tmp_path / "wire.py").write_text(text)
        folders.append(syscalls.cache_folder(tmp_path))
    assert folders[0] != folders[1]
    ours = syscalls.cache_folder(Path(syscalls.__file__).parent)
    assert Path(numba.config.CACHE_DIR).name == Path(ours).name


def test_compiled_loop_is_cached() -> None:
    """A second process loads what this one compiled: it compiles nothing."""
    code = (
        "from loadgen.engine import engine; engine.compile();"
        "stats = engine._run.stats; print(sum(stats.cache_hits.values()), len(stats.cache_misses))"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["1", "0"]
