"""The generator and the leanest peer talk to each other, and say who was the limit."""

import json
import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import records
from driving import made_drive

from loadgen import __main__
from loadgen.analysis import run as analysis
from loadgen.engine import requests
from loadgen.engine.samples import Outcome
from loadgen.machine.cpus import Pinning, choose_pinning
from loadgen.store.schema import Calibration
from loadgen.target.address import Address
from loadgen.target.process import TargetError
from loadgen.trial import calibrate

pytestmark = pytest.mark.measures


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    requests.compile()
    monkeypatch.setattr(calibrate, "CLIENTS", (1, 40))
    monkeypatch.setattr(calibrate, "ROUNDS", 1)
    # Long enough that somebody is answered within it, however busy the machine is.
    monkeypatch.setattr(calibrate, "_LOAD", replace(calibrate._LOAD, duration_s=1.0))


def test_every_number_of_clients_has_its_figures() -> None:
    reached = calibrate.measure_ceiling(choose_pinning())

    assert [point["connections"] for point in reached] == [1, 40]
    for point in reached:
        assert point["throughput_per_s"] > 0
        assert 0 < point["busy_fraction"] <= 1
        assert point["cpu_fraction"] > 0
        assert point["bottleneck"] in ("generator", "peer")


def test_the_figures_of_a_drive_say_who_was_the_limit_and_what_was_taken() -> None:
    """A window of one second, in which others had the generator's CPU for 300 ms."""
    usual = {"intended_ns": [0, 200], "cpu_ns": 700_000_000, "busy_ns": 900_000_000}
    assert calibrate._figures(2, made_drive(**usual)) == {
        "connections": 2,
        "throughput_per_s": 2.0,
        "busy_fraction": 0.9,
        "cpu_fraction": 0.7,
        "bottleneck": "peer",
    }
    late = made_drive(**usual, arrived_ns=[10, 210], read_ns=[100, 300])
    assert calibrate._figures(2, late)["bottleneck"] == "generator"


@pytest.mark.parametrize("outcome", [Outcome.MISMATCHED, Outcome.TIMED_OUT])
def test_a_peer_that_fails_is_said_with_what_to_do(outcome: Outcome) -> None:
    with pytest.raises(TargetError, match="repeat when the machine is quieter"):
        calibrate._figures(2, made_drive(intended_ns=[0], outcome=[outcome]))


def test_a_peer_that_greets_nobody_is_said_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
    with pytest.raises(TargetError, match=r"greeted 0 of 2 clients: .*quieter"):
        calibrate._connected(address, 2, ExitStack())


def test_one_cpu_for_both_is_enough_to_end() -> None:
    (cpu,) = choose_pinning().server

    assert calibrate.measure_ceiling(Pinning(frozenset([cpu]), frozenset([cpu])))


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["calibrate"]) == 0
    assert "generator busy" in capsys.readouterr().out
    assert __main__.main(["calibrate", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_answers_of_the_drain_do_not_count() -> None:
    """A window of one second; the second answer comes after it."""
    drive = made_drive(intended_ns=[0, 200], arrived_ns=[10, 1_000_000_010])
    assert calibrate._figures(2, drive)["throughput_per_s"] == 1.0


def reached(throughput_per_s: float, cpu_fraction: float = 1.0) -> Calibration:
    return {
        "connections": 1,
        "throughput_per_s": throughput_per_s,
        "busy_fraction": 0.9,
        "cpu_fraction": cpu_fraction,
        "bottleneck": "peer",
    }


def test_disturbed_drives_do_not_lower_the_ceiling() -> None:
    """Of twenty, half lost their CPU, and of the rest all but two were slow: the peer lost its."""
    disturbed = [reached(90.0, 0.94)] * 10
    slow = [reached(float(speed), 0.96) for speed in range(50, 58)]
    drives = [*disturbed, *slow, reached(100.0), reached(101.0)]

    assert calibrate.ceiling(drives)["throughput_per_s"] == 100.0


def test_one_drive_that_was_too_good_is_no_ceiling() -> None:
    drives = [reached(100.0)] * 14 + [reached(180.0)]

    assert calibrate.ceiling(drives)["throughput_per_s"] == 100.0


def test_where_every_drive_was_disturbed_the_figure_says_so() -> None:
    found = calibrate.ceiling([reached(80.0, 0.5), reached(70.0, 0.4)])

    assert found["throughput_per_s"] == 80.0
    assert found["cpu_fraction"] < calibrate.UNDISTURBED


def test_numbers_of_clients_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what disturbs one of them for a while disturbs the others too."""
    monkeypatch.setattr(calibrate, "ROUNDS", 3)
    asked: list[int] = []

    def once(fds: list[int], _: object) -> Calibration:
        asked.append(len(fds))
        return reached(float(len(fds)))

    monkeypatch.setattr(calibrate, "_once", once)
    calibrate.measure_ceiling(choose_pinning())

    assert asked == [1, 40] * 3


@pytest.mark.parametrize(
    ("stored", "ceiling"),
    [
        ([], None),
        ([reached(1_000.0), reached(3_000.0)], 3_000.0),
        # A server of the run answered more: whatever this was, it was no ceiling.
        ([reached(999.0)], None),
    ],
)
def test_a_run_knows_its_ceiling(
    tmp_path: Path, stored: list[Calibration], ceiling: float | None
) -> None:
    served = records.record(throughput_per_s=1000.0)
    path = records.write_run(tmp_path / "run", [served], calibration=stored)

    assert analysis.load(path).ceiling_per_s == ceiling
