"""What it takes to hold a connection: memory, threads, context switches.

A reader learns what the C10k problem was about: a thread per connection takes some 20 kB of the
server's memory where a loop takes a few hundred bytes, twice as much of the kernel's as a loop, and
a place in the scheduler. And that what the kernel holds for a socket is far more than what a loop
does.
"""

from collections.abc import Callable, Sequence

from loadgen.analysis.estimate import Metric
from loadgen.analysis.run import Run
from loadgen.experiments.tools import (
    about_hollow,
    largest_common,
    lines,
    listed,
    nothing_to_say,
    ratio_sentence,
    sweep,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel
from loadgen.report.units import size
from loadgen.store.schema import Record, Usage
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests
from servers.catalog import Model

NAME = "footprint"
QUESTION = "What does it take to hold a connection?"
HYPOTHESIS = (
    "A loop keeps a socket object and a session per client, about a kilobyte. A thread adds the"
    " first pages of its stack and the interpreter's thread state, and in the kernel a task and its"
    " stack. A thread has to be woken for each request, which costs a context switch each time."
)
HOW_TO_READ = (
    "Further right there are more clients, almost all of them idle. Memory is what the server uses"
    " more than before the first client came, divided by the number of clients; it is shown where"
    " they are enough to fill pages of their own. Lower is better. One of the threads may be"
    " there for SIGTERM alone. The kernel's objects are counted for the whole machine, and for both"
    " ends of each connection."
)

ACTIVE = 4
CLIENTS: dict[Profile, tuple[int, ...]] = {
    "quick": (100, 1000),
    "standard": (1000, 5000),
    "full": (10, 100, 1000, 10_000),
}
SECONDS: dict[Profile, tuple[float, float]] = {
    "quick": (0.05, 0.2),
    "standard": (0.05, 0.2),
    "full": (0.2, 0.6),
}


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """One client for every server, and more where more are served."""
    warmup_s, duration_s = SECONDS[profile]
    return sweep(
        NAME,
        servers,
        [
            Requests(
                connections=min(ACTIVE, clients),
                idle_connections=max(0, clients - ACTIVE),
                warmup_s=warmup_s,
                duration_s=duration_s,
            )
            for clients in CLIENTS[profile]
        ],
    )


# A figure of the server at one moment.
Held = Callable[[Usage], int | None]


def per_connection(held: Held) -> Metric:
    """How much more of a figure there is per connection than without any."""

    def metric(record: Record) -> float | None:
        found, greeted = record["footprint"], record["connections"]["greeted"]
        if not found or not greeted:
            return None
        empty, connected = held(found["empty"]), held(found["connected"])
        if empty is None or connected is None:
            return None
        return max(0.0, float(connected - empty)) / greeted

    return metric


def with_everybody(held: Held) -> Metric:
    """A metric of the server with all clients connected."""
    return lambda record: held(found["connected"]) if (found := record["footprint"]) else None


def rss_bytes(usage: Usage) -> int:
    """Memory in pages of its own or shared."""
    return usage["rss_bytes"]


def kernel_bytes(record: Record) -> float | None:
    """The kernel's own objects per connection, both ends of it."""
    found, greeted = record["footprint"], record["connections"]["greeted"]
    return max(0, found["slab_bytes"]) / greeted if found and greeted else None


def switches(record: Record) -> float | None:
    """Context switches of the server per request, voluntary or not."""
    cost = record["server_cost"]
    if not cost or not cost["drive_requests"]:
        return None
    total = cost["voluntary_switches"] + cost["involuntary_switches"]
    return float(total / cost["drive_requests"])


MEMORY: tuple[tuple[str, Metric], ...] = (
    ("RSS per client", per_connection(rss_bytes)),
    ("kernel slab per client", kernel_bytes),
)
REST: tuple[tuple[str, Metric], ...] = (
    ("threads", with_everybody(lambda usage: usage["threads"])),
    ("context switches per request", switches),
)
# Fewer clients do not fill the pages that are there anyway.
ENOUGH = 1000


def figures(run: Run) -> list[Figure]:
    """Memory per connection, and what else grows with them."""
    rows = run.along(NAME, "idle_connections")
    rows = {
        name: {x + cell.cell.workload.connections: cell for x, cell in row.items()}
        for name, row in rows.items()
    }
    many = {name: {x: row[x] for x in row if x >= ENOUGH} for name, row in rows.items()}
    clients = "clients connected"
    panels = (
        *(
            Panel(clients, label, lines(many, metric), x_log=True, y_log=True, y_format="size")
            for label, metric in MEMORY
        ),
        *(
            Panel(clients, label, lines(rows, metric), x_log=True, y_log=metric is not switches)
            for label, metric in REST
        ),
    )
    return [
        Figure(
            name="footprint",
            title="What it takes to hold a connection",
            panels=panels,
            caption=HOW_TO_READ + about_hollow(panels),
            panel_height_in=2.8,
        )
    ]


def finding(run: Run) -> str:
    """Threads against epoll, at the most clients that both held."""
    rows = run.along(NAME, "idle_connections")
    idle = largest_common(rows, ["threaded", "epoll"])
    if not idle:
        return nothing_to_say(rows, ["threaded", "epoll"])
    clients = idle + ACTIVE
    metric = per_connection(rss_bytes)
    ratio = ratio_sentence("threaded", rows, ["epoll"], idle, metric, "takes", "times as much as")
    each = [
        f"{size(found.value)} with {name}"
        for name in ("threaded", "epoll")
        if (found := rows[name][idle].over_blocks(metric)) is not None
    ]
    return (
        f"With {clients:,} clients connected, each takes this much of the server's memory (RSS):"
        f" {listed(each)}; {ratio}."
    )
