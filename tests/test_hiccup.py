"""The meter notes what a CPU was delayed by, and leaves no thread behind."""

import os
import threading

import pytest

from loadgen.machine import hiccup

pytestmark = pytest.mark.measures


@pytest.fixture
def cpu() -> frozenset[int]:
    return frozenset([max(os.sched_getaffinity(0))])


def sleeps(cpu: frozenset[int], count: int) -> dict[str, object]:
    with hiccup.noted({"server_cpu": cpu, "generator_cpu": cpu}) as found:
        assert not found
        threading.Event().wait(count * hiccup.SLEEP_NS / 1e9)
    return found


def test_every_group_has_its_figures(cpu: frozenset[int]) -> None:
    hiccup.compile()
    found = sleeps(cpu, 10)

    assert set(found) == {"server_cpu", "generator_cpu", "realtime"}
    for name in ("server_cpu", "generator_cpu"):
        figures = found[name]
        assert isinstance(figures, dict)
        assert figures["n"] >= 1  # a sleep that began is finished
        assert figures["max"] > 0


def test_no_thread_is_left_behind_whatever_happens(cpu: frozenset[int]) -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), hiccup.noted({"server_cpu": cpu}):
        raise KeyboardInterrupt

    assert threading.active_count() == before


def test_ctrl_c_while_they_start_leaves_no_thread_behind(
    cpu: frozenset[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if started:
            raise KeyboardInterrupt
        started.append(thread)
        real_start(thread)

    real_start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt), hiccup.noted({"server_cpu": cpu, "generator_cpu": cpu}):
        pytest.fail("it began all the same")

    assert threading.active_count() == before
    assert started[0].daemon, "and none would keep the lab from ending"


def test_without_the_privilege_the_record_says_so(
    cpu: frozenset[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    assert sleeps(cpu, 1)["realtime"] is False


def test_our_own_threads_stay_where_they_were(cpu: frozenset[int]) -> None:
    before = os.sched_getaffinity(0), os.sched_getscheduler(0)
    sleeps(cpu, 1)

    assert (os.sched_getaffinity(0), os.sched_getscheduler(0)) == before
