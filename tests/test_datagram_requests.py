"""The hot loop of datagrams against peers with known faults: its account is exact."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import datagram_peer
import numpy as np
import pytest
from datagram_peer import Peer
from driving import check_invariants, count, offsets, tag
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from loadgen.engine import datagrams
from loadgen.engine.buffers import new_buffers, write_tag
from loadgen.engine.datagrams import Account, DatagramSamples
from loadgen.engine.samples import UNSOLICITED, Outcome
from loadgen.engine.syscalls import SO_TIMESTAMPNS, SOL_SOCKET
from loadgen.workload.dialogue import hello_echo
from loadgen.workload.load import Load

pytestmark = pytest.mark.measures

# Far longer than a peer takes for an answer on a busy machine, and short for a test.
GIVE_UP_S = 1.0
# Of peers that lose much, or answer late: how late is exact, however busy the machine is.
SOON_S = 0.05


@pytest.fixture(autouse=True, scope="module")
def _stamping() -> Iterator[None]:
    """As driving.stamping."""
    datagrams.compile()
    with socket.socket() as keeper, Peer() as peer:
        keeper.setsockopt(SOL_SOCKET, SO_TIMESTAMPNS, 1)
        deadline = time.monotonic() + 30
        while drive(peer, load(duration_s=0.01)).unstamped:
            assert time.monotonic() < deadline
        yield


def load(connections: int = 1, **changes: object) -> Load:
    """Without a warm-up: what a peer has seen is what counts."""
    settings = {"warmup_s": 0.0, "duration_s": 0.1, "drain_s": 2.0}
    return Load(**{"connections": connections, **settings, **changes})  # type: ignore[arg-type]


def drive(
    peer: Peer, load: Load, offsets_ns: np.ndarray | None = None, **options: object
) -> DatagramSamples:
    with ExitStack() as stack:
        clients = [stack.enter_context(one) for one in peer.connect(load.connections)]
        return again(clients, load, offsets_ns, **options)


def again(
    clients: list[socket.socket],
    load: Load,
    offsets_ns: np.ndarray | None = None,
    **options: object,
) -> DatagramSamples:
    fds = [client.fileno() for client in clients]
    options = {"give_up_s": GIVE_UP_S, **options}
    result = datagrams.drive(fds, load, offsets_ns, **options)  # type: ignore[arg-type]
    check_invariants(result)
    found = result.account
    assert found.sent == found.answered + found.lost + found.late
    return result


def open_loop(connections: int = 1, **changes: object) -> Load:
    rate = {"offered_per_s": 1000.0, "arrivals": "constant"}
    return load(connections, **{**rate, **changes})


def account(**differences: int) -> Account:
    fields = dict.fromkeys(Account._fields, 0)
    return Account(**{**fields, **differences})


# ------------------------------------------------------------------- servers that lose nothing


@pytest.mark.parametrize("spin", [True, False])
@pytest.mark.parametrize("connections", [1, 7])
@pytest.mark.parametrize("message_bytes", [9, 16, 4000])
def test_closed_loop(connections: int, message_bytes: int, spin: bool) -> None:
    with Peer() as peer:
        result = drive(peer, load(connections, message_bytes=message_bytes), spin=spin)
    asked = len(peer.lines)
    assert result.account == account(sent=asked, answered=asked)
    assert count(result) == {"OK": asked}
    assert {len(line) for line in peer.lines} == {message_bytes - 1}
    assert len(set(peer.lines)) == asked
    assert result.unstamped == 0
    assert not result.errors.any()
    # One request outstanding per client: the next is sent when the answer is read.
    for connection in range(connections):
        own = result.connection == connection
        assert (result.sent_ns[own][1:] == result.read_ns[own][:-1]).all()


def test_the_longest_datagram() -> None:
    with Peer() as peer:
        result = drive(peer, load(message_bytes=65_499))
    assert count(result) == {"OK": len(peer.lines)}
    assert {len(line) for line in peer.lines} == {65_498}


def test_over_ipv6() -> None:
    with Peer(host="::1") as peer:
        result = drive(peer, load(2))
    assert result.account == account(sent=len(peer.lines), answered=len(peer.lines))
    assert result.unstamped == 0


@pytest.mark.parametrize("spin", [True, False])
@pytest.mark.parametrize("connections", [1, 5])
def test_open_loop(connections: int, spin: bool) -> None:
    schedule = offsets(100, 1_000_000)
    with Peer() as peer:
        result = drive(peer, open_loop(connections), schedule, spin=spin)
    assert result.account == account(sent=100, answered=100)
    assert (result.intended_ns - result.intended_ns[0] == schedule).all()
    assert (result.connection == np.arange(100) % connections).all()


def test_only_the_window_counts() -> None:
    with Peer(datagram_peer.dropping(3)) as peer:
        result = drive(peer, open_loop(warmup_s=0.05, drain_s=0.1), offsets(150, 1_000_000))
    assert result.in_window.sum() == 100
    assert result.account.sent == 100
    lost = result.in_window & (result.outcome == Outcome.TIMED_OUT)
    assert result.account.lost == lost.sum() < 50


def test_what_leaves_is_stamped_too() -> None:
    with Peer() as peer:
        result = drive(peer, load(3))
    assert len(result.send_path_ns) > 0
    assert (result.send_path_ns >= 0).all()
    ok = result.outcome == Outcome.OK
    assert (result.service_ns[ok] <= (result.arrived_ns - result.sent_ns)[ok]).all()


# ------------------------------------------------------------------------------ and all others


@pytest.mark.parametrize("connections", [1, 4])
def test_what_is_lost_is_given_up_and_counted(connections: int) -> None:
    with Peer(datagram_peer.dropping(3)) as peer:
        result = drive(peer, load(connections, duration_s=0.5, drain_s=0.3), give_up_s=SOON_S)
    asked, lost, late = len(peer.lines), len(peer.lines) // 3, result.account.late
    assert lost > 0
    # Late is what came while the machine was busy otherwise.
    assert result.account == account(
        sent=asked,
        answered=asked - lost - late,
        lost=lost,
        late=late,
        reordered=result.account.reordered,
    )
    # Who gave up asked again, no earlier than it was told to.
    for connection in range(connections):
        own = np.flatnonzero(result.connection == connection)
        given_up = own[:-1][result.outcome[own[:-1]] == Outcome.TIMED_OUT]
        following = own[1:][result.outcome[own[:-1]] == Outcome.TIMED_OUT]
        waited_ns = result.sent_ns[following] - result.sent_ns[given_up]
        assert (waited_ns >= SOON_S * 1e9).all()


def test_open_loop_counts_what_is_lost_and_does_not_wait_for_it() -> None:
    with Peer(datagram_peer.dropping(3)) as peer:
        result = drive(peer, open_loop(2, drain_s=0.3), offsets(99, 1_000_000))
    assert len(peer.lines) == 99
    assert result.account == account(sent=99, answered=66, lost=33)


@pytest.mark.parametrize("times", [2, 3])
def test_answers_that_come_more_than_once(times: int) -> None:
    with Peer(datagram_peer.repeating(times)) as peer:
        result = drive(peer, load(2, drain_s=0.5))
    asked = len(peer.lines)
    assert result.account == account(sent=asked, answered=asked, duplicated=(times - 1) * asked)


def test_answers_in_another_order() -> None:
    with Peer(datagram_peer.swapping()) as peer:
        result = drive(peer, open_loop(), offsets(100, 1_000_000))
    assert result.account == account(sent=100, answered=100, reordered=50)


def test_the_order_is_that_of_each_client() -> None:
    """In pairs that two clients share nobody sees another order."""
    with Peer(datagram_peer.swapping()) as peer:
        result = drive(peer, open_loop(2), offsets(100, 1_000_000))
    assert result.account == account(sent=100, answered=100)


def test_answers_that_nobody_waits_for_any_more() -> None:
    every, delay_s = 4, 0.2
    with Peer(datagram_peer.delaying(every, round(delay_s * 1e9))) as peer:
        result = drive(peer, load(2, duration_s=0.5), give_up_s=SOON_S)
    asked, found = len(peer.lines), result.account
    # Late is also what came while the machine was busy otherwise.
    assert found.late >= asked // every > 0
    # Meanwhile its client was answered, or waited for another that is late.
    assert found == account(
        sent=asked, answered=asked - found.late, late=found.late, reordered=found.reordered
    )
    # No latency is told of what nobody waited for.
    assert not result.arrived_ns[result.outcome == Outcome.TIMED_OUT].any()


def test_in_open_loop_an_answer_is_in_time_until_the_end_of_the_drain() -> None:
    with Peer(datagram_peer.delaying(10, 200_000_000)) as peer:
        result = drive(peer, open_loop(), offsets(100, 1_000_000), give_up_s=SOON_S)
    assert result.account == account(sent=100, answered=100, reordered=9)


def test_a_silent_server_ends_by_the_end_of_the_drain() -> None:
    with Peer(datagram_peer.dropping(1)) as peer:
        began = time.monotonic()
        result = drive(peer, load(3, duration_s=0.2, drain_s=0.2), give_up_s=SOON_S)
        took_s = time.monotonic() - began
    asked = len(peer.lines)
    assert result.account == account(sent=asked, lost=asked)
    assert 6 <= asked <= 3 * 5
    assert took_s < 10


def test_nobody_there_is_an_error_of_the_connection() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as keeper:
        keeper.bind(("127.0.0.1", 0))
        address = keeper.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(address)
        client.setblocking(False)
        result = again([client], load(duration_s=0.2, drain_s=0.1), give_up_s=SOON_S)
    assert result.errors.tolist() == [111]
    assert result.account.answered == 0
    assert result.account.lost > 1


@pytest.mark.parametrize(
    "said", [b"", b"x", b"Hello, abcd!\n", b"Hello, " + b"\xff" * 15 + b"!\n", b"x" * 60_000]
)
def test_wrong_answers_are_no_losses(said: bytes) -> None:
    with Peer(datagram_peer.saying(said)) as peer:
        result = drive(peer, load(2))
    assert count(result) == {"MISMATCHED": len(peer.lines)}
    assert result.account == account()


def test_one_wrong_byte_is_noticed() -> None:
    """But in the tag: with another tag it is the answer to something else."""
    places = [*range(7), *range(15, 24)]

    def behave(number: int, line: bytes, client: object, send: datagram_peer.Sender) -> None:
        text = bytearray(datagram_peer.stubs.answer(line))
        if number % 5 == 0:
            text[places[number // 5 % len(places)]] ^= 1
        send(bytes(text), client, 0)

    with Peer(behave) as peer:
        result = drive(peer, load())
    wrong = len(peer.lines) // 5
    assert count(result) == {"OK": len(peer.lines) - wrong, "MISMATCHED": wrong}


def test_an_answer_to_somebody_else_is_wrong() -> None:
    with Peer(datagram_peer.confusing()) as peer:
        result = drive(peer, load(2, duration_s=0.3, drain_s=0.2), give_up_s=SOON_S)
    assert count(result).get("MISMATCHED", 0) > 0
    assert "OK" not in count(result) or count(result)["MISMATCHED"] > 0


def test_what_nobody_asked_for_ends_no_drive_and_is_an_error() -> None:
    with Peer() as peer, ExitStack() as stack:
        (client,) = (stack.enter_context(one) for one in peer.connect())

        def behave(number: int, line: bytes, whose: object, send: datagram_peer.Sender) -> None:
            send(datagram_peer.stubs.answer(line), whose, 0)
            send(b"advertisement", whose, 0)

        peer._behaviour = behave
        # All has been answered when that comes, for nothing else is asked.
        result = again([client], open_loop(duration_s=0.5), offsets(1))
    assert result.account.answered == 1
    assert result.errors.tolist() == [UNSOLICITED]


def test_answers_of_a_drive_before_are_neither_wrong_nor_counted() -> None:
    with Peer(datagram_peer.delaying(2, 250_000_000)) as peer, ExitStack() as stack:
        clients = [stack.enter_context(one) for one in peer.connect(2)]
        short = load(2, duration_s=0.1, drain_s=0.0)
        first = again(clients, short, give_up_s=SOON_S)
        assert first.account.lost > 0
        peer._behaviour = datagram_peer.correct
        second = again(clients, load(2, duration_s=0.5))
        answered = len(second.outcome)
    assert second.account == account(sent=answered, answered=answered)
    assert count(second) == {"OK": answered}
    assert not second.errors.any()


def test_another_thread_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "_CLOSED_LOOP_MAX_PER_S", 1000)
    stop = np.zeros(1, np.int64)
    with Peer(datagram_peer.dropping(10)) as peer:
        timer = threading.Timer(0.2, lambda: stop.fill(1))
        timer.start()
        began = time.monotonic()
        drive(peer, load(duration_s=60.0, drain_s=60.0), stop=stop, give_up_s=60.0)
        timer.join()
    assert time.monotonic() - began < 50


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"message_bytes": 8}, "message_bytes is 8"),
        ({"message_bytes": 65_500}, "message_bytes is 65500"),
        ({"pipeline_depth": 2}, "pipeline_depth is 2"),
    ],
)
def test_what_cannot_be_driven_is_refused(changes: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        datagrams.drive([], load(**changes))


# ------------------------------------------------------------------------------------ the tags


# What is compiled first takes its time.
UNHURRIED = hypothesis_settings(deadline=None)


@UNHURRIED
@given(st.integers(0, 2**32 - 1))
def test_a_tag_is_read_as_it_was_written(number: int) -> None:
    buffers = new_buffers(-1, hello_echo(16))
    write_tag(buffers, buffers.answer_tag, number)
    buffers.received[:] = buffers.answer
    assert datagrams._read_tag(buffers, 7) == number
    assert tag(buffers.answer[7:15].tobytes()) == number


@UNHURRIED
@given(st.binary(min_size=8, max_size=8))
def test_what_is_no_tag_is_not_read_as_one(text: bytes) -> None:
    buffers = new_buffers(-1, hello_echo(16))
    buffers.received[7:15] = np.frombuffer(text, np.uint8)
    found = datagrams._read_tag(buffers, 7)
    if all(ord("a") <= letter <= ord("p") for letter in text):
        assert found == tag(text)
    else:
        assert found == -1


def test_each_drive_has_tags_of_its_own() -> None:
    tags = datagrams._Tags()
    assert [tags.taken(10), tags.taken(5), tags.taken(2**32 - 20)] == [0, 10, 15]
    assert tags.taken(6) == 0
    assert tags.taken(1) == 6
