"""Valid records and runs for tests, with figures that can be chosen."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np

from loadgen import experiments
from loadgen.analysis import run
from loadgen.plan.order import planned_order
from loadgen.report import page
from loadgen.store import histogram, runs, schema
from loadgen.store.schema import Environment, Plan, Record, Summary
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests
from loadgen.trial.rig import SystemUnderTest
from loadgen.trial.summary import empty_record
from servers import catalog

SEED = 1
READ_DELAY_NS = 2_000
# Later than any header that a test writes.
STARTED_AT = datetime(2100, 1, 1, tzinfo=UTC)

MACHINE: Environment = {
    "system": "Linux",
    "kernel": "6.1.0-test",
    "architecture": "x86_64",
    "python": "3.11.7",
    "cpu": "one of a kind",
    "cpus": 2,
    "hypervisor": False,
    "memory_bytes": 2**33,
    "governor": None,
    "somaxconn": "4096",
    "port_range": "32768 60999",
    "congestion_control": "cubic",
    "tcp_rmem": None,
    "tcp_wmem": None,
    "descriptors": {"soft": 20_000, "hard": 20_000},
    "load_1min": 0.5,
    "server_cpus": [0],
    "generator_cpus": [1],
    "shared": False,
}

USAGE: schema.Usage = {
    "user_s": 0.5,
    "system_s": 0.5,
    "processes": 1,
    "threads": 2,
    "rss_bytes": 16 * 2**20,
    "pss_bytes": 12 * 2**20,
    "fds": 13,
    "voluntary_switches": 10,
    "involuntary_switches": 1,
}


def cell(
    server: str = "epoll",
    *,
    experiment: str = "throughput",
    connections: int = 8,
    idle: int = 0,
    **workload: Any,
) -> Cell:
    """A closed loop over connections that stay, unless `workload` says otherwise."""
    fields = {"connections": connections, "idle_connections": idle, **workload}
    return Cell(experiment=experiment, server=server, workload=Requests(**fields))


def record(
    server: str = "epoll",
    *,
    experiment: str = "throughput",
    connections: int = 8,
    idle: int = 0,
    block: int = 0,
    position: int = 0,
    throughput_per_s: float = 1000.0,
    cpu_us: float = 6.0,
    latencies_ns: Sequence[int] | None = None,
    steal: float = 0.0,
    greeted: int | None = None,
    **workload: Any,
) -> Record:
    """One closed-loop trial of a second; as many answers as `throughput_per_s`, rounded, which
    take as long as Little's law says unless `latencies_ns` are given.

    `steal` beyond its limit makes the trial invalid; fewer `greeted` than there are make it one
    of a model that cannot serve all.
    """
    measured = cell(server, experiment=experiment, connections=connections, idle=idle, **workload)
    ok = round(throughput_per_s)
    if latencies_ns is None:
        mean_ns = connections * 1e9 / ok - READ_DELAY_NS
        latencies_ns = np.linspace(0.5 * mean_ns, 1.5 * mean_ns, ok, dtype=np.int64).tolist()
    service = np.asarray(latencies_ns, dtype=np.int64)
    everybody = connections + idle
    active = connections if greeted is None else min(connections, greeted)
    models = {model.name: model for model in catalog.MODELS}
    made = empty_record(
        SystemUnderTest(model=models.get(server, models["epoll"])),
        measured,
        block=block,
        position=position,
        seed=SEED + block,
        started_at=STARTED_AT + timedelta(hours=block, seconds=10 * position),
    )
    made["server"] |= {
        "name": server,
        "python": "python",
        "command": ["python", "-m", "servers", server, "--port", "0", *measured.command_options],
    }
    # By how much the requests do not tile the window: what was rounded above, and all the rest of
    # latencies that were given.
    extra_ns = active * 10**9 - int(service.sum()) - ok * READ_DELAY_NS
    made["counts"] = {"scheduled": ok, "ok": ok, "mismatched": 0, "error": 0, "timed_out": 0}
    made["warmup"] = {"scheduled": 0, "ok": 0, "mismatched": 0, "error": 0, "timed_out": 0}
    made["window"] = {
        "answered": ok,
        "open_at_start": active,
        "open_at_end": active,
        "fewest_open_first_half": active,
        "fewest_open_second_half": active,
        "backlog_growth_per_s": 0.0,
        "silence_ns": 0,
    }
    made["connections"] = {
        "attempted": everybody,
        "due": everybody if greeted is None else greeted,
        "limit": None if greeted is None else f"serves {greeted} at a time",
        "greeted": everybody if greeted is None else greeted,
        "failed": {} if greeted is None else {"waiting": everybody - greeted},
        "active": active,
        "slow_sent_bytes": 0,
        "lost": {},
        "unanswered": 0,
    }
    made["throughput_per_s"] = float(ok)
    made["latency_ns"]["service"] = summary(service)
    made["histograms"]["service"] = histogram.encode(service)
    made["generator"] = {
        "cpu_fraction": 1.0,
        "busy_fraction": 0.5,
        "send_lag_ns": summary(np.zeros(ok, np.int64)),
        "read_delay_ns": summary(np.full(ok, READ_DELAY_NS, np.int64)),
        "overlap_ns": {"start_ns": max(0, extra_ns), "end_ns": max(0, -extra_ns)},
        "stamps": "kernel",
        "unstamped": 0,
        "full": False,
        "send_path_ns": None,
        "realtime": False,
        "longest_gap_ns": 20_000,
    }
    made["server_cost"] = {
        **USAGE,
        "user_s": cpu_us * ok / 2e6,
        "system_s": cpu_us * ok / 2e6,
        "fds": USAGE["fds"] + everybody,
        "cpu_us_per_request": cpu_us,
        "cpu_fraction": cpu_us * ok / 1e6,
        "watched_s": 1.0,
        "drive_requests": ok,
    }
    made["machine"] = {
        "steal_fraction": steal,
        "server_cpu_busy": cpu_us * ok / 1e6 + 0.05,
        "generator_cpu_busy": 1.0 - 2 * steal,
        "listen_overflows": 0,
        "listener_drops": 0,
        "retransmits": 0,
        "server_cpus": [0],
        "generator_cpus": [1],
        "shared": False,
        "clock_drift_ns": 0,
        "hiccup_ns": None,
    }
    return judged(made)


def summary(values_ns: np.ndarray) -> Summary:
    """Percentiles and extremes of some nanoseconds."""
    return cast(Summary, histogram.summary(values_ns))


def judged(made: Record) -> Record:
    """The record with the verdict that it deserves."""
    made["verdict"] = Cell.of(made["cell"]).workload.judge(made)
    return made


def plan(cells: Sequence[schema.Cell], blocks: int) -> Plan:
    """A plan of these cells, as stored."""
    return {
        "experiments": list(dict.fromkeys(each["experiment"] for each in cells)),
        "servers": list(dict.fromkeys(each["server"] for each in cells)),
        "blocks": blocks,
        "trials": blocks,
        "extra_time": 0.0,
        "cells": list(cells),
        "skipped": [],
        "precision": None,
        "pythons": [],
    }


def write_run(
    folder: Path,
    records: Sequence[Record],
    *,
    blocks: int | None = None,
    environment: dict[str, Any] | None = None,
    calibration: Sequence[schema.Calibration] = (),
) -> Path:
    """A run that holds these records; complete unless it was planned for more `blocks`."""
    cells = {Cell.of(each["cell"]).id: each["cell"] for each in records}
    runs.create(
        "test",
        plan=plan(list(cells.values()), blocks or len({each["block"] for each in records})),
        seed=SEED,
        environment=cast(Environment, {**MACHINE, **(environment or {})}),
        calibration=calibration,
        folder=folder,
    )
    with runs.append_to(folder) as trials:
        for each in records:
            trials.append([each])
    return folder


def sound_run(folder: Path, *, blocks: int = 2, speed: float = 1.0) -> Path:
    """A complete run in which everything holds, drawn: two servers, two numbers of clients.

    speed   factor of every throughput
    """
    cells = [cell(server, connections=count) for server in ("poll", "epoll") for count in (1, 64)]
    rows = [
        record(
            each.server,
            connections=each.workload.connections,
            block=block,
            position=position,
            throughput_per_s=speed * (2_000 + 50 * block + 10 * position),
        )
        for block in range(blocks)
        for position, (each,) in enumerate(planned_order(cells, SEED, block))
    ]
    runs.create(
        "test",
        plan=plan([each.as_record() for each in cells], blocks),
        seed=SEED,
        environment=MACHINE,
        folder=folder,
    )
    with runs.append_to(folder) as trials:
        for row in rows:
            trials.append([row])
    report(folder)
    return folder


def report(folder: Path) -> list[Path]:
    """Draw a stored run; returns the page and the charts."""
    stored = run.load(folder)
    return page.write(stored, experiments.report(stored))
