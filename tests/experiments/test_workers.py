"""The experiment on workers: who has which CPUs, who had which clients, what went with a worker."""

from dataclasses import replace
from pathlib import Path

import pytest
import records

from experiments.making import CPUS, as_planned
from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.experiments import workers
from loadgen.store.schema import Death, Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Death as DeathMethod
from servers import catalog

pytestmark = pytest.mark.measures

SHARING = [model.name for model in catalog.MODELS if model.processes == "one per worker"]


def test_only_models_whose_workers_are_processes_lose_one() -> None:
    cells = experiments.cells("workers", "standard", catalog.usual())

    assert {c.server for c in cells if isinstance(c.workload, DeathMethod)} == set(SHARING)
    for model in catalog.MODELS:
        reason = DeathMethod().missing(model)
        assert (reason is None) == (model.name in SHARING), model.name


@pytest.mark.parametrize("server", SHARING)
def test_a_death_is_told_as_it_was(server: str, tmp_path: Path) -> None:
    workload = DeathMethod(connections=16, server_cpus=2)
    cell = Cell(experiment="workers", server=server, workload=workload, options=("--workers", "3"))

    record = as_planned(cell, tmp_path / "log")

    assert record["verdict"]["valid"], record["verdict"]["reasons"]
    found = record["death"]
    assert found is not None
    assert len(found["clients"]) == 3
    assert sum(found["clients"]) == 16
    assert found["lost"] == max(found["clients"]) == found["clients"][0]
    told = found["greeted"] + found["greeted_later"] + found["broken"]
    # Newcomers whose worker was stopped are served by its successor: none is turned away.
    assert (told, found["broken"], found["newcomers"]) == (16, 0, 16)


def dying(block: int, clients: list[int], **changes: int) -> Record:
    """A trial in which the first worker was killed."""
    made = records.record("prefork", experiment="workers", block=block)
    cell = Cell(
        experiment="workers",
        server="prefork",
        workload=DeathMethod(connections=64),
        options=("--workers", "4"),
    )
    made["cell"] = cell.as_record()
    death: Death = {
        "clients": clients,
        "lost": clients[0],
        "newcomers": 64,
        "greeted": 64,
        "greeted_later": 0,
        "broken": 0,
    }
    made["death"] = {**death, **changes}  # type: ignore[typeddict-item]
    return made


def test_the_finding_adds_trials_up(tmp_path: Path) -> None:
    found = [
        dying(0, [48, 16, 0, 0]),
        dying(1, [32, 32, 0, 0], greeted=60, broken=3, greeted_later=1),
    ]
    records.write_run(tmp_path / "run", found)

    assert workers.finding(analysis.load(tmp_path / "run")) == (
        "With prefork --workers 4 the busiest worker had 50% to 75% of 64 clients; when it was"
        " killed, in 2 trials, it lost its 80 clients, 4 of 128 newcomers waited for it while it"
        " was stopped and 3 of them lost their connection with it."
    )


def test_servers_have_as_many_cpus_as_there_are_and_the_record_says_how_many(
    tmp_path: Path,
) -> None:
    [cell] = [
        cell
        for cell in experiments.cells("workers", "quick", [catalog.find("prefork")])
        if cell.workload.together and not cell.replica
    ]
    short = replace(cell, workload=replace(cell.workload, connections=4, rounds=1))

    record = as_planned(short, tmp_path / "log")

    assert record["outcome"] == "measured", record["failure"]
    assert record["machine"]
    assert record["machine"]["server_cpus"] == sorted(CPUS.wider(2).server)
    assert record["server_cost"]
    assert record["server_cost"]["processes"] == 1 + 2, "the parent, and its workers"
