"""Who gets how much: clients that all want the same, and one among them that wants everything.

A reader learns whether equals get equal shares: with threads, the busy loop and nearly with epoll
they do, while select and poll may leave the clients that they visit last with half a share. And
what one client that pipelines without pause takes from the others.

Why half: select() and poll() report who is ready now. The first of a round are answered while the
last still wait, ask again, and are ready when the next round begins; the last get their answers at
its end, ask again a moment too late, and sit out every other round.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from loadgen.analysis.estimate import Metric
from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import compared, dot_panel, measured_by, sweep
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel, Point
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests
from servers.catalog import Model

NAME = "fairness"
QUESTION = "Does every client get an equal share, and what does a greedy one take?"
HYPOTHESIS = (
    "A loop takes one receive from each ready client in turn, so equals get equal shares. A thread"
    " that holds the GIL goes on until it has to wait, but with one request outstanding that is"
    " soon. A greedy client gets many answers out of each receive: turns are fair, answers are not."
)
Who = Literal["slowest", "fastest", "greedy"]

CLIENTS = 16
PIPELINE_DEPTH = 64
HOW_TO_READ = (
    "100 % is an equal share, the same for every client. In the lower row one client is greedy: it"
    f" keeps {PIPELINE_DEPTH} requests outstanding, the others one each; the slowest share is that"
    " of the others. The generator is busy nearly all of the time here."
)

SECONDS: dict[Profile, tuple[float, float]] = {
    "quick": (0.1, 0.3),
    "standard": (0.05, 0.2),
    "full": (0.3, 1.5),
}


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server with equals, and with one greedy client among them."""
    warmup_s, duration_s = SECONDS[profile]
    depths = (0, 16, PIPELINE_DEPTH, 256) if profile == "full" else (0, PIPELINE_DEPTH)
    return sweep(
        NAME,
        servers,
        [
            Requests(
                connections=CLIENTS,
                pipeline_depth=depth,
                warmup_s=warmup_s,
                duration_s=duration_s,
            )
            for depth in depths
        ],
    )


def share_percent(who: Who) -> Metric:
    """The share of one client, in per cent of an equal one."""

    def metric(record: Record) -> float | None:
        found = record["fairness"]
        if found is None:
            return None
        share = {
            "slowest": found["slowest_share"],
            "fastest": found["fastest_share"],
            "greedy": found["greedy_share"],
        }[who]
        return None if share is None else 100 * share * CLIENTS

    return metric


def figures(run: Run) -> list[Figure]:
    """Equals above, with a greedy client below."""
    table = by_pipeline_depth(run)
    panels: list[Panel] = []
    for depth in (0, PIPELINE_DEPTH):
        row = table.get(depth, {})
        title = "one client is greedy" if depth else "all clients are equal"
        others: tuple[Who, ...] = ("slowest", "greedy" if depth else "fastest")
        panels += [
            _possible(
                dot_panel(
                    title,
                    f"{who} client (of an equal share)",
                    row,
                    share_percent(who),
                    "percent",
                ),
                who,
            )
            for who in others
        ]
    return [
        Figure(
            name="fairness",
            title="Who gets how much, among sixteen clients",
            panels=tuple(panel for panel in panels if panel.series),
            caption=HOW_TO_READ,
            columns=2,
            panel_height_in=2.6,
        )
    ]


def _possible(panel: Panel, who: Who) -> Panel:
    """Intervals without what cannot be: the slowest never gets more than an equal share, and the
    fastest never less, though Student's t does not know that."""

    def cut(point: Point) -> Point:
        if who == "slowest" and point.high is not None:
            return replace(point, high=max(point.y, min(point.high, 100.0)))
        if who == "fastest" and point.low is not None:
            return replace(point, low=min(point.y, max(point.low, 100.0)))
        return point

    series = tuple(replace(each, points=tuple(map(cut, each.points))) for each in panel.series)
    return replace(panel, series=series)


def by_pipeline_depth(run: Run) -> dict[int, dict[str, CellData]]:
    """Pipeline depth => server => cell, of the servers that serve more than one client."""
    table: dict[int, dict[str, CellData]] = {}
    for data, workload in measured_by(run, NAME, Requests):
        if not data.first["connections"]["limit"]:
            row = table.setdefault(workload.pipeline_depth, {})
            row[data.server] = data
    return table


def finding(run: Run) -> str:
    """What the slowest of equals gets, and what a greedy client gets from threads and a loop."""
    table = by_pipeline_depth(run)
    slowest = share_percent("slowest")
    equals = table.get(0, {})
    even = [
        f"{found.value:.0f} % with {name}"
        for name in equals
        if (found := equals[name].over_blocks(slowest)) is not None
    ]
    row = table.get(PIPELINE_DEPTH, {})
    if not even or not {"epoll", "threaded"} <= row.keys():
        return "The data do not decide: epoll and threads were not measured with a greedy client."
    times = "times as large a share as"
    greedy = compared(row, "epoll", "threaded", share_percent("greedy"), "gives", times)
    return (
        f"Among {CLIENTS} equal clients the slowest gets this much of an equal share:"
        f" {', '.join(even)}. Compared by the share of a client that keeps {PIPELINE_DEPTH}"
        f" requests outstanding, {greedy}."
    )
