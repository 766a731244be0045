"""What a run has still to do, from its plan and what is stored of it."""

from collections.abc import Callable, Iterator, Sequence

from loadgen.plan.plan import Plan
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell

# Nothing is measured more often than this, however wide its interval stays.
MAX_BLOCKS = 30
# What fits but for this fits: the last digits of a sum of floats are no part of an estimate, and
# differ from one Python to another (library: sum(), changed in 3.12).
ROUNDING_S = 1e-6

# Is another block of this cell worth its time? From its records so far.
NeedsMore = Callable[[Cell, Sequence[Record]], bool]


def due(
    plan: Plan, records: Sequence[Record], needs_more: NeedsMore
) -> Iterator[tuple[int, int, Cell]]:
    """The (block, position within the block, cell) that `records` lack; what is yielded is to be
    added to them.

    First the planned blocks. Then, while there is extra time, blocks of those cells alone that
    need more. Time is counted as estimated: so a run that is resumed does what it would have done
    at once, and one that is finished has nothing left to do.
    """
    done = stored(records)
    for block, position, cell in plan.trials():
        if (block, cell.id) not in done:
            yield block, position, cell
    for block in range(plan.blocks, MAX_BLOCKS):
        extra_s = _extra_s(plan, records)
        wide = [
            (position, cell)
            for position, cell in enumerate(plan.order(block))
            if _fits(cell, extra_s) and needs_more(cell, _of(cell, records))
        ]
        if not wide:
            return
        for position, cell in wide:
            if (block, cell.id) not in done and _fits(cell, _extra_s(plan, records)):
                yield block, position, cell


def remaining_s(plan: Plan, records: Sequence[Record], needs_more: NeedsMore) -> float:
    """About how long what is due will take, at most; 0 when nothing is."""
    if next(due(plan, records, needs_more), None) is None:
        return 0.0
    done = stored(records)
    planned = (
        cell.workload.seconds for block, _, cell in plan.trials() if (block, cell.id) not in done
    )
    return sum(planned) + _extra_s(plan, records)


def stored(records: Sequence[Record]) -> set[tuple[int, str]]:
    """The trials that need no repeating, as (block, id of the cell)."""
    return {(record["block"], Cell.of(record["cell"]).id) for record in records}


def _extra_s(plan: Plan, records: Sequence[Record]) -> float:
    """What is left of the extra time, after the further blocks that `records` hold."""
    spent_s = sum(
        Cell.of(record["cell"]).workload.seconds
        for record in records
        if record["block"] >= plan.blocks
    )
    return plan.extra_time * plan.total_s() - spent_s


def _fits(cell: Cell, extra_s: float) -> bool:
    return cell.workload.seconds <= extra_s + ROUNDING_S


def _of(cell: Cell, records: Sequence[Record]) -> list[Record]:
    stored = cell.as_record()
    return [record for record in records if record["cell"] == stored]
