"""What the checks of an audit have in common: equality, and how long things take."""

import math
import re
from typing import Any

from loadgen.store.schema import Record, ServerCost, Window
from loadgen.trial.cell import Cell

# A histogram keeps three figures (histogram._EXACT_BITS): a mean or an extreme derived from it may
# be off by half a unit of the last one at either end of a bucket.
HISTOGRAM_TOLERANCE = 2e-3
# Quotients of the same stored numbers differ by rounding only.
ROUNDING = 1e-9
NS_PER_S = 1_000_000_000
# The kernel counts user and system time in ticks of 10 ms (times(2)), and the difference of two
# readings of both is off by a tick each.
TICKS_S = 0.02

_WORK = re.compile(r"(cpu|sleep):(\d+)(us|ms|s)")
_UNITS_NS = {"us": 1_000, "ms": 1_000_000, "s": NS_PER_S}


def cell_id(record: Record) -> str:
    """The name of its cell."""
    return Cell.of(record["cell"]).id


def same(one: float | None, other: float | None) -> bool:
    """But for rounding."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=ROUNDING)


def near(one: float | None, other: float | None) -> bool:
    """But for what a histogram loses."""
    if one is None or other is None:
        return one is other
    # 1 ns: what a histogram keeps of values that are zero or less.
    return math.isclose(one, other, rel_tol=HISTOGRAM_TOLERANCE, abs_tol=1)


def is_whole(value: float) -> bool:
    """Is it a count, but for rounding?"""
    return math.isclose(value, round(value), rel_tol=ROUNDING, abs_tol=1e-6)


def window_s(record: Record) -> float | None:
    """How long the window was to be; None where there is none, or one in each slice."""
    if record["slices"]:
        return None
    duration_s = record["cell"]["workload"].get("duration_s")
    return duration_s if isinstance(duration_s, (int, float)) else None


def warmup_s(record: Record) -> float:
    """How long the warm-up was to be."""
    return float(record["cell"]["workload"].get("warmup_s") or 0.0)


def answered(record: Record) -> int:
    """Right answers that arrived in the window: what rates and costs are made of. Schema 1 counted
    those to requests that were due in it."""
    window = record["window"]
    return record["counts"]["ok"] if window is None else window["answered"]


def all_answered(record: Record) -> bool:
    """Was every request answered, those of the warm-up too, and no client lost?"""
    counts, warmup, lost = record["counts"], record["warmup"], record["connections"]["lost"]
    before = warmup is None or warmup["ok"] == warmup["scheduled"]
    return counts["ok"] == counts["scheduled"] and before and not lost


def grown(window: Window) -> int:
    """By how many the fewest open requests of its second half exceed those of its first."""
    return window["fewest_open_second_half"] - window["fewest_open_first_half"]


def is_open(record: Record) -> bool:
    """Did a schedule decide when requests are sent?"""
    return record["offered_per_s"] is not None


def longest_s(record: Record) -> float:
    """The most that a request of the window took, until it was read."""
    service: Any = record["latency_ns"]["service"]
    read_delay: Any = record["generator"] and record["generator"]["read_delay_ns"]
    parts = [part["max"] for part in (service, read_delay) if part and part["max"] is not None]
    return float(sum(parts) / NS_PER_S)


def work_ns(record: Record) -> tuple[str, int]:
    """What an answer costs its server by order: ("cpu" or "sleep", ns); ("", 0): nothing."""
    found = _WORK.fullmatch(str(record["cell"]["workload"].get("work") or ""))
    return (found[1], int(found[2]) * _UNITS_NS[found[3]]) if found else ("", 0)


def ticks_s(cost: ServerCost) -> float:
    """By how much the kernel's times of a server's processes may be off, each by TICKS_S."""
    return TICKS_S * max(1, cost["processes"])
