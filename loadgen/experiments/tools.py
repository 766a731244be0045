"""What several experiments do with their cells: lines over an axis, and sentences about ratios."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from loadgen.analysis.claim import Claim, claim
from loadgen.analysis.estimate import MINIMUM_BLOCKS, Metric, estimate, ratio
from loadgen.analysis.run import CellData, Run
from loadgen.report import figure
from loadgen.report.figure import Panel, Point, Series
from loadgen.report.naming import entrant
from loadgen.report.units import Format, formatted

# Named here too, where experiments look for them.
from loadgen.report.words import counted as counted
from loadgen.report.words import interval as interval
from loadgen.report.words import listed as listed
from loadgen.report.words import of_claim as of_claim
from loadgen.report.words import ratio_text as ratio_text
from loadgen.report.words import rounded as rounded
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Method, Requests, Trace
from servers.catalog import Model

# How more requests per second are told.
ANSWERS = ("answers", "times as many requests per second as")
REFERENCE = figure.REFERENCE

Rows = Mapping[str, Mapping[float, CellData]]
W = TypeVar("W", bound=Method)


def sweep(experiment: str, servers: Sequence[Model], workloads: Sequence[Method]) -> list[Cell]:
    """Every server under every workload, but for those under which idle clients, who come first,
    would wait for ever, and all the others behind them."""
    cells = [
        Cell(experiment=experiment, server=model.name, workload=workload)
        for model in servers
        for workload in workloads
        if not (
            model.leaves_waiting
            and isinstance(workload, (Requests, Trace))
            and workload.idle_connections
            and model.serves(workload.clients) < workload.clients
        )
    ]
    reference = reference_of(servers)
    twins = [
        replace(cell, replica=1)
        for cell in cells
        if cell.workload.together and cell.server == reference
    ]
    return cells + twins


def with_options(cell: Cell) -> str:
    """ "prefork --workers 2", "epoll over IPv6" """
    return entrant(cell)


def started_as(cell: Cell) -> str:
    """ "prefork --workers 2", "threaded under python3.14" """
    return f"{with_options(cell)} under {cell.python}" if cell.python else with_options(cell)


def reference_of(servers: Sequence[Model]) -> str:
    """The server that the others are compared with, and that takes part twice in each comparison
    by slices: so every run shows how often it sees a difference where there is none."""
    names = [model.name for model in servers]
    return REFERENCE if REFERENCE in names else names[0]


def measured_by(run: Run, experiment: str, method: type[W]) -> list[tuple[CellData, W]]:
    """The cells of an experiment that were measured by a method, each with its workload."""
    return [
        (data, data.cell.workload)
        for data in run.of(experiment).values()
        if isinstance(data.cell.workload, method)
    ]


def lines(rows: Rows, metric: Metric) -> tuple[Series, ...]:
    """One series per server: medians over valid trials; a hollow mark where there is none."""
    series = []
    for name in rows:
        points = []
        for x, cell in rows[name].items():
            if (point := point_at(x, cell, metric)) is not None:
                points.append(point)
        cells = list(rows[name].values())
        series.append(Series(name, tuple(points), served(cells), partial=partial(cells)))
    return tuple(entry for entry in series if entry.points)


def about_hollow(panels: Sequence[Panel], why: str = "") -> str:
    """What a caption adds where a panel has hollow marks.

    why   what made the trials invalid, for the most part
    """
    points = [point for panel in panels for series in panel.series for point in series.points]
    if not any(point.hollow for point in points):
        return ""
    return f" A hollow mark: no valid trial here{f', {why}' if why else ''}."


def point_at(x: float, cell: CellData, metric: Metric) -> Point | None:
    """A cell as a point; None when nothing was measured in it."""
    found = cell.over_blocks(metric)
    if found is not None:
        known = found.n >= MINIMUM_BLOCKS
        return Point(x, found.value, found.low if known else None, found.high if known else None)
    values = [value for record in cell.records if (value := metric(record)) is not None]
    doubtful = estimate(values)
    return Point(x, doubtful.value, hollow=True) if doubtful else None


def served(cells: Sequence[CellData]) -> str:
    """ "(1 of 64 served)" where a model cannot serve all clients; empty where it can."""
    for cell in reversed(cells):
        connections = cell.first["connections"]
        if connections["limit"] and connections["greeted"]:
            return f"({connections['greeted']:,} of {connections['attempted']:,} served)"
    return ""


def partial(cells: Sequence[CellData]) -> bool:
    """Has the server served a part of the clients only, wherever there were several?"""
    several = [cell for cell in cells if cell.cell.workload.clients > 1]
    return bool(several) and all(cell.first["connections"]["limit"] for cell in several)


def ratio_sentence(
    one: str,
    rows: Rows,
    others: Sequence[str],
    x: float,
    metric: Metric,
    verb: str = ANSWERS[0],
    times: str = ANSWERS[1],
) -> str:
    """What may be said of one model's figure and that of each of the others at x.

    "epoll answers 25 [22, 28] times as many requests per second as poll, and is equal within 3 %
    to select (1.01 [0.99, 1.02])"
    """
    told: dict[str, list[str]] = {}
    for other in others:
        found = (
            claimed(rows[one][x], rows[other][x], metric)
            if x in rows.get(one, {}) and x in rows.get(other, {})
            else None
        )
        said, what = _said(found, other, verb, times)
        told.setdefault(said, []).append(what)
    *parts, last = (
        f"{said} {listed(what, 'or' if said in _DOUBTFUL else 'and')}"
        for said, what in told.items()
    )
    return f"{one} {', and '.join(filter(None, (', '.join(parts), last)))}"


def times(one: CellData, other: CellData, metric: Metric) -> str:
    """How many times as large a figure of one is: "1.32 [1.27, 1.36]", with what may be said of it
    where that is not that they differ."""
    found = claimed(one, other, metric)
    if found is None:
        return "an unknown number of (no valid block in common)"
    told = of_claim(found)
    if found.n < MINIMUM_BLOCKS:
        return f"{rounded(told)} (in {counted(found.n, 'block')} only)"
    if found.kind == "equal":
        return f"{interval(told)} (equal within {100 * found.margin:.0f} %)"
    return interval(told) if found.resolved else f"{interval(told)} (not resolved from 1)"


def claimed(one: CellData, other: CellData, metric: Metric) -> Claim | None:
    """The claim about two cells of one comparison, as exploratory; None without a common block."""
    found = ratio(one.compared, other.compared, metric)
    if found is None or not found.logs:
        return None
    return claim(found.logs, epoch_s=epoch_s(one))


def epoch_s(cell: CellData) -> float:
    """About how long another block takes, with all servers that are measured with this one."""
    slices = cell.first["slices"]
    return cell.cell.workload.seconds * (slices["together"] if slices else 2)


def _said(found: Claim | None, other: str, verb: str, times: str) -> tuple[str, str]:
    """A claim as (verb, object)."""
    if found is None:
        return _NOTHING_SHARED, other
    if found.n < MINIMUM_BLOCKS:
        blocks = "one block" if found.n == 1 else f"{found.n} blocks"
        return _TOO_FEW, f"{other} ({rounded(of_claim(found))} in {blocks})"
    told = interval(of_claim(found))
    if found.kind == "equal":
        return f"is equal within {100 * found.margin:.0f} % to", f"{other} ({told})"
    if found.resolved:
        return verb, f"{told} {times} {other}"
    return "is not resolved from", f"{other} ({told}{_more(found)})"


_NOTHING_SHARED = "has no block of valid trials in common with"
_TOO_FEW = "has too few valid blocks to be compared with"
_DOUBTFUL = (_NOTHING_SHARED, _TOO_FEW, "is not resolved from")


def _more(found: Claim) -> str:
    """How much longer one would have to measure to know, where that is known."""
    if not found.more_s:
        return ""
    minutes = max(1, round(found.more_s / 60))
    return f"; about {counted(minutes, 'more minute')} would do"


def nothing_to_say(rows: Rows, names: Sequence[str]) -> str:
    """Why there is no finding about these models."""
    absent = [name for name in names if name not in rows]
    if absent:
        return f"Nothing to compare with: {listed(absent)} took no part in this run."
    return f"The data do not decide: at no load have {listed(names)} all a valid trial."


def largest_common(rows: Rows, names: Sequence[str]) -> float | None:
    """The largest x at which all of these were measured validly."""
    common = [
        {x for x, cell in rows.get(name, {}).items() if cell.valid and cell.first["counts"]["ok"]}
        for name in names
    ]
    shared = set.intersection(*common) if common else set()
    return max(shared, default=None)


def dots(cells: Mapping[str, CellData], metric: Metric, written: Format) -> tuple[Series, ...]:
    """A row with a dot per server; "0 of 8 served" is a result too, without a dot.

    written   the format in which the figure stands in its row
    """
    found = []
    for name in cells:
        if (point := point_at(0, cells[name], metric)) is not None:
            note = f"{formatted(float(f'{point.y:.3g}'), written)} {served([cells[name]])}".strip()
            found.append(Series(name, (point,), note, partial=partial([cells[name]])))
        elif cells[name].first["connections"]["active"] == 0:
            clients = cells[name].cell.workload.connections
            found.append(Series(name, (), f"0 of {clients:,} served"))
    return tuple(found)


def dot_panel(
    title: str, label: str, cells: Mapping[str, CellData], metric: Metric, written: Format
) -> Panel:
    """`dots` over an axis that is written alike."""
    shown = dots(cells, metric, written)
    return Panel(label, "", shown, title=title, kind="dots", x_format=written)


def compared(
    cells: Mapping[str, CellData], one: str, other: str, metric: Metric, verb: str, times: str
) -> str:
    """`ratio_sentence`, for cells without an axis."""
    rows = {name: {0.0: cell} for name, cell in cells.items()}
    return ratio_sentence(one, rows, [other], 0.0, metric, verb, times)
