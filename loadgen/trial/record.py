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
from typing import Any, NamedTuple

import numpy as np

from loadgen.clients import timeline_clients
from loadgen.engine import engine
from loadgen.engine.churn import Churn
from loadgen.engine.engine import Drive, Outcome
from loadgen.engine.syscalls import NS_PER_S, Int64s
from loadgen.machine.environment import KernelMemory
from loadgen.store import histogram, results
from loadgen.target.target import Usage
from loadgen.trial.knee import Probe
from loadgen.workload.workload import Workload


def empty_record(
    server: dict[str, Any],
    workload: Workload,
    *,
    experiment: str,
    cell: str,
    block: int,
    order: int,
    started_at: datetime,
) -> dict[str, Any]:
    """A record in which nothing was measured yet; what a trial does not fill in stays null."""
    return {
        "schema": results.SCHEMA,
        "experiment": experiment,
        "cell": cell,
        "block": block,
        "order": order,
        "started_at": started_at.isoformat(timespec="milliseconds"),
        "seed": workload.seed,
        "outcome": "measured",
        "failure": None,
        "server": server,
        "workload": dataclasses.asdict(workload),
        "counts": {"scheduled": 0, "ok": 0, "wrong": 0, "error": 0, "unfinished": 0},
        "connections": {
            "attempted": 0,
            "greeted": 0,
            "failed": {},
            "limit": None,
            "active": None,
            "slow_sent_bytes": None,
            "lost": None,
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
        "verdict": {"valid": False, "limiter": "unknown", "reasons": []},
    }


def portable(word: str) -> str:
    """A path inside the lab as seen from its folder: a record may be read on another machine."""
    return word.removeprefix(f"{Path(__file__).parents[2]}{os.sep}")


def fill_in_latency(
    record: dict[str, Any], kind: str, values_ns: Int64s, censored: int = 0
) -> None:
    """Figures and histogram of one kind of latency."""
    record["latency_ns"][kind] = histogram.summary(values_ns, censored)
    record["histograms"][kind] = histogram.encode(values_ns)


def fill_in_drive(record: dict[str, Any], drive: Drive, workload: Workload) -> None:
    """Counts, latencies, and what the generator says of itself; all of the window only."""
    outcome = drive.outcome[drive.in_window]
    counts = {
        "scheduled": len(outcome),
        "ok": int((outcome == Outcome.OK).sum()),
        "wrong": int((outcome == Outcome.WRONG).sum()),
        "error": int((outcome == Outcome.ERROR).sum()),
        "unfinished": int((outcome == Outcome.UNFINISHED).sum()),
    }
    record["counts"] = counts
    # Empty where the record of stamps was full before the window began.
    window_ns = drive.window_end_ns - drive.window_start_ns
    record["throughput_per_s"] = counts["ok"] * NS_PER_S / window_ns if window_ns else 0.0

    ok = _ok(drive)
    intended, sent = drive.intended_ns[ok], drive.sent_ns[ok]
    arrived, read = drive.arrived_ns[ok], drive.read_ns[ok]
    fill_in_latency(record, "service", arrived - sent, counts["unfinished"])
    if workload.mode == "open":
        fill_in_latency(record, "response", arrived - intended, counts["unfinished"])

    edges = drive.edges
    record["generator"] = {
        "cpu_fraction": edges.cpu_fraction,
        "busy_fraction": edges.busy_fraction,
        "send_lag_ns": histogram.summary(sent - intended),
        "read_delay_ns": histogram.summary(read - arrived),
        "overlap_ns": overlap(drive) if workload.is_back_to_back else None,
        "unstamped": drive.unstamped,
        "full": drive.full,
    }
    record["machine"]["clock_drift_ns"] = int(
        (np.diff(edges.realtime_ns) - np.diff(edges.monotonic_ns))[0]
    )
    record["connections"]["lost"] = dict(engine.by_name(drive.errors[drive.errors != 0]))


def fill_in_churn(record: dict[str, Any], held: Churn, workload: Workload) -> None:
    """As of requests, each of which is a conversation; greetings are those of the window."""
    drive = held.drive
    fill_in_drive(record, drive, workload)
    inside = drive.in_window
    greeted = inside & (held.greeted_ns > 0)
    fill_in_latency(record, "greeting", (held.greeted_ns - drive.sent_ns)[greeted])
    record["connections"] |= {
        "attempted": int(inside.sum()),
        "greeted": int(greeted.sum()),
        "failed": dict(engine.by_name(drive.errors[inside & ~greeted])),
    }


def fill_in_timeline(record: dict[str, Any], timeline: dict[str, Any]) -> None:
    """What `timeline_clients.converse` saw, counted."""
    record["timeline"] = timeline
    lives = timeline["clients"]
    scheduled = len(lives) * timeline_clients.REQUESTS
    ok = sum(len(life["requests"]) for life in lives)
    wrong = sum(life["wrong"] for life in lives)
    record["counts"] |= {
        "scheduled": scheduled,
        "ok": ok,
        "wrong": wrong,
        "error": scheduled - ok - wrong,
    }
    greeted = [life for life in lives if life["greeted_ns"]]
    record["connections"] |= {
        "attempted": len(lives),
        "greeted": len(greeted),
        "failed": _failures([life for life in lives if not life["greeted_ns"]]),
        "lost": _failures(greeted),
    }
    greeting_ns = [life["greeted_ns"] - life["connect_ns"] for life in greeted]
    service_ns = [
        request["arrived_ns"] - request["complete_ns"]
        for life in lives
        for request in life["requests"]
    ]
    fill_in_latency(record, "greeting", np.array(greeting_ns, np.int64))
    fill_in_latency(record, "service", np.array(service_ns, np.int64))


def _ok(drive: Drive) -> engine.Bools:
    """The requests of the window that were answered right; bool[n]."""
    ok: engine.Bools = drive.in_window & (drive.outcome == Outcome.OK)
    return ok


def _failures(lives: Sequence[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(life["failure"] for life in lives if life["failure"]))


def overlap(drive: Drive) -> dict[str, int]:
    """How far the requests of the window do not match it: client time, summed over the clients.

    start_ns    of the window, before the first request that was sent in it: the client still
                waited for an answer from before
    end_ns      beyond the window, until the last request that was sent in it was answered

    So what the requests of the window took (sent to read) is clients x window - start + end, to the
    nanosecond, however busy the machine was: Little's law without its limit.
    """
    first = np.full(len(drive.errors), drive.window_end_ns)
    last = first.copy()
    inside = drive.in_window
    np.minimum.at(first, drive.connection[inside], drive.sent_ns[inside])
    np.maximum.at(last, drive.connection[inside], drive.read_ns[inside])
    return {
        "start_ns": int((first - drive.window_start_ns).sum()),
        "end_ns": int((last - drive.window_end_ns).sum()),
    }


def fairness(drive: Drive, workload: Workload) -> dict[str, float | None] | None:
    """How the ok answers of the window were shared out; None without any.

    A share is a fraction of all answers. With a greedy client, whose share stands apart, `jain`,
    `slowest_share` and `fastest_share` are those of the others. Jain's index is
    (sum x)**2 / (n sum x**2): 1 when all get the same, 1/n when one gets everything (Jain, Chiu,
    Hawe: A Quantitative Measure of Fairness, DEC-TR-301, 1984).
    """
    answers = np.bincount(drive.connection[_ok(drive)], minlength=len(drive.errors)).astype(float)
    greedy = bool(workload.greedy_pipeline)
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


def footprint(
    empty: Usage, connected: Usage, kernel_empty: KernelMemory, kernel_connected: KernelMemory
) -> dict[str, Any]:
    """What the server holds for those connected: before and after they came, and before any asked.

    The kernel's memory counts for both ends of a connection, and for the whole machine.
    """
    return {
        "empty": dataclasses.asdict(empty),
        "connected": dataclasses.asdict(connected),
        "slab_bytes": kernel_connected.slab_bytes - kernel_empty.slab_bytes,
        "socket_buffer_bytes": kernel_connected.socket_buffer_bytes
        - kernel_empty.socket_buffer_bytes,
    }


def cost(before: Usage, after: Usage, drive: Drive, ok: int) -> dict[str, Any]:
    """What the server used: CPU per request over the window, the rest over the whole drive.

    The kernel counts user and system time in ticks of 10 ms, hence the long stretch; the CPU
    clocks that were read inside the drive count in nanoseconds.
    """
    cpu_ns = int(np.diff(drive.edges.server_cpu_ns, axis=0).sum())
    # Not the window: an edge can be read late, and then so is the clock.
    watched_ns = max(1, int(np.diff(drive.edges.monotonic_ns)[0]))
    return {
        **dataclasses.asdict(after),
        "user_s": after.user_s - before.user_s,
        "system_s": after.system_s - before.system_s,
        "voluntary_switches": after.voluntary_switches - before.voluntary_switches,
        "involuntary_switches": after.involuntary_switches - before.involuntary_switches,
        "cpu_us_per_request": cpu_ns / 1000 / ok if ok else None,
        "cpu_fraction": cpu_ns / watched_ns,
        "watched_s": watched_ns / NS_PER_S,
        "drive_requests": len(drive.outcome),
    }


class Driven(NamedTuple):
    """A drive, and how the machine behaved meanwhile."""

    drive: Drive
    machine: dict[str, Any]


def probed(rate_per_s: float, driven: Driven) -> Probe[Driven]:
    """A rate that was tried, judged by the share of its requests that were answered right."""
    drive = driven.drive
    ok = _ok(drive)
    p99_ns = _p99_ns((drive.arrived_ns - drive.intended_ns)[ok])
    achieved = float(ok.sum() / max(drive.in_window.sum(), 1))
    return Probe(rate_per_s, achieved, math.inf if p99_ns is None else p99_ns, driven)


def knee_record(
    best: Probe[Driven], probes: Sequence[Probe[Driven]], limit_ns: float
) -> dict[str, Any]:
    """The rate that was found, and each that was tried on the way.

    A probe says of the generator how late it sent and how busy it was, and of the server how long
    it took from then on: so which of the two did not keep the rate.
    """
    return {
        "rate_per_s": best.offered_per_s,
        "limit_ns": limit_ns,
        "probes": [_probe_record(probe) for probe in probes],
    }


def _probe_record(probe: Probe[Driven]) -> dict[str, Any]:
    drive = probe.detail.drive
    ok = _ok(drive)
    return {
        "offered_per_s": probe.offered_per_s,
        "achieved": probe.achieved,
        "p99_ns": probe.p99_ns if math.isfinite(probe.p99_ns) else None,
        "send_lag_p99_ns": _p99_ns((drive.sent_ns - drive.intended_ns)[ok]),
        "service_p99_ns": _p99_ns((drive.arrived_ns - drive.sent_ns)[ok]),
        "busy_fraction": drive.edges.busy_fraction,
    }


def _p99_ns(values_ns: Int64s) -> float | None:
    """Of however few there are: a probe is short, and decides nothing by itself."""
    return float(np.percentile(values_ns, 99)) if len(values_ns) else None
