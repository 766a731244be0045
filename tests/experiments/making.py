"""Records for experiments: measured at real servers, or with figures that can be chosen."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import records

from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.machine.cpus import choose_pinning
from loadgen.store.schema import Record
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.rig import SystemUnderTest
from servers import catalog

CPUS = choose_pinning()
MODELS = [model.name for model in catalog.MODELS]
# No pause is this long.
NEVER_NS = 10**15
# Factors by which a figure changes from block to block.
STEADY = (1.0, 1.01, 0.99, 1.0, 1.02, 0.98)
WILD = (0.4, 2.5, 0.7, 1.6, 3.0, 0.5)


def measured(cell: Cell, log: Path, block: int = 0) -> Record:
    """One trial of a cell; with a window of 0.1 s, where it has one."""
    short = {"warmup_s": 0.02, "duration_s": 0.1}
    if vars(cell.workload).keys() >= short.keys():
        cell = replace(cell, workload=replace(cell.workload, **short))
    return as_planned(cell, log, block)


def as_planned(cell: Cell, log: Path, block: int = 0) -> Record:
    """One trial of a cell."""
    system = SystemUnderTest(model=catalog.find(cell.server), options=cell.command_options)
    return trial.run(system, cell, cpus=CPUS, log=log, block=block)


def measure(log: Path, experiment: str, server: str) -> Record:
    """The first cell of an experiment in its quick form, once."""
    return as_planned(experiments.find(experiment).cells("quick", [catalog.find(server)])[0], log)


def drawn(folder: Path, *found: Record) -> list[str]:
    """The charts of a run that holds these records and nothing else."""
    records.write_run(folder, found)
    return sorted(path.name for path in records.report(folder) if path.suffix == ".svg")


def found_in(folder: Path, found: list[Record]) -> str:
    """What the experiment of these records says of them."""
    records.write_run(folder, found)
    return experiments.find(found[0]["cell"]["experiment"]).finding(analysis.load(folder))


def blocks(
    make: Callable[..., Record], figures: dict[str, list[float]], **more: object
) -> list[Record]:
    """A record for each server and each of its figures, block by block."""
    return [
        make(server, value, block=block, **more)
        for server, values in figures.items()
        for block, value in enumerate(values)
    ]


def times(factor: float, pattern: Sequence[float]) -> list[float]:
    return [factor * value for value in pattern]


def made(name: str, server: str, block: int, value: float, **load: Any) -> Record:
    """A record of an experiment whose figure, whichever it reads, is `value`."""
    clients = {"connections": 4, "idle": load.pop("idle_connections", 0)}
    record = records.record(
        server, experiment=name, block=block, throughput_per_s=value, **clients, **load
    )
    record["connections"]["active"] = 4
    record["connections"]["greeted"] = record["connections"]["due"] = 4
    record["connections"]["attempted"] = 4
    assert record["server_cost"] is not None
    record["server_cost"] |= {
        "cpu_fraction": value / 1e4,
        "drive_requests": 100,
        "voluntary_switches": 50,
        "involuntary_switches": 5,
    }
    held = {**records.USAGE, "rss_bytes": round(1000 * value), "pss_bytes": round(1000 * value)}
    record["footprint"] = {
        "empty": {**records.USAGE, "rss_bytes": 0, "pss_bytes": 0},
        "connected": held,  # type: ignore[typeddict-item]
        "slab_bytes": 10_000,
        "socket_buffer_bytes": 0,
    }
    record["fairness"] = {
        "jain": 0.9,
        "slowest_share": 0.1,
        "fastest_share": 0.3,
        "greedy_share": value / 1e5,
    }
    return record
