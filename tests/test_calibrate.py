"""The generator and the leanest peer talk to each other, and say who was the limit."""

import json
from pathlib import Path

import pytest
import records

from loadgen import __main__, analysis, calibrate, engine, environment
from loadgen.environment import Pinning


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    engine.compile()
    monkeypatch.setattr(calibrate, "CLIENTS", (1, 40))
    monkeypatch.setattr(calibrate, "REPEATS", 1)


def test_every_number_of_clients_has_its_figures() -> None:
    reached = calibrate.reach(environment.pinning())

    assert [point["connections"] for point in reached] == [1, 40]
    for point in reached:
        assert point["throughput_per_s"] > 0
        assert 0 < point["busy_fraction"] <= 1
        assert point["limiter"] in ("generator", "peer")


def test_one_cpu_for_both_is_enough_to_end() -> None:
    (cpu,) = environment.pinning().server

    assert calibrate.reach(Pinning(frozenset([cpu]), frozenset([cpu])))


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["calibrate"]) == 0
    assert "generator busy" in capsys.readouterr().out
    assert __main__.main(["calibrate", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.mark.parametrize(
    ("stored", "ceiling"),
    [
        ({}, None),
        ({"calibration": []}, None),
        ({"calibration": [{"throughput_per_s": 10.0}, {"throughput_per_s": 30.0}]}, 30.0),
    ],
)
def test_a_run_knows_its_ceiling(tmp_path: Path, stored: dict, ceiling: float | None) -> None:
    path = records.write_run(
        tmp_path / "run", [records.record()], environment={"cpu": "x"} | stored
    )

    assert analysis.load(path).ceiling_per_s == ceiling
