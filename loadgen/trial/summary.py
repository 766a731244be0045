"""What a trial leaves behind: stamps and counters in, the fields of its record out.

Nothing here measures or waits. A latency is that of an answer that was right: a wrong one may have
no stamps, and would say how fast the server makes mistakes.
"""

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from loadgen.clients.timeline import ClientTimeline
from loadgen.engine.datagrams import Account, DatagramSamples
from loadgen.engine.samples import Outcome, Samples, by_name
from loadgen.engine.syscalls import NS_PER_S, Bools, Bytes, Int64s
from loadgen.machine.counters import KernelMemory
from loadgen.store import histogram, schema
from loadgen.store.schema import Fairness, Footprint, Latency, Overlap, Record, SystemCalls
from loadgen.target.usage import Usage, cpu_ns_between
from loadgen.trial import verdict
from loadgen.workload.load import Load

if TYPE_CHECKING:
    from loadgen.trial.cell import Cell
    from loadgen.trial.rig import Measurement, SystemUnderTest


def empty_record(
    system: "SystemUnderTest",
    cell: "Cell",
    *,
    block: int,
    position: int,
    seed: int,
    started_at: datetime,
) -> Record:
    """A record in which nothing was measured yet; what a trial does not fill in stays null."""
    model = system.model
    return {
        "schema": schema.SCHEMA,
        "cell": cell.as_record(),
        "block": block,
        "position": position,
        "retries": None,
        "started_at": started_at.isoformat(timespec="milliseconds"),
        "seed": seed,
        "outcome": "measured",
        "failure": None,
        "server": {
            "name": system.name,
            "family": model.family if model else None,
            "python": portable(system.python) if model else None,
            "implementation": None,
            "gil": None,
            "command": None,
        },
        "offered_per_s": None,
        "counts": {"scheduled": 0, "ok": 0, "mismatched": 0, "error": 0, "timed_out": 0},
        "warmup": None,
        "window": None,
        "connections": {
            "attempted": 0,
            "due": 0,
            "limit": None,
            "greeted": 0,
            "failed": {},
            "active": None,
            "slow_sent_bytes": None,
            "lost": None,
            "unanswered": None,
        },
        "throughput_per_s": None,
        "latency_ns": {"response": None, "service": None, "greeting": None},
        "histograms": {"response": None, "service": None, "greeting": None},
        "generator": None,
        "server_cost": None,
        "machine": None,
        "fairness": None,
        "footprint": None,
        "knee": None,
        "timeline": None,
        "system_calls": None,
        "death": None,
        "datagrams": None,
        "reaping": None,
        "observation": None,
        "slices": None,
        "verdict": {
            "valid": False,
            "overloaded": None,
            "bottleneck": "unknown",
            "reasons": [],
        },
        "sha256": "",
    }


def portable(word: str) -> str:
    """A path inside the lab as seen from its folder: a record may be read on another machine."""
    return word.removeprefix(f"{Path(__file__).parents[2]}{os.sep}")


def fill_in_latency(record: Record, kind: Latency, values_ns: Int64s, censored: int = 0) -> None:
    """Figures and histogram of one kind of latency."""
    record["latency_ns"][kind] = cast(schema.Summary, histogram.summary(values_ns, censored))
    record["histograms"][kind] = histogram.encode(values_ns)


def lateness(values_ns: Int64s) -> schema.Summary | None:
    """Of what may be early by a little, which a histogram does not hold: it is shifted for that.
    None without a value."""
    if not len(values_ns):
        return None
    least_ns = min(0, int(values_ns.min()))
    found = histogram.summary(values_ns - least_ns)
    for name in ("mean", "min", *histogram.PERCENTILES, "max"):
        if found[name] is not None:
            found[name] += least_ns
    return cast(schema.Summary, found)


def fill_in_drive(record: Record, measured: "Measurement", load: Load) -> None:
    """Counts, latencies, shares, the machine, and what the generator says of itself; of the window,
    but for faults, which count from the first request to the end of the drain."""
    samples = measured.samples
    record["offered_per_s"] = load.offered_per_s
    record["counts"] = counted(samples.outcome[samples.in_window])
    # Nothing is due after the window.
    record["warmup"] = counted(samples.outcome[~samples.in_window])
    record["window"] = inside = window(samples, load.drain_s)
    # Empty where the record of stamps was full before the window began.
    window_ns = samples.window_end_ns - samples.window_start_ns
    record["throughput_per_s"] = inside["answered"] * NS_PER_S / window_ns if window_ns else 0.0

    timed_out = record["counts"]["timed_out"]
    ok = _ok(samples)
    intended, sent = samples.intended_ns[ok], samples.sent_ns[ok]
    arrived, read = samples.arrived_ns[ok], samples.read_ns[ok]
    fill_in_latency(record, "service", samples.service_ns[ok], timed_out)
    if load.is_open:
        fill_in_latency(record, "response", arrived - intended, timed_out)

    clocks = samples.clocks
    record["generator"] = {
        "cpu_fraction": clocks.cpu_fraction,
        "busy_fraction": clocks.busy_fraction,
        "send_lag_ns": cast(schema.Summary, histogram.summary(sent - intended)),
        "read_delay_ns": cast(schema.Summary, histogram.summary(read - arrived)),
        "overlap_ns": (
            overlap(samples)
            if load.is_back_to_back and not isinstance(samples, DatagramSamples)
            else None  # a client that gives up asks again before it was answered
        ),
        "stamps": stamps(record),
        "unstamped": samples.unstamped,
        "full": samples.full,
        "send_path_ns": send_path(samples.send_path_ns, int(samples.sending_ns[ok].sum())),
        "realtime": measured.realtime,
        "longest_gap_ns": samples.longest_gap_ns,
    }
    record["fairness"] = fairness(samples, load)
    drift_ns = int((np.diff(clocks.realtime_ns) - np.diff(clocks.monotonic_ns))[0])
    record["machine"] = {**measured.machine, "clock_drift_ns": drift_ns}
    record["connections"]["lost"] = dict(by_name(samples.errors[samples.errors != 0]))
    record["connections"]["unanswered"] = None if load.is_open else unanswered(samples)


def stamps(record: Record) -> schema.Stamps:
    """Whose stamps say when answers arrived: over a Unix-domain socket the kernel gives none
    (socket(7): SO_TIMESTAMPNS is for packets), and it is when the generator read them."""
    return "generator" if record["cell"]["workload"]["transport"] == "unix" else "kernel"


def fill_in_datagrams(record: Record, account: Account, dropped: int | None) -> None:
    """What became of the datagrams of the window; `dropped` is the kernel's, of the whole trial."""
    record["datagrams"] = {**cast(schema.Datagrams, account._asdict()), "dropped": dropped}


def counted(outcome: Bytes) -> schema.Counts:
    """Requests by what became of them; `outcome` is an Outcome each."""
    ok, mismatched, error, timed_out = np.bincount(outcome, minlength=len(Outcome)).tolist()
    return {
        "scheduled": len(outcome),
        "ok": ok,
        "mismatched": mismatched,
        "error": error,
        "timed_out": timed_out,
    }


def window(samples: Samples, drain_s: float) -> schema.Window:
    """What a server did between the two edges of the window, whenever it was asked to.

    A request is open from the moment it is due until the kernel has its answer. What was open at
    the edges ties the answers to the requests that were due: open at the end = open at the start +
    scheduled - answered, as long as nothing was answered wrong.
    """
    start_ns, end_ns = samples.window_start_ns, samples.window_end_ns
    middle_ns = (start_ns + end_ns) // 2
    due_ns = np.sort(samples.intended_ns)
    answered_ns = np.sort(samples.arrived_ns[samples.arrived_ns > 0])

    def still_open(moments_ns: Int64s, side: Literal["left", "right"]) -> Int64s:
        """Requests that were open just before ("left") or just after ("right") some moments."""
        due = np.searchsorted(due_ns, moments_ns, side)
        return due - np.searchsorted(answered_ns, moments_ns, side)

    def fewest(from_ns: int, to_ns: int) -> int:
        """There are fewest just after an answer, or when one begins to look."""
        answers_ns = answered_ns[(from_ns < answered_ns) & (answered_ns < to_ns)]
        return int(still_open(np.append(answers_ns, from_ns), "right").min())

    lows = fewest(start_ns, middle_ns), fewest(middle_ns, end_ns)
    half_s = (end_ns - start_ns) / 2 / NS_PER_S
    at_edges = still_open(np.array([start_ns, end_ns]), "left")
    ok_ns = samples.arrived_ns[samples.outcome == Outcome.OK]
    silence_ns = 0
    if (samples.outcome == Outcome.TIMED_OUT).any():
        last_ns = int(answered_ns[-1]) if len(answered_ns) else start_ns
        silence_ns = max(0, end_ns + round(drain_s * NS_PER_S) - last_ns)
    return {
        "answered": int(((start_ns <= ok_ns) & (ok_ns < end_ns)).sum()),
        "open_at_start": int(at_edges[0]),
        "open_at_end": int(at_edges[1]),
        "fewest_open_first_half": lows[0],
        "fewest_open_second_half": lows[1],
        "backlog_growth_per_s": (lows[1] - lows[0]) / half_s if half_s else 0.0,
        "silence_ns": silence_ns,
    }


def unanswered(samples: Samples) -> int:
    """Connections with a request that was open before the window and after it, and without an
    answer in between: no latency of the window tells of them."""
    start_ns, end_ns = samples.window_start_ns, samples.window_end_ns
    arrived_ns = samples.arrived_ns
    waited = (samples.outcome == Outcome.OK) & (samples.intended_ns < start_ns)
    waited &= arrived_ns >= end_ns
    inside = (start_ns <= arrived_ns) & (arrived_ns < end_ns)
    return len(np.setdiff1d(samples.connection[waited], samples.connection[inside]))


def fill_in_churn(record: Record, measured: "Measurement", greeted_ns: Int64s, load: Load) -> None:
    """As of requests, each of which is a conversation; greetings are those of the window."""
    samples = measured.samples
    fill_in_drive(record, measured, load)
    assert record["generator"] is not None
    record["generator"]["overlap_ns"] = None  # a slot has to connect before it asks again
    record["fairness"] = None
    inside = samples.in_window
    greeted = inside & (greeted_ns > 0)
    fill_in_latency(record, "greeting", (greeted_ns - samples.sent_ns)[greeted])
    record["connections"] |= {
        "attempted": int(inside.sum()),
        "due": int(inside.sum()),
        "greeted": int(greeted.sum()),
        "failed": dict(by_name(samples.errors[inside & ~greeted])),
    }


def fill_in_timeline(record: Record, clients: Sequence[ClientTimeline], requests: int) -> None:
    """What a few clients saw, counted; `requests` is how many each of them had to ask."""
    record["timeline"] = {
        "clients": [cast(schema.ClientTimeline, dataclasses.asdict(one)) for one in clients]
    }
    scheduled = len(clients) * requests
    ok = sum(len(client.requests) for client in clients)
    mismatched = sum(client.mismatched for client in clients)
    record["counts"] |= {
        "scheduled": scheduled,
        "ok": ok,
        "mismatched": mismatched,
        "error": scheduled - ok - mismatched,
    }
    greeted = [client for client in clients if client.greeted_ns]
    record["connections"] |= {
        "attempted": len(clients),
        "due": len(clients),
        "greeted": len(greeted),
        "failed": _failures([client for client in clients if not client.greeted_ns]),
        "lost": _failures(greeted),
    }
    greeting_ns = [client.greeted_ns - client.connect_ns for client in greeted]
    service_ns = [
        request.arrived_ns - request.complete_ns
        for client in clients
        for request in client.requests
    ]
    fill_in_latency(record, "greeting", np.array(greeting_ns, np.int64))
    fill_in_latency(record, "service", np.array(service_ns, np.int64))


def fill_in_trace(record: Record, traced: SystemCalls, clients: int) -> None:
    """The system calls of each request, all of which were answered."""
    record["system_calls"] = traced
    record["counts"] |= {"scheduled": traced["requests"], "ok": traced["requests"]}
    record["connections"] |= {"attempted": clients, "due": clients, "greeted": clients}


def fill_in_cost(
    record: Record, before: Usage | None, after: Usage | None, samples: Samples
) -> None:
    """What the server used: CPU per answer over the window, the rest over the whole drive.

    The kernel counts user and system time in ticks of 10 ms, hence the long stretch; the CPU
    clocks that were read inside the drive count in nanoseconds.
    """
    if before is None or after is None:
        return  # somebody else's server
    assert record["window"] is not None
    answered = record["window"]["answered"]
    cpu_ns = cpu_ns_between(samples.clocks.server_cpu_ns)
    # Not the window: an edge can be read late, and then so is the clock.
    watched_ns = max(1, int(np.diff(samples.clocks.monotonic_ns)[0]))
    record["server_cost"] = {
        **_usage(after),
        "user_s": after.user_s - before.user_s,
        "system_s": after.system_s - before.system_s,
        "voluntary_switches": after.voluntary_switches - before.voluntary_switches,
        "involuntary_switches": after.involuntary_switches - before.involuntary_switches,
        "cpu_us_per_request": cpu_ns / 1000 / answered if answered else None,
        "cpu_fraction": cpu_ns / watched_ns,
        "watched_s": watched_ns / NS_PER_S,
        "drive_requests": len(samples.outcome),
    }


def fill_in_footprint(
    record: Record,
    empty: Usage | None,
    connected: Usage | None,
    kernel_empty: KernelMemory,
    kernel_connected: KernelMemory,
) -> None:
    """What the server holds for those connected: before and after they came, and before any asked.

    The kernel's memory counts for both ends of a connection, and for the whole machine.
    """
    if empty is None or connected is None:
        return  # somebody else's server
    buffers_empty = kernel_empty.socket_buffer_bytes
    found: Footprint = {
        "empty": _usage(empty),
        "connected": _usage(connected),
        "slab_bytes": kernel_connected.slab_bytes - kernel_empty.slab_bytes,
        "socket_buffer_bytes": kernel_connected.socket_buffer_bytes - buffers_empty,
    }
    record["footprint"] = found


def _usage(usage: Usage) -> schema.Usage:
    return cast(schema.Usage, dataclasses.asdict(usage))


def _ok(samples: Samples) -> Bools:
    """The requests of the window that were answered right; bool[n]."""
    ok: Bools = samples.in_window & (samples.outcome == Outcome.OK)
    return ok


def _failures(clients: Sequence[ClientTimeline]) -> dict[str, int]:
    return dict(Counter(client.failure for client in clients if client.failure))


def overlap(samples: Samples) -> Overlap:
    """How far the requests of the window do not match it: client time, summed over the clients.

    start_ns    of the window, before the first request that was sent in it: the client still
                waited for an answer from before
    end_ns      beyond the window, until the last request that was sent in it was answered

    So what the requests of the window took (sent to read) is clients x window - start + end, to the
    nanosecond, however busy the machine was: Little's law without its limit.
    """
    first = np.full(len(samples.errors), samples.window_end_ns)
    last = first.copy()
    inside = samples.in_window
    np.minimum.at(first, samples.connection[inside], samples.sent_ns[inside])
    np.maximum.at(last, samples.connection[inside], samples.read_ns[inside])
    return {
        "start_ns": int((first - samples.window_start_ns).sum()),
        "end_ns": int((last - samples.window_end_ns).sum()),
    }


def send_path(stamped_ns: Int64s, subtracted_ns: int) -> schema.SendPath | None:
    """What of service times would have been the generator's own; None without transmit stamps.

    stamped_ns      how long after it was sent each of the stamped requests left
    subtracted_ns   what was taken off the service times, all together
    """
    if not len(stamped_ns):
        return None
    return {
        "n": len(stamped_ns),
        "p50": round(np.median(stamped_ns)),
        "max": int(stamped_ns.max()),
        "subtracted": subtracted_ns,
    }


def fairness(samples: Samples, load: Load) -> Fairness | None:
    """How the ok answers of the window were shared out; None without any.

    A share is a fraction of all answers. With a greedy client, whose share stands apart, `jain`,
    `slowest_share` and `fastest_share` are those of the others. Jain's index is
    (sum x)**2 / (n sum x**2): 1 when all get the same, 1/n when one gets everything (Jain, Chiu,
    Hawe: A Quantitative Measure of Fairness, DEC-TR-301, 1984).
    """
    count = len(samples.errors)
    answers = np.bincount(samples.connection[_ok(samples)], minlength=count).astype(float)
    greedy = bool(load.pipeline_depth)
    others = answers[1:] if greedy else answers
    if not others.sum():
        return None
    shares = others / answers.sum()
    return {
        "jain": float(shares.sum() ** 2 / (len(shares) * (shares**2).sum())),
        "slowest_share": float(shares.min()),
        "fastest_share": float(shares.max()),
        "greedy_share": float(answers[0] / answers.sum()) if greedy else None,
    }


def kept(samples: Samples, drain_s: float) -> tuple[float, float | None]:
    """The share of the rate that was answered while it was offered, and p99 of the response time
    in ns (None: no answer)."""
    counts = counted(samples.outcome[samples.in_window])
    achieved = verdict.achieved(counts, window(samples, drain_s))
    return achieved, _p99_ns((samples.arrived_ns - samples.intended_ns)[_ok(samples)])


def probe(samples: Samples, offered_per_s: float, achieved: float, p99_ns: float) -> schema.Probe:
    """A rate that a search tried.

    It says of the generator how late it sent and how busy it was, and of the server how long it
    took from then on: so which of the two did not keep the rate.
    """
    ok = _ok(samples)
    return {
        "offered_per_s": offered_per_s,
        "achieved": achieved,
        "p99_ns": p99_ns if math.isfinite(p99_ns) else None,
        "send_lag_p99_ns": _p99_ns((samples.sent_ns - samples.intended_ns)[ok]),
        "service_p99_ns": _p99_ns(samples.service_ns[ok]),
        "busy_fraction": samples.clocks.busy_fraction,
    }


def _p99_ns(values_ns: Int64s) -> float | None:
    """However few values there are: a probe is short, and decides nothing by itself."""
    return float(np.percentile(values_ns, 99)) if len(values_ns) else None
