"""What may be said of two servers: one is faster, they are equal, or it is not resolved.

One rule for sentences and charts, on the logarithms of the ratios of epochs (or of trials), by
Student's t:

faster, slower   the 95 % interval lies beyond the margin: outside [1 / 1.03, 1.03]
equal            the 90 % interval lies within the margin: two one-sided tests (Schuirmann 1987,
                 Journal of Pharmacokinetics and Biopharmaceutics 15)
unresolved       neither: all that is known is the interval

The first two exclude each other, and which of them is said is wrong in one case of twenty at most,
wherever the truth is. An interval that excludes 1 and reaches into the margin, such as
1.02 [1.01, 1.05], is unresolved: it says on which side, not that it matters. `Claim.differs` tells
it apart, and is what a server compared with itself may be in one case of twenty.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy import special

from loadgen.analysis.estimate import (
    CONFIDENCE,
    MINIMUM_BLOCKS,
    MOST_DEGREES,
    degrees,
    epochs_needed,
    over_epochs,
    standard_error,
)

# A smaller difference between two servers is none to choose by.
MARGIN = 0.03
LEVEL = 1 - CONFIDENCE
# Where more would be needed, the truth lies so close to the margin that time is no help.
MOST_WORTH_NAMING = 200

Kind = Literal["faster", "slower", "equal", "unresolved"]


@dataclass(frozen=True)
class Claim:
    """What may be said of the ratio of two servers' figures.

    ratio      with its 95 % interval, `low` to `high`, whatever is claimed
    more_s     about how much longer one would have to measure; None where it is resolved, where
               nothing is known, and where more time would not help
    p          of what is claimed, or would be next: below 0.05 exactly where it is resolved
    n          epochs
    margin     0.03: what is equal within 3 %
    headline   named before the run, and resolved together with the others (`headlines`);
               otherwise exploratory
    """

    kind: Kind
    ratio: float
    low: float
    high: float
    more_s: float | None
    p: float
    n: int
    margin: float = MARGIN
    headline: bool = False
    logs: tuple[float, ...] = field(default=(), repr=False)
    epoch_s: float | None = field(default=None, repr=False)

    @property
    def resolved(self) -> bool:
        """Is anything claimed?"""
        return self.kind != "unresolved"

    @property
    def differs(self) -> bool:
        """Does the interval exclude 1, by however little?"""
        return self.n >= MINIMUM_BLOCKS and not self.low <= 1 <= self.high

    @property
    def times(self) -> tuple[float, float, float]:
        """Ratio and interval the way round in which the ratio is 1 or more: of what is slower by
        1.25 [1.20, 1.30] the ratio is 0.80 [0.77, 0.83]."""
        if self.ratio >= 1:
            return self.ratio, self.low, self.high
        return 1 / self.ratio, _inverse(self.high), _inverse(self.low)


def claim(
    logs: Sequence[float],
    *,
    margin: float = MARGIN,
    more_is_faster: bool = True,
    epoch_s: float | None = None,
) -> Claim | None:
    """What the epochs say; None without any.

    logs            of the ratio, one per epoch: `Ratio.logs`
    more_is_faster  whether a larger figure is better: of rates it is, of times it is not
    epoch_s         what another epoch would take; for `more_s`
    """
    if not logs:
        return None
    found = over_epochs(logs)
    beyond, within = p_beyond(logs, margin), p_within(logs, margin)
    kind = _kind(found.n, beyond, within, (found.value > 1) is more_is_faster)
    return Claim(
        kind,
        found.value,
        found.low,
        found.high,
        None if kind != "unresolved" else _more_s(logs, margin, epoch_s, LEVEL),
        min(beyond, within),
        found.n,
        margin,
        logs=tuple(logs),
        epoch_s=epoch_s,
    )


def unpaired(
    above: Sequence[float], below: Sequence[float], *, more_is_faster: bool = True
) -> Claim | None:
    """What positive figures say whose epochs have nothing to do with each other, such as those of
    two runs: by the same rule, and Welch's t on logarithms (1947, Biometrika 34)."""
    if not above or not below:
        return None
    sides = [[math.log(figure) for figure in side] for side in (above, below)]
    n = min(len(above), len(below))
    mean = float(np.mean(sides[0]) - np.mean(sides[1]))
    if n < 2:
        return Claim("unresolved", math.exp(mean), 0.0, math.inf, None, 1.0, n)
    squares = [standard_error(side) ** 2 for side in sides]
    error = math.sqrt(sum(squares))
    shares = sum(square**2 / (len(side) - 1) for square, side in zip(squares, sides, strict=True))
    freedom = min(error**4 / shares, MOST_DEGREES) if shares else MOST_DEGREES
    reach = float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    distance = abs(mean) - math.log1p(MARGIN)
    beyond = min(1.0, 2 * _tail(error, distance, freedom))
    within = _tail(error, -distance, freedom)
    return Claim(
        _kind(n, beyond, within, (mean > 0) is more_is_faster),
        math.exp(mean),
        math.exp(mean - reach),
        math.exp(mean + reach),
        None,
        min(beyond, within),
        n,
    )


def headlines(claims: Sequence[Claim]) -> list[Claim]:
    """The few claims that were named before the run, together: the chance that any of them is
    wrong is 5 %. What Holm's method does not keep becomes unresolved."""
    kept = holm([each.p for each in claims])
    return [
        replace(each, headline=True)
        if resolved or not each.resolved
        else replace(
            each,
            headline=True,
            kind="unresolved",
            more_s=_more_s(each.logs, each.margin, each.epoch_s, LEVEL / len(claims)),
        )
        for each, resolved in zip(claims, kept, strict=True)
    ]


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which may be claimed together (Holm 1979, Scandinavian Journal of Statistics 6)."""
    return [p < level for p in holm_adjusted(p_values)]


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """The p values as Holm's method makes them larger: each may be held against the level."""
    adjusted = [1.0] * len(p_values)
    so_far = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        so_far = max(so_far, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, so_far)
    return adjusted


def p_beyond(logs: Sequence[float], margin: float = MARGIN) -> float:
    """That the ratio lies outside the margin: below 0.05 exactly where the 95 % interval does."""
    distance = abs(float(np.mean(logs))) - math.log1p(margin)
    return min(1.0, 2 * _one_sided(logs, distance))


def p_within(logs: Sequence[float], margin: float = MARGIN) -> float:
    """That the ratio lies within the margin, the larger of two one-sided p: below 0.05 exactly
    where the 90 % interval does."""
    return _one_sided(logs, math.log1p(margin) - abs(float(np.mean(logs))))


def _one_sided(logs: Sequence[float], distance: float) -> float:
    """How likely a mean is this far on one side of a bound that is the truth."""
    if len(logs) < 2:
        return 1.0
    return _tail(standard_error(logs), distance, degrees(len(logs)))


def _tail(error: float, distance: float, freedom: float) -> float:
    """How likely a mean with this standard error is this far off by chance."""
    if not error:
        return 0.0 if distance > 0 else 1.0
    return float(special.stdtr(freedom, -distance / error))


def _kind(n: int, beyond: float, within: float, faster: bool) -> Kind:
    if n < MINIMUM_BLOCKS:
        return "unresolved"
    if beyond < LEVEL:
        return "faster" if faster else "slower"
    return "equal" if within < LEVEL else "unresolved"


def _more_s(
    logs: Sequence[float], margin: float, epoch_s: float | None, level: float
) -> float | None:
    """Until the interval no longer reaches across the margin's edge, if nothing moves."""
    distance = math.log1p(margin) - abs(float(np.mean(logs)))
    if epoch_s is None or len(logs) < MINIMUM_BLOCKS or not distance:
        return None
    confidence = 1 - 2 * level if distance > 0 else 1 - level
    needed = epochs_needed(logs, math.expm1(abs(distance)), confidence, MOST_WORTH_NAMING)
    return None if needed >= MOST_WORTH_NAMING else (needed - len(logs)) * epoch_s


def _inverse(value: float) -> float:
    return math.inf if value == 0 else 1 / value
