"""A rehearsal: all servers of a comparison, once, before anything counts.

It tells who fails at once, and how many rounds make an epoch as long as it is to be: a slow server
has long slices, and how long is not known before.
"""

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadgen.machine.cpus import Pinning
from loadgen.store.schema import Record
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from loadgen.trial.methods.slices import REST_S
from loadgen.trial.rig import SystemUnderTest

# An epoch has so many rounds at least, and at most.
ROUNDS = (5, 100)
# At a given rate an epoch is to have a p99, beyond which ten requests have to lie.
OPEN_REQUESTS = 1_100


@dataclass(frozen=True)
class Rehearsal:
    """What it showed.

    rounds  that make an epoch as long as it is to be
    failed  who failed, and why
    """

    rounds: int
    failed: Mapping[Cell, str]


def rehearse(
    systems: Mapping[Cell, SystemUnderTest],
    workload: Slices,
    *,
    cpus: Pinning,
    seed: int,
    epoch_s: float,
) -> Rehearsal:
    """Let them have one round, which is kept nowhere.

    workload   of all of the cells
    epoch_s    how long an epoch is to be
    """
    if not systems:
        return Rehearsal(ROUNDS[0], {})
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="loadgen-") as scratch:
        records = trial.measure(
            [
                (system, with_rounds(cell, 1), Path(scratch) / f"{number}.log")
                for number, (cell, system) in enumerate(systems.items())
            ],
            cpus=cpus,
            seed=seed,
        )
    took_s = time.monotonic() - began_s
    failed = {
        cell: record["failure"]
        for cell, record in zip(systems, records, strict=True)
        if record["failure"] is not None
    }
    return Rehearsal(rounds_of(workload, records, took_s, epoch_s), failed)


def rounds_of(workload: Slices, records: Sequence[Record], took_s: float, epoch_s: float) -> int:
    """How many rounds fill an epoch.

    records   of an epoch of one round, which took `took_s`
    """
    least, most = ROUNDS
    if workload.offered_per_s is not None:
        wanted = math.ceil(OPEN_REQUESTS / (workload.offered_per_s * workload.duration_s))
        least = min(max(least, wanted), most)
    slices = [record["slices"] for record in records if record["slices"]]
    round_s = sum(
        REST_S + (each["settle_ns"] + (each["length_ns"][0] or 0)) / 1e9 for each in slices
    )
    if not round_s:
        return least
    besides_s = took_s - round_s
    return max(least, min(int((epoch_s - besides_s) / round_s), most))


def with_rounds(cell: Cell, rounds: int) -> Cell:
    """The cell with so many rounds to an epoch."""
    assert isinstance(cell.workload, Slices)
    return replace(cell, workload=replace(cell.workload, rounds=rounds))
