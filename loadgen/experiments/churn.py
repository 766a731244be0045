"""A connection per request: come, be greeted, say one line, leave.

A reader learns what it costs to be accepted: a few system calls in a loop, the start of a thread
with threads. Where conversations are short, serving one client after the other holds up against a
thread each, and a loop, which works while clients are on their way, is ahead of both.

The answer costs 20 us of CPU here, as a small handler would. Without it the generator, which has
the handshakes to pay for, would be the slower side.
"""

from collections.abc import Sequence

from loadgen.analysis.run import Run
from loadgen.experiments.tools import against, largest_common, lines, nothing_to_say, sweep
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel
from loadgen.store.metric import cpu_us, latency_us, throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Churn
from servers.catalog import Variant

NAME = "churn"
QUESTION = "What does it cost to come and go: a connection for every request?"
HYPOTHESIS = (
    "A conversation is mostly the kernel's work, the same for all. Threads add a thread start and"
    " its end to each; poll and epoll a registration. Blocking adds nothing, but it waits for each"
    " client's line, which a loop does for all of them at once."
)
HOW_TO_READ = (
    "Each slot connects, is greeted, sends a line and `exit`, reads the answer and the end, and"
    " begins again. To the right there are more slots; up is more conversations per second. Bars"
    " are intervals over blocks. Hollow marks were not valid, mostly because the generator, which"
    " has the handshakes to pay for, was the slower side. An answer costs 20 us of CPU."
)

WORK = "cpu:20us"
SLOTS: dict[Profile, tuple[int, ...]] = {
    "quick": (1, 2),
    "standard": (1, 4, 16),
    "full": (1, 2, 4, 16, 64, 256),
}
SECONDS: dict[Profile, tuple[float, float]] = {  # warm-up and window
    "quick": (0.1, 0.2),
    "standard": (0.1, 0.4),
    "full": (0.2, 1.0),
}


def cells(profile: Profile, servers: Sequence[Variant]) -> list[Cell]:
    """Every server at every number of slots."""
    warmup_s, duration_s = SECONDS[profile]
    return sweep(
        NAME,
        servers,
        [
            Churn(connections=slots, work=WORK, warmup_s=warmup_s, duration_s=duration_s)
            for slots in SLOTS[profile]
        ],
    )


def figures(run: Run) -> list[Figure]:
    """Conversations per second; and what they take, for the client and for the server."""
    rows = run.along(NAME, "connections")
    slots = "conversations at a time"
    return [
        Figure(
            name="churn",
            title="A connection per request: conversations per second",
            panels=(Panel(slots, "conversations per second", lines(rows, throughput), x_log=True),),
            caption=HOW_TO_READ,
            panel_height_in=4.4,
        ),
        Figure(
            name="churn-cost",
            title="A connection per request: the wait for the greeting, and what it costs",
            panels=tuple(
                Panel(
                    slots,
                    label,
                    lines(rows, metric),
                    x_log=True,
                    y_log=True,
                    y_format="microseconds",
                )
                for label, metric in (
                    ("connect to greeting, median", latency_us("greeting", "p50")),
                    ("connect to answer, median", latency_us("service", "p50")),
                    ("server CPU per conversation", cpu_us),
                )
            ),
            caption="From just before connect() to the kernel's stamp of the last byte; lower is"
            " better. Whoever serves one at a time lets the others wait before the greeting, a loop"
            " greets all and lets them wait behind each other's lines.",
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
    told = against("blocking", rows, others, slots, throughput, "holds", TIMES)
    return f"With a connection for every request, {slots:,} at a time, {told}."
