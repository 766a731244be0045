"""Valid records and runs for tests, with figures that can be chosen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadgen import histogram, results, verdict
from loadgen.results import Record
from servers import catalog


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
    """One closed-loop trial of a second; as many answers as `throughput_per_s`, rounded.

    `steal` beyond its limit makes the trial invalid; fewer `greeted` than there are make it one
    of a model that cannot serve all.
    """
    ok = round(throughput_per_s)
    if latencies_ns is None:
        latencies_ns = np.linspace(20_000, 60_000, ok, dtype=np.int64).tolist()
    service = np.asarray(latencies_ns, dtype=np.int64)
    everybody = connections + idle
    limit = None if greeted is None else f"serves {greeted} at a time"
    family = next((v.family for v in catalog.VARIANTS if v.name == server), None)
    made: dict[str, Any] = {
        "schema": results.SCHEMA,
        "experiment": experiment,
        "cell": cell_id(experiment, server, connections, idle),
        "block": block,
        "order": order,
        "started_at": "2025-01-01T00:00:00.000+00:00",
        "seed": 1,
        "outcome": "measured",
        "failure": None,
        "server": {
            "name": server,
            "family": family,
            "python": "python",
            "command": ["python", "-m", "servers", server],
        },
        "workload": {
            "connections": connections,
            "idle_connections": idle,
            "message_bytes": 16,
            "mode": "closed",
            "offered_per_s": None,
            "arrivals": None,
            "warmup_s": 0.3,
            "duration_s": 1.0,
            "drain_s": 1.0,
            "seed": 1,
        },
        "counts": {"scheduled": ok, "ok": ok, "wrong": 0, "error": 0, "unfinished": 0},
        "connections": {
            "attempted": everybody,
            "greeted": everybody if greeted is None else greeted,
            "failed": {},
            "limit": limit,
        },
        "throughput_per_s": float(ok),
        "latency_ns": {"service": histogram.summary(service), "response": None},
        "histograms": {"service": histogram.encode(service), "response": None},
        "generator": {
            "cpu_fraction": 1.0,
            "busy_fraction": 0.5,
            "send_lag_ns": histogram.summary(np.zeros(ok, np.int64)),
            "read_delay_ns": histogram.summary(np.full(ok, 2_000, np.int64)),
        },
        "server_cost": {"cpu_us_per_request": cpu_us, "cpu_fraction": cpu_us * ok / 1e6},
        "machine": {
            "steal_fraction": steal,
            "server_cpu_busy": 0.95,
            "generator_cpu_busy": 1.0,
            "listen_overflows": 0,
            "retransmits": 0,
            "clock_drift_ns": 0,
            "shared": False,
        },
        "verdict": {},
    }
    made["verdict"] = verdict.judge(made)
    return made  # type: ignore[return-value]


def cell_id(experiment: str, server: str, connections: int, idle: int = 0) -> str:
    return f"{experiment}/{server}/connections={connections},idle_connections={idle}"


def write_run(
    folder: Path,
    records: Sequence[Record],
    *,
    blocks: int | None = None,
    environment: dict[str, Any] | None = None,
) -> Path:
    """A run that holds these records; complete unless it was planned for more `blocks`."""
    results.create(
        "test",
        plan={
            "experiments": list(dict.fromkeys(each["experiment"] for each in records)),
            "cells": list(dict.fromkeys(each["cell"] for each in records)),
            "blocks": blocks or len({each["block"] for each in records}),
        },
        seed=1,
        environment=environment or {"cpu": "one of a kind"},
        folder=folder,
    )
    with results.append_to(folder) as trials:
        for each in records:
            trials.append(each)
    return folder
