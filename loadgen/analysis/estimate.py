"""Trials and epochs => medians, ratios, confidence intervals.

The unit of replication is the trial, or the epoch of slices, one per block. Invalid ones are kept
for drawing and count in no summary. A percentile is a trial's own, and median and interval of it
are over trials; what is said of all requests together, such as a curve of all percentiles, comes
from merged histograms. Percentiles are never averaged.

How intervals are made was chosen by simulation, on data as a shared machine gives them: now and
then a trial is several times slower (tests/test_estimate.py repeats it). What covers 95 % of the
time is, from six blocks on, the interval between interpolated order statistics (93-96 %), and
below that Student's t on logarithms (93-97 %). The percentile bootstrap (scipy.stats.bootstrap)
does not: 75 % with three blocks, 93 % with five, 91-95 % with six to twenty.

Ratios from slices: what two servers did in the same round is divided, an epoch has one logarithm
of a ratio from all its rounds, and the interval is over epochs only. Slices of an epoch resemble
each other, so their number must never make an interval narrow. What was chosen there by
simulation is in tests/test_slices_simulated.py.
"""

import functools
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from loadgen.store.schema import Record

CONFIDENCE = 0.95
# Minimum and maximum of five cover the median 93.75 % of the time at most, whatever the data.
ORDER_STATISTICS_FROM = 6
# Half the width of an interval, relative to the median, at which more blocks are not worth it.
TARGET_HALF_WIDTH = 0.05
# The same of a ratio by slices: less than the margin that claims have (claim.MARGIN), because
# equals are called equal only where the whole interval fits.
PRECISION = 0.02
# With fewer, an interval is narrow by luck.
MINIMUM_BLOCKS = 3
# An epoch of which fewer rounds are left says more about a passing moment than about servers.
MINIMUM_ROUNDS = 3
# How many epochs come before it is decided, once, how many there shall be.
FIRST_EPOCHS = 6
# More than this are not worth their time.
MOST_EPOCHS = 24
# Epochs that scatter little by luck ask for few more, so those that there are scatter too little.
# Student's t with n - 1 degrees of freedom then covers 92 % only. With 8 at most it is 93-97 %,
# whether the number of epochs was chosen after the first 5 or 6 or fixed before.
MOST_DEGREES = 8
# The largest double is about e**709.
_LARGEST_LOG = 700.0

Metric = Callable[[Record], float | None]


@dataclass(frozen=True)
class Estimate:
    """A figure over n blocks and its confidence interval; from one block: (0, inf)."""

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
    if values[0] > 0:
        low, high = t_interval(np.log(values).tolist())
        return math.exp(low), math.exp(min(high, _LARGEST_LOG))
    low, high = t_interval(values.tolist())
    return max(0.0, low), high


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's t interval for the mean of two values or more."""
    mean = float(np.mean(values))
    reach = _quantile(degrees(len(values)), confidence) * standard_error(values)
    return mean - reach, mean + reach


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of two values or more."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def degrees(n: int) -> int:
    """Degrees of freedom, with n values, of an interval that covers what it says."""
    return min(n - 1, MOST_DEGREES)


@functools.cache
def _quantile(freedom: int, confidence: float) -> float:
    """How many standard errors a two-sided interval reaches to either side."""
    return float(special.stdtrit(freedom, (1 + confidence) / 2))


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
        return 1 - 2 * float(special.bdtr(j - 1, n, 0.5))

    j = max(j for j in range(1, n // 2) if coverage(j) >= CONFIDENCE)
    excess = (coverage(j) - CONFIDENCE) / (coverage(j) - coverage(j + 1))
    return j, (n - j) * excess / (j + (n - 2 * j) * excess)


def epoch_log_ratio(above: Sequence[float | None], below: Sequence[float | None]) -> float | None:
    """The logarithm of the ratio of two servers within one epoch: the median over its rounds.

    A round counts where both figures are known and positive. None where fewer than MINIMUM_ROUNDS
    count.

    Why the median: where nothing disturbs, a 20 % trimmed mean and the estimate of Hodges and
    Lehmann vary as much, because what differs from process to process outweighs the rounds (all
    three 0.3 % over six epochs of twelve rounds). Where both CPUs are taken for 45 % of the time,
    in bursts, one of two slices falls into a burst in many rounds, and there the median varies
    least: 1.6 % where the other two vary by 2.4 % and more.
    """
    logs = [
        math.log(one / other)
        # A server that has died has fewer rounds than the others.
        for one, other in zip(above, below, strict=False)
        if one is not None and other is not None and one > 0 and other > 0
    ]
    return statistics.median(logs) if len(logs) >= MINIMUM_ROUNDS else None


def hodges_lehmann(values: Sequence[float]) -> float:
    """The median of the means of all pairs, each value paired with itself too (Hodges and Lehmann
    1963, Annals of Mathematical Statistics 34). Over epochs, a check on their mean: one epoch that
    is far off moves it little."""
    ordered = np.asarray(values, dtype=float)
    one, other = np.triu_indices(len(ordered))
    return float(np.median((ordered[one] + ordered[other]) / 2))


def over_epochs(logs: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """A ratio and its interval from the logarithms of one or more epochs: their mean and Student's
    t, as ratios again."""
    n = len(logs)
    if not n:
        raise ValueError("no epoch, no ratio")
    value = math.exp(float(np.mean(logs)))
    if n == 1:
        return Estimate(value, 0.0, math.inf, 1)
    low, high = t_interval(logs, confidence)
    return Estimate(value, math.exp(low), math.exp(min(high, _LARGEST_LOG)), n)


def epochs_needed(
    logs: Sequence[float],
    half_width: float,
    confidence: float = CONFIDENCE,
    most: int = MOST_EPOCHS,
) -> int:
    """How many epochs, those of the first stage included, make an interval this narrow: Stein's
    second stage (1945, Annals of Mathematical Statistics 16). One look: whoever asks again after
    more epochs stops when it happens to look well.

    The first stage has FIRST_EPOCHS, or five. After three, intervals would cover 92 %: a quick run
    stays with its three. To call equals equal, ask for half the margin: an interval as wide as
    the margin fits only if its middle is 1.

    logs        of the first stage
    half_width  relative: 0.03 for 3 %
    """
    n = len(logs)
    if n < 2:
        return max(n, most)
    reach = _quantile(degrees(n), confidence) * float(np.std(logs, ddof=1))
    needed = (reach / math.log1p(half_width)) ** 2
    return max(n, math.ceil(min(needed, most)))


@dataclass(frozen=True)
class Ratio:
    """How many times as large one model's figure is as another's, over paired blocks.

    logs  of the ratio, one per block; empty where blocks are not paired or a figure is 0
    """

    estimate: Estimate
    logs: tuple[float, ...] = ()


def ratio(
    numerators: Iterable[Record], denominators: Iterable[Record], metric: Metric
) -> Ratio | None:
    """Block by block, on valid records; None when no block has both.

    Who took part twice in a comparison has two records in a block, and each is compared: the median
    is over twice as many pairs. It varies less than a ratio to the mean of both (its standard
    deviation over epochs by 5 to 15 % in three runs), which one disturbed slice moves.

    Where both records of a block have slices, their rounds are compared, or their figures of the
    whole epoch where slices have none of their own (a p99): then the interval is that of
    `over_epochs`, and otherwise that of `estimate`.
    """
    above, below = _valid(numerators), _valid(denominators)
    pairs = [(above[block], below[block]) for block in sorted(above.keys() & below.keys())]
    if any(record["slices"] is not None for one, other in pairs for record in (*one, *other)):
        found = [_log_ratio(*pair, metric) for pair in pairs]
        logs = tuple(log for log in found if log is not None)
        return Ratio(over_epochs(logs), logs) if logs else None
    figures = [(metric(one[0]), metric(other[0])) for one, other in pairs]
    ratios = [one / other for one, other in figures if one is not None and other]
    whole = estimate(ratios)
    logs = tuple(math.log(each) for each in ratios) if all(each > 0 for each in ratios) else ()
    return Ratio(whole, logs) if whole else None


def slice_figures(record: Record, metric: Metric) -> list[float | None] | None:
    """A metric's figure in each round, None in those that are void; None without slices."""
    of = getattr(metric, "per_slice", None)
    figures: list[float | None] | None = of(record["slices"]) if of and record["slices"] else None
    return figures


def _valid(records: Iterable[Record]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    for record in records:
        if record["verdict"]["valid"]:
            found.setdefault(record["block"], []).append(record)
    return found


def _log_ratio(one: Sequence[Record], other: Sequence[Record], metric: Metric) -> float | None:
    """From the slices of both, or else from their figures.

    Where others want the server's CPU, a slice has half of it, by luck more or less. Rounds in
    which neither slice was crowded say more, where there are some. That is no choice of results:
    who wants the CPU is asked while all servers rest.
    """
    if one[0]["started_at"] == other[0]["started_at"]:
        for crowded in (False, True):
            columns = [_by_round(record, metric, crowded) for record in (*one, *other)]
            known = [column for column in columns if column is not None]
            if len(known) < len(columns):
                break
            pairs = list(itertools.product(known[: len(one)], known[len(one) :]))
            above, below = ([each for pair in pairs for each in pair[side]] for side in (0, 1))
            log = epoch_log_ratio(above, below)
            if log is not None or crowded:
                return log
    figures = _mean([metric(each) for each in one]), _mean([metric(each) for each in other])
    return math.log(figures[0] / figures[1]) if figures[0] and figures[1] else None


def _by_round(record: Record, metric: Metric, crowded: bool) -> list[float | None] | None:
    """The figure in each round; None where it is not known, or crowded and those do not count."""
    figures = slice_figures(record, metric)
    if figures is None or crowded or record["slices"] is None:
        return figures
    flags = record["slices"]["crowded"]
    return [None if flag else figure for figure, flag in zip(figures, flags, strict=False)]


def _mean(figures: Sequence[float | None]) -> float | None:
    """The geometric mean of those that are known and positive."""
    known = [figure for figure in figures if figure]
    return math.prod(known) ** (1 / len(known)) if known else None
