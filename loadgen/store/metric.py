"""Figures of one record: what is compared, estimated, tabulated and drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeGuard

from loadgen.store.histogram import PERCENTILES
from loadgen.store.schema import Latency, Record, Slices

Unit = Literal["per_s", "us", "ms", "fraction", "calls", "held"]
Percentile = Literal["p50", "p90", "p99", "p99_9"]


@dataclass(frozen=True)
class Metric:
    """One figure of a record; None where it was not measured.

    name       with its unit, as it is printed and stored
    per_slice  the same of each slice, where slices are compared by it; None of a void round
    quantile   which latency it is of, and at which percentile (0 to 100), if it is one
    """

    name: str
    unit: Unit
    of: Callable[[Record], float | None]
    per_slice: Callable[[Slices], list[float | None]] | None = None
    quantile: tuple[Latency, float] | None = None

    def __call__(self, record: Record) -> float | None:
        """The figure of one record."""
        return self.of(record)


def latency_us(kind: Latency, percentile: Percentile) -> Metric:
    """A percentile of one trial, in microseconds."""

    def of(record: Record) -> float | None:
        summary = record["latency_ns"][kind]
        value_ns = summary[percentile] if summary else None
        return None if value_ns is None else value_ns / 1000

    return Metric(
        f"{kind}_{percentile}_us",
        "us",
        of,
        _medians_us if percentile == "p50" else None,
        (kind, PERCENTILES[percentile]),
    )


def rate_of_slices(slices: Slices) -> list[float | None]:
    """Answers per second in each slice; None where there was none, or its round is void."""
    return [
        None if void or answers is None or not span_ns else answers * 1e9 / span_ns
        for answers, span_ns, void in zip(
            slices["answers"], slices["span_ns"], slices["void"], strict=True
        )
    ]


def cpu_us_of_slices(slices: Slices) -> list[float | None]:
    """CPU of the server per answer, settling and drain included, as `rate_of_slices`."""
    return [
        None if void or cpu_ns is None or not answers else cpu_ns / 1000 / answers
        for cpu_ns, answers, void in zip(
            slices["cpu_ns"], slices["drive_answers"], slices["void"], strict=True
        )
    ]


def _medians_us(slices: Slices) -> list[float | None]:
    return [
        None if void or median_ns is None else median_ns / 1000
        for median_ns, void in zip(slices["p50_ns"], slices["void"], strict=True)
    ]


def _cpu_us(record: Record) -> float | None:
    cost = record["server_cost"]
    return cost["cpu_us_per_request"] if cost else None


def _cpu_fraction(record: Record) -> float | None:
    cost = record["server_cost"]
    return cost["cpu_fraction"] if cost else None


def _knee_per_s(record: Record) -> float | None:
    return record["knee"]["rate_per_s"] if record["knee"] else None


def _system_calls(record: Record) -> float | None:
    return record["system_calls"]["total"] if record["system_calls"] else None


def _done_ms(record: Record) -> float | None:
    clients = record["timeline"]["clients"] if record["timeline"] else []
    left_ns = [client["left_ns"] for client in clients]
    return max(left_ns) / 1e6 if left_ns and all(left_ns) else None


def _lateness_us(which: Literal["p50", "max"]) -> Callable[[Record], float | None]:
    def of(record: Record) -> float | None:
        found = record["reaping"] and record["reaping"]["lateness_ns"]
        value_ns = found[which] if found else None
        return None if value_ns is None else value_ns / 1000

    return of


def _lost_fraction(record: Record) -> float | None:
    death = record["death"]
    return death["lost"] / sum(death["clients"]) if death else None


def _held_fraction(record: Record) -> float | None:
    """Of the tries of all cases of a claim's program."""
    seen = record["observation"]["seen"] if record["observation"] else {}
    tries, held = (
        sum(value for name, value in seen.items() if name.startswith(kind) and _is_count(value))
        for kind in ("tries_", "held_")
    )
    return held / tries if tries else None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


throughput = Metric(
    "throughput_per_s", "per_s", lambda record: record["throughput_per_s"], rate_of_slices
)
cpu_us = Metric("cpu_us_per_request", "us", _cpu_us, cpu_us_of_slices)
cpu_fraction = Metric("cpu_fraction", "fraction", _cpu_fraction)
knee_per_s = Metric("knee_per_s", "per_s", _knee_per_s)
system_calls = Metric("system_calls_per_request", "calls", _system_calls)
lost_fraction = Metric("lost_fraction", "fraction", _lost_fraction)
done_ms = Metric("done_ms", "ms", _done_ms)
held_fraction = Metric("held_fraction", "held", _held_fraction)
# How late silent clients were told.
lateness_p50_us = Metric("lateness_p50_us", "us", _lateness_us("p50"))
lateness_max_us = Metric("lateness_max_us", "us", _lateness_us("max"))
