"""What each server of a run costs, and how any two of them compare: the figures that a reader asks
for by the name of a server, gathered from all experiments."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from loadgen.analysis.estimate import MINIMUM_BLOCKS, Estimate, Metric
from loadgen.analysis.run import CellData, Run
from loadgen.experiments import footprint, idle_cost, system_calls, timeline
from loadgen.experiments.tools import claimed, counted, served
from loadgen.report.figure import Panel
from loadgen.report.html.values import Card, Cost, Measure
from loadgen.report.units import count, formatted, microseconds, size
from loadgen.store.metric import cpu_us, latency_us, throughput
from loadgen.trial.cell import Cell

# The load of a cost card: that of most throughput runs, or the nearest that there is.
CLIENTS = 64

Cells = Mapping[str, CellData]


@dataclass(frozen=True)
class Wanted:
    """A figure of every server under one load.

    cells  by server; those with the plain command line
    write  the figure as people read it
    """

    label: str
    source: str
    cells: Cells
    metric: Metric
    write: Callable[[float], str]


def per_s(value: float) -> str:
    """A rate: 61234 => "61.2k/s"."""
    return f"{count(value)}/s"


def _calls(value: float) -> str:
    return f"{value:.3g}"


def _percent(value: float) -> str:
    return formatted(float(f"{value:.3g}"), "percent")


def wanted(run: Run) -> list[Wanted]:
    """The figures of a cost card, of those experiments that the run has."""
    found: list[Wanted] = []
    busy = _at(run, "throughput", "connections", CLIENTS)
    if busy is not None:
        clients, cells = busy
        where = counted(int(clients), "busy client")
        found += [
            Wanted(f"requests per second, {where}", "throughput", cells, throughput, per_s),
            Wanted(
                f"service time p99, {where}",
                "throughput",
                cells,
                latency_us("service", "p99"),
                microseconds,
            ),
            Wanted(f"CPU per request, {where}", "throughput", cells, cpu_us, microseconds),
        ]
    if (silent := _at(run, "idle", "idle_connections", 1e9)) is not None:
        found.append(
            Wanted(
                f"requests per second beside {silent[0]:,.0f} idle connections",
                "idle",
                silent[1],
                throughput,
                per_s,
            )
        )
    if (churn := _at(run, "churn", "connections", 16)) is not None:
        found.append(
            Wanted(
                "conversations per second, a connection each",
                "churn",
                churn[1],
                throughput,
                per_s,
            )
        )
    if (held := _at(run, "footprint", "idle_connections", 1e9)) is not None:
        found.append(
            Wanted(
                f"memory per connection, {held[0] + footprint.ACTIVE:,.0f} clients",
                "footprint",
                held[1],
                footprint.per_connection(footprint.rss_bytes),
                size,
            )
        )
    if (asleep := _at(run, "idle_cost", "idle_connections", 1e9)) is not None:
        found.append(
            Wanted(
                f"CPU while nothing happens, {asleep[0]:,.0f} idle connections",
                "idle_cost",
                asleep[1],
                idle_cost.core_percent,
                _percent,
            )
        )
    if (traced := _at(run, "system_calls", "idle_connections", 0)) is not None:
        found.append(
            Wanted(
                "system calls per request", "system_calls", traced[1], system_calls.calls, _calls
            )
        )
    return found


def _at(run: Run, experiment: str, axis: str, near: float) -> tuple[float, Cells] | None:
    """The cells of an experiment at the value of an axis that is nearest to one, by server."""
    cells = [
        data
        for data in run.of(experiment).values()
        if is_usual(run, data.cell) and not data.cell.options and hasattr(data.cell.workload, axis)
    ]
    values = {getattr(data.cell.workload, axis) for data in cells}
    if not values:
        return None
    x = min(values, key=lambda value: abs(value - near))
    return x, {data.server: data for data in cells if getattr(data.cell.workload, axis) == x}


def is_usual(run: Run, cell: Cell) -> bool:
    """Was it measured under the interpreter that most of the run was measured under?"""
    pythons = run.header["plan"]["pythons"]
    return cell.python == (pythons[0] if pythons else None)


def measures(run: Run) -> tuple[Measure, ...]:
    """Each figure of all servers, and its ratio between any two of one comparison."""
    return tuple(
        Measure(
            each.label,
            {name: said for name in each.cells if (said := told(each, name))},
            {
                (one, other): found
                for place, one in enumerate(each.cells)
                for other in list(each.cells)[place + 1 :]
                if (found := ratio(each, one, other))
            },
        )
        for each in wanted(run)
    )


def ratio(each: Wanted, one: str, other: str) -> tuple[float, float, float, str] | None:
    """How many times as large the figure of one is: ratio, lower and upper end, kind of the claim;
    None where the two are not compared."""
    if one not in each.cells or other not in each.cells:
        return None
    cells = each.cells[one], each.cells[other]
    if any(served([cell]) for cell in cells):
        return None
    found = claimed(*cells, each.metric)
    if found is None or found.n < MINIMUM_BLOCKS:
        return None
    return found.ratio, found.low, found.high, found.kind


def told(each: Wanted, name: str) -> str:
    """A figure with its interval, and what it cannot be compared for; empty where there is none."""
    found = each.cells[name].over_blocks(each.metric) if name in each.cells else None
    if found is None:
        return ""
    return f"{worded(found, each.write)} {served([each.cells[name]])}".strip()


def worded(found: Estimate, write: Callable[[float], str]) -> str:
    """ "61.2k/s [60.1k/s, 62k/s]"; without the interval where it is not known."""
    value = write(found.value)
    ends = [write(found.low), write(found.high)] if found.n >= MINIMUM_BLOCKS else []
    return f"{value} [{', '.join(ends)}]" if ends and set(ends) != {value} else value


def cards(run: Run, also: Collection[str] = ()) -> tuple[Card, ...]:
    """A card for every server of the run that its catalog presents, in its order.

    also   servers that have one even if they were not measured
    """
    measured = {data.server for data in run.cells.values()} | set(also)
    presented = {line["name"]: line for line in run.header["catalog"]}
    figures = wanted(run)
    lanes, key = _lanes(run)
    return tuple(
        Card(
            name=line.name,
            family=line.family,
            idea=line.idea,
            waits=presented[line.name]["waits"],
            breaks=presented[line.name]["breaks"],
            colour=line.colour,
            costs=tuple(
                Cost(each.label, told(each, line.name), each.source)
                for each in figures
                if line.name in each.cells
            ),
            serves=tuple(dict.fromkeys(_ends(run, line.name))),
            calls=_sequence(run, line.name),
            lane=lanes.get(line.name),
            key=key,
        )
        for line in run.catalog
        if line.name in measured
    )


def _lanes(run: Run) -> tuple[dict[str, Panel], Panel | None]:
    """Who waited for whom, by server, and what the bars mean."""
    shown: dict[str, Panel] = {}
    key = None
    for figure in timeline.figures(run):
        for panel in figure.panels:
            if panel.kind == "key":
                key = panel
            elif panel.bars:
                shown[panel.bars[0].server] = panel
    return shown, key


def _sequence(run: Run, name: str) -> tuple[tuple[str, int], ...]:
    for data in run.of("system_calls").values():
        idle = getattr(data.cell.workload, "idle_connections", 0)
        if data.server == name and not idle and (record := system_calls.first_traced(data)):
            return tuple(system_calls.sequence(record))
    return ()


def _ends(run: Run, name: str) -> Iterator[str]:
    """Where it served fewer than came, as the run saw it."""
    seen: dict[str, tuple[int, int]] = {}
    for data in run.cells.values():
        if data.server != name or data.cell.options:
            continue
        for record in data.valid:
            connections = record["connections"]
            if connections["limit"]:
                known = seen.get(connections["limit"])
                came, greeted = connections["attempted"], connections["greeted"]
                if known is None or came < known[0]:
                    seen[connections["limit"]] = came, greeted
    for why, (came, greeted) in seen.items():
        yield f"{greeted:,} of {came:,} clients were served ({why})"
