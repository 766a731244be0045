"""What a run has still to do, from its plan and what is stored of it."""

from collections.abc import Callable, Iterator, Sequence

from loadgen.plan.order import Group
from loadgen.plan.plan import Plan
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell

# Nothing is measured more often than this, however wide its interval stays.
MAX_BLOCKS = 30
# What fits but for this fits: the last digits of a sum of floats are no part of an estimate, and
# differ from one Python to another (library: sum(), changed in 3.12).
ROUNDING_S = 1e-6

# Is another block of these cells worth its time? From their records so far, and the blocks that
# were planned.
NeedsMore = Callable[[Group, Sequence[Record], int], bool]


def due(
    plan: Plan, records: Sequence[Record], needs_more: NeedsMore
) -> Iterator[tuple[int, int, Group]]:
    """The (block, position within the block, cells measured together) that `records` lack; what is
    yielded is to be added to them.

    First the planned blocks. Then, while there is extra time, blocks of those alone that need more.
    Time is counted as estimated: so a run that is resumed does what it would have done at once, and
    one that is finished has nothing left to do. What was measured again (`retries`) is no part of
    this, and changes nothing in it.
    """
    for block, position, group in plan.groups():
        if _is_due(block, group, records):
            yield block, position, group
    for block in range(min(plan.blocks, plan.trials), MAX_BLOCKS):
        extra_s = _extra_s(plan, records)
        wide = [
            (position, group)
            for position, group in plan.order(block)
            if block >= plan.planned(group)
            and _fits(group, extra_s)
            and needs_more(group, _of(group, records), plan.planned(group))
        ]
        if not wide and block >= max(plan.blocks, plan.trials):
            return
        for position, group in wide:
            if _is_due(block, group, records) and _fits(group, _extra_s(plan, records)):
                yield block, position, group


def remaining_s(plan: Plan, records: Sequence[Record], needs_more: NeedsMore) -> float:
    """About how long what is due will take, at most; 0 when nothing is."""
    if next(due(plan, records, needs_more), None) is None:
        return 0.0
    planned = (
        seconds(group) for block, _, group in plan.groups() if _is_due(block, group, records)
    )
    return sum(planned) + _extra_s(plan, records)


def seconds(group: Group) -> float:
    """About how long it takes to measure these cells once."""
    return sum(cell.workload.seconds for cell in group)


def retries(plan: Plan, records: Sequence[Record]) -> Iterator[tuple[int, int, Group, int]]:
    """What did not count and may be measured again, once each: (block, position within the block,
    cells measured together, the block in which one of them did not count).

    Chosen by verdicts, which ask whether the machine was fit, and never by figures. What is
    measured again gets a block of its own, behind all that could be due, and what was void stays:
    so nothing is replaced, and everybody can see how often somebody tried. A block that was
    measured again, with success, is not measured once more.
    """
    first = first_retry(plan)
    after = max([first - 1, *(record["block"] for record in records)])
    found = []
    for _, group in plan.order(first):
        ours = _of(group, records, again=True)
        unsound = {record["block"] for record in ours if not record["verdict"]["valid"]}
        mended = {record["retries"] for record in ours if record["block"] not in unsound}
        void = sorted({r["block"] for r in ours if r["retries"] is None} & unsound - mended)
        found += [(number, group, block) for number, block in enumerate(void, start=1)]
    for number, group, retried in sorted(found, key=lambda each: each[0]):
        block = after + number
        wanted = set(group)
        yield from (
            (block, position, cells, retried)
            for position, cells in plan.order(block)
            if set(cells) == wanted
        )


def first_retry(plan: Plan) -> int:
    """The number of the first block that can never be due."""
    return max(MAX_BLOCKS, plan.blocks, plan.trials)


def whole(plan: Plan, records: Sequence[Record]) -> int:
    """How many of the records are no part of a group that a kill has cut off: that one is measured
    again as a whole, because its servers are compared within its rounds."""
    if not records:
        return 0
    block, last = records[-1]["block"], Cell.of(records[-1]["cell"])
    group = next((group for _, group in plan.order(block) if last in group), (last,))
    if not _is_due(block, group, records):
        return len(records)
    ours = {cell.id for cell in group}
    return next(
        number
        for number, record in enumerate(records)
        if record["block"] == block and Cell.of(record["cell"]).id in ours
    )


def _is_due(block: int, group: Group, records: Sequence[Record]) -> bool:
    done = stored(records)
    return any((block, cell.id) not in done for cell in group)


def stored(records: Sequence[Record]) -> set[tuple[int, str]]:
    """The trials that need no repeating, as (block, id of the cell)."""
    return {(record["block"], Cell.of(record["cell"]).id) for record in records}


def _extra_s(plan: Plan, records: Sequence[Record]) -> float:
    """What is left of the extra time, after the further blocks that `records` hold."""
    measured = (
        (record["block"], Cell.of(record["cell"]))
        for record in records
        if record["retries"] is None
    )
    spent_s = sum(
        cell.workload.seconds for block, cell in measured if block >= plan.planned((cell,))
    )
    return plan.extra_time * plan.total_s() - spent_s


def _fits(group: Group, extra_s: float) -> bool:
    return seconds(group) <= extra_s + ROUNDING_S


def _of(group: Group, records: Sequence[Record], *, again: bool = False) -> list[Record]:
    """The records of a group; with those that were measured again, if `again`."""
    stored = [cell.as_record() for cell in group]
    return [
        record
        for record in records
        if record["cell"] in stored and (again or record["retries"] is None)
    ]
