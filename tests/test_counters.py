"""What the kernel counted between two moments, as shares."""

import itertools
import socket
import time
from dataclasses import replace

import pytest
import stubs

from loadgen.machine import counters
from loadgen.machine.counters import Snapshot, behaviour
from loadgen.machine.cpus import Pinning, choose_pinning

pytestmark = pytest.mark.measures

APART = Pinning(server=frozenset([0]), generator=frozenset([1]))


def snapshot(cpus: dict[int, tuple[int, int, int]], overflows: int, retransmits: int) -> Snapshot:
    return Snapshot(cpus=cpus, listen_overflows=overflows, retransmits=retransmits)


def test_behaviour_is_what_changed_in_between_on_the_pinned_cpus() -> None:
    """(busy, steal, total) ticks; CPU 7 belongs to nobody here."""
    before = snapshot({0: (100, 10, 1000), 1: (500, 0, 1000), 7: (0, 0, 0)}, 3, 40)
    after = snapshot({0: (190, 15, 1100), 1: (520, 5, 1100), 7: (99, 99, 99)}, 5, 47)
    assert behaviour(before, after, APART) == {
        "steal_fraction": 0.05,
        "server_cpu_busy": 0.9,
        "generator_cpu_busy": 0.2,
        "listen_overflows": 2,
        "listener_drops": None,
        "retransmits": 7,
        "server_cpus": [0],
        "generator_cpus": [1],
        "shared": False,
        "clock_drift_ns": 0,
        "hiccup_ns": None,
    }


def test_a_share_of_no_time_is_unknown_and_no_segment_is_taken_back() -> None:
    before = snapshot({0: (1, 0, 5), 1: (1, 0, 5)}, 0, 2)
    after = snapshot({0: (1, 0, 5), 1: (1, 0, 5)}, 0, 1)
    found = behaviour(before, after, APART)
    assert found["steal_fraction"] is found["server_cpu_busy"] is None
    assert found["retransmits"] == 0


def test_a_snapshot_has_every_cpu_and_only_grows() -> None:
    pinned = choose_pinning()
    before, after = Snapshot.take(), Snapshot.take()
    for cpu in pinned.server | pinned.generator:
        busy, steal, total = after.cpus[cpu]
        assert 0 <= busy <= total
        assert 0 <= steal <= total
        assert before.cpus[cpu][0] <= busy
    assert 0 <= before.listen_overflows <= after.listen_overflows


def test_the_clock_that_was_set_is_seen_between_any_two_snapshots() -> None:
    before = snapshot({0: (1, 0, 5), 1: (1, 0, 5)}, 0, 0)
    after = replace(before, clock_offset_ns=5_000_000)
    assert behaviour(before, after, APART)["clock_drift_ns"] == 5_000_000


def test_who_loses_the_cpu_while_reading_two_clocks_reads_them_again() -> None:
    """The first attempt takes 9 ms, the others 2 us: the clocks are 1 s apart."""
    moment_ns = itertools.count(1_000, 1_000)
    held_up_ns = itertools.chain([0], itertools.repeat(9_000_000))

    def now_ns() -> int:
        return next(moment_ns) + next(held_up_ns)

    found = counters.clock_offset_ns(lambda: now_ns() + 10**9, now_ns)

    assert found == 10**9


def overflowed() -> tuple[socket.socket, list[socket.socket]]:
    """A listener that accepts nobody, and clients that are too many for it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    clients = []
    for _ in range(8):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        clients.append(client)
    return listener, clients


def test_a_listener_answers_for_its_own_drops_alone() -> None:
    """The counter of the machine sees those of both."""
    listener, clients = overflowed()
    address = listener.getsockname()
    with listener, socket.create_server(("127.0.0.1", 0)) as other:
        deadline = time.monotonic() + stubs.DEADLINE_S
        while not counters.listener_drops(*address):
            assert time.monotonic() < deadline
        assert counters.listener_drops(*other.getsockname()) == 0
    for client in clients:
        client.close()
    assert counters.listener_drops(*address) is None


@pytest.mark.parametrize(
    ("bound", "asked"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1")]
)
def test_a_listener_is_found_by_an_address_that_reaches_it(bound: str, asked: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.create_server((bound, 0), family=family) as listener:
        assert counters.listener_drops(asked, listener.getsockname()[1]) == 0


def test_a_kernel_that_does_not_tell_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no netlink here")

    monkeypatch.setattr(counters, "_dumped", refuse)
    assert counters.listener_drops("127.0.0.1", 1) is None


def test_a_listener_without_memory_info_is_not_known() -> None:
    with pytest.raises(OSError, match="does not tell"):
        counters._drops(b"\x08\x00\x01\x00abcd")
