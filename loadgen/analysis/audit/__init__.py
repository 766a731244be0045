"""Does a stored run hold together? Every published figure is derived again from what was stored,
and what cannot be derived is bounded by what the other figures allow.

Two lists hold the checks; each is a small function that yields what does not hold, a line each:
WHOLE looks at the run, CHECKS at one record for itself. A new column gets its check there.

What no audit of a run alone can find:
- a forgery that is consistent throughout: whoever changes histograms, counts, clocks, verdicts and
  charts alike, and hashes all of it anew, has written another run;
- time that is moved from the server to the generator's read delay, as long as the generator was
  busy for longer than that, and some answers are still said to have been read at once;
- all of one server's figures under the name of another one that holds as many descriptors and
  threads (poll and select);
- counters of the whole machine that were raised to void a trial, where nothing else contradicts
  them (segments sent again, dropped connections, a clock that was set);
- of slices: all counts and histograms of an epoch that were raised together by less than what the
  longest answer leaves open, times moved from one server's columns to another one's with all that
  follows from them (poll and select again), and wrong answers or a clock that was set that are said
  to have voided another round than they did;
- the names of the machine, its kernel and its Python; a calibration within what trials cost the
  generator; trials left out at the end together with their part of the plan; in a run of schema 1
  the last of the further blocks.
Against these helps only that the hash of the last record is published elsewhere: see quoted.py.
"""

from collections.abc import Callable, Iterator

from loadgen.analysis.audit import bounds, pictures, quoted, record, servers, slices, whole
from loadgen.analysis.audit.record import (
    conservation,
    cpu,
    edges,
    growth,
    latencies,
    little,
    throughput,
)
from loadgen.analysis.audit.whole import (
    Orders,
    Planned,
    hashes,
    plan,
    position,
    seed,
    unfinished_line,
)
from loadgen.store.runs import RunFolder
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell

__all__ = [
    "CHECKS",
    "WHOLE",
    "Orders",
    "conservation",
    "cpu",
    "edges",
    "examine",
    "found_by",
    "growth",
    "hashes",
    "latencies",
    "little",
    "plan",
    "position",
    "quoted",
    "seed",
    "throughput",
]

# Of one record for itself.
CHECKS: tuple[Callable[[Record], Iterator[str]], ...] = (
    *record.CHECKS,
    *bounds.CHECKS,
    *pictures.CHECKS,
    *slices.CHECKS,
)
# Of the run. Hashes and the plan come first: what they find explains the rest.
WHOLE: tuple[Callable[[RunFolder], Iterator[str]], ...] = (
    *whole.CHECKS,
    *slices.WHOLE,
    *servers.CHECKS,
)


def examine(stored: RunFolder, planned: Planned | None = None) -> list[str]:
    """What does not hold, a line each; nothing when all does.

    planned   the cells that the experiments of a header plan; None: that is not looked at
    """
    orders = Orders(stored)
    return [
        *unfinished_line(stored),
        *(problem for check in WHOLE for problem in found_by(check, stored)),
        *(whole.derived_plan(stored, planned) if planned else ()),
        *(
            f"line {number} (block {each['block']}, {Cell.of(each['cell']).id}): {problem}"
            for number, each in enumerate(stored.records, start=1)
            for problem in of_record(each, stored, orders)
        ),
        *whole.sources(stored),
    ]


def of_record(each: Record, stored: RunFolder, orders: Orders) -> Iterator[str]:
    """All that one record says, against itself and the plan."""
    for check in CHECKS:
        yield from found_by(check, each)
    yield from position(each, orders)
    yield from seed(each, stored)


def found_by(check: Callable[..., Iterator[str]], subject: Record | RunFolder) -> Iterator[str]:
    """What a check finds; a record in which it does not find its way is a find too."""
    try:
        yield from check(subject)
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        yield f"{check.__name__.replace('_', ' ')} cannot be checked: {error!r}"
