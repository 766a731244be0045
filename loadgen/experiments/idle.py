"""A few busy clients among many idle connections.

A reader learns what select, poll and epoll are about: work per wake-up grows with all clients, or
with the ready ones only. This axis tells the models apart; throughput with all clients busy does
not. And that select has a wall at descriptor 1,024 which no limit of the system can move.
"""

from collections.abc import Sequence
from dataclasses import replace

from loadgen.analysis.run import Run
from loadgen.experiments.tools import (
    Rows,
    largest_common,
    lines,
    nothing_to_say,
    ratio_sentence,
    sweep,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel, Wall
from loadgen.store.metric import cpu_us, latency_us, throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from servers.catalog import Model

NAME = "idle"
QUESTION = "What do idle connections cost the busy ones?"
HYPOTHESIS = (
    "epoll's work per wake-up depends on the ready clients alone, that of poll and select on all"
    " clients. The busy loop's does too, and it makes a system call for each of them. A thread that"
    " sleeps costs memory, not time. select ends at descriptor 1,024."
)
HOW_TO_READ = (
    "Eight clients are busy in a closed loop, beside connections that are open and idle. More"
    " answers are better."
)
OF_LINES = (
    "Further right, more are idle. A flat line: idle connections cost nothing. A line that falls"
    " tenfold over tenfold more connections: the server works through all of them at every wake-up."
)

ACTIVE = 8
IDLE: dict[Profile, tuple[int, ...]] = {
    "quick": (1000,),
    "standard": (0, 1000, 5000),
    "full": (0, 10, 100, 500, 1000, 2000, 5000, 15_000),
}
# Beside so many, slices are as long as several answers of the slowest: fewer rounds decide.
MANY, ROUNDS = 5_000, 6


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server at every number of idle clients; who serves one at a time, at none only."""
    return sweep(
        NAME,
        servers,
        [
            Slices(connections=ACTIVE, idle_connections=idle, rounds=ROUNDS)
            if idle >= MANY
            else Slices(connections=ACTIVE, idle_connections=idle)
            for idle in IDLE[profile]
        ],
    )


def figures(run: Run) -> list[Figure]:
    """Throughput, latency and CPU per request of the busy clients, over the idle connections."""
    rows = run.along(NAME, "idle_connections")
    idle = "idle connections, beside eight busy clients"
    found = walls(rows)
    walled = {wall.server for wall in found}  # what stands on a wall need not stand twice
    served = tuple(
        replace(series, note="") if series.label in walled else series
        for series in lines(rows, throughput)
    )
    return [
        Figure(
            name="idle",
            title="Idle connections: what they cost the busy clients",
            panels=(
                Panel(
                    idle,
                    "answers per second",
                    served,
                    x_log=True,
                    y_log=True,
                    walls=found,
                ),
            ),
            caption=HOW_TO_READ,
            of_lines=OF_LINES,
            panel_height_in=4.4,
        ),
        Figure(
            name="idle-latency",
            title="Idle connections: latency and CPU per answer of the busy clients",
            panels=tuple(
                Panel(
                    idle,
                    label,
                    lines(rows, metric),
                    x_log=True,
                    y_log=True,
                    y_format="microseconds",
                )
                for label, metric in (
                    ("service time, median", latency_us("service", "p50")),
                    ("service time, p99", latency_us("service", "p99")),
                    ("server CPU per answer", cpu_us),
                )
            ),
            caption="Less is better.",
            of_lines="A line that rises tenfold over tenfold more idle connections: the server"
            " works through all of them at every wake-up.",
            panel_height_in=3.2,
        ),
    ]


def walls(rows: Rows) -> tuple[Wall, ...]:
    """Where the busy clients needed descriptors beyond a server's last, and were refused."""
    found = []
    for name, row in rows.items():
        for idle, cell in row.items():
            connections = cell.first["connections"]
            if connections["limit"] and idle and not cell.first["counts"]["ok"]:
                served, attempted = connections["greeted"], connections["attempted"]
                text = f"{name}: {connections['limit']}, serves {served:,} of {attempted:,}"
                found.append(Wall(connections["greeted"], text, name))
                break
    return tuple(found)


def finding(run: Run) -> str:
    """epoll against poll and threads, at the most idle connections."""
    rows = run.along(NAME, "idle_connections")
    others = [name for name in ("poll", "threaded") if name in rows]
    idle = largest_common(rows, ["epoll", *others])
    if idle is None or not others:
        return nothing_to_say(rows, ["epoll", *(others or ["poll"])])
    sentence = ratio_sentence("epoll", rows, others, idle, throughput)
    return f"With {idle:,} idle connections {sentence}."
