"""The hot loop against servers that do what they should, and against all others."""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import stubs
from driving import closed_loop, count, drive, endless, offsets, open_loop, stamping, tag
from stubs import Stub

from loadgen.engine import requests, samples
from loadgen.engine.samples import Outcome, Samples
from loadgen.engine.syscalls import process_cpu_clock
from loadgen.workload.load import Load

pytestmark = pytest.mark.measures


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
        result = drive(stub, closed_loop(connections, message_bytes=message_bytes))
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
        result = drive(stub, closed_loop())
    received = np.array([request.received_ns for request in stub.served])
    departed = np.array([request.departed_ns for request in stub.served])
    assert (result.sent_ns <= received).all()
    assert (departed <= result.arrived_ns).all()
    assert (result.arrived_ns - result.sent_ns >= 200_000).all()


def test_requests_are_told_apart() -> None:
    with Stub() as stub:
        drive(stub, closed_loop(3))
    lines = [request.line for request in stub.served]
    assert len(set(lines)) == len(lines)


def test_long_messages_need_no_long_buffers() -> None:
    with Stub() as stub:
        result = drive(stub, closed_loop(2, message_bytes=1 << 20), receive_buffer_bytes=16_384)
    assert count(result) == {"OK": len(stub.served)}
    assert {len(request.line) for request in stub.served} == {(1 << 20) - 1}


def test_answers_in_single_bytes() -> None:
    with Stub(stubs.byte_by_byte) as stub:
        result = drive(stub, closed_loop(2))
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
    load = open_loop(offered_per_s=2000.0, arrivals="poisson", seed=7)
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
        result = drive(stub, closed_loop(3, pipeline_depth=20))
    assert count(result) == {"OK": len(stub.served)}
    outstanding = np.zeros(3, int)
    most = np.zeros(3, int)
    events = [(sent, 1, c) for sent, c in zip(result.sent_ns, result.connection, strict=True)]
    events += [(read, 0, c) for read, c in zip(result.read_ns, result.connection, strict=True)]
    for _, begins, connection in sorted(events):
        outstanding[connection] += 1 if begins else -1
        most[connection] = max(most[connection], outstanding[connection])
    assert most.tolist() == [20, 1, 1]


def left_by_the_kernel(result: Samples) -> None:
    """What must hold for each request whose leaving was stamped."""
    assert len(result.stamped) == len(set(result.stamped.tolist())) > 0
    left_ns = result.sent_ns[result.stamped] + result.send_path_ns
    assert (result.sent_ns[result.stamped] <= left_ns).all()
    answered = result.arrived_ns[result.stamped] > 0
    assert (left_ns <= result.arrived_ns[result.stamped])[answered].all()
    assert (result.service_ns[result.outcome == Outcome.OK] >= 0).all()


@pytest.mark.parametrize("spin", [True, False])
def test_some_requests_are_stamped_when_they_leave(spin: bool) -> None:
    """And nobody takes the news of it for an error. The second drive finds the first one's traces:
    a connection that was to be stamped next, a stamp that nobody fetched."""
    with Stub() as stub, ExitStack() as stack:
        fds = [stack.enter_context(client).fileno() for client in stub.connect(3)]
        assert requests.greet(fds, stubs.DEADLINE_S).greeted.all()
        for _ in range(2):
            result = requests.drive(fds, closed_loop(3), spin=spin)
            assert count(result) == {"OK": len(result.outcome)}
            left_by_the_kernel(result)
            assert len(result.stamped) <= len(result.outcome) / requests.STAMP_EVERY + 1


def test_requests_of_an_open_loop_are_stamped_when_they_leave() -> None:
    """Those that no other waits before: where others have the CPUs there may be none in a drive."""
    deadline = time.monotonic() + stubs.DEADLINE_S
    with Stub() as stub:
        while True:
            result = drive(stub, open_loop(2), offsets(300, 300_000))
            assert count(result) == {"OK": 300}
            if len(result.stamped) or time.monotonic() > deadline:
                break
    left_by_the_kernel(result)


def test_a_request_that_others_wait_before_is_not_stamped() -> None:
    """What keeps it back is not our own way through the kernel."""
    with Stub(stubs.silent_after(0)) as stub:
        result = drive(stub, open_loop(2, drain_s=0.05), offsets(300, 10_000))
    assert count(result) == {"TIMED_OUT": 300}
    assert len(result.stamped) == 0
    assert (result.sending_ns == 0).all()


def test_long_lines_are_not_stamped() -> None:
    """They are on their way while they are still being sent."""
    long = closed_loop(message_bytes=requests.STAMPED_MOST_BYTES + 1, duration_s=0.3)
    with Stub() as stub:
        result = drive(stub, long)
    assert len(result.outcome) > 2 * requests.STAMP_EVERY
    assert len(result.stamped) == 0


def test_where_the_kernel_knows_no_transmit_stamps_there_are_none() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"Hello, " * 1000)
        result = requests.drive([ours.fileno()], open_loop(drain_s=0.01), offsets(3))
    assert len(result.stamped) == 0


# ---------------------------------------------------------------------------- servers that do not


def test_corrupted_answers_are_counted_exactly() -> None:
    with Stub(stubs.corrupting(7)) as stub:
        result = drive(stub, open_loop(2), offsets(70))
    assert count(result) == {"OK": 60, "MISMATCHED": 10}


def test_each_byte_of_an_answer_matters() -> None:
    answer_bytes = 16 + 8
    with Stub(stubs.corrupting(1)) as stub:
        result = drive(stub, open_loop(), offsets(answer_bytes))
    assert count(result) == {"MISMATCHED": answer_bytes}


def test_swapped_answers_are_wrong() -> None:
    with Stub(stubs.swapping()) as stub:
        result = drive(stub, open_loop(), offsets(100))
    assert count(result) == {"MISMATCHED": 100}


def test_answers_given_twice_are_wrong() -> None:
    with Stub(stubs.repeating) as stub:
        one = drive(stub, open_loop(), offsets(1))
    assert count(one) == {"MISMATCHED": 1}
    assert one.errors.tolist() == [samples.UNSOLICITED]
    with Stub(stubs.repeating) as stub:
        several = drive(stub, closed_loop(drain_s=0.1))
    assert count(several).get("OK", 0) <= 1


@pytest.mark.parametrize("mode", ["closed", "open"])
@pytest.mark.parametrize("spin", [True, False])
def test_silent_server_cannot_hold_the_loop(mode: str, spin: bool) -> None:
    load = closed_loop(2, drain_s=0.05) if mode == "closed" else open_loop(2, drain_s=0.05)
    started = time.monotonic()
    with Stub(stubs.silent_after(0)) as stub:
        result = drive(stub, load, spin=spin)
    assert time.monotonic() - started < stubs.DEADLINE_S / 2
    assert count(result) == {"TIMED_OUT": 2 if mode == "closed" else 120}


def test_server_that_never_reads() -> None:
    load = open_loop(drain_s=0.05, message_bytes=1 << 20)
    with Stub(reads=False) as stub:
        result = drive(stub, load, offsets(50))
    assert count(result) == {"TIMED_OUT": 50}
    assert (result.sent_ns > 0).sum() < 50  # the last ones never left
    assert not result.errors.any()


@pytest.mark.parametrize(
    ("how", "error"),
    [(ConnectionAbortedError, samples.CLOSED), (ConnectionResetError, errno.ECONNRESET)],
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
    assert result.errors[0] in (samples.CLOSED, errno.EPIPE, errno.ECONNRESET)


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
    assert sorted(result.errors.tolist()) == [samples.CLOSED, 0, 0]


def test_last_words_are_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    last = b"Error: line longer than 8 bytes\n"
    with Stub(stubs.ending_after(3, ConnectionAbortedError, last)) as stub:
        result = drive(stub, endless(monkeypatch))
    assert count(result)["OK"] == 3
    assert count(result)["MISMATCHED"] >= 1


def test_flood() -> None:
    with Stub(stubs.flooding) as stub:
        closed = drive(stub, closed_loop())
    assert set(count(closed)) == {"MISMATCHED"}
    with Stub(stubs.flooding) as stub:
        opened = drive(stub, open_loop(), offsets(50))
    assert count(opened) == {"MISMATCHED": 50}


def test_flood_before_a_long_request_is_sent(closing: ExitStack) -> None:
    """No answer can be right before its request has been sent."""
    load = closed_loop(message_bytes=1 << 20)
    with Stub(greeting=b"Welcome!\n" + b"flood\n" * 10, reads=False) as stub:
        client = closing.enter_context(stub.connect()[0])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        assert requests.greet([client.fileno()], stubs.DEADLINE_S).greeted.all()
        result = requests.drive([client.fileno()], load)
    assert count(result) == {"MISMATCHED": 1}
    assert result.errors.tolist() == [samples.UNSOLICITED]


def test_full_record_ends_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_CLOSED_LOOP_MAX_PER_S", 10)
    with Stub() as stub:
        result = drive(stub, closed_loop(2, warmup_s=0.0, duration_s=stubs.DEADLINE_S))
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
    assert count(result).get("TIMED_OUT", 0) <= 1
    assert result.clocks.realtime_ns[1] < result.window_end_ns


# ---------------------------------------------------------------------------- clocks of the window


def test_window_clocks() -> None:
    """Each clock by itself: between two of them any time may pass."""
    load = closed_loop(2, warmup_s=0.05, duration_s=0.2)
    before_ns = time.monotonic_ns(), time.thread_time_ns()
    with Stub() as stub:
        result = drive(stub, load, server_clocks=[process_cpu_clock(1 << 22), 2])
    after_ns = time.monotonic_ns(), time.thread_time_ns()
    clocks = result.clocks
    assert clocks.realtime_ns[0] >= result.window_start_ns
    assert clocks.realtime_ns[1] >= result.window_end_ns
    for clock_ns, low_ns, high_ns in zip(
        (clocks.monotonic_ns, clocks.generator_cpu_ns), before_ns, after_ns, strict=True
    ):
        assert low_ns <= clock_ns[0] < clock_ns[1] <= high_ns
    assert 0 < clocks.busy_fraction <= 1
    assert clocks.server_cpu_ns.shape == (2, 2)
    assert clocks.server_cpu_ns[:, 0].tolist() == [-1, -1]  # no such process
    assert np.diff(clocks.server_cpu_ns[:, 1])[0] > 0


def test_without_connections_the_window_passes_all_the_same() -> None:
    result = requests.drive([], closed_loop(0), server_clocks=[2])
    assert len(result.outcome) == 0
    assert result.window_end_ns - result.window_start_ns == 100_000_000
    assert result.clocks.realtime_ns[0] >= result.window_start_ns
    assert result.clocks.realtime_ns[1] >= result.window_end_ns


# -------------------------------------------------------------------------------------- greetings


def test_greetings(closing: ExitStack) -> None:
    with Stub() as stub:
        before_ns = time.time_ns()
        clients = [closing.enter_context(client) for client in stub.connect(20)]
        greetings = requests.greet([client.fileno() for client in clients], stubs.DEADLINE_S)
    assert greetings.greeted.tolist() == [True] * 20
    assert (before_ns <= greetings.arrived_ns).all()
    assert (greetings.arrived_ns <= time.time_ns()).all()
    assert not greetings.errors.any()


@pytest.mark.parametrize(
    ("greeting", "code", "word"),
    [
        (None, samples.CLOSED, "closed"),
        (b"Welcome?\n", samples.NOT_GREETED, "wrong greeting"),
        (b"Welc", 0, "waiting for the greeting"),
    ],
)
def test_no_greeting(greeting: bytes | None, code: int, word: str, closing: ExitStack) -> None:
    with Stub(greeting=greeting) as stub:
        clients = [closing.enter_context(client) for client in stub.connect(2)]
        # Only who may still be greeted is waited for.
        deadline_s = stubs.DEADLINE_S if code else 0.2
        greetings = requests.greet([client.fileno() for client in clients], deadline_s)
    assert greetings.greeted.tolist() == [False, False]
    assert greetings.arrived_ns.tolist() == [0, 0]
    assert greetings.errors.tolist() == [code, code]
    assert samples.error_name(code) == word


def test_refused_connection_is_an_error_of_the_greeting(closing: ExitStack) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    client = closing.enter_context(socket.socket())
    client.setblocking(False)
    assert client.connect_ex(("127.0.0.1", port)) in (errno.EINPROGRESS, errno.ECONNREFUSED)
    greetings = requests.greet([client.fileno()], 0.2)
    assert not greetings.greeted.any()


def test_greeting_leaves_what_follows(closing: ExitStack) -> None:
    with Stub(greeting=b"Welcome!\nHello") as stub:
        client = closing.enter_context(stub.connect()[0])
        assert requests.greet([client.fileno()], stubs.DEADLINE_S).greeted.all()
        assert client.recv(100) == b"Hello"


def test_error_names() -> None:
    assert samples.error_name(errno.ECONNRESET) == "ECONNRESET"
    assert samples.error_name(samples.UNSOLICITED) == "unsolicited bytes"
    assert samples.error_name(4711) == "errno 4711"


# --------------------------------------------------------------------------------------- bad calls


def test_too_few_descriptors() -> None:
    with pytest.raises(ValueError, match="1 descriptors were given for 2 connections"):
        requests.drive([0], closed_loop(2))


def test_invalid_load() -> None:
    with pytest.raises(ValueError, match="message_bytes is 1"):
        requests.drive([0], closed_loop(message_bytes=1))


def test_no_descriptor_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Stub() as stub:
        for _ in range(3):
            drive(stub, closed_loop(duration_s=0.01))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_nobody_asking_is_watched_for_the_whole_window() -> None:
    """The clock of this very process stands for a server's."""
    drive = requests.drive(
        [],
        Load(connections=0, warmup_s=0.02, duration_s=0.05),
        server_clocks=[time.CLOCK_PROCESS_CPUTIME_ID],
        spin=False,
    )
    assert drive.window_end_ns - drive.window_start_ns == 50_000_000
    assert drive.clocks.realtime_ns[0] >= drive.window_start_ns
    assert drive.clocks.realtime_ns[1] >= drive.window_end_ns
    assert not len(drive.outcome)
    assert drive.clocks.server_cpu_ns.shape == (2, 1)
