"""What holds for every experiment: it plans, measures, draws and finds."""

import re
from pathlib import Path

import pytest
import records

from experiments.making import measured
from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.plan.plan import Profile
from loadgen.report import svg
from servers import catalog

NAMES = (
    "throughput",
    "idle",
    "load",
    "handler",
    "payload",
    "footprint",
    "idle_cost",
    "fairness",
    "slow_clients",
)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_measures_draws_and_finds(name: str, tmp_path: Path) -> None:
    experiment = experiments.find(name)
    planned = experiment.cells("quick", [catalog.find("epoll")])
    assert len({cell.id for cell in planned}) == len(planned)
    for cell in planned:
        cell.workload.check()
    record = measured(planned[-1], tmp_path / "log")
    assert record["outcome"] == "measured", record["failure"]
    assert record["counts"]["mismatched"] == record["counts"]["error"] == 0
    assert record["footprint"] is not None
    assert record["footprint"]["connected"]["fds"] > 0
    asked = planned[-1].workload.connections > 0
    assert bool(record["counts"]["ok"]) == asked
    assert bool(record["fairness"]) == asked

    folder = records.write_run(tmp_path / "run", [record])
    run = analysis.load(folder)
    drawn = [
        svg.save(figure, tmp_path / "charts", run.catalog) for figure in experiment.figures(run)
    ]
    assert all(path.stat().st_size for paths in drawn for path in paths)
    assert drawn
    assert re.search("do not decide|took no part|did not search", experiment.finding(run))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
def test_every_profile_is_planned_with_cells_of_its_own(name: str, profile: Profile) -> None:
    planned = experiments.find(name).cells(profile, catalog.MODELS)
    for cell in planned:
        cell.workload.check()
    assert {cell.server for cell in planned} == {model.name for model in catalog.MODELS}
    assert len({cell.id for cell in planned}) == len(planned)
