"""A function that runs on its CPUs alone: how it ends, and who hears of it."""

import os
import threading

import pytest
import stubs

from loadgen.engine.syscalls import Int64s
from loadgen.machine.cpus import choose_pinning, realtime_priority, run_pinned

pytestmark = pytest.mark.measures

HERE = frozenset(os.sched_getaffinity(0))


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
    found = run_pinned(
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
        run_pinned(cpus, work, lambda e: ended_in_time.append(e.wait(stubs.DEADLINE_S)))
    assert ended_in_time == [True]


def test_an_interrupt_stops_the_work_and_waits_for_it() -> None:
    ends: list[str] = []

    def interrupted(ended: threading.Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pinned(HERE, lambda stop: ends.append(until_stopped(stop)), interrupted)
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
        run_pinned(HERE, lambda stop: ends.append(until_stopped(stop)), lambda _: None)
    assert ends == ["stopped"]


def test_a_thread_that_cannot_be_started_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="can't start"):
        run_pinned(HERE, lambda stop: None, lambda _: None)


def test_a_real_time_priority_lasts_as_long_as_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(
        os, "sched_setscheduler", lambda _, how, much: asked.append((how, much.sched_priority))
    )
    with realtime_priority(True) as granted:
        assert granted
        assert asked == [(os.SCHED_FIFO, 1)]
    assert asked[1:] == [(os.SCHED_OTHER, 0)]


@pytest.mark.parametrize("wanted", [True, False], ids=["refused", "not wanted"])
def test_without_it_the_work_is_done_all_the_same(
    wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(_: int, how: int, much: object) -> None:
        asked.append(how)
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with realtime_priority(wanted) as granted:
        assert not granted
    assert asked == ([os.SCHED_FIFO] if wanted else [])


def test_more_cpus_for_the_server_are_free_ones_first_and_the_generators_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    pinning = choose_pinning()

    assert pinning.wider(1) == pinning
    assert pinning.wider(2).server == {0, 1}
    assert pinning.wider(3).server == {0, 1, 2}
    assert not pinning.wider(3).shared
    assert pinning.wider(4).server == pinning.wider(9).server == {0, 1, 2, 3}
    assert pinning.wider(4).shared
    assert {each.generator for each in map(pinning.wider, range(1, 5))} == {pinning.generator}
