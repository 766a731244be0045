"""What the kernel counted between two moments, as shares."""

from loadgen.machine.counters import Snapshot, behaviour
from loadgen.machine.cpus import Pinning, choose_pinning

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
        "retransmits": 7,
        "server_cpus": [0],
        "generator_cpus": [1],
        "shared": False,
        "clock_drift_ns": None,
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
