"""Who gets how much: clients that all want the same, and one among them that wants everything.

A reader learns whether equals get equal shares: with threads, the busy loop and nearly with epoll
they do, while select and poll may leave those whom they visit last with half. And what one client
that pipelines without pause takes from the others.

Why half: select() and poll() report who is ready now. The first of a round are answered while the
last are still waited on, ask again, and are ready when the next round begins; the last get their
answers at its end, ask again a moment too late, and sit out every other round.
"""

from collections.abc import Sequence

from loadgen.analysis.analysis import CellData, Metric, Run
from loadgen.experiments import Cell, Profile
from loadgen.experiments.tools import bar_panel, compared
from loadgen.report.figure import Figure, Panel
from loadgen.store.results import Record
from loadgen.workload.workload import Workload
from servers.catalog import Variant

NAME = "fairness"
QUESTION = "Does every client get its share, and who is starved by a greedy one?"
HYPOTHESIS = (
    "A loop takes one receive from each ready client in turn, so equals get equal shares; this was"
    " wrong for select and poll. Among threads whoever holds the GIL goes on until it has to wait,"
    " but with one request outstanding that is soon. A greedy client gets many answers out of each"
    " receive: turns are fair, answers are not."
)
HOW_TO_READ = (
    "Shares are in per cent of an equal share: 100 is what everybody would get. Jain's index is 1"
    " when all get the same. Below, one of the clients keeps many requests outstanding, the others"
    " one each; the index and the slowest share are those of the others. The generator is busy"
    " nearly all of the time here."
)

CLIENTS = 16
GREEDY_PIPELINE = 64
SECONDS: dict[Profile, tuple[float, float]] = {
    "quick": (0.1, 0.3),
    "standard": (0.2, 0.8),
    "full": (0.3, 1.5),
}


def cells(profile: Profile, servers: Sequence[Variant]) -> list[Cell]:
    """Every server with equals, and with one greedy client among them."""
    warmup_s, duration_s = SECONDS[profile]
    pipelines = (0, 16, GREEDY_PIPELINE, 256) if profile == "full" else (0, GREEDY_PIPELINE)
    return [
        Cell(
            experiment=NAME,
            server=variant.name,
            workload=Workload(
                connections=CLIENTS,
                greedy_pipeline=pipeline,
                warmup_s=warmup_s,
                duration_s=duration_s,
            ),
        )
        for variant in servers
        for pipeline in pipelines
    ]


def jain(record: Record) -> float | None:
    """Jain's index over those who are not greedy."""
    found = record.get("fairness")
    return found["jain"] if found else None


def share_percent(name: str) -> Metric:
    """The slowest, fastest or greedy share, in per cent of an equal one."""

    def metric(record: Record) -> float | None:
        found = record.get("fairness")
        if not found or found[name] is None:
            return None
        return float(100 * found[name] * record["workload"]["connections"])

    return metric


def figures(run: Run) -> list[Figure]:
    """Equals above, with a greedy client below."""
    table = by_pipeline(run)
    panels: list[Panel] = []
    for pipeline in (0, GREEDY_PIPELINE):
        row = table.get(pipeline, {})
        title = f"one keeps {pipeline} outstanding" if pipeline else "all equal"
        other = "greedy" if pipeline else "fastest"
        panels += [
            bar_panel(
                title,
                f"{who} client (of an equal share)",
                row,
                share_percent(f"{who}_share"),
                "percent",
            )
            for who in ("slowest", other)
        ]
        panels.append(bar_panel(title, "Jain's index", row, jain, "number"))
    return [
        Figure(
            name="fairness",
            title="Who gets how much, among sixteen clients",
            panels=tuple(panel for panel in panels if panel.series),
            caption=HOW_TO_READ,
            columns=2 if len(panels) < 3 else 3,
            panel_height_in=2.6,
        )
    ]


def by_pipeline(run: Run) -> dict[int, dict[str, CellData]]:
    """Greedy pipeline => server => cell, of the servers that serve more than one client."""
    table: dict[int, dict[str, CellData]] = {}
    for data in run.of(NAME).values():
        if not data.first["connections"].get("limit"):
            row = table.setdefault(data.first["workload"]["greedy_pipeline"], {})
            row[data.server] = data
    return table


def finding(run: Run) -> str:
    """What the slowest of equals gets, and what a greedy client gets from threads and a loop."""
    table = by_pipeline(run)
    slowest = share_percent("slowest_share")
    equals = table.get(0, {})
    even = [
        f"{found.value:.0f} % with {name}"
        for name in equals
        if (found := equals[name].over_blocks(slowest)) is not None
    ]
    row = table.get(GREEDY_PIPELINE, {})
    if not even or not {"epoll", "threaded"} <= row.keys():
        return "The data do not decide: epoll and threads were not measured with a greedy client."
    times = "times as large a share as"
    greedy = compared(
        row, "epoll", "threaded", share_percent("greedy_share"), "gives a greedy client", times
    )
    return (
        f"Of {CLIENTS} equal clients the slowest gets, of an equal share: {', '.join(even)}."
        f" Where one keeps {GREEDY_PIPELINE} requests outstanding, {greedy}."
    )
