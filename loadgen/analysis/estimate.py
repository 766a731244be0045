"""Trials => medians, ratios, confidence intervals, ties.

The unit of replication is the trial, one per block. Invalid trials are kept for drawing and count
in no summary. A percentile is a trial's own, and median and interval of it are over trials; what
is said of all requests together, such as a curve of all percentiles, comes from merged histograms.
Percentiles are never averaged.

How intervals are made was chosen by simulation, on data as a shared machine gives them: now and
then a trial is several times slower (tests/test_estimate.py repeats it). What covers 95 % of the
time is, from six blocks on, the interval between interpolated order statistics (93-96 %), and
below that Student's t on logarithms (93-97 %). The percentile bootstrap (scipy.stats.bootstrap)
does not: 75 % with three blocks, 93 % with five, 91-95 % with six to twenty.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from loadgen.store.schema import Record

CONFIDENCE = 0.95
# Minimum and maximum of five cover the median 93.75 % of the time at most, whatever the data.
ORDER_STATISTICS_FROM = 6
# Half the width of an interval, relative to the median, at which more blocks are not worth it.
TARGET_HALF_WIDTH = 0.05
# A wider interval around 1 is no evidence of equality.
TIE_HALF_WIDTH = 0.10
# With fewer, an interval is narrow by luck.
MINIMUM_BLOCKS = 3

Metric = Callable[[Record], float | None]
Result = Literal["differs", "tie", "undecided"]


@dataclass(frozen=True)
class Estimate:
    """A median over n blocks and its confidence interval; from one block: (0, inf)."""

    value: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Relative to the value."""
        reach = max(self.high - self.value, self.value - self.low)
        if not self.value:
            return math.inf if reach else 0.0
        return reach / self.value

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def estimate(values: Sequence[float]) -> Estimate | None:
    """The median of non-negative figures and its interval; None without any."""
    n = len(values)
    if not n:
        return None
    ordered = np.sort(np.asarray(values, dtype=float))
    if n == 1:
        low, high = 0.0, math.inf
    elif n < ORDER_STATISTICS_FROM:
        low, high = _student(ordered)
    else:
        low, high = _order_statistics(ordered)
    return Estimate(float(np.median(ordered)), low, high, n)


def _student(values: np.ndarray) -> tuple[float, float]:
    """Student's t interval; on logarithms, because what disturbs a trial multiplies its figures."""
    logarithmic = bool(values[0] > 0)
    scaled = np.log(values) if logarithmic else values
    n = len(values)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * scaled.std(ddof=1) / math.sqrt(n)
    low, high = scaled.mean() - reach, scaled.mean() + reach
    # 700: the largest double is about e**709.
    return (math.exp(low), math.exp(min(high, 700))) if logarithmic else (max(0.0, low), high)


def _order_statistics(ordered: np.ndarray) -> tuple[float, float]:
    """The interval for a median of Hettmansperger and Sheather (1986, Statistics & Probability
    Letters 4): between two pairs of order statistics, one too wide and one too narrow."""
    j, weight = _between(len(ordered))
    low = (1 - weight) * ordered[j - 1] + weight * ordered[j]
    high = (1 - weight) * ordered[-j] + weight * ordered[-j - 1]
    return float(low), float(high)


@functools.cache
def _between(n: int) -> tuple[int, float]:
    """The j of the narrowest pair (j-th from either end) that covers at least CONFIDENCE, and the
    weight of the next narrower pair."""

    def coverage(j: int) -> float:
        return 1 - 2 * float(stats.binom.cdf(j - 1, n, 0.5))

    j = max(j for j in range(1, n // 2) if coverage(j) >= CONFIDENCE)
    excess = (coverage(j) - CONFIDENCE) / (coverage(j) - coverage(j + 1))
    return j, (n - j) * excess / (j + (n - 2 * j) * excess)


@dataclass(frozen=True)
class Ratio:
    """How many times as large one model's figure is as another's, over paired blocks."""

    estimate: Estimate

    @property
    def result(self) -> Result:
        """A tie is a claim too, that there is no difference to speak of: it takes a narrow
        interval around 1. Too few blocks decide nothing."""
        found = self.estimate
        if found.n < MINIMUM_BLOCKS:
            return "undecided"
        if not found.low <= 1 <= found.high:
            return "differs"
        return "tie" if found.half_width <= TIE_HALF_WIDTH else "undecided"

    def __str__(self) -> str:
        said = {"differs": "", "tie": " (a tie)", "undecided": " (undecided)"}
        return f"{self.estimate}{said[self.result]}"


def ratio(
    numerators: Iterable[Record], denominators: Iterable[Record], metric: Metric
) -> Ratio | None:
    """Block by block, on valid trials; None when no block has both."""
    above, below = by_block(numerators, metric), by_block(denominators, metric)
    both = sorted(above.keys() & below.keys())
    found = estimate([above[block] / below[block] for block in both if below[block]])
    return Ratio(found) if found else None


def by_block(records: Iterable[Record], metric: Metric) -> dict[int, float]:
    """Block => figure, of the valid trials that have one."""
    values = {}
    for record in records:
        value = metric(record) if record["verdict"]["valid"] else None
        if value is not None:
            values[record["block"]] = value
    return values
