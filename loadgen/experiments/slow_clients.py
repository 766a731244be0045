"""Clients that do harm: they begin a line and never end it, or ask and never read.

A reader learns that one such client stops a blocking server dead, and that with threads or a loop
the others do not notice. This is what non-blocking sends and back-pressure are for.
"""

from collections.abc import Sequence

from loadgen.analysis.estimate import Metric
from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import ANSWERS, compared, dot_panel, listed, measured_by, sweep
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel
from loadgen.report.units import Format
from loadgen.store.metric import latency_us, throughput
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests, Slices
from loadgen.trial.methods.requests import SlowBehaviour
from servers.catalog import Model

NAME = "slow_clients"
QUESTION = "What do clients that are slow on purpose do to the others?"
HYPOTHESIS = (
    "The blocking server waits for ever for the first slow client. A thread waits for its own"
    " client only. A loop waits for none of them; it must keep what it could not send, and stop"
    " reading from a client that does not read."
)
HOW_TO_READ = (
    "Eight normal clients in a closed loop, alone or beside eight slow ones. Equal values in"
    ' all panels: the normal clients do not notice the slow ones. "0 of 8 served" counts the'
    " normal clients that the server ever got to."
)

NORMAL = 8
SLOW: dict[Profile, tuple[int, ...]] = {"quick": (8,), "standard": (8,), "full": (1, 8, 64)}
BEHAVIOURS: tuple[SlowBehaviour, ...] = ("half_line", "never_reads")
TITLES = {
    None: "no slow clients",
    "half_line": "eight clients send half a line and stop",
    "never_reads": "eight clients ask and never read",
}
SHOWN = 8
UNDISTURBED = "epoll without them"


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server without slow clients, and with every kind of them."""
    kinds: list[tuple[int, SlowBehaviour | None]] = [(0, None)]
    kinds += [(slow, behaviour) for behaviour in BEHAVIOURS for slow in SLOW[profile]]
    return sweep(
        NAME,
        servers,
        [
            Slices(connections=NORMAL, slow_connections=slow, slow_behaviour=behaviour)
            for slow, behaviour in kinds
        ],
    )


def answers(record: Record) -> float | None:
    """Answers per second; none at all where no normal client was served."""
    return None if not record["connections"]["active"] else throughput(record)


def figures(run: Run) -> list[Figure]:
    """Throughput and latency of the normal clients, with and without slow ones."""
    table = by_behaviour(run)

    def panels(label: str, metric: Metric, written: Format) -> tuple[Panel, ...]:
        made = (
            dot_panel(TITLES[behaviour], label, row, metric, written)
            for behaviour, row in table.items()
        )
        return tuple(panel for panel in made if panel.series)

    p99_us = latency_us("service", "p99")
    found = [
        Figure(
            name="slow_clients",
            title="Slow clients: what the others get",
            panels=panels("answers per second to eight normal clients", answers, "number"),
            caption=HOW_TO_READ,
            panel_height_in=2.4,
            same_x=True,
        ),
        Figure(
            name="slow_clients-latency",
            title="Slow clients: how long the others wait",
            panels=panels("service time of normal clients, p99", p99_us, "microseconds"),
            caption="Further left is better. A server that serves none of the normal clients has no"
            " dot: they wait for ever.",
            panel_height_in=2.4,
            same_x=True,
        ),
    ]
    return [figure for figure in found if figure.panels]


def by_behaviour(run: Run) -> dict[str | None, dict[str, CellData]]:
    """Behaviour (None: no client is slow) => server => cell, for 0 and SHOWN slow clients."""
    table: dict[str | None, dict[str, CellData]] = {}
    for data, workload in measured_by(run, NAME, Requests):
        if workload.slow_connections in (0, SHOWN):
            row = table.setdefault(workload.slow_behaviour, {})
            row[data.server] = data
    return {kind: table[kind] for kind in (None, *BEHAVIOURS) if kind in table}


def finding(run: Run) -> str:
    """Which servers stopped serving, and how much epoll still answers."""
    table = by_behaviour(run)
    plain = table.get(None, {})
    clauses = []
    for behaviour, row in table.items():
        if behaviour is None or "epoll" not in row or "epoll" not in plain:
            continue
        dead = [name for name, data in row.items() if not data.first["connections"]["active"]]
        both = {"epoll": row["epoll"], UNDISTURBED: plain["epoll"]}
        left = compared(both, "epoll", UNDISTURBED, throughput, *ANSWERS)
        stopped = f"{listed(dead)} serves 0 of {NORMAL} normal clients; " if dead else ""
        clauses.append(f"{TITLES[behaviour]}: {stopped}{left}")
    if not clauses:
        return "The data do not decide: epoll was not measured with and without slow clients."
    text = ". ".join(clause[0].upper() + clause[1:] for clause in clauses)
    return f"{text}."
