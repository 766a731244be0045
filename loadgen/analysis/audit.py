"""Does a stored run hold together? Every published figure is derived again from what was stored.

What an audit cannot find is a forgery that is consistent throughout: whoever changes histograms,
counts, figures, verdicts and charts alike, and hashes all of it anew, has written another run.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from loadgen.plan.order import planned_order
from loadgen.store import chain, histogram, provenance, runs
from loadgen.store.runs import RunFolder
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import search

# A histogram keeps three figures (histogram._EXACT_BITS): a mean or an extreme derived from it may
# be off by half a unit of the last one at either end of a bucket.
HISTOGRAM_TOLERANCE = 2e-3
# Quotients of the same stored numbers differ by rounding only.
ROUNDING = 1e-9


def examine(stored: RunFolder) -> list[str]:
    """What does not hold, a line each; nothing when all does."""
    orders = Orders(stored)
    return [
        *unfinished_line(stored),
        *hashes(stored),
        *plan(stored, orders),
        *(
            f"line {number} (block {record['block']}, {_id(record)}): {problem}"
            for number, record in enumerate(stored.records, start=1)
            for problem in trial(record, stored, orders)
        ),
        *sources(stored),
    ]


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
            self._of[block] = [cell.id for cell in ordered]
        return self._of[block]


def plan(stored: RunFolder, orders: Orders) -> Iterator[str]:
    """Every planned trial, once, in the order that the seed says."""
    header = stored.header
    blocks = header["plan"]["blocks"]
    found = Counter((record["block"], _id(record)) for record in stored.records)
    for (block, cell), times in found.items():
        if cell not in orders.ids:
            yield f"block {block}, {cell}: is not in the plan"
        if times > 1:
            yield f"block {block}, {cell}: stored {times} times"

    missing = [
        (block, cell)
        for block in range(blocks)
        for cell in orders.of(block)
        if (block, cell) not in found
    ]
    planned = len(orders.ids) * blocks
    if missing:
        example = f"block {missing[0][0]}, {missing[0][1]}"
        yield (
            f"unfinished: {len(missing)} of {planned} planned trials are missing ({example}, ...):"
            f" continue with bench --resume {stored.path}"
        )

    places = [(record["block"], record["position"]) for record in stored.records]
    if places != sorted(places):
        yield "the trials are not in the order they were measured in"
    times_started = [datetime.fromisoformat(record["started_at"]) for record in stored.records]
    if times_started != sorted(times_started):
        yield "a trial began before the one that is stored before it"
    if times_started and times_started[0] < datetime.fromisoformat(header["created_at"]):
        yield "the first trial began before the run did"


def trial(record: Record, stored: RunFolder, orders: Orders) -> Iterator[str]:
    """All that one record says, against itself and the plan."""
    for check in CHECKS:
        yield from found_by(check, record)
    yield from position(record, orders)
    yield from seed(record, stored)


def found_by(check: Callable[[Record], Iterator[str]], record: Record) -> Iterator[str]:
    """What one of CHECKS finds; a record in which it does not find its way is a find too."""
    try:
        yield from check(record)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        yield f"{check.__name__.replace('_', ' ')} cannot be checked: {error!r}"


def position(record: Record, orders: Orders) -> Iterator[str]:
    """Each cell was measured when it was its turn."""
    order, position = orders.of(record["block"]), record["position"]
    if not 0 <= position < len(order) or order[position] != _id(record):
        yield f"position {position} of its block belongs to another cell"


def seed(record: Record, stored: RunFolder) -> Iterator[str]:
    """Each block has the seed that follows from that of the run."""
    expected = stored.header["seed"] + record["block"]
    if record["seed"] != expected:
        yield f"the seed is not {expected}, as run.json and the block make it"


def conservation(record: Record) -> Iterator[str]:
    """Nothing is skipped silently."""
    counts = record["counts"]
    parts = counts["ok"], counts["mismatched"], counts["error"], counts["timed_out"]
    others = sum(parts)
    if counts["scheduled"] != others or min(parts) < 0:
        yield f"{counts['scheduled']:,} requests were scheduled and {others:,} accounted for"
    connections = record["connections"]
    failed = sum(connections["failed"].values())
    if connections["attempted"] != connections["greeted"] + failed:
        yield (
            f"{connections['attempted']:,} connections were attempted and"
            f" {connections['greeted'] + failed:,} accounted for"
        )


def identity(record: Record) -> Iterator[str]:
    """The server was started as the cell says."""
    cell, server = Cell.of(record["cell"]), record["server"]
    if server["name"] != cell.server:
        yield f"the server is {server['name']}, and the cell is of {cell.server}"
    command = server["command"]
    # python -m servers NAME --port 0 [options]; none of a server that did not start.
    if command and tuple(command[command.index("--port") + 2 :]) != cell.command_options:
        yield f"the server was started otherwise than {cell.id} says: {' '.join(command)}"


def throughput(record: Record) -> Iterator[str]:
    """Answers by the length of the window, which only a full memory shortens."""
    stated, generator = record["throughput_per_s"], record["generator"]
    duration_s = record["cell"]["workload"].get("duration_s")  # None: there is no window
    if stated is None or generator is None or not isinstance(duration_s, (int, float)):
        if stated or (record["counts"]["ok"] and duration_s is not None):
            yield "there are answers without a generator, or a throughput without one"
        return
    derived = record["counts"]["ok"] / duration_s
    if stated < derived * (1 - ROUNDING) if generator["full"] else not _same(stated, derived):
        yield f"throughput_per_s is {stated:,.1f}, and counts and window make {derived:,.1f}"


def latencies(record: Record) -> Iterator[str]:
    """Counts, percentiles and extremes from the stored histograms."""
    counts = record["counts"]
    summaries: Any = record["latency_ns"]
    texts: Any = record["histograms"]
    for kind, text in texts.items():
        stated = summaries[kind]
        if text is None:
            if stated and stated["n"]:
                yield f"{kind} latencies have figures and no histogram"
            continue
        if stated is None:
            yield f"{kind} latencies have a histogram and no figures"
            continue
        censored = stated["censored"]
        derived = histogram.summary(histogram.decode(text), censored)
        if kind == "greeting":
            if derived["n"] > record["connections"]["greeted"]:
                yield f"{derived['n']:,} greetings, and fewer connections greeted"
        elif (derived["n"], censored) != (counts["ok"], counts["timed_out"]):
            yield (
                f"the {kind} histogram holds {derived['n']:,} and {censored:,} unanswered;"
                f" the counts say {counts['ok']:,} and {counts['timed_out']:,}"
            )
        for name in ("n", *histogram.PERCENTILES):
            if stated[name] != derived[name]:
                yield f"{kind} {name} is {stated[name]}, and its histogram makes {derived[name]}"
        for name in ("mean", "min", "max"):
            if not _near(stated[name], derived[name]):
                yield f"{kind} {name} is {stated[name]}, and its histogram makes {derived[name]}"


def little(record: Record) -> Iterator[str]:
    """Little's law, exactly: in a closed loop the requests of a client follow each other without a
    gap, so what they took together ties counts, histogram, clients and window to each other."""
    counts, generator = record["counts"], record["generator"]
    workload = Cell.of(record["cell"]).workload
    if not generator or generator["full"] or not workload.is_back_to_back:
        return
    overlap: Any = generator["overlap_ns"]
    if not counts["ok"] or counts["ok"] != counts["scheduled"]:
        return  # what became of the others took time too
    clients: Any = record["connections"]["active"]
    service: Any = record["latency_ns"]["service"]
    read_delay: Any = generator["read_delay_ns"]
    duration_s: Any = record["cell"]["workload"]["duration_s"]
    sending: Any = generator["send_path_ns"] or {"subtracted": 0, "max": 0}
    took_ns = service["n"] * (service["mean"] + read_delay["mean"]) + sending["subtracted"]
    longest_ns = sending["max"] + service["max"] + read_delay["max"]
    if not 0 <= sending["subtracted"] <= counts["ok"] * sending["max"]:
        yield f"{sending['subtracted']} ns were taken off, and no request had over {sending['max']}"
    had_ns = clients * duration_s * 1e9
    start_ns, end_ns = overlap["start_ns"], overlap["end_ns"]
    if not 0 <= start_ns <= had_ns or not 0 <= end_ns <= clients * longest_ns:
        yield f"{clients:,} clients cannot overlap the window by {start_ns} and {end_ns} ns"
    if not _same(took_ns, had_ns - start_ns + end_ns):
        yield (
            f"{clients:,} clients had {(had_ns - start_ns + end_ns) / 1e9:.6g} s in all, and their"
            f" requests took {took_ns / 1e9:.6g} s (Little's law)"
        )


def cpu(record: Record) -> Iterator[str]:
    """CPU time per answer, from the share of the time between the clocks' readings."""
    cost = record["server_cost"]
    if not cost:
        return
    stated, ok = cost["cpu_us_per_request"], record["counts"]["ok"]
    derived = cost["cpu_fraction"] * cost["watched_s"] * 1e6 / ok if ok else None
    if not _same(stated, derived):
        yield f"cpu_us_per_request is {stated}, and share, time and answers make {derived}"


def largest_rate(record: Record) -> Iterator[str]:
    """The knee is the largest of the rates tried that was kept, as often as it takes."""
    found = record["knee"]
    if not found:
        return
    kept = Counter(
        probe["offered_per_s"]
        for probe in found["probes"]
        if probe["p99_ns"] is not None
        and probe["p99_ns"] <= found["limit_ns"]
        and probe["achieved"] >= search.ACHIEVED
    )
    largest = max((rate for rate, times in kept.items() if times >= search.DECIDE), default=None)
    if found["rate_per_s"] != largest:
        yield f"the knee is {found['rate_per_s']}, and its probes make {largest}"


def judged(record: Record) -> Iterator[str]:
    """The verdict, from the record alone."""
    again = Cell.of(record["cell"]).workload.judge(record)
    if record["verdict"] != again:
        yield f"the verdict is {_in_words(record['verdict'])}, judged again {_in_words(again)}"


CHECKS: tuple[Callable[[Record], Iterator[str]], ...] = (
    conservation,
    identity,
    throughput,
    latencies,
    little,
    cpu,
    largest_rate,
    judged,
)


def sources(stored: RunFolder) -> Iterator[str]:
    """The servers' sources that are stored with the run are those that were measured."""
    for name, digest in stored.header["sources"].items():
        path = stored.path / runs.SOURCES_NAME / name
        if not path.is_file() or provenance.digest(path.read_bytes()) != digest:
            yield f"{runs.SOURCES_NAME}/{name} is not the source that was measured"


def _id(record: Record) -> str:
    return Cell.of(record["cell"]).id


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=ROUNDING)


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    # 1 ns: what a histogram keeps of values that are zero or less.
    return math.isclose(one, other, rel_tol=HISTOGRAM_TOLERANCE, abs_tol=1)


def _in_words(judgement: Any) -> str:
    state = "valid" if judgement["valid"] else f"invalid ({'; '.join(judgement['reasons'])})"
    return f"{state}, limited by {judgement['bottleneck']}"
