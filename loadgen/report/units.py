"""Numbers as people read them: rates, times, sizes and addresses, in tables, sentences, on axes."""

from collections.abc import Callable
from typing import Literal

Format = Literal["number", "size", "microseconds", "milliseconds", "percent"]


def formatted(value: float, name: Format) -> str:
    """A value in the format of that name, without which figures would hold functions."""
    return _FORMATS[name](value)


def number(value: float) -> str:
    """A number on an axis: 1000 => 1k, 0.5 => 0.5."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def count(value: float | None) -> str:
    """A number in a table: 1234567 => 1.23M, 45678 => 45.7k, None => -."""
    if value is None:
        return "-"
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if value >= size:
            shown = value / (1e3 if unit == "k" else size)
            return f"{shown:.1f}{unit}" if shown < 100 else f"{shown:.0f}{unit}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def duration(value_ns: float | None) -> str:
    """A time in nanoseconds: 51234 => 51.2 us."""
    if value_ns is None:
        return "-"
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if value_ns >= size:
            return (
                f"{value_ns / size:.3g} {unit}"
                if value_ns < 1000 * size
                else (f"{value_ns / size:,.0f} {unit}")
            )
    return f"{value_ns:.0f} ns" if value_ns else "0"


def minutes(seconds: float) -> str:
    """A length of time for people: 95 => 1 min 35 s."""
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def size(value_bytes: float | None) -> str:
    """Bytes: 65536 => 64 KiB, 20000 => 20 kB. Binary units only where they come out even."""
    if value_bytes is None:
        return "-"
    for binary, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if binary <= value_bytes < 1024 * binary and value_bytes % binary == 0:
            return f"{value_bytes / binary:.0f} {unit}"
    for decimal, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value_bytes >= decimal:
            return f"{value_bytes / decimal:.3g} {unit}"
    return f"{value_bytes:.3g} B" if value_bytes else "0"


def microseconds(value_us: float) -> str:
    """A time in microseconds: 1500 => 1.5 ms."""
    return duration(1000 * value_us)


def milliseconds(value_ms: float) -> str:
    """A time in milliseconds: 20 => 20 ms."""
    return duration(1e6 * value_ms)


def plural(number: int, noun: str) -> str:
    """1 client, 8 clients, 5,000 clients"""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(value: float) -> str:
    """93.64 => 93.6 %, 1000 => 1,000 %"""
    return f"{value:,.0f} %" if value >= 100 else f"{value:.3g} %"


_FORMATS: dict[Format, Callable[[float], str]] = {
    "number": number,
    "size": size,
    "microseconds": microseconds,
    "milliseconds": milliseconds,
    "percent": percent,
}
