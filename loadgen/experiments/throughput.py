"""All clients busy: how many requests per second, how fast, at what price?

A reader learns that without idle connections select, poll and epoll are equals, that a thread per
client costs more the more clients there are, and that a blocking server serves one client however
many have come. The mean latency at saturation says nothing new: it is clients divided by
throughput (Little's law). Its spread does: with threads some clients wait long.
"""

from collections.abc import Sequence

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import (
    Rows,
    about_hollow,
    counted,
    largest_common,
    lines,
    listed,
    nothing_to_say,
    ratio_sentence,
    sweep,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel
from loadgen.store.metric import cpu_us, latency_us, throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from servers.catalog import Model

NAME = "throughput"
QUESTION = "How many requests per second does each model answer when every client is busy?"
HYPOTHESIS = (
    "With every socket ready, select, poll and epoll make the same calls per request, so they are"
    " equal. Threads queue for the one GIL, and the more of them are ready to run, the more it"
    " costs to pass it on. The busy loop also asks sockets that have nothing to read. The blocking"
    " server serves one client."
)
HOW_TO_READ = (
    "Closed loop: each client sends again as soon as it has been answered. Bars are 95 % confidence"
    " intervals over blocks. Each server has one CPU to itself, where threads cannot overlap their"
    " system calls: on several they might."
)
OF_LINES = (
    "Further right there are more clients; higher is more answers. Where lines lie on each other,"
    " the models perform alike."
)

CLIENTS: dict[Profile, tuple[int, ...]] = {
    "quick": (64,),
    "standard": (1, 64, 256),
    "full": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
}


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server at every number of clients."""
    return sweep(NAME, servers, [Slices(connections=clients) for clients in CLIENTS[profile]])


def figures(run: Run) -> list[Figure]:
    """Throughput, latency and CPU per request over the number of clients."""
    rows = run.along(NAME, "connections")
    clients = "busy clients"
    panel = Panel(
        clients,
        "answers per second",
        lines(rows, throughput),
        x_log=True,
        ceiling=run.ceiling_per_s,
    )
    costs = tuple(
        Panel(
            clients,
            label,
            lines(rows, metric),
            x_log=True,
            y_log=metric is not cpu_us,
            y_format="microseconds",
        )
        for label, metric in (
            ("service time, median", latency_us("service", "p50")),
            ("service time, p99", latency_us("service", "p99")),
            ("server CPU per answer", cpu_us),
        )
    )
    return [
        Figure(
            name="throughput",
            title="All clients busy: answers per second",
            panels=(panel,),
            caption=HOW_TO_READ + about_wake_ups(rows) + about_hollow((panel,)),
            of_lines=OF_LINES,
            panel_height_in=4.4,
        ),
        Figure(
            name="throughput-cost",
            title="All clients busy: latency and CPU per answer",
            panels=costs,
            caption="Service time runs from sending a request to the kernel's stamp on the last"
            " byte of its answer; less is better. At saturation its mean is the number of clients"
            " divided by throughput; how far p99 lies beyond it says how unevenly clients wait. CPU"
            " is the time of the server's process, including what the kernel does for its system"
            " calls. Bars are 95 % confidence intervals over blocks." + about_hollow(costs),
            panel_height_in=3.2,
        ),
    ]


def about_wake_ups(rows: Rows) -> str:
    """What a caption adds where neither side was busy."""
    waiting = {
        clients: [name for name in rows if _is_woken(rows[name].get(clients))]
        for row in rows.values()
        for clients in row
    }
    told = [
        f"with {counted(int(clients), 'client')} of {listed(names)}"
        for clients, names in sorted(waiting.items())
        if names
    ]
    if not told:
        return ""
    return (
        f" Neither side was busy {'; '.join(told)}: there the time goes into waking the other side,"
        " and says little about the server."
    )


def _is_woken(cell: CellData | None) -> bool:
    """Did most of its trials wait for wake-ups?"""
    found = [record["verdict"]["bottleneck"] for record in cell.valid] if cell else []
    return 2 * found.count("wake-up") > len(found)


def finding(run: Run) -> str:
    """epoll against the others, at the most clients that all of them served."""
    rows = run.along(NAME, "connections")
    others = [name for name in ("poll", "select", "threaded") if name in rows]
    clients = largest_common(rows, ["epoll", *others])
    if clients is None or not others:
        return nothing_to_say(rows, ["epoll", *(others or ["poll"])])
    sentence = ratio_sentence("epoll", rows, others, clients, throughput)
    return f"With {clients:,} busy clients {sentence}."
