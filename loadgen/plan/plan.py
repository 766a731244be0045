"""The plan of a run: its cells, how often each is measured, and what is skipped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from loadgen.machine.limits import lack_of_descriptors
from loadgen.plan.order import Group, planned_order
from loadgen.store import schema
from loadgen.target import interpreter
from loadgen.target.interpreter import InterpreterError
from loadgen.trial.cell import Cell
from servers import catalog

Profile = Literal["quick", "standard", "full", "duel"]


@dataclass(frozen=True)
class Skip:
    """A cell that is not run, and why, in words."""

    cell: Cell
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run is going to do; stored with it, so that it can be resumed.

    blocks      cells that are measured by slices are measured at least this often
    trials      and the others, each of which has a trial of its own: they ask less of chance
    extra_time  as a share of the time that this takes: what may go into more blocks of those cells
                whose interval is wide
    precision   of ratios, at which more is not worth it: 0.02 is +-2 %; None: that of the analysis
    pythons     interpreters that were named for the servers; none: the lab's own
    """

    profile: Profile
    experiments: tuple[str, ...]
    servers: tuple[str, ...]
    blocks: int
    trials: int
    extra_time: float
    seed: int
    cells: tuple[Cell, ...]
    skipped: tuple[Skip, ...]
    precision: float | None = None
    pythons: tuple[str, ...] = ()

    def total_s(self) -> float:
        """About how long the planned blocks take."""
        return sum(
            cell.workload.seconds * (self.blocks if cell.workload.together else self.trials)
            for cell in self.cells
        )

    def order(self, block: int) -> list[tuple[int, Group]]:
        """The (position of the first cell, cells) of one block in the order they are measured in:
        groups of cells that are measured together."""
        groups = planned_order(self.cells, self.seed, block)
        positions = accumulate((len(group) for group in groups), initial=0)
        return list(zip(positions, groups, strict=False))

    def groups(self) -> Iterator[tuple[int, int, Group]]:
        """All (block, position within the block, cells), in the order they are measured in."""
        for block in range(max(self.blocks, self.trials)):
            for position, group in self.order(block):
                if block < self.planned(group):
                    yield block, position, group

    def planned(self, group: Group) -> int:
        """How many blocks these cells are measured in, at least."""
        return self.blocks if group[0].workload.together else self.trials

    def as_record(self) -> schema.Plan:
        """As stored in run.json."""
        return {
            "experiments": list(self.experiments),
            "servers": list(self.servers),
            "blocks": self.blocks,
            "trials": self.trials,
            "extra_time": self.extra_time,
            "cells": [cell.as_record() for cell in self.cells],
            "skipped": [
                {"cell": skip.cell.as_record(), "reason": skip.reason} for skip in self.skipped
            ],
            "precision": self.precision,
            "pythons": list(self.pythons),
        }


def plan(
    profile: Profile,
    experiments: Sequence[str],
    servers: Sequence[str],
    cells: Sequence[Cell],
    *,
    blocks: int,
    trials: int,
    extra_time: float,
    seed: int,
    descriptors: int,
    pythons: Sequence[str] = (),
) -> Plan:
    """Decide which of the `cells` are run here. `descriptors` is the limit of one process."""
    reasons = [why_not(cell, descriptors) for cell in cells]
    return Plan(
        profile,
        tuple(experiments),
        tuple(servers),
        blocks,
        trials,
        extra_time,
        seed,
        tuple(cell for cell, reason in zip(cells, reasons, strict=True) if reason is None),
        tuple(
            Skip(cell, reason)
            for cell, reason in zip(cells, reasons, strict=True)
            if reason is not None
        ),
        pythons=tuple(pythons),
    )


def stored(header: schema.Header) -> Plan:
    """The plan of a run that was begun. Raises ValueError when it was another lab's."""
    found = header["plan"]
    known = [model.name for model in catalog.every()]
    if strangers := [name for name in found["servers"] if name not in known]:
        raise ValueError(f"there is no server {strangers[0]!r} here")
    return Plan(
        _profile(header["profile"]),
        tuple(found["experiments"]),
        tuple(found["servers"]),
        found["blocks"],
        found["trials"],
        found["extra_time"],
        header["seed"],
        tuple(map(Cell.of, found["cells"])),
        tuple(Skip(Cell.of(skip["cell"]), skip["reason"]) for skip in found["skipped"]),
        found["precision"],
        tuple(found["pythons"]),
    )


def _profile(text: str) -> Profile:
    for profile in ("quick", "standard", "full"):
        if text == profile:
            return profile
    raise ValueError(f"the profile {text!r} is none of this lab")


def why_not(cell: Cell, descriptors: int) -> str | None:
    """Why a cell cannot be measured here, in words; None if it can."""
    model = catalog.find(cell.server)
    try:
        missing = interpreter.examine(cell.python).missing[model.name] if cell.python else None
    except InterpreterError as error:
        return str(error)
    return (
        (missing if cell.python else model.missing())
        or cell.workload.cannot_reach(model)
        or cell.workload.missing(model)
        or lack_of_descriptors(cell.workload.clients, descriptors)
    )
