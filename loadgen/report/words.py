"""Figures and lists in sentences, and tables in pages."""

from collections.abc import Iterator, Sequence

from loadgen.analysis.claim import Claim
from loadgen.analysis.estimate import MINIMUM_BLOCKS, Estimate


def of_claim(found: Claim) -> Estimate:
    """The ratio of a claim."""
    return Estimate(found.ratio, found.low, found.high, found.n)


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table: a head, and rows."""
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    yield from (head, "|---" * len(rows[0]) + "|", *others)


def counted(number: int, noun: str) -> str:
    """ "1 comparison", "20 comparisons" """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c" """
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def interval(found: Estimate) -> str:
    """ "1.32 [1.27, 1.36]" """
    return ratio_text(found, _digits(found))


def rounded(found: Estimate) -> str:
    """ "1.32" """
    return f"{found.value:.{_digits(found)}f}"


def _digits(found: Estimate) -> int:
    return 0 if found.value >= 20 else 1 if found.value >= 5 else 2


def ratio_text(found: Estimate, digits: int) -> str:
    """A value and its interval, as far as there is one."""
    if found.n < MINIMUM_BLOCKS:
        return f"{found.value:.{digits}f} (too few blocks for an interval)"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
