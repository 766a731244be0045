"""A thousand clients fall silent, and servers that wait for nobody for ever let them go.

A reader learns that a time-out is a matter of knowing who is next: a thread asks the kernel to wake
it, a loop keeps a list in the order of the last sign of life; that both notice within milliseconds;
and what it costs those who are served meanwhile.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import (
    REFERENCE,
    about_hollow,
    compared,
    counted,
    dot_panel,
    listed,
    measured_by,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure
from loadgen.report.units import Format, duration
from loadgen.store.metric import Metric, cpu_us, lateness_max_us, lateness_p50_us, throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Reaping
from servers.catalog import Model

NAME = "reaping"
QUESTION = (
    "Who notices that clients have fallen silent, how late, and what does it cost the others?"
)
HYPOTHESIS = (
    "Every server tells every silent client: a thread that sleeps is woken by the kernel, a loop"
    " looks at who is next whenever it wakes. Who is due within the same moment is told one after"
    " the other, so the last is told later by the work of all before; where a thread each has to"
    " get the GIL for it, later still. It costs the busy clients that work, once, and a note of the"
    " time for each of their requests."
)
HOW_TO_READ = "Sixty-four clients are busy in a closed loop."

BUSY = 64
SILENT = 1_000
TIMEOUT_S = 1.0
USES = ("uses", "times the CPU per answer of")


class Kind(NamedTuple):
    """What a server was asked to bear."""

    silent: bool
    timeout: bool


LET_GO, ALONE, KEPT = Kind(True, True), Kind(False, True), Kind(True, False)
TITLES = {
    LET_GO: "silent clients are let go",
    ALONE: "nobody is silent",
    KEPT: "silent clients are kept: no time-out",
}
# The same in a sentence about one server.
ITSELF = {ALONE: "itself when nobody is silent", KEPT: "itself when it keeps them"}
LATENESS: tuple[tuple[str, Metric], ...] = (
    ("half of the silent clients were told by then", lateness_p50_us),
    ("the last of them was told", lateness_max_us),
)
COSTS: tuple[tuple[str, str, str, Metric, Format], ...] = (
    (
        "reaping-cost",
        "Silent clients: what the busy ones cost meanwhile",
        "server CPU per answer",
        cpu_us,
        "microseconds",
    ),
    (
        "reaping-answers",
        "Silent clients: what the busy ones get meanwhile",
        "answers per second",
        throughput,
        "number",
    ),
)


def cells(_: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server with silent clients and a time-out, and without the one or the other. Who has
    not enough descriptors for all gets as many silent clients as it serves."""
    found = []
    for model in servers:
        silent = SILENT
        if model.clients_at_once is None:
            silent = model.serves(SILENT + BUSY) - BUSY
        let_go = Reaping(connections=BUSY, idle_connections=silent, idle_timeout_s=TIMEOUT_S)
        found += [
            Cell(experiment=NAME, server=model.name, workload=workload)
            for workload in (
                let_go,
                replace(let_go, idle_connections=0),
                replace(let_go, idle_timeout_s=None),
            )
        ]
    return found


def figures(run: Run) -> list[Figure]:
    """How late the silent were told; and what the busy paid, with and without them."""
    table = by_kind(run)
    late = tuple(
        dot_panel(title, "after it was due", table.get(LET_GO, {}), metric, "microseconds")
        for title, metric in LATENESS
    )
    found = [
        Figure(
            name="reaping",
            title=f"How late {SILENT:,} silent clients are told, with a time-out of"
            f" {duration(1e9 * TIMEOUT_S)}",
            panels=late,
            caption=HOW_TO_READ + about_silent(table) + " It is due a time-out after the greeting"
            " has reached the client's kernel, whose stamps count for the greeting and for the"
            " error line. Further left is sooner." + about_hollow(late),
            panel_height_in=2.6,
        ),
    ]
    for name, title, label, metric, written in COSTS:
        panels = tuple(
            dot_panel(TITLES[kind], label, row, metric, written) for kind, row in table.items()
        )
        found.append(
            Figure(
                name=name,
                title=title,
                panels=panels,
                caption=HOW_TO_READ
                + about_silent(table)
                + " They are let go while the busy clients are watched; or nobody is silent; or"
                " there is no time-out, and they stay. Equal values in all panels: it costs"
                " nothing." + about_hollow(panels),
                same_x=True,
                panel_height_in=2.4,
            )
        )
    return [figure for figure in found if any(panel.series for panel in figure.panels)]


def by_kind(run: Run) -> dict[Kind, dict[str, CellData]]:
    """What servers were asked to bear => server => cell."""
    table: dict[Kind, dict[str, CellData]] = {}
    for data, workload in measured_by(run, NAME, Reaping):
        kind = Kind(bool(workload.idle_connections), workload.idle_timeout_s is not None)
        table.setdefault(kind, {})[data.server] = data
    return {kind: table[kind] for kind in TITLES if kind in table}


def about_silent(table: Mapping[Kind, Mapping[str, CellData]]) -> str:
    """How many were silent; and with whom fewer, because it has no room for more."""
    fewer = [
        f"{data.cell.workload.clients - BUSY:,} with {name}"
        for name, data in table.get(LET_GO, {}).items()
        if data.cell.workload.clients - BUSY < SILENT
    ]
    room = f" ({listed(fewer)}, which has no descriptors for more)" if fewer else ""
    return f" {SILENT:,} more read their greeting and fall silent{room}."


def finding(run: Run) -> str:
    """Who told how many, and how late; and what that cost the reference."""
    table = by_kind(run)
    told = [
        sentence
        for name, data in table.get(LET_GO, {}).items()
        if (sentence := told_by(name, data)) is not None
    ]
    if not told:
        return "The data do not decide: no valid trial has a server that lets silent clients go."
    sentences = [f"With a time-out of {duration(1e9 * TIMEOUT_S)}, {'; '.join(told)}"]
    mine = table[LET_GO].get(REFERENCE)
    for kind, itself in ITSELF.items():
        other = table.get(kind, {}).get(REFERENCE)
        if mine and other:
            cells = {REFERENCE: mine, itself: other}
            sentences.append(f"Meanwhile {compared(cells, REFERENCE, itself, cpu_us, *USES)}")
    return f"{'. '.join(sentences)}."


def told_by(name: str, data: CellData) -> str | None:
    """ "epoll told all 1,000 silent clients, half of them within 1.5 ms, the last after 12 ms",
    over all valid trials; None without one."""
    found = [reaping for record in data.valid if (reaping := record["reaping"])]
    silent, told = sum(one["silent"] for one in found), sum(one["told"] for one in found)
    if not silent:
        return None
    clients = counted(silent, "silent client")
    if not told:
        return f"{name} told none of {clients}"
    whom = f"all {clients}" if told == silent else f"{told:,} of {clients}"
    late = [one["lateness_ns"] for one in found if one["lateness_ns"]]
    medians = [one["p50"] for one in late if one["p50"] is not None]
    last = max(one["max"] for one in late if one["max"] is not None)
    half = f"half of them within {duration(statistics.median(medians))}, " if medians else ""
    return f"{name} told {whom}, {half}the last after {duration(last)}"
