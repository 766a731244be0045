"""Clients are connected and none of them asks: what does the server do meanwhile?

A reader learns that a server which sleeps in the kernel uses no CPU while nothing happens, with one
client or with thousands, and that the busy loop uses a whole core to find out that there is nothing
to do.
"""

from collections.abc import Sequence

from loadgen.analysis.estimate import MINIMUM_BLOCKS, Estimate
from loadgen.analysis.run import Run
from loadgen.experiments.tools import lines, sweep
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests
from servers.catalog import Model

NAME = "idle_cost"
QUESTION = "What does a server cost while nothing happens?"
HYPOTHESIS = (
    "A server that blocks in accept, recv, select, poll or epoll_wait does not run at all. The busy"
    " loop uses a whole core, with no client as with five thousand; more clients only make it"
    " slower to notice one."
)
HOW_TO_READ = (
    "Nobody sends anything. What is drawn is CPU time, in per cent of one core; a server that"
    " blocks in the kernel uses none, however many connections are open and idle. The CPU clock"
    " of a process that never sleeps advances in ticks of 4 ms, and the window is short, so the"
    " busy loop's share is known to a few per cent."
)

# Less is rounded to nothing.
NONE_PERCENT = 0.05
SILENT: dict[Profile, tuple[int, ...]] = {
    "quick": (0, 100),
    "standard": (1000,),
    "full": (0, 1, 10, 100, 1000, 5000, 15_000),
}
SECONDS: dict[Profile, float] = {"quick": 0.2, "standard": 0.3, "full": 2.0}


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server with every number of silent clients."""
    return sweep(
        NAME,
        servers,
        [
            Requests(
                connections=0,
                idle_connections=silent,
                warmup_s=0.05,
                duration_s=SECONDS[profile],
            )
            for silent in SILENT[profile]
        ],
    )


def core_percent(record: Record) -> float | None:
    """CPU time of the server, in per cent of one core."""
    cost = record["server_cost"]
    return 100 * cost["cpu_fraction"] if cost else None


def figures(run: Run) -> list[Figure]:
    """CPU of a server that no client asks, over the number of idle connections."""
    return [
        Figure(
            name="idle_cost",
            title="What a server costs while nothing happens",
            panels=(
                Panel(
                    "idle connections",
                    "CPU time of the server, of one core",
                    lines(run.along(NAME, "idle_connections"), core_percent),
                    x_log=True,
                    y_range=(-3, 105),
                    y_format="percent",
                ),
            ),
            caption=HOW_TO_READ,
            panel_height_in=4.0,
        )
    ]


def finding(run: Run) -> str:
    """The busy loop's core, against the largest share of all that block in the kernel."""
    rows = run.along(NAME, "idle_connections")
    busy: Estimate | None = None
    asleep: list[tuple[float, str]] = []
    for name, row in rows.items():
        found = row[max(row)].over_blocks(core_percent)
        line = run.catalog.find(name)
        if found is None or line is None:
            continue
        if line.sleeps:
            asleep.append((found.value, name))
        else:
            busy, idle = found, max(row)
    if busy is None or not asleep:
        return (
            "The data do not decide: the busy loop and a server that blocks in the kernel were not"
            " both measured."
        )
    most, name = max(asleep)
    text = f"of a core with {idle:,} idle connections"
    used = f"{busy.value:.0f} % [{busy.low:.0f}, {busy.high:.0f}]"
    if busy.n < MINIMUM_BLOCKS:
        used = f"{busy.value:.0f} % (too few blocks for an interval)"
    if busy.low <= most:
        return f"The data do not decide: the busy loop used {used} {text}."
    others = f"of the servers that block in the kernel {name} uses most, {most:.2g} % of a core"
    if most < NONE_PERCENT:
        others = "servers that block in the kernel use no CPU"
    return f"While nothing happens {others}; the busy loop uses {used} {text}."
