"""Two runs, cell by cell: what became faster, what slower, and what the data do not tell apart."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from loadgen.analysis.claim import Claim, unpaired
from loadgen.analysis.estimate import MINIMUM_BLOCKS, Estimate
from loadgen.analysis.run import CellData, Run
from loadgen.store.metric import Metric
from loadgen.store.runs import ResultsError

# What differs between any two moments on one and the same machine.
_PASSING = {"load_1min"}


Worse = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Change:
    """One figure of one cell in both runs; the claim is about second : first."""

    cell: str
    figure: str
    first: Estimate
    second: Estimate
    claim: Claim
    more_is_faster: bool = True

    @property
    def magnitude(self) -> float:
        """How large it is, whichever way it goes: half and twice are equally large."""
        return abs(math.log(self.claim.ratio))

    def worse_than(self, share: float) -> Worse:
        """Is the second run worse by more than this share of the first, such as 0.05? By the
        interval, whatever the ratio itself is: "yes" and "no" where all of it lies on one side."""
        if self.claim.n < MINIMUM_BLOCKS:
            return "unknown"
        if self.more_is_faster:
            worst, best, limit = self.claim.low, self.claim.high, 1 - share
            return "yes" if best < limit else "no" if worst >= limit else "unknown"
        worst, best, limit = self.claim.high, self.claim.low, 1 + share
        return "yes" if best > limit else "no" if worst <= limit else "unknown"


@dataclass(frozen=True)
class Comparison:
    """differences: of machines and versions, in words; changes: what is decided first, and in it
    the largest; alone: cells that one run does not have"""

    differences: tuple[str, ...]
    changes: tuple[Change, ...]
    alone: tuple[str, ...]

    @property
    def differing(self) -> tuple[Change, ...]:
        """What became faster or slower."""
        return tuple(filter(_differs, self.changes))

    def as_record(self, limit: float | None = None) -> dict[str, Any]:
        """For JSON; an unbounded interval ends in null. With a limit such as 0.05 each change says
        whether it is worse by more than that."""
        return {
            "differences": list(self.differences),
            "cells": [
                {
                    "cell": change.cell,
                    "figure": change.figure,
                    "first": _plain(change.first),
                    "second": _plain(change.second),
                    "ratio": _plain(ratio_of(change.claim)),
                    "claim": change.claim.kind,
                    **({} if limit is None else {"regression": change.worse_than(limit)}),
                }
                for change in self.changes
            ],
            "alone": list(self.alone),
        }


def compare(first: Run, second: Run) -> Comparison:
    """All cells that both runs have. Raises ResultsError when there is none."""
    shared = [cell for cell in first.cells if cell in second.cells]
    if not shared:
        raise ResultsError(f"{first.path} and {second.path} share no cell: nothing to compare")
    changes = [
        change
        for cell in shared
        for metric in first.cells[cell].cell.workload.metrics
        if (change := _change(first.cells[cell], second.cells[cell], metric))
    ]
    changes.sort(key=lambda change: (not _differs(change), -change.magnitude))
    alone = first.cells.keys() ^ second.cells.keys()
    return Comparison(tuple(differences(first, second)), tuple(changes), tuple(sorted(alone)))


def _differs(change: Change) -> bool:
    return change.claim.kind in ("faster", "slower")


def ratio_of(found: Claim) -> Estimate:
    """The ratio that a claim is about, with its interval."""
    return Estimate(found.ratio, found.low, found.high, found.n)


def _change(first: CellData, second: CellData, metric: Metric) -> Change | None:
    """None where a figure is missing, or 0."""
    before, after = first.over_blocks(metric), second.over_blocks(metric)
    figures = first.values(metric), second.values(metric)
    if before is None or after is None or not all(map(all, figures)):
        return None
    more = metric.unit == "per_s"
    found = unpaired(figures[1], figures[0], more_is_faster=more)
    return Change(first.cell.id, metric.name, before, after, found, more) if found else None


def differences(first: Run, second: Run) -> Iterator[str]:
    """What a change may be due to besides the servers."""
    one, other = first.header, second.header
    pairs: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...] = (
        (one["environment"], other["environment"]),
        (one["versions"], other["versions"]),
    )
    for before, after in pairs:
        for name in dict.fromkeys([*before, *after]):
            if name not in _PASSING and before.get(name) != after.get(name):
                yield f"{name}: {_shown(before.get(name))} and {_shown(after.get(name))}"
    if one["git_commit"] != other["git_commit"]:
        yield f"commit of the lab: {one['git_commit']} and {other['git_commit']}"
    if one["profile"] != other["profile"]:
        yield f"profile: {one['profile']} and {other['profile']} (trials differ in length)"


def _plain(found: Estimate) -> dict[str, Any]:
    high = found.high if math.isfinite(found.high) else None
    return {"value": found.value, "low": found.low, "high": high, "n": found.n}


def _shown(value: object) -> str:
    return "unknown" if value is None else value if isinstance(value, str) else json.dumps(value)
