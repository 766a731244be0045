"""What the terminal shows: one trial, the progress of a run, and its summary."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

CONSOLE = Console(highlight=False)


def count(value: float | None) -> str:
    """A number for people: 1234567 => 1.23M, 45678 => 45.7k, None => -."""
    if value is None:
        return "-"
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if value >= size:
            shown = value / (1e3 if unit == "k" else size)
            return f"{shown:.1f}{unit}" if shown < 100 else f"{shown:.0f}{unit}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def duration(value_ns: float | None) -> str:
    """Nanoseconds for people: 51234 => 51.2 us."""
    if value_ns is None:
        return "-"
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if value_ns >= size:
            return (
                f"{value_ns / size:.3g} {unit}"
                if value_ns < 1000 * size
                else (f"{value_ns / size:,.0f} {unit}")
            )
    return f"{value_ns:.0f} ns"


def size(value_bytes: float | None) -> str:
    """Bytes for people: 20971520 => 20.0 MiB."""
    if value_bytes is None:
        return "-"
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value_bytes >= limit:
            return f"{value_bytes / limit:.1f} {unit}"
    return f"{value_bytes:.0f} B"


def show_trial(record: Any) -> None:
    """One trial, as a short table and its verdict."""
    connections, counts, load = record["connections"], record["counts"], record["workload"]
    table = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str]] = [
        ("server", record["server"]["name"]),
        (
            "clients",
            f"{load['connections']:,} active, {load['idle_connections']:,} idle;"
            f" {connections['greeted']:,} of {connections['attempted']:,} served"
            + (f" ({connections['limit']})" if connections["limit"] else ""),
        ),
    ]
    if record["outcome"] == "measured" and record["generator"]:
        rows.append(
            (
                "requests",
                f"{counts['ok']:,} ok, {counts['wrong']:,} wrong, {counts['error']:,} errors,"
                f" {counts['unfinished']:,} unfinished in {load['duration_s']:g} s",
            )
        )
        rows.append(("throughput", f"{count(record['throughput_per_s'])} requests/s"))
        for name, meaning in (
            ("response", "arrived - intended"),
            ("service", "arrived - sent"),
            ("greeting", "connect to greeting"),
        ):
            if summary := record["latency_ns"].get(name):
                rows.append((name, f"{percentiles(summary)}  ({meaning})"))
        generator = record["generator"]
        rows.append(
            (
                "generator",
                f"busy {generator['busy_fraction']:.0%}; send lag p99"
                f" {duration(generator['send_lag_ns']['p99'])}, read delay p99"
                f" {duration(generator['read_delay_ns']['p99'])}",
            )
        )
    if cost := record["server_cost"]:
        per_request = cost["cpu_us_per_request"]
        rows.append(
            (
                "server cost",
                (f"{per_request:.1f} us CPU per request, " if per_request is not None else "")
                + f"{cost['threads']:,} threads, {size(cost['rss_bytes'])} RSS,"
                f" {cost['fds']:,} descriptors",
            )
        )
    verdict = record["verdict"]
    rows.append(("limited by", verdict["limiter"]))
    rows.append(("verdict", "valid" if verdict["valid"] else "NOT VALID"))
    rows += [("", reason) for reason in verdict["reasons"]]
    for name, text in rows:
        table.add_row(name, text)
    CONSOLE.print(table)


def percentiles(summary: Any) -> str:
    """p50, p90, p99, p99.9 and max, where there are enough samples for them."""
    parts = []
    for key in ("p50", "p90", "p99", "p99_9", "max"):
        value = summary.get(key)
        if value is not None:
            parts.append(f"{key.replace('_', '.')} {duration(value)}")
        elif summary.get("at_least", {}).get(key) is not None:
            parts.append(f"{key.replace('_', '.')} >= {duration(summary['at_least'][key])}")
    return ", ".join(parts) or "too few samples"
