"""Several workers on several CPUs: what they gain, how clients are shared out, what a death costs.

A reader learns that processes use the CPUs that a GIL keeps threads from using, once an answer
costs more than the system calls around it; that a shared listening socket leaves most clients to
one worker and a socket each spreads them by chance; and that a worker takes its clients along.
"""

from collections.abc import Sequence
from dataclasses import replace

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import (
    ANSWERS,
    REFERENCE,
    compared,
    counted,
    dot_panel,
    listed,
    measured_by,
    started_as,
    sweep,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure
from loadgen.store.metric import cpu_us, throughput
from loadgen.store.schema import Death as Found
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Death, Slices
from servers.catalog import Model

NAME = "workers"
QUESTION = "What do several workers gain on several CPUs, and what does the death of one cost?"
HYPOTHESIS = (
    "Where an answer costs 100 us of CPU, two processes answer nearly twice as many requests as one"
    " on two CPUs, less what the generator takes of one of them. Threads share one GIL: they gain"
    " nothing, and pay for passing it from CPU to CPU. Without a GIL they would gain as processes"
    " do. Who accepts first gets the client: with one listening socket that is mostly the same"
    " worker; with a socket for each, the kernel spreads clients by a hash."
)
HOW_TO_READ = (
    "Sixty-four clients in a closed loop; each answer burns 100 us of CPU. All servers have the"
    " same CPUs, as many as there are up to the most workers; on a machine with fewer, the"
    " generator has one of them and takes its part of it. Further right is more answers per second,"
    " or more CPU per answer."
)

CLIENTS = 64
WORK = "cpu:100us"
# Slices are as long as several answers to every client: fewer rounds decide.
ROUNDS = 6
# Besides epoll, which is one worker.
SERVERS = ("prefork", "reuseport", "threaded")
WORKERS: dict[Profile, tuple[int, ...]] = {"quick": (2,), "standard": (1, 2), "full": (1, 2, 4)}
# Of whom one is killed.
CREW = 4


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server with several workers, those that have one beside them; and a death."""
    most = max(WORKERS[profile])
    load = Slices(connections=CLIENTS, work=WORK, server_cpus=most, rounds=ROUNDS)
    found = []
    for model in servers:
        if model.name == REFERENCE or model.name in SERVERS:
            plain = sweep(NAME, [model], [load])
            numbers = WORKERS[profile] if "workers" in model.parameters else (None,)
            found += [
                replace(cell, options=() if number is None else ("--workers", str(number)))
                for cell in plain
                if model.name == REFERENCE or not cell.replica
                for number in numbers
            ]
    death = Death(connections=CLIENTS, server_cpus=most)
    found += [
        Cell(
            experiment=NAME,
            server=model.name,
            workload=death,
            options=("--workers", str(CREW)),
        )
        for model in servers
        if model.name in SERVERS and death.missing(model) is None
    ]
    return found


def figures(run: Run) -> list[Figure]:
    """Answers and their price, for each server and number of workers."""
    row = by_start(run)
    panels = tuple(
        panel
        for panel in (
            dot_panel("", "answers per second", row, throughput, "number"),
            dot_panel("", "server CPU per answer", row, cpu_us, "microseconds"),
        )
        if panel.series
    )
    if not panels:
        return []
    return [
        Figure(
            name="workers",
            title="Workers, where each answer burns 100 us of CPU",
            panels=panels,
            caption=HOW_TO_READ + about_cpus(row),
            columns=2,
            panel_height_in=2.8,
        )
    ]


def about_cpus(row: dict[str, CellData]) -> str:
    """What a caption adds: which CPUs there were."""
    machine = next((data.first["machine"] for data in row.values()), None)
    if machine is None:
        return ""
    shared = ", one of them the generator's too" if machine["shared"] else ""
    return f" Here they had {counted(len(machine['server_cpus']), 'CPU')}{shared}."


def by_start(run: Run) -> dict[str, CellData]:
    """ "prefork --workers 2" => cell"""
    return {started_as(data.cell): data for data, _ in measured_by(run, NAME, Slices)}


def deaths(run: Run) -> dict[str, list[Found]]:
    """Server => what each of its deaths did."""
    return {
        started_as(data.cell): found
        for data, _ in measured_by(run, NAME, Death)
        if (found := [record["death"] for record in data.valid if record["death"]])
    }


def finding(run: Run) -> str:
    """Two workers and threads against one loop; who had which clients, and what went with them."""
    row = by_start(run)
    plain = next((name for name, data in row.items() if data.server == REFERENCE), None)
    told = []
    if plain:
        others = [name for name in row if row[name].server != REFERENCE]
        told += [compared(row, name, plain, throughput, *ANSWERS) for name in others]
    sentences = [f"When each answer burns 100 us of CPU, {'; '.join(told)}"] if told else []
    sentences += [told_of(name, found) for name, found in deaths(run).items()]
    if not sentences:
        return "The data do not decide: no server was measured with several workers."
    return f"{'. '.join(sentences)}."


def told_of(name: str, found: Sequence[Found]) -> str:
    """How clients were shared out, and what a death did, over all trials together."""
    shares = [max(one["clients"]) / sum(one["clients"]) for one in found]
    most, least = max(shares), min(shares)
    lost = sum(one["lost"] for one in found)
    held = sum(one["newcomers"] - one["greeted"] for one in found)
    newcomers = sum(one["newcomers"] for one in found)
    broken = sum(one["broken"] for one in found)
    what = [
        f"lost its {lost:,} clients",
        f"{held:,} of {newcomers:,} newcomers waited for it while it was stopped",
    ]
    if held:
        what.append(f"{broken:,} of them lost their connection with it")
    share = f"{least:.0%}" if round(least, 2) == round(most, 2) else f"{least:.0%} to {most:.0%}"
    return (
        f"With {name} the busiest worker had {share} of {CLIENTS} clients; when it was killed, in"
        f" {counted(len(found), 'trial')}, it {listed(what)}"
    )
