"""Valid records and runs for tests, with figures that can be chosen."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from loadgen.trial.record import empty_record

from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.report import page
from loadgen.store import histogram, results
from loadgen.store.schema import Record
from loadgen.trial import verdict
from loadgen.trial.cell import Cell
from servers import catalog

SEED = 1
READ_DELAY_NS = 2_000
# Later than any header that a test writes.
STARTED_AT = datetime(2100, 1, 1, tzinfo=UTC)


MACHINE: dict[str, Any] = {
    "cpu": "one of a kind",
    "cpus": 2,
    "hypervisor": False,
    "system": "Linux",
    "kernel": "6.1.0-test",
    "python": "3.11.7",
    "server_cpus": [0],
    "generator_cpus": [1],
}


def record(
    server: str = "epoll",
    *,
    experiment: str = "throughput",
    connections: int = 8,
    idle: int = 0,
    block: int = 0,
    order: int = 0,
    throughput_per_s: float = 1000.0,
    cpu_us: float = 6.0,
    latencies_ns: Sequence[int] | None = None,
    steal: float = 0.0,
    greeted: int | None = None,
) -> Record:
    """One closed-loop trial of a second; as many answers as `throughput_per_s`, rounded, which
    take as long as Little's law says unless `latencies_ns` are given.

    `steal` beyond its limit makes the trial invalid; fewer `greeted` than there are make it one
    of a model that cannot serve all.
    """
    ok = round(throughput_per_s)
    if latencies_ns is None:
        mean_ns = connections * 1e9 / ok - READ_DELAY_NS
        latencies_ns = np.linspace(0.5 * mean_ns, 1.5 * mean_ns, ok, dtype=np.int64).tolist()
    service = np.asarray(latencies_ns, dtype=np.int64)
    everybody = connections + idle
    active = connections if greeted is None else min(connections, greeted)
    limit = None if greeted is None else f"serves {greeted} at a time"
    family = next((v.family for v in catalog.VARIANTS if v.name == server), None)
    made = empty_record(
        {
            "name": server,
            "family": family,
            "python": "python",
            "command": ["python", "-m", "servers", server, "--port", "0"],
        },
        workload(connections, idle, block),
        experiment=experiment,
        cell=cell_id(experiment, server, connections, idle),
        block=block,
        order=order,
        started_at=STARTED_AT,
    )
    # By how much the requests do not tile the window: what was rounded above, and all the rest of
    # latencies that were given.
    spare_ns = active * 10**9 - int(service.sum()) - ok * READ_DELAY_NS
    made |= {
        "counts": {"scheduled": ok, "ok": ok, "wrong": 0, "error": 0, "unfinished": 0},
        "connections": {
            "attempted": everybody,
            "greeted": everybody if greeted is None else greeted,
            "failed": {} if greeted is None else {"waiting": everybody - greeted},
            "limit": limit,
            "active": active,
            "slow_sent_bytes": 0,
            "lost": {},
        },
        "throughput_per_s": float(ok),
        "latency_ns": made["latency_ns"] | {"service": histogram.summary(service)},
        "histograms": made["histograms"] | {"service": histogram.encode(service)},
        "generator": {
            "cpu_fraction": 1.0,
            "busy_fraction": 0.5,
            "send_lag_ns": histogram.summary(np.zeros(ok, np.int64)),
            "read_delay_ns": histogram.summary(np.full(ok, READ_DELAY_NS, np.int64)),
            "overlap_ns": {"start_ns": max(0, spare_ns), "end_ns": max(0, -spare_ns)},
            "unstamped": 0,
            "full": False,
        },
        "server_cost": {
            "cpu_us_per_request": cpu_us,
            "cpu_fraction": cpu_us * ok / 1e6,
            "watched_s": 1.0,
        },
        "machine": {
            "steal_fraction": steal,
            "server_cpu_busy": cpu_us * ok / 1e6 + 0.05,
            "generator_cpu_busy": 1.0,
            "listen_overflows": 0,
            "retransmits": 0,
            "clock_drift_ns": 0,
            "shared": False,
        },
    }
    made["verdict"] = verdict.judge(made)
    return made  # type: ignore[return-value]


def workload(connections: int, idle: int = 0, block: int = 0) -> Workload:
    return Workload(connections=connections, idle_connections=idle, seed=SEED + block)


def cell_id(experiment: str, server: str, connections: int, idle: int = 0) -> str:
    return Cell(experiment=experiment, server=server, workload=workload(connections, idle)).id


def write_run(
    folder: Path,
    records: Sequence[Record],
    *,
    blocks: int | None = None,
    environment: dict[str, Any] | None = None,
) -> Path:
    """A run that holds these records; complete unless it was planned for more `blocks`."""
    runs.create(
        "test",
        plan={
            "experiments": list(dict.fromkeys(each["experiment"] for each in records)),
            "cells": list(dict.fromkeys(each["cell"] for each in records)),
            "blocks": blocks or len({each["block"] for each in records}),
        },
        seed=SEED,
        environment={**MACHINE, **(environment or {})},
        folder=folder,
    )
    with runs.append_to(folder) as trials:
        for each in records:
            trials.append(each)
    return folder


def sound_run(folder: Path, *, blocks: int = 2, speed: float = 1.0) -> Path:
    """A complete run in which everything holds, drawn: two servers, two numbers of clients.

    speed   factor of every throughput
    """
    ids = {
        cell_id("throughput", server, count): (server, count)
        for server in ("poll", "epoll")
        for count in (1, 64)
    }
    rows = []
    for block in range(blocks):
        for order, cell in enumerate(results.planned_order(list(ids), SEED, block)):
            server, count = ids[cell]
            rows.append(
                record(
                    server,
                    connections=count,
                    block=block,
                    order=order,
                    throughput_per_s=speed * (2_000 + 50 * block + 10 * order),
                )
            )
    runs.create(
        "test",
        plan={"experiments": ["throughput"], "cells": list(ids), "blocks": blocks},
        seed=SEED,
        environment=MACHINE,
        folder=folder,
    )
    with runs.append_to(folder) as trials:
        for row in rows:
            trials.append(row)
    report(folder)
    return folder


def report(folder: Path) -> list[Path]:
    """Draw a stored run; returns the page and the charts."""
    run = analysis.load(folder)
    return page.write(run, experiments.sections(run))
