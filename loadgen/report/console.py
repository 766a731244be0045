"""What the terminal shows: one trial, the progress of a run, and its summary."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from loadgen.plan.order import comparison
from loadgen.report.html import HTML_NAME
from loadgen.report.naming import entrant, figure, named, titles
from loadgen.report.standing import Standing, void_lines
from loadgen.report.units import count, duration, minutes, plural, size
from loadgen.trial.cell import Cell

if TYPE_CHECKING:
    from loadgen.analysis.claim import Kind
    from loadgen.analysis.compare import Comparison
    from loadgen.analysis.run import CellData, Run
    from loadgen.machine.cpus import Pinning
    from loadgen.machine.doctor import Finding
    from loadgen.plan.plan import Plan, Skip
    from loadgen.store.schema import Bottleneck, Calibration, Record
    from loadgen.store.shelf import Stored
    from servers.catalog import Model

# What is shown comes from servers and files: brackets and colons in it mean nothing.
CONSOLE = Console(highlight=False, markup=False, emoji=False)
# Cells of one reason that are named one by one; beyond it a screen is no help.
LISTED = 4
LEGEND = (
    'Figures without a unit are answers per second, +- half of their 95 % interval; "1 of 8": so'
    " many clients are served, by the server's design."
)


def to_stderr(where: bool) -> None:
    """Leave the standard output to something else, from now on."""
    CONSOLE.stderr = where


def show_trial(record: "Record") -> None:
    """One trial, as a short table and its verdict."""
    table = Table.grid(padding=(0, 2))
    for name, text in _trial_rows(record):
        table.add_row(name, text)
    CONSOLE.print(table)


BOTTLENECKS: dict["Bottleneck", str] = {
    "server": "server",
    "generator": "generator",
    "wake-up": "wake-up: neither side is busy, each waits until the other has woken it",
    "offered": "offered: all that was asked was answered",
    "model": "model: it serves none of the clients that send",
    "unknown": "unknown",
}


def _trial_rows(record: "Record") -> Iterable[tuple[str, str]]:
    connections, load = record["connections"], record["cell"]["workload"]
    limit = connections["limit"]
    yield "server", record["server"]["name"]
    yield (
        "clients",
        f"{load['connections']:,} active, {load['idle_connections']:,} idle;"
        f" {connections['greeted']:,} of {connections['attempted']:,} served"
        + (f" ({limit})" if limit else ""),
    )
    generator, cost, machine = record["generator"], record["server_cost"], record["machine"]
    verdict = record["verdict"]
    if verdict["bottleneck"] == "model":
        yield "requests", "none: the idle clients came first, and took all the places"
    if record["outcome"] == "measured" and generator:
        yield from _load_rows(record)
        # In a closed loop nothing was due before it was sent.
        lag = (
            f"send lag p99 {duration(generator['send_lag_ns']['p99'])}, "
            if record["offered_per_s"] is not None
            else ""
        )
        yield (
            "generator",
            f"busy {generator['busy_fraction']:.0%}; {lag}read delay p99"
            f" {duration(generator['read_delay_ns']['p99'])}",
        )
    if cost:
        per_request = cost["cpu_us_per_request"]
        yield (
            "server cost",
            (f"{per_request:.1f} us CPU per request, " if per_request is not None else "")
            + f"{plural(cost['threads'], 'thread')}, {size(cost['rss_bytes'])} RSS,"
            f" {plural(cost['fds'], 'descriptor')}",
        )
    if machine:
        yield "machine", _quiet(machine)
    yield "limited by", _limit(record)
    yield "verdict", _judgement(record)
    for reason in verdict["reasons"]:
        yield "", reason


def _load_rows(record: "Record") -> Iterable[tuple[str, str]]:
    """What was asked and answered, and how fast."""
    counts, overloaded = record["counts"], record["verdict"]["overloaded"]
    yield (
        "requests",
        f"{counts['ok']:,} ok, {counts['mismatched']:,} wrong, {counts['error']:,} errors,"
        f" {counts['timed_out']:,} timed out in {record['cell']['workload']['duration_s']:g} s",
    )
    if datagrams := record["datagrams"]:
        dropped = datagrams["dropped"]
        yield (
            "datagrams",
            f"{datagrams['sent']:,} sent, {datagrams['answered']:,} answered,"
            f" {datagrams['lost']:,} lost, {datagrams['late']:,} late,"
            f" {datagrams['duplicated']:,} duplicated, {datagrams['reordered']:,} reordered;"
            + ("" if dropped is None else f" {dropped:,} dropped by the kernel before the server"),
        )
    offered = f" of {count(record['offered_per_s'])}/s offered" if overloaded else ""
    yield "throughput", f"{count(record['throughput_per_s'])} requests/s{offered}"
    latencies: Mapping[str, Any] = record["latency_ns"]
    grows = "; grows with the length of the run" if overloaded else ""
    # Where the kernel stamps nothing, an answer arrived when the generator read it.
    generator = record["generator"]
    own = generator is not None and generator["stamps"] == "generator"
    arrived, left = ("read", "sent") if own else ("arrived", "left")
    for name, meaning in (
        ("response", f"{arrived} - intended{grows}"),
        ("service", f"{arrived} - {left}{grows}"),
        ("greeting", "connect to greeting"),
    ):
        if summary := latencies[name]:
            yield name, f"{percentiles(summary)}  ({meaning})"


def _limit(record: "Record") -> str:
    """What kept the throughput from being higher, and how that can be seen."""
    generator, cost = record["generator"], record["server_cost"]
    named = record["verdict"]["bottleneck"]
    if not record["cell"]["workload"]["connections"]:
        return "nothing: no client sends requests"
    if named == "wake-up" and generator and cost:
        busy = f"server {cost['cpu_fraction']:.0%}, generator {generator['busy_fraction']:.0%}"
        return f"{BOTTLENECKS[named]} (busy: {busy})"
    return BOTTLENECKS[named]


def _judgement(record: "Record") -> str:
    """Does the trial count, and as what?"""
    verdict = record["verdict"]
    if not verdict["valid"]:
        return "INVALID"
    if verdict["bottleneck"] == "model":
        return "valid, as a limit of the model: no request was answered"
    if verdict["overloaded"]:
        return "valid, as a measurement of an overload"
    return "valid"


def _quiet(machine: Mapping[str, Any]) -> str:
    """What the machine itself took: a tail that is no longer than its pauses says nothing."""
    parts = []
    hiccups = machine["hiccup_ns"]
    if hiccups:
        # Without a real-time priority the meter also waits for its turn (hiccup.py).
        word = "longest pause" if hiccups["realtime"] else "pauses at most"
        parts.append(
            f"{word}: server's CPU {duration(hiccups['server_cpu']['max'])},"
            f" generator's {duration(hiccups['generator_cpu']['max'])}"
        )
    steal = machine["steal_fraction"]
    if steal is not None:
        parts.append(f"steal {steal:.1%}")
    return "; ".join(parts)


def percentiles(summary: Mapping[str, Any]) -> str:
    """p50, p90, p99, p99.9 and max, where there are enough samples for them."""
    parts = []
    for key in ("p50", "p90", "p99", "p99_9", "max"):
        value = summary.get(key)
        if value is not None:
            parts.append(f"{key.replace('_', '.')} {duration(value)}")
        elif summary.get("at_least", {}).get(key) is not None:
            parts.append(f"{key.replace('_', '.')} >= {duration(summary['at_least'][key])}")
    return ", ".join(parts) or "too few samples"


def announce(plan: "Plan", folder: Path, cpus: "Pinning", left_s: float) -> None:
    """What a run is going to do, before it does it; `left_s` is 0 when it has nothing to do."""
    if not left_s:
        CONSOLE.print(f"nothing left to measure: redrawing {folder}", soft_wrap=True)
        return
    together = sum(cell.workload.together for cell in plan.cells)
    alone = len(plan.cells) - together
    parts = [f"{plural(together, 'cell')} by slices x {plural(plan.blocks, 'epoch')}"] * bool(
        together
    ) + [f"{plural(alone, 'cell')} alone x {plural(plan.trials, 'trial')}"] * bool(alone)
    CONSOLE.print(
        f"{', '.join(plan.experiments)}: {' and '.join(parts)}, about {minutes(left_s)};"
        f" seed {plan.seed}"
    )
    CONSOLE.print(
        f"server on CPU {listing(cpus.server)}, generator on CPU {listing(cpus.generator)};"
        f" results in {folder}",
        soft_wrap=True,
    )
    if cpus.shared:
        CONSOLE.print("warning: one CPU for server and generator: figures say little")
    show_skipped(plan.skipped)


def announce_retries(void: Sequence[tuple[int, int, Sequence[Cell], int]]) -> None:
    """What is going to be measured again, as `plan.due.retries` has it."""
    if not void:
        CONSOLE.print("nothing was void, or it was measured again already")
        return
    CONSOLE.print(
        f"measured again, because not all of it counted: {plural(len(void), 'block')} of"
        f" {', '.join(dict.fromkeys(cells[0].experiment for _, _, cells, _ in void))};"
        " the void ones stay in the run",
        soft_wrap=True,
    )


def announce_films(number: int) -> None:
    """How many servers are going to be filmed, a few seconds each."""
    if number:
        CONSOLE.print(f"filming {plural(number, 'server')}, a few seconds each")


def show_skipped(skipped: Sequence["Skip"]) -> None:
    """How many cells of which experiments are not run, a line for each reason."""
    reasons: dict[str, dict[str, int]] = {}
    for skip in skipped:
        experiments = reasons.setdefault(skip.reason, {})
        name = skip.cell.experiment
        experiments[name] = experiments.get(name, 0) + 1
    for reason, experiments in reasons.items():
        cells = ", ".join(f"{name} ({plural(n, 'cell')})" for name, n in experiments.items())
        CONSOLE.print(f"skipped: {cells}: {reason}")


def follow(plan: "Plan", total_s: float, measured: Iterable[tuple[Cell, "Record"]]) -> None:
    """Show what is measured, which is to take about `total_s`, as it comes. A terminal has a table
    that fills itself; elsewhere a comparison by slices is a line when its planned epochs are there,
    in a quick run after each of them."""
    together: list[tuple[Cell, Record]] = []
    compared: dict[Cell, list[Record]] = {}
    with Standing(plan, total_s, CONSOLE) as standing:
        for cell, record in measured:
            together.append((cell, record))
            if cell.workload.together and len(together) < _entrants(plan, cell):
                continue
            standing.add(together)
            for line in () if CONSOLE.is_terminal else void_lines(together):
                CONSOLE.print(line, style="dim", soft_wrap=True)
            if cell.workload.together and not CONSOLE.is_terminal:
                records = compared.setdefault(comparison(cell), [])
                records += [record for _, record in together]
                epochs = len({record["block"] for record in records})
                if plan.profile == "quick" or epochs == plan.blocks:
                    for line, style in _compared(together[0][0], records, epochs):
                        CONSOLE.print(line, style=style)
            together = []


def _entrants(plan: "Plan", cell: Cell) -> int:
    """How many cells are measured together with this one, itself included."""
    return sum(comparison(other) == comparison(cell) for other in plan.cells)


def _entrant_with_heap(record: "Record") -> str:
    """A server as it is told from those that it is compared with, by its heap too."""
    cell = Cell.of(record["cell"])
    return entrant(cell) if cell.heap == "system" else f"{entrant(cell)}, heap {cell.heap}"


def _compared(
    cell: Cell, records: Sequence["Record"], epochs: int
) -> Iterable[tuple[str, str | None]]:
    """A comparison as far as it is known: (line, style)."""
    from loadgen.analysis.estimate import ratio  # scipy: not for one trial

    of: dict[str, list[Record]] = {}
    for record in records:
        if not record["cell"]["replica"]:
            of.setdefault(_entrant_with_heap(record), []).append(record)
    twins = (_entrant_with_heap(record) for record in records if record["cell"]["replica"])
    reference = next(twins, next(iter(of)))
    metric = cell.workload.target
    values = [v for record in of[reference] if (v := metric(record)) is not None]
    title = named(comparison(cell)).replace(" ,", ",")
    if not values:
        yield f"{title}: {reference} has no valid slice", "dim"
    else:
        yield (
            f"{title}, after {plural(epochs, 'epoch')}: {reference}"
            f" {figure(metric, median(values), math.inf)}"
            f"{' per second' if metric.unit == 'per_s' else ''}; of that",
            None,
        )
        told = []
        for name, ours in of.items():
            found = ratio(ours, of[reference], metric) if name != reference else None
            if found is not None:
                told.append(f"{name} {found.estimate.value:.2f}")
        if told:
            yield f"  {', '.join(told)}", None


def listing(numbers: Iterable[int]) -> str:
    """1,2,3"""
    return ",".join(map(str, sorted(numbers)))


def show_list(
    servers: Sequence["Model"], questions: Mapping[str, str], skipped: Sequence["Skip"]
) -> None:
    """Servers and experiments (name => question), and what would be skipped and why."""
    table = Table("server", "idea", "cost per wake-up", "breaks", box=None, pad_edge=False)
    for model in servers:
        missing = model.missing()
        breaks = f"skipped: {missing}" if missing else model.breaks
        usual = "" if model.standing == "named" else " *"
        table.add_row(f"{model.name}{usual}", model.idea, model.cost, breaks)
    CONSOLE.print(table)
    CONSOLE.print("* takes part in a bench that names no servers")
    CONSOLE.print()
    table = Table("experiment", "question", box=None, pad_edge=False)
    for name, question in questions.items():
        table.add_row(name, question)
    CONSOLE.print(table)
    if skipped:
        CONSOLE.print()
        show_skipped(skipped)


def summarise(run: "Run", headlines: Sequence[str], findings: Sequence[tuple[str, str]]) -> None:
    """What every cell came to, experiment by experiment; what was found; and last, because that
    is what stays on the screen, what the run was made for."""
    tables = [_cells_table(name, run.of(name)) for name in run.header["plan"]["experiments"]]
    for table in tables:
        if table.columns[1:]:
            CONSOLE.print(table)
            CONSOLE.print()
    CONSOLE.print(LEGEND)
    CONSOLE.print()
    for name, text in findings:
        CONSOLE.print(f"{name}: {text}")
    _show_invalid(run)
    if headlines:
        CONSOLE.print()
    for text in headlines:
        CONSOLE.print(text, style="bold")
    CONSOLE.print(f"charts, films and findings: {run.path / HTML_NAME}", soft_wrap=True)


def _cells_table(experiment: str, cells: Mapping[str, "CellData"]) -> Table:
    """A row per server, a column per workload; what has no figure in any row is left out."""
    by_cell = {data.cell: data for data in cells.values()}
    servers = list(dict.fromkeys(cell.server for cell in by_cell))
    workloads = list(dict.fromkeys(replace(cell, server="") for cell in by_cell))
    table = Table(Column(experiment, no_wrap=True), box=None, pad_edge=False, collapse_padding=True)
    rows: dict[str, list[str]] = {server: [] for server in servers}
    for workload, title in zip(workloads, titles(workloads), strict=True):
        found = [outcome(by_cell.get(replace(workload, server=server))) for server in servers]
        if any(found):
            table.add_column(title, justify="right")
            for server, text in zip(servers, found, strict=True):
                rows[server].append(text)
    for server, texts in rows.items():
        table.add_row(server, *texts)
    return table


def _show_invalid(run: "Run") -> None:
    """The trials that were excluded, by reason. Reasons that differ in figures only are one."""
    invalid = [record for record in run.records if not record["verdict"]["valid"]]
    if not invalid:
        return
    CONSOLE.print(f"{len(invalid)} of {len(run.records)} trials were invalid and are excluded:")
    table = Table.grid(padding=(0, 1))
    groups: dict[str, list[Record]] = {}
    for record in invalid:
        for reason in record["verdict"]["reasons"]:
            groups.setdefault(re.sub(r"\d[\d,.]*", "#", reason), []).append(record)
    for key, records in groups.items():
        example = next(
            reason
            for reason in records[0]["verdict"]["reasons"]
            if re.sub(r"\d[\d,.]*", "#", reason) == key
        )
        cells = list(dict.fromkeys(named(Cell.of(record["cell"])) for record in records))
        more = f" and {len(cells) - LISTED} more" if len(cells) > LISTED else ""
        table.add_row(f"{len(records)} x", f"{example}\n{'; '.join(cells[:LISTED])}{more}")
    CONSOLE.print(table)


# So much of a name or a note is shown in a list.
SHOWN = 24


def show_runs(found: Sequence["Stored"], parent: Path) -> None:
    """Runs, a line each; what cannot be read with its reason."""
    if not found:
        CONSOLE.print(f"no runs in {parent}", soft_wrap=True)
        return
    heads = ("run", "measured", "profile", "servers", "trials", "void", "size", "name")
    right = {"trials", "void", "size"}
    columns = [
        Column(head, justify="right" if head in right else "left", no_wrap=head != "name")
        for head in heads
    ]
    table = Table(*columns, box=None, pad_edge=False, collapse_padding=True)
    for each in found:
        kept = " *" if each.kept else ""
        if each.created_at is None:
            table.add_row(
                f"{each.path.name}{kept}", *("-" * 5), size(each.size_bytes), "unreadable"
            )
            continue
        served = ",".join(each.servers) if len(each.servers) < 3 else f"{len(each.servers)}"
        told = _short(each.name or each.note or "")
        table.add_row(
            f"{each.path.name}{kept}",
            f"{each.created_at:%Y-%m-%d %H:%M}",
            each.profile,
            served,
            f"{each.trials:,}",
            f"{each.void:,}",
            size(each.size_bytes),
            told,
        )
    CONSOLE.print(table)
    for each in found:
        if each.problem:
            CONSOLE.print(f"unreadable: {each.problem}", soft_wrap=True)
    if staying := [f"{each.path.name} ({each.kept})" for each in found if each.kept]:
        CONSOLE.print(f"* never deleted: {', '.join(staying)}", soft_wrap=True)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def show_ceiling(reached: Sequence["Calibration"]) -> None:
    """What the generator reached, and whether it or its peer was the limit."""
    table = Table("clients", "requests/s", "generator busy", "limit", box=None, pad_edge=False)
    for point in reached:
        table.add_row(
            f"{point['connections']:,}",
            count(point["throughput_per_s"]),
            f"{point['busy_fraction']:.0%}",
            "the generator"
            if point["bottleneck"] == "generator"
            else "the peer: the generator can do more",
        )
    CONSOLE.print(table)


def show_examination(findings: Sequence["Finding"]) -> None:
    """What was found about this machine, and what to do where it is not fine."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in findings:
        mark = "ok" if each.fine else "UNFIT" if each.serious else "note"
        table.add_row(mark, each.subject, each.state, "" if each.fine else each.advice)
    CONSOLE.print(table)
    unfit = [each.subject for each in findings if each.serious and not each.fine]
    CONSOLE.print(f"not fit to measure: {', '.join(unfit)}" if unfit else "fit to measure")


KINDS: dict["Kind", str] = {
    "faster": "faster",
    "slower": "slower",
    "equal": "equal within 3 %",
    "unresolved": "not resolved",
}


# So many changes fit on a screen, below what comes before them.
MOST_CHANGES = 16


def show_comparison(found: "Comparison", most: int | None, *, only_differs: bool = False) -> None:
    """How much of two runs differs; what differs between them besides the figures; and the changes,
    those that are decided first, and of those the largest.

    most   so many changes at most; None: all of them
    """
    from loadgen.analysis.compare import ratio_of

    kinds = [change.claim.kind for change in found.changes]
    CONSOLE.print(
        f"{kinds.count('faster')} faster,"
        f" {kinds.count('slower')} slower, {kinds.count('equal')} equal within 3 %,"
        f" {kinds.count('unresolved')} not resolved;"
        f" {plural(len(found.alone), 'cell')} only in one",
        soft_wrap=True,
    )
    for difference in found.differences:
        CONSOLE.print(f"not the same: {difference}", soft_wrap=True)
    changes = found.differing if only_differs else found.changes
    for change in changes[:most]:
        CONSOLE.print(
            f"x {ratio_of(change.claim)} {KINDS[change.claim.kind]}: {change.figure}"
            f" {count(change.first.value)} => {count(change.second.value)}, {change.cell}",
            soft_wrap=True,
        )
    if most is not None and len(changes) > most:
        CONSOLE.print(f"and {plural(len(changes) - most, 'smaller change')}: --all shows them")
    for cell in found.alone if most is None and not only_differs else ():
        CONSOLE.print(f"in one of the runs only: {cell}", soft_wrap=True)


def show_lines(lines: Iterable[str]) -> None:
    """Sentences, unbroken, whatever is in them."""
    for line in lines:
        CONSOLE.print(line, soft_wrap=True)


def show_traces(traces: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
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


def outcome(cell: "CellData | None") -> str:
    """What a cell came to, in a few characters; nothing where there is no figure."""
    if cell is None:
        return ""
    if not cell.valid:
        return "invalid"
    metric, connections = cell.cell.workload.headline, cell.first["connections"]
    found = cell.over_blocks(metric)
    if found:
        text = figure(metric, found.value, found.half_width)
    else:
        text = "few samples" if metric.unit == "us" else ""
    limited = connections["limit"] is not None
    served = f"{connections['greeted']:,} of {connections['attempted']:,}" if limited else ""
    return "\n".join(filter(None, (text, served)))
