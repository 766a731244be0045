"""The generator and the leanest peer talk to each other, and say who was the limit."""

import json
import socket
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


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    requests.compile()
    monkeypatch.setattr(calibrate, "CLIENTS", (1, 40))
    monkeypatch.setattr(calibrate, "REPEATS", 1)
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
        calibrate._once(address, 2, choose_pinning())


def test_one_cpu_for_both_is_enough_to_end() -> None:
    (cpu,) = choose_pinning().server

    assert calibrate.measure_ceiling(Pinning(frozenset([cpu]), frozenset([cpu])))


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["calibrate"]) == 0
    assert "generator busy" in capsys.readouterr().out
    assert __main__.main(["calibrate", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def reached(throughput_per_s: float) -> Calibration:
    return {
        "connections": 1,
        "throughput_per_s": throughput_per_s,
        "busy_fraction": 0.9,
        "cpu_fraction": 1.0,
        "bottleneck": "peer",
    }


@pytest.mark.parametrize(
    ("stored", "ceiling"), [([], None), ([reached(10.0), reached(30.0)], 30.0)]
)
def test_a_run_knows_its_ceiling(
    tmp_path: Path, stored: list[Calibration], ceiling: float | None
) -> None:
    path = records.write_run(tmp_path / "run", [records.record()], calibration=stored)

    assert analysis.load(path).ceiling_per_s == ceiling
