"""Each thing that the doctor looks at is called unfit when it is, with what to do about it."""

import os

import pytest

from loadgen import __main__
from loadgen.machine import doctor
from loadgen.machine.counters import Snapshot
from loadgen.machine.doctor import Finding


@pytest.mark.parametrize(
    ("sound", "unfit"),
    [
        (doctor.cores(2), doctor.cores(1)),
        (doctor.steal(0.01), doctor.steal(0.08)),
        (doctor.other_load({0: 0.02, 1: 0.05}), doctor.other_load({0: 0.02, 1: 0.4})),
        (doctor.descriptors(20_000), doctor.descriptors(1_024)),
        (doctor.ports("32768 60999"), doctor.ports("32768 33999")),
        (doctor.backlog("4096"), doctor.backlog("128")),
    ],
)
def test_what_spoils_figures_makes_the_machine_unfit(sound: Finding, unfit: Finding) -> None:
    assert sound.fine
    assert doctor.fit([sound])
    assert not unfit.fine
    assert unfit.advice
    assert not doctor.fit([sound, unfit])


@pytest.mark.parametrize(
    ("sound", "noted"),
    [
        (doctor.governor("performance"), doctor.governor("powersave")),
        (doctor.turbo("0"), doctor.turbo("1")),
        (doctor.descriptors(20_000), doctor.descriptors(4_096)),
        (doctor.hypervisor(False), doctor.hypervisor(True)),
    ],
)
def test_what_only_has_to_be_known_is_noted(sound: Finding, noted: Finding) -> None:
    assert sound.fine
    assert not noted.fine
    assert noted.advice
    assert doctor.fit([noted])


@pytest.mark.parametrize("check", [doctor.steal, doctor.governor, doctor.turbo, doctor.ports])
def test_what_the_system_does_not_tell_is_held_against_nobody(check) -> None:
    assert check(None).fine


def test_the_busiest_cpu_is_named_and_none_that_is_not_known_of() -> None:
    assert doctor.other_load({0: 0.3, 3: 0.71}).state == "other programs use 71 % of CPU 3"
    assert doctor.other_load({}).fine


@pytest.mark.parametrize("busy_ticks", [0, 60])
def test_load_is_what_a_cpu_did_between_two_looks(
    busy_ticks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpus = os.sched_getaffinity(0)
    last = max(cpus)
    then = Snapshot(dict.fromkeys(cpus, (500, 0, 1000)), 0, 0)
    now = Snapshot(dict.fromkeys(cpus, (500, 0, 1100)), 0, 0)
    now.cpus[last] = 500 + busy_ticks, 0, 1100
    looks = iter([then, now])
    monkeypatch.setattr(Snapshot, "take", lambda: next(looks))

    found = doctor.watch_load(wait=lambda _: None)

    assert found.fine == (busy_ticks == 0)
    assert not busy_ticks or found.state == f"other programs use 60 % of CPU {last}"


def test_this_machine_is_examined_without_sleeping_in_a_test() -> None:
    found = doctor.examine(wait=lambda _: None)

    assert {each.subject for each in found} >= {"cores", "steal", "other load", "backlog", "ports"}
    assert all(each.state for each in found)


@pytest.mark.parametrize(("count", "status", "word"), [(2, 0, "fit to"), (1, 1, "not fit")])
def test_the_exit_status_says_whether_the_machine_is_fit(
    count: int,
    status: int,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.cores(count)])

    assert __main__.main(["doctor"]) == status
    assert word in capsys.readouterr().out
