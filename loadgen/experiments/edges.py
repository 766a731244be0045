"""Three ways to hear of a client: as long as there is something, once, or when it is done.

A reader learns what an edge saves (no change of interest) and what it costs (a receive that fails,
because only that proves that nothing is left); that whoever drains a client without a cap lets the
others starve; and what completions save: io_uring makes one call for all that is ready.
"""

from collections.abc import Sequence
from dataclasses import replace

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.system_calls import calls
from loadgen.experiments.tools import (
    ANSWERS,
    REFERENCE,
    compared,
    dot_panel,
    interval,
    listed,
    measured_by,
    sweep,
    with_options,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure
from loadgen.store.metric import cpu_us, throughput
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests, Slices, Trace
from servers.catalog import Model

NAME = "edges"
QUESTION = "Level-triggered, edge-triggered or completed: what does each way of hearing cost?"
HYPOTHESIS = (
    "Edge-triggered epoll makes one call more for each client that is ready, a receive in vain, so"
    " it is a little slower than level-triggered epoll here, where interest hardly ever changes."
    " With a client that always has more to say, draining without a cap serves nobody else."
    " io_uring has received already when it is told: fewer calls, less CPU per answer."
)
HOW_TO_READ = (
    "Above: sixty-four clients in a closed loop; further right is more answers per second, or more"
    " CPU per answer. Below, left: system calls per request of a single client, counted by strace."
    " Right: one client keeps 1,024 requests outstanding and fifteen keep one each; this is the"
    " share of the slowest, 100 % would be an equal one."
)

CLIENTS = 64
SERVERS = (REFERENCE, "epoll_et", "io_uring")
# As good as no cap.
UNCAPPED = ("--turns", "1000")
GREEDY_CLIENTS, GREEDY_DEPTH = 16, 1024
GREEDY = Requests(
    connections=GREEDY_CLIENTS, pipeline_depth=GREEDY_DEPTH, warmup_s=0.1, duration_s=0.3
)


def cells(_: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Each under all three loads; edge-triggered without its cap beside a greedy client."""
    models = [model for model in servers if model.name in SERVERS]
    if not models:
        return []
    found = sweep(NAME, models, [Slices(connections=CLIENTS), Trace(), GREEDY])
    return found + [
        replace(cell, options=UNCAPPED)
        for cell in found
        if cell.workload == GREEDY and cell.server == "epoll_et"
    ]


def slowest_percent(record: Record) -> float | None:
    """What the slowest of the modest clients got, in per cent of an equal share."""
    found = record["fairness"]
    return 100 * GREEDY_CLIENTS * found["slowest_share"] if found else None


def figures(run: Run) -> list[Figure]:
    """What they answer, at what price; their calls; and who starves."""
    busy, traced, starved = by_load(run)
    panels = tuple(
        panel
        for panel in (
            dot_panel("64 busy clients", "answers per second", busy, throughput, "number"),
            dot_panel("64 busy clients", "server CPU per answer", busy, cpu_us, "microseconds"),
            dot_panel("one client", "system calls per request", traced, calls, "number"),
            dot_panel(
                "beside a greedy client",
                "share of the slowest (of an equal one)",
                starved,
                slowest_percent,
                "percent",
            ),
        )
        if panel.series
    )
    if not panels:
        return []
    return [
        Figure(
            name="edges",
            title="Level, edge, completion",
            panels=panels,
            caption=HOW_TO_READ,
            columns=2,
            panel_height_in=2.0,
        )
    ]


def by_load(run: Run) -> tuple[dict[str, CellData], dict[str, CellData], dict[str, CellData]]:
    """Server => cell: all clients busy, traced, beside a greedy client."""
    busy = {with_options(data.cell): data for data, _ in measured_by(run, NAME, Slices)}
    traced = {with_options(data.cell): data for data, _ in measured_by(run, NAME, Trace)}
    starved = {
        with_options(data.cell): data
        for data, load in measured_by(run, NAME, Requests)
        if load.pipeline_depth
    }
    return busy, traced, starved


def finding(run: Run) -> str:
    """Each against level-triggered epoll; calls per request; and the slowest beside the greedy."""
    busy, traced, starved = by_load(run)
    sentences = []
    others = [name for name in busy if name != REFERENCE]
    if REFERENCE in busy and others:
        told = "; ".join(compared(busy, name, REFERENCE, throughput, *ANSWERS) for name in others)
        price = "; ".join(
            compared(busy, name, REFERENCE, cpu_us, "uses", "times the CPU per answer of")
            for name in others
        )
        sentences.append(f"With {CLIENTS} busy clients {told}; {price}")
    counts = [
        f"{name} {found.value:.3g}"
        for name, cell in traced.items()
        if (found := cell.over_blocks(calls))
    ]
    if counts:
        sentences.append(f"System calls per request of one client: {', '.join(counts)}")
    shares = [
        f"{interval(found)} per cent with {name}"
        for name, cell in starved.items()
        if (found := cell.over_blocks(slowest_percent))
    ]
    if shares:
        sentences.append(
            f"Beside a client that keeps {GREEDY_DEPTH:,} requests outstanding the slowest other"
            f" one gets this much of an equal share: {listed(shares)}"
        )
    if not sentences:
        return "The data do not decide: none of them was measured."
    return f"{'. '.join(sentences)}."
