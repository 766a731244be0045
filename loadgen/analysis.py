"""Trials => medians, ratios, confidence intervals, ties.

The unit of replication is the trial, one per block. Invalid trials are kept for drawing and count
in no summary.

Intervals are those between two order statistics, whose coverage follows from the binomial
distribution whatever the data look like (Conover, Practical Nonparametric Statistics, 3.2): a
bootstrap of the median of five or ten blocks covers far less than it says (tests/test_analysis.py
shows by how much).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import stats

from loadgen import histogram, results
from loadgen.results import Header, Record

CONFIDENCE = 0.95
# Half the width of an interval, relative to the median, at which more blocks are not worth it.
TARGET_HALF_WIDTH = 0.05

Metric = Callable[[Record], float | None]


@dataclass(frozen=True)
class Estimate:
    """A median over blocks and its interval; `coverage` is what the interval really has."""

    value: float
    low: float
    high: float
    n: int
    coverage: float

    @property
    def half_width(self) -> float:
        """Relative to the value."""
        return max(self.high - self.value, self.value - self.low) / self.value if self.value else 0

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def estimate(values: Sequence[float]) -> Estimate | None:
    """The median, and the narrowest pair of order statistics with CONFIDENCE; None without values.

    Up to five values cannot reach it (the widest pair, minimum and maximum, covers
    1 - 2**(1 - n)); that pair is given then, with the coverage it has.
    """
    ordered = sorted(values)
    n = len(ordered)
    if not n:
        return None
    # The j-th from either end: P(median outside) = 2 P(Binomial(n, 1/2) < j).
    outside = 2 * stats.binom.cdf(np.arange(n // 2 + 1) - 1, n, 0.5)
    fits = np.flatnonzero(outside[1:] <= 1 - CONFIDENCE) + 1
    j = int(fits[-1]) if len(fits) else 1
    coverage = max(0.0, 1 - 2 * float(stats.binom.cdf(j - 1, n, 0.5)))
    return Estimate(float(np.median(ordered)), ordered[j - 1], ordered[n - j], n, coverage)


@dataclass(frozen=True)
class Ratio:
    """How many times as large one model's figure is as another's, over paired blocks."""

    estimate: Estimate

    @property
    def tie(self) -> bool:
        """The interval contains 1: the data do not tell the two apart."""
        return self.estimate.low <= 1 <= self.estimate.high

    def __str__(self) -> str:
        return f"{self.estimate}{' (a tie)' if self.tie else ''}"


def ratio(
    numerators: Iterable[Record], denominators: Iterable[Record], metric: Metric
) -> Ratio | None:
    """Block by block, on valid trials; None when no block has both."""
    above, below = _by_block(numerators, metric), _by_block(denominators, metric)
    both = sorted(above.keys() & below.keys())
    found = estimate([above[block] / below[block] for block in both if below[block]])
    return Ratio(found) if found else None


def _by_block(records: Iterable[Record], metric: Metric) -> dict[int, float]:
    values = {}
    for record in records:
        value = metric(record) if record["verdict"]["valid"] else None
        if value is not None:
            values[record["block"]] = value
    return values


def throughput(record: Record) -> float | None:
    """Answers per second."""
    return record["throughput_per_s"]


def cpu_us(record: Record) -> float | None:
    """CPU time of the server per answer, in microseconds."""
    cost = record["server_cost"]
    return cost["cpu_us_per_request"] if cost else None


def latency_us(kind: str, percentile: str) -> Metric:
    """A percentile of one trial, in microseconds."""

    def metric(record: Record) -> float | None:
        summary = record["latency_ns"].get(kind)
        value = summary[percentile] if summary else None  # type: ignore[literal-required]
        return None if value is None else value / 1000

    return metric


@dataclass(frozen=True)
class CellData:
    """All trials of one cell."""

    records: list[Record] = field(default_factory=list)

    @property
    def valid(self) -> list[Record]:
        """Those that count."""
        return [record for record in self.records if record["verdict"]["valid"]]

    @property
    def first(self) -> Record:
        """Any of them, for what all have in common."""
        return self.records[0]

    def over_blocks(self, metric: Metric) -> Estimate | None:
        """Median and interval over the valid trials."""
        values = [metric(record) for record in self.valid]
        return estimate([value for value in values if value is not None])

    def merged_us(self, kind: str, percentile: float) -> float | None:
        """A percentile of all requests of all valid trials, in microseconds."""
        texts = [record["histograms"].get(kind) for record in self.valid]
        merged = histogram.merge(histogram.decode(text) for text in texts if text)
        beyond = merged.get_total_count() * (1 - percentile / 100)
        if beyond < histogram.SAMPLES_BEYOND:
            return None
        return float(merged.get_value_at_percentile(percentile)) / 1000


@dataclass(frozen=True)
class Run:
    """A stored run, ready to be asked."""

    path: Path
    header: Header
    records: Sequence[Record]

    @cached_property
    def cells(self) -> dict[str, CellData]:
        """By cell id, in order of first appearance within the plan."""
        found: dict[str, CellData] = {cell: CellData() for cell in self.header["plan"]["cells"]}
        for record in self.records:
            found.setdefault(record["cell"], CellData()).records.append(record)
        return {cell: data for cell, data in found.items() if data.records}

    def of(self, experiment: str) -> dict[str, CellData]:
        """The cells of one experiment."""
        return {
            cell: data
            for cell, data in self.cells.items()
            if data.first["experiment"] == experiment
        }

    def along(self, experiment: str, axis: str) -> dict[str, dict[float, CellData]]:
        """Server => value of a workload field => cell, both in order."""
        table: dict[str, dict[float, CellData]] = {}
        for data in self.of(experiment).values():
            value = data.first["workload"][axis]
            table.setdefault(data.first["server"]["name"], {})[value] = data
        return {name: dict(sorted(row.items())) for name, row in table.items()}


def load(folder: Path) -> Run:
    """Read a run folder. Raises results.ResultsError."""
    stored = results.load(folder)
    return Run(stored.path, stored.header, stored.records)


def wide(data: CellData, metric: Metric = throughput) -> bool:
    """Would another block be worth its time?"""
    found = data.over_blocks(metric)
    if found is None:
        return False
    return found.coverage < CONFIDENCE or found.half_width > TARGET_HALF_WIDTH


def tidy(value: float) -> float:
    """Two significant figures, for sentences."""
    if not value:
        return 0.0
    digits = 1 - math.floor(math.log10(abs(value)))
    return round(value, digits)
