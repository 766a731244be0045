"""What one record says of itself, derived again: counts, percentiles, rates, the verdict."""

import shlex
from collections.abc import Callable, Iterator
from typing import Any

from loadgen.analysis.audit.words import ROUNDING, answered, grown, near, same, window_s
from loadgen.store import histogram
from loadgen.store.schema import Record
from loadgen.target.process import server_command
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


def datagrams(record: Record) -> Iterator[str]:
    """Each datagram is accounted for, and the counts are the same ones."""
    found, counts = record["datagrams"], record["counts"]
    if not found:
        return
    parts = found["answered"], found["lost"], found["late"]
    if found["sent"] != sum(parts) or min(parts) < 0:
        yield f"{found['sent']:,} datagrams were sent and {sum(parts):,} accounted for"
    if (found["answered"], found["lost"] + found["late"]) != (counts["ok"], counts["timed_out"]):
        yield (
            f"{found['answered']:,} datagrams were answered and {found['lost'] + found['late']:,}"
            f" were not; the counts say {counts['ok']:,} and {counts['timed_out']:,}"
        )
    if found["reordered"] > found["answered"] + found["late"]:
        yield f"{found['reordered']:,} answers were out of order, more than there were"


def identity(record: Record) -> Iterator[str]:
    """The server was started as the cell says."""
    cell, server = Cell.of(record["cell"]), record["server"]
    if server["name"] != cell.server:
        yield f"the server is {server['name']}, and the cell is of {cell.server}"
    command = server["command"]
    if not command:
        return  # somebody else's, or one that did not start
    name, *_ = words = shlex.split(cell.server)
    if name not in [model.name for model in catalog.every()]:
        expected, found = list(map(portable, words)), command
    else:
        # python -m servers NAME --port 0 [options]
        expected = server_command(name, cell.command_options)[1:]
        found = command[command.index("-m") :]
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


def edges(record: Record) -> Iterator[str]:
    """What was open at the edges of a window ties its answers to what was due in it."""
    window, counts, warmup = record["window"], record["counts"], record["warmup"]
    if window is None or warmup is None:
        return
    grown = window["open_at_end"] - window["open_at_start"]
    # A wrong answer ends a request too; and of void rounds nothing but faults is counted.
    faults = counts["mismatched"] + warmup["mismatched"]
    if record["slices"]:
        faults += counts["scheduled"] - counts["ok"]
    if not faults and grown != counts["scheduled"] - window["answered"]:
        yield (
            f"{grown:+,} requests are open at the end of the window; {counts['scheduled']:,} were"
            f" due in it and {window['answered']:,} answered"
        )
    if window["silence_ns"] and not counts["timed_out"] + warmup["timed_out"]:
        yield "all requests were answered, and there was silence to the end of the drain"


def growth(record: Record) -> Iterator[str]:
    """How fast the backlog grew, from the fewest that were open in each half of the window. Of
    slices see slices.py."""
    window, generator, seconds = record["window"], record["generator"], window_s(record)
    if window is None or not seconds or not generator or generator["full"]:
        return
    derived = grown(window) / (seconds / 2)
    if not same(window["backlog_growth_per_s"], derived):
        yield (
            f"backlog_growth_per_s is {window['backlog_growth_per_s']:,.1f}, and the fewest open"
            f" requests make {derived:,.1f}"
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


def stamped(record: Record) -> Iterator[str]:
    """Whose stamps say when answers arrived: the kernel's for packets, the generator's own over a
    Unix-domain socket, where an answer arrived when it was read, by definition."""
    generator, transport = record["generator"], record["cell"]["workload"]["transport"]
    if not generator:
        return
    stamps, ok = generator["stamps"], record["counts"]["ok"]
    if stamps != ("generator" if transport == "unix" else "kernel"):
        yield f"arrivals were stamped by the {stamps}, over {transport}"
    if transport != "unix":
        return
    if generator["unstamped"] < ok:
        yield f"the kernel stamped {ok - generator['unstamped']:,} answers of a Unix-domain socket"
    if generator["read_delay_ns"]["max"]:
        yield "answers of a Unix-domain socket waited to be read, and nobody can know that"
    if generator["send_path_ns"]:
        yield "the kernel stamped requests as they left by a Unix-domain socket"
    if record["machine"] and record["machine"]["listener_drops"] is not None:
        yield "a Unix-domain socket's listener counted what it dropped, which the kernel does not"


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
    datagrams,
    identity,
    throughput,
    latencies,
    little,
    edges,
    growth,
    cpu,
    stamped,
    judged,
)
