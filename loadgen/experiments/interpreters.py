"""The same servers under several interpreters.

A reader learns how much of a server's speed is Python's own, and whether threads can share the work
of answers: under an interpreter without a GIL they can.
"""

from collections.abc import Sequence

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import (
    ANSWERS,
    claimed,
    compared,
    dot_panel,
    measured_by,
    started_as,
    sweep,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure
from loadgen.store.metric import throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from servers.catalog import Model

NAME = "interpreters"
QUESTION = "What does the interpreter change?"
HYPOTHESIS = (
    "System calls take most of an answer that costs nothing else, so a faster interpreter gains"
    " little. Threads whose answers burn CPU gain from a second CPU only where there is no GIL."
)
HOW_TO_READ = (
    "Closed loops; further right is more answers per second. On the right each answer burns 100 us"
    " of CPU, and the servers have two CPUs where there are so many; the generator may have one of"
    " them too."
)
# The loop, the threads, completions, and the framework that comes with Python.
SERVERS = ("threaded", "epoll", "asyncio", "io_uring")
PLAIN = Slices(connections=64)
BURNING = Slices(connections=16, work="cpu:100us", server_cpus=2)


def cells(_: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Some servers with and without work for the CPU; the run says under which interpreters."""
    models = [model for model in servers if model.name in SERVERS]
    return sweep(NAME, models, [PLAIN, BURNING]) if models else []


def figures(run: Run) -> list[Figure]:
    """A panel for each load, a row for each server under each interpreter."""
    table = by_load(run)
    titles = {PLAIN: "64 clients, free answers", BURNING: "16 clients, 100 us of CPU per answer"}
    panels = tuple(
        dot_panel(titles[load], "answers per second", row, throughput, "number")
        for load, row in table.items()
        if row
    )
    if not panels:
        return []
    return [
        Figure(
            name="interpreters",
            title="The same servers under several interpreters",
            panels=panels,
            caption=HOW_TO_READ + about_interpreters(run),
            columns=2,
            panel_height_in=3.4,
        )
    ]


def about_interpreters(run: Run) -> str:
    """What a caption adds: what each of them is."""
    found = {
        data.cell.python or "the lab's own": data.first["server"] for data in run.of(NAME).values()
    }
    told = [
        f"{name} is {server['implementation']}{'' if server['gil'] else ', without a GIL'}"
        for name, server in found.items()
        if server["implementation"]
    ]
    return f" {'; '.join(told)}." if told else ""


def by_load(run: Run) -> dict[Slices, dict[str, CellData]]:
    """Load => server and interpreter => cell."""
    table: dict[Slices, dict[str, CellData]] = {PLAIN: {}, BURNING: {}}
    for data, load in measured_by(run, NAME, Slices):
        row = table[BURNING if load.work else PLAIN]
        row[started_as(data.cell)] = data
    return table


def finding(run: Run) -> str:
    """Each interpreter against the first, server by server."""
    sentences = []
    for load, row in by_load(run).items():
        pairs = [
            (name, started_as(first.cell))
            for name, data in row.items()
            if (first := next(each for each in row.values() if each.server == data.server))
            is not data
            and claimed(data, first, throughput)
        ]
        told = [compared(row, one, other, throughput, *ANSWERS) for one, other in pairs]
        if told:
            when = "When each answer burns 100 us of CPU" if load.work else "With free answers"
            sentences.append(f"{when}, {'; '.join(told)}")
    if not sentences:
        return "The data do not decide: there was one interpreter only."
    return f"{'. '.join(sentences)}."
