"""What the terminal shows: one trial, the progress of a run, and its summary."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from loadgen.analysis import TARGET_HALF_WIDTH
from loadgen.units import count, duration, size

CONSOLE = Console(highlight=False)


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


def announce(plan: Any, folder: Any, cpus: Any, left_s: float) -> None:
    """What a run is going to do, before it does it."""
    trials = len(plan.cells) * plan.blocks
    CONSOLE.print(
        f"{', '.join(plan.experiments)}: {len(plan.cells)} cells x {plan.blocks} blocks ="
        f" {trials} trials, about {minutes(left_s)}; seed {plan.seed}"
    )
    CONSOLE.print(
        f"server on CPU {listing(cpus.server)}, generator on CPU {listing(cpus.generator)};"
        f" results in {folder}"
    )
    if cpus.shared:
        CONSOLE.print("warning: one CPU for server and generator: figures say little")
    if plan.profile == "quick":
        CONSOLE.print("quick run: no significance claims")
    show_skipped(plan.skipped)


def show_skipped(skipped: Sequence[Any]) -> None:
    """Cells that are not run, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for skip in skipped:
        reasons.setdefault(skip.reason, []).append(skip.cell)
    for reason, cells in reasons.items():
        CONSOLE.print(f"skipped: {', '.join(cells)}: {reason}")


def follow(total_s: float, trials: Iterable[tuple[Any, Any, float]]) -> None:
    """Show the progress of trials that come as (cell, record, seconds of work it stood for)."""
    with progress() as bar:
        task = bar.add_task("", total=total_s)
        for cell, record, weight_s in trials:
            bar.update(task, advance=weight_s, description=cell.id)
            if not record["verdict"]["valid"]:
                bar.console.print(
                    f"not valid: block {record['block']} {cell.id}:"
                    f" {'; '.join(record['verdict']['reasons'])}"
                )


def progress() -> Progress:
    """A bar with the time left, and what was measured last."""
    return Progress(
        BarColumn(30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(compact=True),
        TextColumn("left  {task.description}"),
        console=CONSOLE,
    )


def minutes(seconds: float) -> str:
    """A length of time for people: 95 => 1 min 35 s."""
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def listing(numbers: Iterable[int]) -> str:
    """1,2,3"""
    return ",".join(map(str, sorted(numbers)))


def show_list(servers: Sequence[Any], chosen: Sequence[Any], skipped: Sequence[Any]) -> None:
    """Servers and experiments, and what would be skipped and why."""
    table = Table("server", "idea", "cost per wake-up", "breaks", box=None, pad_edge=False)
    for variant in servers:
        missing = variant.missing()
        breaks = f"skipped: {missing}" if missing else variant.breaks
        table.add_row(variant.name, variant.idea, variant.cost, breaks)
    CONSOLE.print(table)
    CONSOLE.print()
    table = Table("experiment", "question", box=None, pad_edge=False)
    for experiment in chosen:
        table.add_row(experiment.NAME, experiment.QUESTION)
    CONSOLE.print(table)
    if skipped:
        CONSOLE.print()
        show_skipped(skipped)


def summarise(run: Any, findings: Sequence[tuple[str, str]]) -> None:
    """What every cell came to, experiment by experiment, and what was found."""
    for name in run.header["plan"]["experiments"]:
        cells = run.of(name)
        columns = list(dict.fromkeys(cell.split("/", 2)[2] for cell in cells))
        table = Table(name, box=None, pad_edge=False)
        for title in titles(columns):
            table.add_column(title, justify="right")
        servers = dict.fromkeys(cell.split("/", 2)[1] for cell in cells)
        for server in servers:
            row = [cells.get(f"{name}/{server}/{column}") for column in columns]
            table.add_row(server, *(outcome(cell) for cell in row))
        CONSOLE.print(table)
        CONSOLE.print()
    for name, text in findings:
        CONSOLE.print(f"{name}: {text}")
    invalid = [record for record in run.records if not record["verdict"]["valid"]]
    if invalid:
        CONSOLE.print(f"{len(invalid)} of {len(run.records)} trials were not valid and count not:")
    for record in invalid[:LISTED]:
        reasons = "; ".join(record["verdict"]["reasons"])
        CONSOLE.print(f"  block {record['block']} {record['cell']}: {reasons}")
    if len(invalid) > LISTED:
        CONSOLE.print(f"  and {len(invalid) - LISTED} more: see {run.path / 'trials.jsonl'}")
    wide = [
        cell
        for cell, data in run.cells.items()
        if (found := data.over_blocks(lambda record: record["throughput_per_s"]))
        and found.half_width > TARGET_HALF_WIDTH
    ]
    if run.header["profile"] == "quick":
        CONSOLE.print("quick run: no significance claims")
    elif wide:
        CONSOLE.print(
            f"warning: {len(wide)} of {len(run.cells)} cells missed the target of"
            f" +-{TARGET_HALF_WIDTH:.0%} within the time: read their intervals, or use --full"
        )
    CONSOLE.print(f"charts and findings: {run.path / 'report.md'}", soft_wrap=True)


def show_reach(reached: Sequence[Any]) -> None:
    """What the generator reached, and whether it or its peer was the limit."""
    table = Table("clients", "requests/s", "generator busy", "limit", box=None, pad_edge=False)
    for point in reached:
        table.add_row(
            f"{point['connections']:,}",
            count(point["throughput_per_s"]),
            f"{point['busy_fraction']:.0%}",
            "the generator"
            if point["limiter"] == "generator"
            else "the peer: the generator can do more",
        )
    CONSOLE.print(table)


def show_examination(findings: Sequence[Any]) -> None:
    """What was found about this machine, and what to do where it is not fine."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in findings:
        mark = "ok" if each.fine else "UNFIT" if each.serious else "note"
        table.add_row(mark, each.subject, each.state, "" if each.fine else each.advice)
    CONSOLE.print(table)
    unfit = [each.subject for each in findings if each.serious and not each.fine]
    CONSOLE.print(f"not fit to measure: {', '.join(unfit)}" if unfit else "fit to measure")


def show_comparison(found: Any) -> None:
    """What differs between two runs besides the figures, and every figure of every shared cell."""
    for difference in found.differences:
        CONSOLE.print(f"not the same: {difference}")
    cells: dict[str, Table] = {}
    for change in found.changes:
        if change.cell not in cells:
            cells[change.cell] = Table.grid(padding=(0, 2))
        cells[change.cell].add_row(
            f"  {change.figure}",
            f"{count(change.first.value)} => {count(change.second.value)}",
            f"x {change.ratio}",
        )
    for cell, table in cells.items():
        CONSOLE.print(cell)
        CONSOLE.print(table)
    if found.alone:
        CONSOLE.print(f"in one of the runs only: {', '.join(found.alone)}")


# Trials that are named one by one; beyond it a screen is no help.
LISTED = 10

UNITS = {
    "connections": "clients",
    "idle_connections": "idle",
    "offered_per_s": "per s",
    "message_bytes": "bytes",
}


def titles(columns: Sequence[str]) -> list[str]:
    """Cell ids as column heads, without what all of them have in common."""
    split = [column.split(",") for column in columns]
    common = set.intersection(*map(set, split)) if len(split) > 1 else set()
    return ["\n".join(map(title, [p for p in parts if p not in common])) for parts in split]


def title(part: str) -> str:
    """offered_per_s=5000.0 => 5,000 per s"""
    name, _, value = part.partition("=")
    if part == "plain":
        return "1 clients"
    return f"{float(value):,.0f} {UNITS[name]}" if name in UNITS else part


def show_traces(traces: Sequence[tuple[str, Any]]) -> None:
    """System calls per request of some servers, side by side."""
    table = Table("server", "calls per request", "one request", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, traced in traces:
        order = [
            f"{entry['times']:,} x {entry['call']}" if entry["times"] > 1 else entry["call"]
            for entry in traced["sequence"]
        ]
        table.add_row(name, f"{traced['total']:.4g}", ", ".join(order))
    CONSOLE.print(table)


def outcome(cell: Any) -> str:
    """What a cell came to, in a few characters: answers per second, or p99 at a given rate."""
    if cell is None:
        return ""
    connections = cell.first["connections"]
    limited = f"{connections['greeted']:,} of {connections['attempted']:,} served"
    if not cell.valid:
        return "not valid"
    if cell.first["workload"]["mode"] == "open":
        found = cell.over_blocks(lambda record: (record["latency_ns"]["response"] or {}).get("p99"))
        text = f"p99 {duration(found.value)}" if found else "few samples"
    else:
        found = cell.over_blocks(lambda record: record["throughput_per_s"])
        text = f"{count(found.value)}/s" if found else "measured"
        if found and found.half_width < 1:
            text += f" +-{found.half_width:.0%}"
    return "\n".join(filter(None, (text, limited if connections["limit"] else "")))
