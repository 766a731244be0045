"""What a cell is called on a screen: in words, from its data."""

from collections.abc import Callable, Sequence
from typing import Any

from loadgen.report.units import count, duration, plural, size
from loadgen.store.metric import Metric
from loadgen.trial.cell import Cell
from loadgen.trial.methods.method import TIMES

TRANSPORTS = {
    "ipv4": "over IPv4",
    "ipv6": "over IPv6",
    "unix": "over a Unix socket",
    "udp": "over UDP",
}

# In words, from a field of a workload or a cell; "" where another field or the experiment says it.
_WORDS: dict[str, Callable[[Any], str]] = {
    "connections": lambda value: plural(value, "client"),
    "idle_connections": lambda value: f"{value:,} idle",
    "message_bytes": size,
    "offered_per_s": lambda value: f"{count(value)}/s" if value is not None else "closed loop",
    "slow_connections": lambda value: f"{value:,} slow",
    "slow_behaviour": lambda value: value.replace("_", " ") if value else "",
    "pipeline_depth": lambda value: f"one asks {value} at once" if value else "all alike",
    "p99_limit_s": lambda value: f"p99 < {duration(1e9 * value)}",
    "stall_s": lambda value: "stalled" if value else "",
    "server_cpus": lambda value: plural(value, "CPU"),
    "work": lambda value: value or "no work",
    "transport": lambda value: TRANSPORTS[value],
    "protocol": lambda value: value,
    "idle_timeout_s": lambda value: f"time-out {duration(1e9 * value)}" if value else "no time-out",
    "options": " ".join,
    "python": lambda value: value or "",
    "heap": lambda value: f"heap {value}" if value != "system" else "",
    "replica": lambda value: "again" if value else "",
    "claim": str,
}
# Numbers from here on are sizes in bytes.
SMALLEST_SIZE = 1_024
_UNSAID = ("method", "arrivals", "stall_every_s", "max_line_bytes", "requests")


def entrant(cell: Cell) -> str:
    """A server as it is told from those that it is compared with: "prefork --workers 2", "epoll
    over IPv6", "epoll with http"."""
    workload = cell.workload
    words = [cell.server, *cell.options]
    if workload.transport != "ipv4":
        words.append(TRANSPORTS[workload.transport])
    if workload.protocol != "hello":
        words.append(f"with {workload.protocol}")
    if workload.idle_timeout_s is not None:
        words.append(f"with --idle-timeout {workload.idle_timeout_s:g}")
    return " ".join(words)


def named(cell: Cell) -> str:
    """ "throughput epoll, 64 clients" """
    different = {**cell.workload.differences(), **_start(cell)}
    words = [_said(name, value) for name, value in different.items()]
    said = list(filter(None, words)) or [_said("connections", cell.workload.connections)]
    return ", ".join([f"{cell.experiment} {cell.server}", *said])


def titles(cells: Sequence[Cell]) -> list[str]:
    """Column heads for the workloads of one experiment: in what each differs from most of them."""
    columns = [_fields(cell) for cell in cells]
    names = list(dict.fromkeys(name for fields in columns for name in fields))
    heads = []
    for cell, fields in zip(cells, columns, strict=True):
        unusual = [
            name
            for name in names
            if name in fields
            and 2 * sum(_same(other, fields, name) for other in columns) <= len(columns)
        ]
        words = {name: _said(name, fields[name]) for name in unusual}
        if words.get("options"):
            words["options"] = "\n".join(map(_short, cell.options[1::2]))
        if fields.get("offered_per_s") is not None and words.get("offered_per_s"):
            percentile = cell.workload.headline.name.split("_")[1]
            words["offered_per_s"] = f"{percentile} at\n{words['offered_per_s']}"
        # Where only options tell columns apart, one may have none.
        plain = "plain" if len(columns) > 1 else ""
        heads.append("\n".join(filter(None, words.values())) or plain)
    return heads


def _short(value: str) -> str:
    """The value of an option, as a column has room for it: 262144 => 256, KiB."""
    is_size = value.isdigit() and int(value) >= SMALLEST_SIZE
    return size(int(value)).replace(" ", "\n") if is_size else value


def figure(metric: Metric, value: float, half_width: float) -> str:
    """One figure in a few characters; one per second without its unit."""
    if metric.unit == "per_s":
        width = f" +-{half_width:.0%}" if half_width < 1 else ""
        return f"{count(value)}{width}"
    if metric.unit == "fraction":
        return f"{100 * value:.1f} % CPU"
    if metric.unit == "held":
        return f"held {100 * value:.3g} %"
    if metric.unit == "calls":
        return f"{value:.3g} calls"
    return duration(value * {"us": 1e3, "ms": 1e6}[metric.unit])


def _fields(cell: Cell) -> dict[str, Any]:
    fields = cell.workload.as_record()
    return {
        **{name: value for name, value in fields.items() if name not in TIMES},
        **_start(cell),
    }


def _start(cell: Cell) -> dict[str, Any]:
    """How the server is started."""
    return {
        "options": cell.options,
        "python": cell.python,
        "heap": cell.heap,
        "replica": cell.replica,
    }


def _same(one: dict[str, Any], other: dict[str, Any], name: str) -> bool:
    return name in one and one[name] == other[name]


def _said(name: str, value: Any) -> str:
    if name in _UNSAID:
        return ""
    return _WORDS[name](value) if name in _WORDS else f"{name} {value}"
