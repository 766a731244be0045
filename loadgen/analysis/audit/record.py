"""What one record says of itself, derived again: counts, percentiles, rates, the verdict."""

import shlex
from collections.abc import Callable, Iterator
from typing import Any

from loadgen.analysis.audit.words import ROUNDING, answered, near, same
from loadgen.store import histogram
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.summary import portable
from servers import catalog


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
    if not command:
        return  # somebody else's, or one that did not start
    name, *_ = words = shlex.split(cell.server)
    if name not in [model.name for model in catalog.MODELS]:
        expected, found = list(map(portable, words)), command
    else:
        # python -m servers NAME --port 0 [options]
        expected, found = list(cell.command_options), command[command.index("--port") + 2 :]
    if found != expected:
        yield f"the server was started otherwise than {cell.id} says: {' '.join(command)}"


def throughput(record: Record) -> Iterator[str]:
    """Answers by the length of the window, which only a full memory shortens. Of slices see
    slices.py."""
    if record["slices"]:
        return
    stated, generator = record["throughput_per_s"], record["generator"]
    duration_s = record["cell"]["workload"].get("duration_s")  # None: there is no window
    if stated is None or generator is None or not isinstance(duration_s, (int, float)):
        if stated or (record["counts"]["ok"] and duration_s is not None):
            yield "there are answers without a generator, or a throughput without one"
        return
    derived = answered(record) / duration_s
    if stated < derived * (1 - ROUNDING) if generator["full"] else not same(stated, derived):
        yield f"throughput_per_s is {stated:,.1f}, and answers and window make {derived:,.1f}"


def latencies(record: Record) -> Iterator[str]:
    """Counts, percentiles and extremes from the stored histograms."""
    counts = record["counts"]
    summaries: Any = record["latency_ns"]
    texts: Any = record["histograms"]
    # A server that owes an answer is driven no more: its slices have failed.
    timed_out = 0 if record["slices"] else counts["timed_out"]
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
        elif (derived["n"], censored) != (counts["ok"], timed_out):
            yield (
                f"the {kind} histogram holds {derived['n']:,} and {censored:,} unanswered;"
                f" the counts say {counts['ok']:,} and {timed_out:,}"
            )
        for name in ("n", *histogram.PERCENTILES):
            if stated[name] != derived[name]:
                yield f"{kind} {name} is {stated[name]}, and its histogram makes {derived[name]}"
        for name in ("mean", "min", "max"):
            if not near(stated[name], derived[name]):
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
    if not same(took_ns, had_ns - start_ns + end_ns):
        yield (
            f"{clients:,} clients had {(had_ns - start_ns + end_ns) / 1e9:.6g} s in all, and their"
            f" requests took {took_ns / 1e9:.6g} s (Little's law)"
        )


def cpu(record: Record) -> Iterator[str]:
    """CPU time per answer, from the share of the time between the clocks' readings. Of slices see
    slices.py."""
    cost, count = record["server_cost"], answered(record)
    if not cost or record["slices"]:
        return
    stated = cost["cpu_us_per_request"]
    derived = cost["cpu_fraction"] * cost["watched_s"] * 1e6 / count if count else None
    if not same(stated, derived):
        yield f"cpu_us_per_request is {stated}, and share, time and answers make {derived}"


def judged(record: Record) -> Iterator[str]:
    """The verdict, from the record alone."""
    again = Cell.of(record["cell"]).workload.judge(record)
    if record["verdict"] != again:
        yield f"the verdict is {in_words(record['verdict'])}, judged again {in_words(again)}"


def in_words(judgement: Any) -> str:
    state = "valid" if judgement["valid"] else f"invalid ({'; '.join(judgement['reasons'])})"
    return f"{state}, limited by {judgement['bottleneck']}"


CHECKS: tuple[Callable[[Record], Iterator[str]], ...] = (
    conservation,
    identity,
    throughput,
    latencies,
    little,
    cpu,
    judged,
)
