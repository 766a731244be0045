"""Two runs, cell by cell: what became faster, what slower, and what the data do not tell apart."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loadgen.analysis.estimate import Estimate, Ratio
from loadgen.analysis.run import Run
from loadgen.store.runs import ResultsError

# What differs between any two moments on one and the same machine.
_PASSING = {"load_1min"}


@dataclass(frozen=True)
class Change:
    """One figure of one cell in both runs; the ratio is second : first."""

    cell: str
    figure: str
    first: Estimate
    second: Estimate
    ratio: Ratio


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
                    "ratio": _plain(change.ratio.estimate),
                    "result": change.ratio.result,
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
        Change(cell, metric.name, before, after, Ratio(unpaired_ratio(after, before)))
        for cell in shared
        for metric in first.cells[cell].cell.workload.metrics
        if (before := first.cells[cell].over_blocks(metric))
        and (after := second.cells[cell].over_blocks(metric))
        and before.value > 0 < after.value
    ]
    alone = first.cells.keys() ^ second.cells.keys()
    return Comparison(tuple(differences(first, second)), tuple(changes), tuple(sorted(alone)))


def unpaired_ratio(above: Estimate, below: Estimate) -> Estimate:
    """The ratio of two positive medians whose trials have nothing to do with each other.

    Distances to the limits are added like errors, on logarithms (Zou and Donner 2008, Statistics
    in Medicine 27, "Construction of confidence limits about effect measures").
    """
    value = above.value / below.value
    down = math.hypot(_distance(above.low, above.value), _distance(below.value, below.high))
    up = math.hypot(_distance(above.value, above.high), _distance(below.low, below.value))
    low = value * math.exp(-down)
    high = value * math.exp(up) if up < math.inf else math.inf
    return Estimate(value, low, high, min(above.n, below.n))


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


def _distance(low: float, high: float) -> float:
    return math.log(high / low) if low else math.inf


def _plain(found: Estimate) -> dict[str, Any]:
    high = found.high if math.isfinite(found.high) else None
    return {"value": found.value, "low": found.low, "high": high, "n": found.n}


def _shown(value: object) -> str:
    return "unknown" if value is None else value if isinstance(value, str) else json.dumps(value)
