"""Experiments that compare one server started in several ways: which ways, and what is said."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import records

from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.experiments.tools import started_as
from loadgen.plan.order import planned_order
from loadgen.report import svg
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from servers import catalog

pytestmark = pytest.mark.measures

PYTHONS = ["python3.13", "python3.14"]
EPOCHS = 4


def planned(name: str, pythons: Sequence[str] = ()) -> list[Cell]:
    return experiments.cells(name, "standard", catalog.usual(), pythons)


def answering(cell: Cell, per_s: float, block: int) -> Record:
    """A valid record of a cell."""
    made = records.record(cell.server, throughput_per_s=per_s, block=block, cpu_us=1e5 / per_s)
    made["cell"] = cell.as_record()
    made["server"]["implementation"] = "CPython 3.14.0"
    return made


def run_of(folder: Path, speeds: dict[Cell, float]) -> analysis.Run:
    """Some blocks in which each cell makes its answers per second, give or take 1 %."""
    found = [
        answering(cell, per_s * (1 + 0.01 * (block % 2)), block)
        for block in range(EPOCHS)
        for cell, per_s in speeds.items()
    ]
    records.write_run(folder, found)
    return analysis.load(folder)


@pytest.mark.parametrize("name", experiments.OF_THEIR_OWN)
def test_what_is_compared_is_measured_together(name: str) -> None:
    cells = planned(name, PYTHONS)

    assert len({cell.id for cell in cells}) == len(cells)
    groups = [group for group in planned_order(cells, 1, 0) if len(group) > 1]
    assert groups
    assert all(any(cell.replica for cell in group) for group in groups), "against itself, too"


@pytest.mark.parametrize("name", experiments.OF_THEIR_OWN)
def test_every_start_is_drawn_and_told_apart(name: str, tmp_path: Path) -> None:
    cells = [c for c in planned(name, PYTHONS) if c.workload.together and not c.replica]
    run = run_of(tmp_path / "run", {cell: 1e3 * (1 + n) for n, cell in enumerate(cells)})
    experiment = experiments.find(name)

    figures = experiment.figures(run)
    assert figures
    for figure in figures:
        assert svg.save(figure, tmp_path, run.catalog).stat().st_size
    assert "do not decide" not in experiment.finding(run)


@pytest.mark.parametrize("name", experiments.OF_THEIR_OWN)
def test_without_data_nothing_is_claimed(name: str, tmp_path: Path) -> None:
    cell = next(c for c in planned(name) if c.workload.together)
    run = run_of(tmp_path / "run", {cell: 1000.0})

    assert "do not decide" in experiments.find(name).finding(run)


def test_the_sizes_of_a_receive_are_told_with_both_heaps(tmp_path: Path) -> None:
    cells = [c for c in planned("receive_size") if not c.replica]

    def speed(cell: Cell) -> float:
        asks = int(cell.options[1]) if cell.options else 65_536
        large = cell.server == "asyncio" or asks > 2**17
        return 2_000.0 if large and cell.heap == "system" else 8_000.0

    run = run_of(tmp_path / "run", {cell: speed(cell) for cell in cells})

    told = experiments.find("receive_size").finding(run)
    assert told.startswith(
        "With a heap as the system sets it, epoll --receive-bytes 262144 answers 0.25"
    )
    assert "asyncio answers 0.25 [0.25, 0.25] times as many requests per second as" in told
    kept = told.partition("With a heap that keeps what was freed, ")[2]
    assert "epoll --receive-bytes 262144 is equal within 3 % to epoll (1.00" in kept
    assert "asyncio is equal within 3 % to asyncio_buffered" in kept


def test_interpreters_are_told_against_the_first(tmp_path: Path) -> None:
    cells = [c for c in planned("interpreters", PYTHONS) if not c.replica]
    run = run_of(
        tmp_path / "run", {c: 3_000.0 if c.python == "python3.14" else 2_000.0 for c in cells}
    )

    told = experiments.find("interpreters").finding(run)
    for server in ("epoll", "threaded", "asyncio", "io_uring"):
        assert (
            f"{server} under python3.14 answers 1.50 [1.50, 1.50] times as many requests per"
            f" second as {server} under python3.13"
        ) in told
    caption = experiments.find("interpreters").figures(run)[0].caption
    assert "python3.14 is CPython 3.14.0" in caption


def test_a_start_has_a_name() -> None:
    plain = planned("interpreters", PYTHONS)[0]
    assert started_as(plain) == f"{plain.server} under python3.13"
    several = next(c for c in planned("workers") if c.options)
    assert started_as(several) == f"{several.server} --workers 1"
