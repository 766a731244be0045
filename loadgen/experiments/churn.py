"""A connection per request: connect, be greeted, send one line, leave.

A reader learns what it costs to be accepted: a few system calls in a loop, the start of a thread
with threads. Where conversations are short, serving one client after the other keeps up with a
thread each; a loop, which works while other clients are still on their way, is ahead of both.

Each answer burns 20 us of CPU here, as a small handler would. Without that the generator, which
pays for the handshakes, would be the slower side.
"""

from collections.abc import Sequence

from loadgen.analysis.run import Run
from loadgen.experiments.tools import (
    about_hollow,
    largest_common,
    lines,
    nothing_to_say,
    ratio_sentence,
    sweep,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel
from loadgen.store.metric import cpu_us, latency_us, throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import ChurnSlices
from servers.catalog import Model

NAME = "churn"
QUESTION = "What does it cost to open a connection for every request?"
HYPOTHESIS = (
    "Most of a conversation is the kernel's work, which is the same for all models. Threads add the"
    " start and the end of a thread to each; poll and epoll add a registration. The blocking server"
    " adds nothing, but it waits for each client's line in turn; a loop waits for all of them at"
    " once."
)
HOW_TO_READ = (
    "Each slot connects, is greeted, sends a line and `exit`, reads the answer and the end of the"
    " stream, and begins again. More conversations per second are better. Bars through the marks"
    " are 95 % confidence intervals over blocks. Each answer burns 20 us of CPU."
)
INVALID = "mostly because the generator, which pays for the handshakes, was the slower side"

WORK = "cpu:20us"
SLOTS: dict[Profile, tuple[int, ...]] = {
    "quick": (1, 2),
    "standard": (16,),
    "full": (1, 2, 4, 16, 64, 256),
}


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server at every number of slots."""
    return sweep(
        NAME,
        servers,
        [ChurnSlices(connections=slots, work=WORK) for slots in SLOTS[profile]],
    )


def figures(run: Run) -> list[Figure]:
    """Conversations per second; and what they take, for the client and for the server."""
    rows = run.along(NAME, "connections")
    slots = "conversations at a time"
    panel = Panel(slots, "conversations per second", lines(rows, throughput), x_log=True)
    costs = tuple(
        Panel(slots, label, lines(rows, metric), x_log=True, y_log=True, y_format="microseconds")
        for label, metric in (
            ("connect to greeting, median", latency_us("greeting", "p50")),
            ("connect to answer, median", latency_us("service", "p50")),
            ("server CPU per conversation", cpu_us),
        )
    )
    return [
        Figure(
            name="churn",
            title="A connection per request: conversations per second",
            panels=(panel,),
            caption=HOW_TO_READ + about_hollow((panel,), INVALID),
            panel_height_in=4.4,
        ),
        Figure(
            name="churn-cost",
            title="A connection per request: how long clients wait, and what the server pays",
            panels=costs,
            caption="Times run from just before connect() to the kernel's stamp on the last byte;"
            " lower is better. A server that serves one client at a time makes the others wait for"
            " their greeting; a loop greets all of them and makes them wait behind each other's"
            " lines." + about_hollow(costs, INVALID),
            panel_height_in=3.2,
        ),
    ]


TIMES = "times as many conversations per second as"


def finding(run: Run) -> str:
    """Blocking against threads and epoll, at the most slots that all were measured at."""
    rows = run.along(NAME, "connections")
    others = [name for name in ("threaded", "epoll") if name in rows]
    slots = largest_common(rows, ["blocking", *others])
    if slots is None or not others:
        return nothing_to_say(rows, ["blocking", *(others or ["threaded"])])
    told = ratio_sentence("blocking", rows, others, slots, throughput, "completes", TIMES)
    return f"With a connection for every request, {slots:,} at a time, {told}."
