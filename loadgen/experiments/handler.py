"""Answers that take time: none, CPU time, or a sleep in the middle of the loop.

A reader learns when threads win: only where a handler waits for something else, because sleeps
overlap and Python code does not. With work for the CPU one loop and many threads are bound by the
same GIL, and threads pay for passing it around.
"""

from collections.abc import Sequence

from loadgen.analysis.estimate import Metric
from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import ANSWERS, compared, dot_panel, measured_by, sweep
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel
from loadgen.report.units import Format
from loadgen.store.metric import latency_us, throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests, Slices
from servers.catalog import Model

NAME = "handler"
QUESTION = "When the answer itself takes time, which model copes?"
HYPOTHESIS = (
    "A loop that sleeps serves nobody meanwhile: at 1 ms per answer it makes 1,000 answers per"
    " second, however many clients there are. Threads sleep side by side: 1,000 answers per second"
    " for each client. Work for the CPU is done one answer at a time in both, because of the GIL."
)
HOW_TO_READ = (
    "Sixteen clients in a closed loop. Each panel says what an answer costs the server. Further"
    " right is more answers per second. Scales differ from panel to panel."
)

CLIENTS = 16
WORKS: dict[Profile, tuple[str | None, ...]] = {
    "quick": ("cpu:100us", "sleep:1ms"),
    "standard": ("cpu:100us", "sleep:1ms"),
    "full": (None, "cpu:10us", "cpu:100us", "cpu:1ms", "sleep:1ms", "sleep:10ms"),
}
# Slices are as long as several answers of a loop that sleeps for each: a few rounds decide.
SLEEPING_ROUNDS = 4


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server with every kind of work."""
    return sweep(
        NAME,
        servers,
        [
            Slices(connections=CLIENTS, work=work, rounds=SLEEPING_ROUNDS)
            if work and work.startswith("sleep")
            else Slices(connections=CLIENTS, work=work)
            for work in WORKS[profile]
        ],
    )


def figures(run: Run) -> list[Figure]:
    """Throughput and latency of each model, one panel per kind of work."""
    table = by_work(run)

    def panels(label: str, metric: Metric, written: Format) -> tuple[Panel, ...]:
        made = (
            dot_panel(in_words(work), label, row, metric, written) for work, row in table.items()
        )
        return tuple(panel for panel in made if panel.series)

    found = [
        Figure(
            name="handler",
            title="Answers that take time: how many per second",
            panels=panels("answers per second", throughput, "number"),
            caption=HOW_TO_READ,
            columns=2,
            panel_height_in=2.6,
        ),
        Figure(
            name="handler-latency",
            title="Answers that take time: how long a client waits",
            panels=panels("service time, median", latency_us("service", "p50"), "microseconds"),
            caption="Further left is better. The blocking server answers one client quickly; the"
            " other fifteen wait for ever, and do not count here.",
            columns=2,
            panel_height_in=2.6,
        ),
    ]
    return [figure for figure in found if figure.panels]


def by_work(run: Run) -> dict[str, dict[str, CellData]]:
    """Kind of work ("" is none) => server => cell."""
    table: dict[str, dict[str, CellData]] = {}
    for data, workload in measured_by(run, NAME, Requests):
        row = table.setdefault(workload.work or "", {})
        row[data.server] = data
    return {work: table[work] for work in sorted(table, key=_order)}


def in_words(work: str) -> str:
    """ "cpu:100us" => "each answer burns 100 us of CPU" """
    if not work:
        return "answers cost nothing extra"
    kind, _, time = work.partition(":")
    value = time.rstrip("mus")
    length = f"{value} {time.removeprefix(value)}"
    return f"each answer {f'burns {length} of CPU' if kind == 'cpu' else f'sleeps {length}'}"


def _order(work: str) -> tuple[str, int]:
    kind, _, time = work.partition(":")
    digits = int("".join(filter(str.isdigit, time)) or 0)
    return kind, digits * (1 if time.endswith("us") else 1000)


def finding(run: Run) -> str:
    """Threads against epoll, for each kind of work."""
    table = by_work(run)
    clauses = [
        f"when {in_words(work)}, {compared(row, 'threaded', 'epoll', throughput, *ANSWERS)}"
        for work, row in table.items()
        if {"threaded", "epoll"} <= row.keys()
    ]
    if not clauses:
        return "The data do not decide: threads and epoll were not measured with the same work."
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."
