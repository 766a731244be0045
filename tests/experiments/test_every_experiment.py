"""What holds for every experiment: it plans, measures, draws and finds."""

import re
from pathlib import Path

import pytest
import records

from experiments.making import NEVER_NS, measured
from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.commands import arguments
from loadgen.plan.plan import Profile
from loadgen.report import svg
from loadgen.trial import sliced
from servers import catalog

pytestmark = pytest.mark.measures

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
def test_every_experiment_measures_draws_and_finds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliced, "PAUSE_NS", NEVER_NS)  # whoever else works here
    experiment = experiments.find(name)
    planned = experiment.cells("quick", [catalog.find("epoll")])
    assert len({cell.id for cell in planned}) == len(planned)
    for cell in planned:
        cell.workload.check()
    chosen = [cell for cell in planned if not cell.replica][-1]
    record = measured(chosen, tmp_path / "log")
    assert record["outcome"] == "measured", record["failure"]
    assert record["counts"]["mismatched"] == record["counts"]["error"] == 0
    assert record["footprint"] is not None
    assert record["footprint"]["connected"]["fds"] > 0
    asked = chosen.workload.connections > 0
    assert bool(record["counts"]["ok"]) == asked
    # How answers are shared out takes longer than a slice to show.
    assert bool(record["fairness"]) == (asked and not chosen.workload.together)
    assert bool(record["slices"]) == chosen.workload.together

    folder = records.write_run(tmp_path / "run", [record])
    run = analysis.load(folder)
    drawn = [
        svg.save(figure, tmp_path / "charts", run.catalog) for figure in experiment.figures(run)
    ]
    assert all(path.stat().st_size for path in drawn)
    assert drawn
    assert re.search("do not decide|took no part|did not search", experiment.finding(run))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
def test_every_profile_is_planned_with_cells_of_its_own(name: str, profile: Profile) -> None:
    planned = experiments.find(name).cells(profile, catalog.MODELS)
    for cell in planned:
        cell.workload.check()
    left_out = {model.name for model in catalog.MODELS} - {cell.server for cell in planned}
    # Behind silent clients, who come first, a server that takes one after the other serves nobody.
    assert all(catalog.find(server).leaves_waiting for server in left_out)
    assert not left_out or all(vars(cell.workload)["idle_connections"] for cell in planned)
    assert len({cell.id for cell in planned}) == len(planned)


def test_a_run_that_names_no_servers_takes_one_of_every_family_where_it_has_time() -> None:
    assert arguments.servers(None) == catalog.usual()
    assert {model.family for model in catalog.usual()} == {m.family for m in catalog.MODELS}
    # Behind silent clients these serve nobody, and some experiments leave them out.
    waiting = {model.name for model in catalog.MODELS if model.leaves_waiting}
    classic = {model.name for model in catalog.MODELS if model.standing == "classic"}
    usual = {model.name for model in catalog.usual()}
    assert classic == {"blocking", "threaded", "nonblocking", "select", "poll", "epoll"}

    for name in experiments.ALL:
        taken = {c.server for c in experiments.cells(name, "standard", catalog.usual())}
        if name in experiments.OF_EVERY_FAMILY:
            assert usual - waiting <= taken <= usual, name
        elif name not in experiments.OF_THEIR_OWN:
            assert taken <= classic, name


def test_servers_that_are_named_are_taken_and_no_others() -> None:
    chosen = arguments.servers(["uvloop", "epoll"])
    assert arguments.servers(["all"]) == list(catalog.MODELS)

    for name in experiments.ALL:
        taken = {cell.server for cell in experiments.cells(name, "standard", chosen)}
        assert taken <= {"uvloop", "epoll"}, name
        everybody = {c.server for c in experiments.cells(name, "standard", catalog.MODELS)}
        if name not in (*experiments.OF_THEIR_OWN, "trust"):
            left_out = {model.name for model in catalog.MODELS} - everybody
            assert all(catalog.find(server).leaves_waiting for server in left_out), name
