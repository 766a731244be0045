"""What is due: the planned blocks, and as many more as there is time for, however often a run is
stopped and resumed. No server is started."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import records

from loadgen import experiments
from loadgen.analysis.audit.whole import needs_more_of_1
from loadgen.analysis.run import needs_more
from loadgen.machine.cpus import choose_pinning
from loadgen.machine.limits import OWN_DESCRIPTORS, lack_of_descriptors
from loadgen.plan.due import remaining_s, seconds, whole
from loadgen.plan.execute import execute
from loadgen.plan.plan import Plan, plan
from loadgen.store import runs
from loadgen.store.schema import Record
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from loadgen.trial.rig import SystemUnderTest
from servers import catalog

CPUS = choose_pinning()


def cell(server: str, connections: int, duration_s: float = 1.0) -> Cell:
    return records.cell(server, connections=connections, duration_s=duration_s)


def planned(*cells: Cell, extra_time: float, blocks: int = 3) -> Plan:
    servers = tuple(dict.fromkeys(each.server for each in cells))
    return Plan(
        profile="standard",
        experiments=("throughput",),
        servers=servers,
        blocks=blocks,
        trials=blocks,
        extra_time=extra_time,
        seed=records.SEED,
        cells=cells,
        skipped=(),
    )


def created(plan: Plan, folder: Path) -> Path:
    return runs.create(
        plan.profile,
        plan=plan.as_record(),
        seed=plan.seed,
        environment=records.MACHINE,
        folder=folder,
    )


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial takes no time. What poll answers differs from block to block, epoll is steady."""

    def measure(
        systems: Sequence[tuple[SystemUnderTest, Cell, Path]], **names: Any
    ) -> list[Record]:
        return [
            made(cell, names["block"], names["position"] + number)
            for number, (_, cell, _) in enumerate(systems)
        ]

    monkeypatch.setattr(trial, "measure", measure)


def made(cell: Cell, block: int, position: int) -> Record:
    record = records.record(
        cell.server,
        connections=cell.workload.connections,
        block=block,
        position=position,
        throughput_per_s=1000.0 * (1 + (cell.server == "poll") * (block % 3)),
    )
    return {**record, "cell": cell.as_record()}


def wide(cells: Sequence[Cell], records: Sequence[Record], planned: int) -> bool:
    """Any rule will do here: of servers that are alone that of schema 1, which asks for more."""
    rule = needs_more if cells[0].workload.together else needs_more_of_1
    return rule(tuple(cells), records, planned)


Execute = Callable[[], Iterator[tuple[Cell, Record]]]


def executing(plan: Plan, folder: Path) -> Execute:
    return lambda: execute(plan, folder, CPUS, wide)


def keys(folder: Path) -> list[tuple[int, str]]:
    return [(record["block"], Cell.of(record["cell"]).id) for record in runs.load(folder).records]


WIDE = [cell("poll", 1), cell("poll", 8)]
NARROW = [cell("epoll", 1), cell("epoll", 8)]


def test_the_extra_time_goes_to_wide_cells_and_no_further(tmp_path: Path) -> None:
    plan = planned(*WIDE, *NARROW, extra_time=0.5)
    list(executing(plan, created(plan, tmp_path))())

    further = [cell for block, cell in keys(tmp_path) if block >= plan.blocks]
    assert set(further) == {cell.id for cell in WIDE}
    spent_s = len(further) * WIDE[0].workload.seconds
    assert spent_s <= 0.5 * plan.total_s() < spent_s + WIDE[0].workload.seconds


@pytest.mark.parametrize("clients", [1, 2, 3, 5, 7, 11, 13, 17, 19, 23])
def test_a_trial_that_takes_just_the_extra_time_is_run(clients: int, tmp_path: Path) -> None:
    """Wide and narrow cells take equally long: half as much again is three blocks of the wide."""
    wide = [cell("poll", 1), cell("poll", clients + 1)]
    plan = planned(*wide, cell("epoll", 1), cell("epoll", clients + 1), extra_time=0.5)
    list(executing(plan, created(plan, tmp_path))())

    further = [key for key in keys(tmp_path) if key[0] >= plan.blocks]
    assert sorted(further) == sorted((block, each.id) for block in (3, 4, 5) for each in wide)


def test_a_finished_run_has_nothing_left_however_often_it_is_resumed(tmp_path: Path) -> None:
    plan = planned(*WIDE, *NARROW, extra_time=0.5)
    folder = created(plan, tmp_path)
    assert remaining_s(plan, [], wide) == pytest.approx(1.5 * plan.total_s())
    list(executing(plan, folder)())

    for _ in range(2):
        assert remaining_s(plan, runs.load(folder).records, wide) == 0
        assert not list(executing(plan, folder)())


@pytest.mark.parametrize("stops", [(1,), (5, 1, 1, 1), (13, 2), (14,)])
def test_a_run_that_is_stopped_does_what_it_would_have_done_at_once(
    stops: tuple[int, ...], tmp_path: Path
) -> None:
    plan = planned(*WIDE, *NARROW, extra_time=0.5)
    list(executing(plan, created(plan, tmp_path / "at once"))())

    stopped = created(plan, tmp_path / "stopped")
    for count in stops:
        trials = executing(plan, stopped)()
        assert len(list(itertools.islice(trials, count))) == count
        trials.close()  # type: ignore[attr-defined]
    list(executing(plan, stopped)())

    assert keys(stopped) == keys(tmp_path / "at once")


def test_a_long_cell_that_needs_no_more_does_not_end_it_for_the_others(tmp_path: Path) -> None:
    long = cell("epoll", 64, duration_s=100.0)
    plan = planned(long, *WIDE, extra_time=0.1)
    list(executing(plan, created(plan, tmp_path))())

    further = [cell for block, cell in keys(tmp_path) if block >= plan.blocks]
    assert long.workload.seconds > 0.1 * plan.total_s()
    assert set(further) == {cell.id for cell in WIDE}


# What is measured together.

TOGETHER = tuple(
    Cell(experiment="throughput", server=server, workload=workload, replica=replica)
    for workload in (Slices(), Slices(connections=8))
    for server, replica in (("epoll", 0), ("poll", 0), ("epoll", 1))
)
ENTRANTS = 3


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[Cell, ...]]]:
    """Writes down which cells are measured together, in which block."""
    calls: list[tuple[int, tuple[Cell, ...]]] = []
    measure = trial.measure

    def noted(systems: Sequence[tuple[SystemUnderTest, Cell, Path]], **names: Any) -> list[Record]:
        calls.append((names["block"], tuple(cell for _, cell, _ in systems)))
        return measure(systems, **names)

    monkeypatch.setattr(trial, "measure", noted)
    return calls


def test_a_group_is_measured_at_once_and_stored_in_one_piece(
    measured: list[tuple[int, tuple[Cell, ...]]], tmp_path: Path
) -> None:
    plan = planned(*TOGETHER, extra_time=0, blocks=2)
    folder = created(plan, tmp_path)
    next(executing(plan, folder)())

    assert len(runs.load(folder).records) == ENTRANTS, "before any of it is yielded"
    list(executing(plan, folder)())
    assert measured == [(block, group) for block, _, group in plan.groups()]
    assert [len(group) for _, group in measured] == [ENTRANTS] * 4


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_half_written_group_is_measured_again_as_a_whole(
    lost: int, group: int, measured: list[tuple[int, tuple[Cell, ...]]], tmp_path: Path
) -> None:
    """A kill while a group is written leaves some of its lines: its servers are compared within
    its rounds, so those of another epoch are no match for them."""
    plan = planned(*TOGETHER, extra_time=0, blocks=2)
    folder = created(plan, tmp_path)
    list(executing(plan, folder)())
    trials, before = folder / runs.TRIALS_NAME, runs.load(folder)
    keep = ENTRANTS * group - lost
    trials.write_bytes(trials.read_bytes()[: before.ends_bytes[keep - 1]])
    measured.clear()

    list(executing(plan, folder)())

    assert measured == [(block, cells) for block, _, cells in list(plan.groups())[group - 1 :]]
    after = runs.load(folder)
    assert [(r["block"], r["position"], r["cell"]) for r in after.records] == [
        (r["block"], r["position"], r["cell"]) for r in before.records
    ]


def test_a_group_that_is_stored_as_a_whole_is_kept(tmp_path: Path) -> None:
    plan = planned(*TOGETHER, extra_time=0, blocks=2)
    folder = created(plan, tmp_path)
    list(executing(plan, folder)())
    records = runs.load(folder).records

    assert not whole(plan, [])
    for groups in range(1, 5):
        assert whole(plan, records[: ENTRANTS * groups]) == ENTRANTS * groups
        for lost in (1, 2):
            cut_off = records[: ENTRANTS * groups - lost]
            assert whole(plan, cut_off) == ENTRANTS * (groups - 1)


def test_wide_groups_are_measured_again_together_within_the_extra_time(tmp_path: Path) -> None:
    """poll differs from epoll by another factor in each block, so every ratio to it is wide."""
    plan = planned(*TOGETHER, extra_time=0.5)
    folder = created(plan, tmp_path)
    list(executing(plan, folder)())

    further = Counter(
        record["block"] for record in runs.load(folder).records if record["block"] >= plan.blocks
    )
    assert further
    assert all(count % ENTRANTS == 0 for count in further.values())
    group_s = seconds(TOGETHER[:ENTRANTS])
    spent_s = sum(further.values()) / ENTRANTS * group_s
    assert spent_s <= 0.5 * plan.total_s() < spent_s + 2 * group_s
    assert remaining_s(plan, runs.load(folder).records, wide) == 0


def test_blocks_and_trials_are_counted_apart(tmp_path: Path) -> None:
    alone = cell("epoll", 2)
    plan = replace(planned(*TOGETHER, alone, extra_time=0, blocks=3), trials=1)
    list(executing(plan, created(plan, tmp_path))())

    times = Counter(cell for _, cell in keys(tmp_path))
    assert times[alone.id] == 1
    assert {times[each.id] for each in TOGETHER} == {3}
    assert plan.total_s() == pytest.approx(3 * seconds(TOGETHER) + alone.workload.seconds)


# The rest.


def test_a_run_that_somebody_else_writes_to_is_left_as_it_is(tmp_path: Path) -> None:
    plan = planned(*NARROW, extra_time=0)
    folder = created(plan, tmp_path)

    with runs.append_to(folder), pytest.raises(runs.ResultsError, match="another process"):
        next(executing(plan, folder)())
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "servers", "trials.jsonl"]


def test_plan_and_run_count_the_same_descriptors() -> None:
    cells = experiments.find("idle_cost").cells("quick", [catalog.find("epoll")])

    def skipped(descriptors: int) -> set[str]:
        planned = plan(
            "quick",
            ["idle_cost"],
            ["epoll"],
            cells,
            blocks=1,
            trials=1,
            extra_time=0,
            seed=1,
            descriptors=descriptors,
        )
        return {skip.reason for skip in planned.skipped}

    enough = 100 + OWN_DESCRIPTORS
    assert not skipped(enough)
    assert skipped(enough - 1) == {lack_of_descriptors(100, enough - 1)}
