"""A run in the forms of other programs: a table of its trials, and percentiles of its latencies."""

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, get_args

from loadgen.analysis.run import CellData, Run
from loadgen.store import metric
from loadgen.store.histogram import PERCENTILES
from loadgen.store.schema import Latency, Record

KINDS: tuple[Latency, ...] = get_args(Latency)
Columns = dict[str, Callable[[Record], object]]

_WHICH: Columns = {
    "block": lambda record: record["block"],
    "position": lambda record: record["position"],
    "retries_block": lambda record: record["retries"],
    "started_at": lambda record: record["started_at"],
    "experiment": lambda record: record["cell"]["experiment"],
    "server": lambda record: record["server"]["name"],
    "server_options": lambda record: " ".join(record["cell"]["options"]),
    "python": lambda record: record["cell"]["python"],
    "heap": lambda record: record["cell"]["heap"],
    "replica": lambda record: record["cell"]["replica"],
}
_JUDGED: Columns = {
    "outcome": lambda record: record["outcome"],
    "valid": lambda record: record["verdict"]["valid"],
    "reasons": lambda record: "; ".join(record["verdict"]["reasons"]),
    "bottleneck": lambda record: record["verdict"]["bottleneck"],
    "overloaded": lambda record: record["verdict"]["overloaded"],
    "clients_attempted": lambda record: record["connections"]["attempted"],
    "clients_greeted": lambda record: record["connections"]["greeted"],
}
_COUNTED: Columns = {
    "requests_ok": lambda record: record["counts"]["ok"],
    "requests_mismatched": lambda record: record["counts"]["mismatched"],
    "requests_error": lambda record: record["counts"]["error"],
    "requests_timed_out": lambda record: record["counts"]["timed_out"],
}
_FIGURES = (
    metric.throughput,
    metric.knee_per_s,
    metric.cpu_us,
    metric.cpu_fraction,
    metric.system_calls,
    metric.lost_fraction,
    metric.done_ms,
)
_COST: Columns = {
    "server_rss_bytes": lambda record: _inner(record["server_cost"], "rss_bytes"),
    "server_threads": lambda record: _inner(record["server_cost"], "threads"),
    "server_descriptors": lambda record: _inner(record["server_cost"], "fds"),
    "generator_busy_fraction": lambda record: _inner(record["generator"], "busy_fraction"),
    "steal_fraction": lambda record: _inner(record["machine"], "steal_fraction"),
}


def table(run: Run, stream: TextIO) -> None:
    """A row per trial, those that do not count included; what was not measured is empty."""
    fields = dict.fromkeys(
        name for record in run.records for name in record["cell"]["workload"] if name != "method"
    )
    columns: Columns = {
        **_WHICH,
        "method": lambda record: record["cell"]["workload"]["method"],
        **{f"workload_{name}": _of_workload(name) for name in fields},
        **_JUDGED,
        **_COUNTED,
        **{each.name: each for each in _FIGURES},
        **{name: of for kind in KINDS for name, of in _latencies(kind)},
        **_COST,
    }
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(columns)
    for record in run.records:
        rows.writerow(_written(of(record)) for of in columns.values())


def percentiles(run: Run, folder: Path) -> Iterator[Path]:
    """A file per cell and kind of latency, of all its valid trials together, in nanoseconds; yields
    their paths as they are written (library: hdrhistogram, output_percentile_distribution)."""
    width = len(str(len(run.cells)))
    for number, data in enumerate(run.cells.values(), start=1):
        for kind in KINDS:
            if not any(record["histograms"][kind] for record in data.valid):
                continue
            histogram, unanswered = data.merged(kind)
            if not histogram.get_total_count():
                continue
            path = folder / f"{number:0{width}}-{_file_name(data)}-{kind}-ns.hgrm"
            with path.open("xb") as stream:
                histogram.output_percentile_distribution(stream, 1)
                stream.write(f"#[Unanswered = {unanswered}]\n".encode())
            yield path


def _file_name(data: CellData) -> str:
    return re.sub(r"[^\w.=,-]+", "_", data.cell.id, flags=re.ASCII)[:120]


def _latencies(kind: Latency) -> Iterator[tuple[str, Callable[[Record], object]]]:
    for name in (*PERCENTILES, "max"):
        yield f"{kind}_{name}_us", _latency_us(kind, name)


def _latency_us(kind: Latency, name: str) -> Callable[[Record], object]:
    def of(record: Record) -> object:
        value_ns = _inner(record["latency_ns"][kind], name)
        return None if value_ns is None else value_ns / 1000

    return of


def _of_workload(name: str) -> Callable[[Record], object]:
    return lambda record: record["cell"]["workload"].get(name)


def _inner(value: Any, name: str) -> Any:
    return None if value is None else value[name]


def _written(value: object) -> object:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value
