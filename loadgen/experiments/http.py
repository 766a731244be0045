"""The same servers with another protocol: what HTTP costs, on connections that stay and without.

A reader learns that a protocol is not an I/O model: the same loops carry HTTP, and what is added is
the parsing and the text of headers, the same CPU for every model. So the models move closer
together, and the more so the less each of them did before. A connection per request adds the
kernel's part, which no protocol changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import (
    claimed,
    dot_panel,
    interval,
    measured_by,
    of_claim,
    reference_of,
    times,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel, Point, Series
from loadgen.report.naming import entrant
from loadgen.report.units import Format
from loadgen.store.metric import Metric, cpu_us, throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import ChurnSlices, Method, Slices
from servers.catalog import Model

NAME = "http"
QUESTION = "What does another protocol cost, and does it change which model is fast?"
HYPOTHESIS = (
    "HTTP adds the parsing of a head and the text of another one to each answer: the same CPU for"
    " every model, because it is the same code. Relative to what a model did before, that is most"
    " for the leanest, so the models move closer together, in the same order. With a connection for"
    " every request the kernel's part is the larger one, and the protocol matters less."
)
HOW_TO_READ = (
    "Each server with the lab's own protocol and with HTTP/1.1: the same name is sent and greeted."
    " Left: sixty-four clients on connections that stay, in a closed loop; right: a connection for"
    " every request, sixteen at a time. Further right is more answers per second, or more CPU; the"
    " last row is what HTTP uses in times the CPU of the lab's own protocol. Lines are 95 %"
    " confidence intervals over epochs."
)

SERVERS = ("epoll", "threaded", "asyncio", "io_uring", "uvloop")
# With a connection for every request these say enough.
VISITED = ("epoll", "threaded", "asyncio")
CLIENTS, SLOTS = 64, 16
ROUNDS = 6
STAYING = Slices(connections=CLIENTS, rounds=ROUNDS)
COMING = ChurnSlices(connections=SLOTS, rounds=ROUNDS)
MEASURED: tuple[tuple[str, Metric, Format], ...] = (
    ("answers per second", throughput, "number"),
    ("server CPU per answer", cpu_us, "microseconds"),
)


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server with both protocols, in one comparison for each kind of load."""
    found = []
    visited = SERVERS if profile == "full" else VISITED
    for load, names in ((STAYING, SERVERS), (COMING, visited)):
        models = [model for model in servers if model.name in names]
        plain = [Cell(experiment=NAME, server=model.name, workload=load) for model in models]
        over_http = replace(load, protocol="http")
        found += [*plain, *(replace(cell, workload=over_http) for cell in plain)]
        found += [replace(cell, replica=1) for cell in plain if cell.server == reference_of(models)]
    return found


def figures(run: Run) -> list[Figure]:
    """What they answer, at what price, and what HTTP adds to it; a column for each kind of load."""
    loads = {title: rows for title, rows in by_load(run).items() if rows}
    if not loads:
        return []
    panels = [
        dot_panel(title, label, rows, metric, written)
        for label, metric, written in MEASURED
        for title, rows in loads.items()
    ]
    panels += [
        Panel("CPU per answer, http : hello", "", ratios(rows), title=title, kind="ratios")
        for title, rows in loads.items()
    ]
    return [
        Figure(
            name="http",
            title="The same servers with HTTP",
            panels=tuple(panels),
            caption=HOW_TO_READ,
            columns=len(loads),
            panel_height_in=2.4,
        )
    ]


def by_load(run: Run) -> dict[str, dict[str, CellData]]:
    """Kind of load => server and protocol => cell, both protocols of a server next to each
    other."""
    return {
        f"{CLIENTS} clients that stay": _rows(run, Slices),
        f"a connection per request, {SLOTS} at a time": _rows(run, ChurnSlices),
    }


def _rows(run: Run, method: type[Method]) -> dict[str, CellData]:
    found = {entrant(data.cell): data for data, _ in measured_by(run, NAME, method)}
    names = dict.fromkeys(data.server for data in found.values())
    return {label: found[label] for name in names for label in (name, over(name)) if label in found}


def over(name: str) -> str:
    """ "epoll with http": as `entrant` calls it."""
    return f"{name} with http"


def ratios(rows: Mapping[str, CellData]) -> tuple[Series, ...]:
    """What HTTP uses, in times what the lab's protocol does: a row per server that did both."""
    found = []
    for name in rows:
        if over(name) not in rows or not (said := claimed(rows[over(name)], rows[name], cpu_us)):
            continue
        ratio = of_claim(said)
        known = ratio.n > 1
        point = Point(0, ratio.value, ratio.low if known else None, ratio.high if known else None)
        found.append(Series(name, (point,), interval(ratio)))
    return tuple(found)


def finding(run: Run) -> str:
    """Each server with HTTP against itself without."""
    sentences = []
    for title, rows in by_load(run).items():
        both = [name for name in rows if over(name) in rows]
        if both:
            told = "; ".join(
                f"{name} gives {times(rows[over(name)], rows[name], throughput)} times the answers"
                f" per second, at {times(rows[over(name)], rows[name], cpu_us)} times the CPU per"
                " answer"
                for name in both
            )
            sentences.append(f"With {title}, HTTP relative to the lab's own protocol: {told}")
    if not sentences:
        return "The data do not decide: no server was measured with both protocols."
    return f"{'. '.join(sentences)}."
