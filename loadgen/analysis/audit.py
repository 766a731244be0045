"""Does a stored run hold together? Every published figure is derived again from what was stored.

What an audit cannot find is a forgery that is consistent throughout: whoever changes histograms,
counts, figures, verdicts and charts alike, and hashes all of it anew, has written another run.
"""

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import image

from loadgen.experiments import Cell
from loadgen.report import report
from loadgen.store import histogram, results
from loadgen.store.results import Record, RunFolder
from loadgen.trial import knee, verdict
from loadgen.workload.workload import Workload

# A histogram keeps three figures (histogram._EXACT_BITS): a mean or an extreme derived from it may
# be off by half a unit of the last one at either end of a bucket.
HISTOGRAM_TOLERANCE = 2e-3
# Quotients of the same stored numbers differ by rounding only.
ROUNDING = 1e-9


def examine(folder: Path) -> list[str]:
    """What does not hold, a line each; nothing when all does.

    Raises results.ResultsError for a folder that cannot be read at all.
    """
    stored = results.load(folder)
    return [
        *unfinished_line(stored),
        *hashes(stored),
        *plan(stored),
        *(
            f"line {number} (block {record['block']}, {record['cell']}): {problem}"
            for number, record in enumerate(stored.records, start=1)
            for problem in trial(record, stored)
        ),
        *redrawn(stored),
    ]


def unfinished_line(stored: RunFolder) -> Iterator[str]:
    """A kill leaves half a line, which nothing reads."""
    if stored.cut_off_bytes:
        size = f"{stored.cut_off_bytes:,} bytes"
        yield f"the last line is cut off ({size}): continue with bench --resume"


def hashes(stored: RunFolder) -> Iterator[str]:
    """Each line is chained to the one before it, the first to run.json."""
    previous = results.chain_start(stored.header)
    for number, record in enumerate(stored.records, start=1):
        hashed = results.chained_hash(record, previous)
        if record.get("sha256") != hashed:
            before = f"line {number - 1}" if number > 1 else results.HEADER_NAME
            yield f"line {number} does not hash to what it says: it or {before} was changed"
        previous = record.get("sha256", hashed)


def plan(stored: RunFolder) -> Iterator[str]:
    """Every planned trial, once, in the order that the seed says."""
    header = stored.header
    cells, blocks = header["plan"]["cells"], header["plan"]["blocks"]
    found = Counter((record["block"], record["cell"]) for record in stored.records)
    for (block, cell), times in found.items():
        if cell not in cells:
            yield f"block {block}, {cell}: is not in the plan"
        if times > 1:
            yield f"block {block}, {cell}: stored {times} times"

    missing = [
        (block, cell)
        for block in range(blocks)
        for cell in results.planned_order(cells, header["seed"], block)
        if (block, cell) not in found
    ]
    planned = len(cells) * blocks
    if missing:
        example = f"block {missing[0][0]}, {missing[0][1]}"
        yield (
            f"unfinished: {len(missing)} of {planned} planned trials are missing ({example}, ...):"
            f" continue with bench --resume {stored.path}"
        )

    places = [(record["block"], record["order"]) for record in stored.records]
    if places != sorted(places):
        yield "the trials are not in the order they were measured in"
    times_started = [datetime.fromisoformat(record["started_at"]) for record in stored.records]
    if times_started != sorted(times_started):
        yield "a trial began before the one that is stored before it"
    if times_started and times_started[0] < datetime.fromisoformat(header["created_at"]):
        yield "the first trial began before the run did"


def trial(record: Record, stored: RunFolder) -> Iterator[str]:
    """All that one record says, against itself and the plan."""
    for check in CHECKS:
        yield from found_by(check, record)
    yield from place(record, stored)
    yield from seed(record, stored)


def found_by(check: Callable[[Record], Iterator[str]], record: Record) -> Iterator[str]:
    """What one of CHECKS finds; a record in which it does not find its way is a find too."""
    try:
        yield from check(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield f"{check.__name__.replace('_', ' ')} cannot be checked: {error!r}"


def place(record: Record, stored: RunFolder) -> Iterator[str]:
    """Each cell was measured when it was its turn."""
    header = stored.header
    order = results.planned_order(header["plan"]["cells"], header["seed"], record["block"])
    if not 0 <= record["order"] < len(order) or order[record["order"]] != record["cell"]:
        yield f"place {record['order']} of its block belongs to another cell"


def seed(record: Record, stored: RunFolder) -> Iterator[str]:
    """Each block has the seed that follows from that of the run."""
    expected = stored.header["seed"] + record["block"]
    if record["seed"] != expected or record["workload"].get("seed") != expected:
        yield f"the seed is not {expected}, as run.json and the block make it"


def conservation(record: Record) -> Iterator[str]:
    """Nothing is skipped silently."""
    counts = record["counts"]
    parts = counts["ok"], counts["wrong"], counts["error"], counts["unfinished"]
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
    """The cell names experiment, server and workload."""
    known = {field.name for field in fields(Workload)}
    if not record["workload"].keys() <= known:
        yield "the workload is not one of this version of the lab"
        return
    command = record["server"]["command"]
    cell = Cell(
        experiment=record["experiment"],
        server=record["server"]["name"],
        workload=Workload(**record["workload"]),
        # python -m servers NAME --port 0 [options]
        options=tuple(command[command.index("--port") + 2 :]) if command else (),
    )
    # A server that did not start has left no command, and so no options. Of one that was traced it
    # is known all the same.
    if cell.id != record["cell"] and (command or not record["cell"].startswith(cell.id)):
        yield f"server and workload are those of {cell.id}"


def throughput(record: Record) -> Iterator[str]:
    """Answers by the length of the window, which only a full memory shortens."""
    stated, generator = record["throughput_per_s"], record["generator"]
    if stated is None or generator is None:
        is_untimed = record["workload"].get("driver") in ("timeline", "trace")
        if stated or (record["counts"]["ok"] and not is_untimed):
            yield "there are answers without a generator, or a throughput without one"
        return
    derived = record["counts"]["ok"] / record["workload"]["duration_s"]
    if stated < derived * (1 - ROUNDING) if generator.get("full") else not _same(stated, derived):
        yield f"throughput_per_s is {stated:,.1f}, and counts and window make {derived:,.1f}"


def latencies(record: Record) -> Iterator[str]:
    """Counts, percentiles and extremes from the stored histograms."""
    counts = record["counts"]
    for kind, text in record["histograms"].items():
        stated: Any = record["latency_ns"].get(kind)
        if text is None:
            if stated and stated["n"]:
                yield f"{kind} latencies have figures and no histogram"
            continue
        if stated is None:
            yield f"{kind} latencies have a histogram and no figures"
            continue
        censored = stated.get("censored", 0)
        derived = histogram.summary(histogram.decode(text), censored)
        if kind == "greeting":
            if derived["n"] > record["connections"]["greeted"]:
                yield f"{derived['n']:,} greetings, and fewer connections greeted"
        elif (derived["n"], censored) != (counts["ok"], counts["unfinished"]):
            yield (
                f"the {kind} histogram holds {derived['n']:,} and {censored:,} unanswered;"
                f" the counts say {counts['ok']:,} and {counts['unfinished']:,}"
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
    counts, generator, load = record["counts"], record["generator"], Workload(**record["workload"])
    if not generator or generator["full"] or not load.is_back_to_back:
        return
    if not counts["ok"] or counts["ok"] != counts["scheduled"]:
        return  # what became of the others took time too
    clients: Any = record["connections"]["active"]
    service: Any = record["latency_ns"]["service"]
    read_delay = generator["read_delay_ns"]
    took_ns = service["n"] * (service["mean"] + read_delay["mean"])
    longest_ns = service["max"] + read_delay["max"]
    had_ns = clients * load.duration_s * 1e9
    start_ns, end_ns = generator["overlap_ns"]["start_ns"], generator["overlap_ns"]["end_ns"]
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
    found = record.get("knee")
    if not found:
        return
    kept = Counter(
        probe["offered_per_s"]
        for probe in found["probes"]
        if probe["p99_ns"] is not None
        and probe["p99_ns"] <= found["limit_ns"]
        and probe["achieved"] >= knee.ACHIEVED
    )
    largest = max((rate for rate, times in kept.items() if times >= knee.DECIDE), default=None)
    if found["rate_per_s"] != largest:
        yield f"the knee is {found['rate_per_s']}, and its probes make {largest}"


def judged(record: Record) -> Iterator[str]:
    """The verdict, from the record alone."""
    again = verdict.judge(dict(record))
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


def redrawn(stored: RunFolder) -> Iterator[str]:
    """The stored trials give the stored page and charts: SVG byte by byte, PNG pixel by pixel."""
    folder = stored.path / report.CHARTS_NAME
    drew = stored.header["versions"].get("matplotlib")
    draws = matplotlib.__version__
    other = "" if drew == draws else f" (drawn by Matplotlib {drew}, here by {draws})"
    with tempfile.TemporaryDirectory(prefix="loadgen-") as scratch:
        try:
            page, *files = report.write(stored.path, Path(scratch))
        except (results.ResultsError, KeyError, TypeError, ValueError) as error:
            yield f"the charts cannot be drawn: {error}"
            return
        if not _same_text(stored.path / report.PAGE_NAME, page):
            yield f"{report.PAGE_NAME} is not what this lab writes of the trials"
        drawn = {path.name: path for path in files}
        kept = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        for name in sorted(drawn.keys() - kept):
            yield f"{report.CHARTS_NAME}/{name} is missing: draw it with report {stored.path}"
        for name in sorted(kept - drawn.keys()):
            yield f"{report.CHARTS_NAME}/{name} is not drawn from this run"
        for name in sorted(kept & drawn.keys()):
            if not _same_picture(folder / name, drawn[name]):
                yield f"{report.CHARTS_NAME}/{name} is not what this lab draws of the trials{other}"


def _same_text(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _same_picture(one: Path, other: Path) -> bool:
    if one.read_bytes() == other.read_bytes():
        return True
    if one.suffix != ".png":
        return False
    try:
        pixels, others = image.imread(one), image.imread(other)
    except (OSError, SyntaxError, ValueError):
        return False
    return bool(pixels.shape == others.shape and (pixels == others).all())


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
    state = "valid" if judgement["valid"] else f"not valid ({'; '.join(judgement['reasons'])})"
    return f"{state}, limited by {judgement['limiter']}"
