"""Two runs, cell by cell: what became faster, what slower, and what the data do not tell apart."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loadgen.analysis.claim import Claim, unpaired
from loadgen.analysis.estimate import Estimate
from loadgen.analysis.run import CellData, Run
from loadgen.store.metric import Metric
from loadgen.store.runs import ResultsError

# What differs between any two moments on one and the same machine.
_PASSING = {"load_1min"}


@dataclass(frozen=True)
class Change:
    """One figure of one cell in both runs; the claim is about second : first."""

    cell: str
    figure: str
    first: Estimate
    second: Estimate
    claim: Claim


@dataclass(frozen=True)
class Comparison:
    """differences: of machines and versions, in words; alone: cells that one run does not have"""

    differences: tuple[str, ...]
    changes: tuple[Change, ...]
    alone: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        """For JSON; an unbounded interval ends in null."""
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
    alone = first.cells.keys() ^ second.cells.keys()
    return Comparison(tuple(differences(first, second)), tuple(changes), tuple(sorted(alone)))


def ratio_of(found: Claim) -> Estimate:
    """The ratio that a claim is about, with its interval."""
    return Estimate(found.ratio, found.low, found.high, found.n)


def _change(first: CellData, second: CellData, metric: Metric) -> Change | None:
    """None where a figure is missing, or 0."""
    before, after = first.over_blocks(metric), second.over_blocks(metric)
    figures = first.values(metric), second.values(metric)
    if before is None or after is None or not all(map(all, figures)):
        return None
    found = unpaired(figures[1], figures[0], more_is_faster=metric.unit == "per_s")
    return Change(first.cell.id, metric.name, before, after, found) if found else None


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
