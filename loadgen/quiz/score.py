"""What a guess is worth."""

import math
from dataclasses import dataclass

# A guess so close is as good as the figure.
CLOSE = 1.1
NEAR = 1.5
MOST = 3


@dataclass(frozen=True)
class Measured:
    """A ratio with its interval of 95 %; the ends are None where too little was valid."""

    ratio: float
    low: float | None
    high: float | None


def points(guess: float, measured: Measured) -> int:
    """3 within the interval or within a tenth, 2 within a half more or less, 1 for the right side
    of 1 (or for "the same", where nothing else is shown), else 0."""
    low = measured.ratio if measured.low is None else measured.low
    high = measured.ratio if measured.high is None else measured.high
    apart = abs(math.log(guess / measured.ratio))
    if low <= guess <= high or apart <= math.log(CLOSE):
        return MOST
    if apart <= math.log(NEAR):
        return 2
    same_side = (guess > 1 and high > 1) or (guess < 1 and low < 1)
    return 1 if same_side else 0
