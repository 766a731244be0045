"""The run as a whole: hashes, the plan, what was due and when, and what no two trials share."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from loadgen.analysis.audit.words import cell_id, warmup_s, window_s
from loadgen.analysis.estimate import MINIMUM_BLOCKS, TARGET_HALF_WIDTH
from loadgen.analysis.run import CellData, needs_more
from loadgen.plan import due
from loadgen.plan.order import Group, comparison, planned_order
from loadgen.plan.plan import Plan
from loadgen.store import chain, provenance, runs
from loadgen.store.runs import RunFolder
from loadgen.store.schema import SCHEMA, Header, Record
from loadgen.trial.cell import Cell

# Which cells the experiments of a run measure.
Planned = Callable[[Header], Sequence[Cell]]
# As many values are never the same twice, to the nanosecond and in their order of size.
SAMPLES = 10
# Starts are stored in milliseconds.
STAMP_S = 0.001
# The first schema with the rules of today about further blocks.
RULES_OF = 3


def unfinished_line(stored: RunFolder) -> Iterator[str]:
    """A kill leaves half a line, which nothing reads."""
    if stored.cut_off_bytes:
        size = f"{stored.cut_off_bytes:,} bytes"
        yield f"the last line is cut off ({size}): continue with bench --resume"


def hashes(stored: RunFolder) -> Iterator[str]:
    """Each line is chained to the one before it, the first to run.json."""
    previous = chain.start(stored.raw_header)
    for number, record in enumerate(stored.raw_records, start=1):
        hashed = chain.link(record, previous)
        if record.get("sha256") != hashed:
            before = f"line {number - 1}" if number > 1 else runs.HEADER_NAME
            yield f"line {number} does not hash to what it says: it or {before} was changed"
        previous = record.get("sha256", hashed)


class Orders:
    """In which order the cells of each block were to be measured: ids, by block."""

    def __init__(self, stored: RunFolder) -> None:
        self._cells = [Cell.of(cell) for cell in stored.header["plan"]["cells"]]
        self._seed = stored.header["seed"]
        self._of: dict[int, list[str]] = {}
        self.ids = {cell.id for cell in self._cells}

    def of(self, block: int) -> list[str]:
        """Of one block."""
        if block not in self._of:
            ordered = planned_order(self._cells, self._seed, block)
            self._of[block] = [cell.id for group in ordered for cell in group]
        return self._of[block]


def plan(stored: RunFolder) -> Iterator[str]:
    """Every planned trial, once, in the order that the seed says."""
    header, orders = stored.header, Orders(stored)
    planned = [(block, cell.id) for block, _, group in due_plan(stored).groups() for cell in group]
    found = Counter((record["block"], cell_id(record)) for record in stored.records)
    for (block, cell), times in found.items():
        if cell not in orders.ids:
            yield f"block {block}, {cell}: is not in the plan"
        if times > 1:
            yield f"block {block}, {cell}: stored {times} times"

    missing = [(block, cell) for block, cell in planned if (block, cell) not in found]
    if missing:
        example = f"block {missing[0][0]}, {missing[0][1]}"
        yield (
            f"unfinished: {len(missing)} of {len(planned)} planned trials are missing ({example},"
            f" ...): continue with bench --resume {stored.path}"
        )

    in_plan = set(planned)  # further blocks come behind all of them: see `replayed`
    places = [
        (record["block"], record["position"])
        for record in stored.records
        if (record["block"], cell_id(record)) in in_plan
    ]
    if places != sorted(places):
        yield "the trials are not in the order they were measured in"
    times_started = [datetime.fromisoformat(record["started_at"]) for record in stored.records]
    if times_started != sorted(times_started):
        yield "a trial began before the one that is stored before it"
    if times_started and times_started[0] < datetime.fromisoformat(header["created_at"]):
        yield "the first trial began before the run did"


def position(record: Record, orders: Orders) -> Iterator[str]:
    """Each cell was measured when it was its turn."""
    order, position = orders.of(record["block"]), record["position"]
    if not 0 <= position < len(order) or order[position] != cell_id(record):
        yield f"position {position} of its block belongs to another cell"


def seed(record: Record, stored: RunFolder) -> Iterator[str]:
    """Each block has the seed that follows from that of the run."""
    expected = stored.header["seed"] + record["block"]
    if record["seed"] != expected:
        yield f"the seed is not {expected}, as run.json and the block make it"


def sources(stored: RunFolder) -> Iterator[str]:
    """The servers' sources that are stored with the run are those that were measured."""
    for name, digest in stored.header["sources"].items():
        path = stored.path / runs.SOURCES_NAME / name
        if not path.is_file() or provenance.digest(path.read_bytes()) != digest:
            yield f"{runs.SOURCES_NAME}/{name} is not the source that was measured"


def is_older(stored: RunFolder) -> bool:
    """Was it stored by a lab that had other rules about further blocks?"""
    return int(stored.raw_header["schema"]) < RULES_OF


def needs_more_of_1(cells: Group, records: Sequence[Record], _: int) -> bool:
    """The rule of schema 1: further blocks of every server with a wide interval, but for those that
    are only watched."""
    blocks = len({record["block"] for record in records})
    if not cells[0].workload.connections:
        return False
    half_width = CellData(cells[0], list(records)).half_width
    return blocks < MINIMUM_BLOCKS or bool(half_width and half_width > TARGET_HALF_WIDTH)


def due_plan(stored: RunFolder) -> Plan:
    """The plan of a run, as far as it says what is due."""
    header = stored.header
    planned = Plan(
        "standard",  # says nothing about what is due
        tuple(header["plan"]["experiments"]),
        tuple(header["plan"]["servers"]),
        header["plan"]["blocks"],
        header["plan"]["trials"],
        header["plan"]["extra_time"],
        header["seed"],
        tuple(map(Cell.of, header["plan"]["cells"])),
        (),
    )
    if is_older(stored):
        # Only its trials say how long they are.
        known = {cell_id(record): Cell.of(record["cell"]) for record in stored.records}
        cells = tuple(known.get(cell.id, cell) for cell in planned.cells)
        planned = replace(planned, cells=cells)
    return planned


def due_trials(stored: RunFolder) -> Iterator[tuple[int, Cell]]:
    """What had to be measured, in order, given what was stored before: (block, cell).

    The only place that knows how plan/due.py is asked.
    """
    needed = needs_more_of_1 if is_older(stored) else needs_more
    before: list[Record] = []
    left = iter([record for record in stored.records if record["retries"] is None])
    for block, _, group in due.due(due_plan(stored), before, needed):
        for cell in group:
            yield block, cell
        following = list(itertools.islice(left, len(group)))
        if len(following) < len(group):
            return
        before += following


def is_duel(stored: RunFolder) -> bool:
    """Was it measured until it was decided, or until its time was over?"""
    return stored.header["plan"]["precision"] is not None


def replayed(stored: RunFolder) -> Iterator[str]:
    """What was measured is what was due, further blocks of wide cells included."""
    if any(plan(stored)) or is_duel(stored):
        return  # that says it already, and nothing fits from there on; or a clock decided
    left = iter([record for record in stored.records if record["retries"] is None])
    for block, cell in due_trials(stored):
        found = next(left, None)
        if found is None and is_older(stored):
            return  # it thought otherwise of how long a trial takes, and may have had no time left
        if found is None:
            yield (
                f"unfinished: block {block} of {cell.id} is due: continue with bench --resume"
                f" {stored.path}"
            )
            return
        if (found["block"], cell_id(found)) != (block, cell.id):
            yield (
                f"block {block} of {cell.id} was due, and block {found['block']} of"
                f" {cell_id(found)} is stored"
            )
            return
    if (extra := next(left, None)) is not None:
        yield f"block {extra['block']} of {cell_id(extra)} was not due"


def retried(stored: RunFolder) -> Iterator[str]:
    """What was measured again had not counted: a trial of the same comparison was void in the block
    that it names, and nobody chose among those that did count."""
    planned = due_plan(stored)
    before: list[Record] = []
    asked = None
    for number, record in enumerate(stored.records, start=1):
        of, block = record["retries"], record["block"]
        planned_block = block < due.first_retry(planned) or is_duel(stored)
        if (of is None) != planned_block:
            yield f"line {number}: block {block} cannot be one that retries {of}"
        elif of is not None:
            if (of, block) != asked:
                asked = of, block
                allowed = list(due.retries(planned, before))
            ours = Cell.of(record["cell"])
            if not any(ours in group and of == void for _, _, group, void in allowed):
                yield f"line {number}: nothing of {ours.id} was void in block {of}"
        before.append(record)


def one_after_the_other(stored: RunFolder) -> Iterator[str]:
    """A trial was over when the next one began; servers that take turns begin together."""
    groups = [list(group) for _, group in itertools.groupby(enumerate(stored.records, 1), _moment)]
    for ours, following in itertools.pairwise(groups):
        (first, one), (number, other) = ours[0], following[0]
        took_s = max(least_s(record) for _, record in ours)
        began, ended = (datetime.fromisoformat(record["started_at"]) for record in (one, other))
        if began + timedelta(seconds=took_s) > ended + timedelta(seconds=STAMP_S):
            yield f"line {number} began before the trial of line {first} can have been over"


def _moment(numbered: tuple[int, Record]) -> object:
    """The same for servers that were alive together, and for nothing else."""
    number, record = numbered
    cell = Cell.of(record["cell"])
    if not cell.workload.together:
        return number
    return record["block"], record["started_at"], comparison(cell)


def least_s(record: Record) -> float:
    """How long a trial took at least, by what it says of itself."""
    seconds, generator, slices = window_s(record), record["generator"], record["slices"]
    if slices:
        starts_ns, lengths_ns = slices["start_ns"], slices["length_ns"]
        ends_ns = [
            start_ns + length_ns
            for start_ns, length_ns in zip(starts_ns, lengths_ns, strict=True)
            if start_ns is not None and length_ns is not None
        ]
        return max(ends_ns, default=0) / 1e9
    if record["observation"]:
        took_s = record["observation"]["seen"].get("took_s")
        return took_s if isinstance(took_s, float) else 0.0
    if record["timeline"]:
        return max(client["left_ns"] for client in record["timeline"]["clients"]) / 1e9
    if not seconds or not generator or generator["full"] or record["connections"]["lost"]:
        return 0.0
    drives = len(record["knee"]["probes"]) if record["knee"] else 1
    return drives * (warmup_s(record) + seconds)


def twins(stored: RunFolder) -> Iterator[str]:
    """No two trials give the same figures to the last digit."""
    seen: dict[object, int] = {}
    for number, record in enumerate(stored.records, start=1):
        for mark in marks(record):
            if mark in seen:
                yield f"line {number} repeats the measured values of line {seen[mark]}"
                break
            seen[mark] = number


def marks(record: Record) -> Iterator[object]:
    """What a trial shares with no other one."""
    summaries, texts = record["latency_ns"], record["histograms"]
    many = False
    for kind in ("response", "service", "greeting"):
        summary, text = summaries[kind], texts[kind]
        if summary and text and summary["n"] >= SAMPLES:
            many = True
            yield kind, text
    if (slices := record["slices"]) and any(slices["start_ns"]):
        yield "slices", tuple(slices["start_ns"])
        yield "answers", tuple(slices["drive_answers"]), tuple(slices["p50_ns"])
    if observation := record["observation"]:
        yield "seen", tuple(value for value in observation["seen"].values() if type(value) is float)
    generator, cost = record["generator"], record["server_cost"]
    if generator and cost and not many:
        yield generator["cpu_fraction"], generator["busy_fraction"], cost["watched_s"]


def observations(stored: RunFolder) -> Iterator[str]:
    """A program looks at the same cases in every block, and tries each as often, unless it says
    why it could not."""
    first: dict[str, tuple[int, dict[str, int], bool]] = {}
    for number, record in enumerate(stored.records, start=1):
        found = record["observation"]
        if not found:
            continue
        tries = {
            name: value
            for name, value in found["seen"].items()
            if name.startswith("tries_") and isinstance(value, int)
        }
        excused = any(name.startswith("why_not") for name in found["seen"])
        line, before, was = first.setdefault(found["claim"], (number, tries, excused))
        if tries.keys() != before.keys() or (tries != before and not excused and not was):
            yield f"line {number} tries other things for {found['claim']} than line {line}"


def derived_plan(stored: RunFolder, planned: Planned) -> Iterator[str]:
    """The experiments of the plan measure these cells, and no others. An older lab's experiments
    measured others, and only that lab knows which."""
    if stored.raw_header["schema"] != SCHEMA or is_duel(stored):
        return
    try:
        expected = planned(stored.header)
    except (KeyError, ValueError) as error:
        yield f"the plan cannot be derived again: {error.args[0]}"
        return
    found = stored.header["plan"]
    cells = [Cell.of(cell) for cell in found["cells"]]
    skipped = [Cell.of(skip["cell"]) for skip in found["skipped"]]
    stated, derived = Counter([*cells, *skipped]), Counter(expected)
    for word, different in (("lacks", derived - stated), ("has besides", stated - derived)):
        if different:
            names = [cell.id for cell in (*expected, *cells, *skipped) if cell in different]
            yield (
                f"the plan {word} {len(different)} cells of its experiments, servers and profile"
                f" ({names[0]}, ...)"
            )
    stated_cells = {cell.id: cell for cell in cells}
    measured_cells = [Cell.of(record["cell"]) for record in stored.records]
    others = [
        cell for cell in measured_cells if cell.id in stated_cells and cell != stated_cells[cell.id]
    ]
    if others:
        yield f"{len(others)} trials were not of the length that was planned"


# `plan` and `hashes` come first: what they find explains the rest.
CHECKS: tuple[Callable[[RunFolder], Iterator[str]], ...] = (
    hashes,
    plan,
    replayed,
    retried,
    one_after_the_other,
    twins,
    observations,
)
