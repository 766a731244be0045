"""Experiments x servers x repeats, in shuffled blocks: a run that can be stopped and resumed.

The unit of replication is the trial. Every block runs every cell once, in an order of its own
(results.planned_order), so that whatever disturbs the machine for a while disturbs all that is
compared alike (randomised complete blocks).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadgen.analysis import analysis
from loadgen.experiments import Cell, Experiment, Profile
from loadgen.machine import environment
from loadgen.machine.environment import Pinning
from loadgen.store import results
from loadgen.target import trace
from loadgen.trial import trial
from loadgen.trial.trial import Subject
from servers import catalog
from servers.catalog import Variant

# Nothing is measured more often than this, however wide its interval stays.
MAX_BLOCKS = 30
# Starting, verifying, connecting and stopping, besides what is measured. For the time left only.
OVERHEAD_S = 0.3
# Rates that the search for a knee tries, about.
PROBES = 20
# What fits to the microsecond fits. The last digits of a sum of floats are no part of an estimate,
# and differ from one Python to another (library: sum(), changed in 3.12).
DIGITS = 6


@dataclass(frozen=True)
class Skip:
    """Cells that are not run, and why, in words."""

    cell: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run is going to do; stored with it, so that it can be resumed.

    blocks     every cell is measured at least this often
    spare      as a share of the time that this takes: what may go into more blocks of those cells
               whose interval is wide
    """

    profile: Profile
    experiments: tuple[str, ...]
    servers: tuple[str, ...]
    blocks: int
    spare: float
    seed: int
    cells: tuple[Cell, ...]
    skipped: tuple[Skip, ...]

    def total_s(self) -> float:
        """About how long the planned blocks take."""
        return self.blocks * sum(map(seconds, self.cells))

    def order(self, block: int) -> list[Cell]:
        """The cells of one block in the order they are run in."""
        return results.planned_order(self.cells, self.seed, block)

    def trials(self) -> Iterator[tuple[int, int, Cell]]:
        """All (block, place within the block, cell), in the order they are run in."""
        for block in range(self.blocks):
            for place, cell in enumerate(self.order(block)):
                yield block, place, cell

    def as_record(self) -> dict[str, Any]:
        """As stored in run.json. The cells are stored to be checked, not to be read back."""
        return {
            "experiments": list(self.experiments),
            "servers": list(self.servers),
            "blocks": self.blocks,
            "spare": self.spare,
            "cells": [cell.id for cell in self.cells],
            "skipped": [{"cell": skip.cell, "reason": skip.reason} for skip in self.skipped],
        }


def plan(
    profile: Profile,
    experiments: Sequence[Experiment],
    servers: Sequence[Variant],
    *,
    blocks: int,
    spare: float,
    seed: int,
    descriptors: int,
) -> Plan:
    """Decide what is run. `descriptors` is the limit of one process."""
    cells: list[Cell] = []
    skipped: list[Skip] = []
    for experiment in experiments:
        for cell in experiment.cells(profile, servers):
            reason = _why_not(cell, descriptors)
            if reason:
                skipped.append(Skip(cell.id, reason))
            else:
                cells.append(cell)
    return Plan(
        profile,
        tuple(experiment.NAME for experiment in experiments),
        tuple(variant.name for variant in servers),
        blocks,
        spare,
        seed,
        tuple(cells),
        tuple(skipped),
    )


def seconds(cell: Cell) -> float:
    """About how long one trial of a cell takes."""
    load = cell.workload
    connecting_s = (load.connections + load.idle_connections) / 5000
    drives = PROBES if load.knee_limit_s else 1
    return round(OVERHEAD_S + connecting_s + drives * (load.warmup_s + load.duration_s), DIGITS)


def execute(
    plan: Plan, folder: Path, cpus: Pinning
) -> Iterator[tuple[Cell, results.Record, float]]:
    """Run the trials that are due, storing each before it is yielded.

    Yields the cell, the record, and for how many seconds of work it stood.

    Raises results.ResultsError.
    """
    with results.append_to(folder) as trials:
        logs = folder / "server-logs"
        logs.mkdir(exist_ok=True)
        records = list(trials.folder.records)
        for block, place, cell in due(plan, records):
            log = logs / f"{block:03}-{place:03}-{cell.server}.log"
            record = trial.run(
                Subject(variant=catalog.find(cell.server), options=cell.options),
                replace(cell.workload, seed=plan.seed + block),
                cpus=cpus,
                log=log,
                experiment=cell.experiment,
                cell=cell.id,
                block=block,
                order=place,
            )
            if log.exists() and not log.stat().st_size:
                log.unlink()
            records.append(trials.append(record))
            yield cell, records[-1], seconds(cell)


def due(plan: Plan, records: Sequence[results.Record]) -> Iterator[tuple[int, int, Cell]]:
    """The (block, place within the block, cell) that `records` lack; what is yielded is to be
    added to them.

    First the planned blocks. Then, while there is time to spare, blocks of those cells alone whose
    interval is wider than the target. Time is counted as estimated: so a run that is resumed does
    what it would have done at once, and one that is finished has nothing left to do.
    """
    done = {(record["block"], record["cell"]) for record in records}
    for block, place, cell in plan.trials():
        if (block, cell.id) not in done:
            yield block, place, cell
    for block in range(plan.blocks, MAX_BLOCKS):
        spare_s = _spare_s(plan, records)
        wide = [
            (place, cell)
            for place, cell in enumerate(plan.order(block))
            if seconds(cell) <= spare_s and _is_wide(cell, records)
        ]
        if not wide:
            return
        for place, cell in wide:
            if (block, cell.id) not in done and seconds(cell) <= _spare_s(plan, records):
                yield block, place, cell


def _spare_s(plan: Plan, records: Sequence[results.Record]) -> float:
    """What is left of the time to spare, after the further blocks that `records` hold."""
    cells = {cell.id: cell for cell in plan.cells}
    spent = (cells[record["cell"]] for record in records if record["block"] >= plan.blocks)
    return round(plan.spare * plan.total_s() - sum(map(seconds, spent)), DIGITS)


def _is_wide(cell: Cell, records: Sequence[results.Record]) -> bool:
    """Is the interval of a cell wider than the target? At a given rate only latency can be."""
    metric = (
        analysis.latency_us("response", "p50")
        if cell.workload.mode == "open" and not cell.workload.knee_limit_s
        else analysis.throughput
    )
    return analysis.needs_more([r for r in records if r["cell"] == cell.id], metric)


def remaining_s(plan: Plan, records: Sequence[results.Record]) -> float:
    """About how long what is due will take, at most; 0 when nothing is."""
    if next(due(plan, records), None) is None:
        return 0.0
    done = {(record["block"], record["cell"]) for record in records}
    planned = (seconds(cell) for block, _, cell in plan.trials() if (block, cell.id) not in done)
    return sum(planned) + _spare_s(plan, records)


def _why_not(cell: Cell, descriptors: int) -> str | None:
    missing = catalog.find(cell.server).missing()
    if missing:
        return missing
    if cell.workload.driver == "trace" and (missing := trace.missing()):
        return missing
    load = cell.workload
    clients = load.connections + load.idle_connections + load.slow_connections
    return environment.lack_of_descriptors(clients, descriptors)
