"""Response time against offered load, up to and beyond what each model can answer.

A reader learns that latency is flat up to the knee and explodes behind it, and where the knee of
each model lies; and that a closed loop hides all of this, because it stops asking while the server
stalls (coordinated omission).

Each answer burns 20 us of CPU here, as a small handler would. Without that the generator would be
the limit: an open loop lets several lines of a client wait until one receive takes them all, so
that the servers keep up with more than it can send.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from loadgen.analysis.estimate import MINIMUM_BLOCKS, Estimate, estimate
from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import (
    Rows,
    about_hollow,
    lines,
    listed,
    measured_by,
    partial,
    served,
    sweep,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel, Point, Series
from loadgen.report.units import microseconds, number
from loadgen.store import histogram
from loadgen.store.metric import Percentile, latency_us
from loadgen.store.schema import Latency, Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests, Search, Slices
from servers.catalog import Model

NAME = "load"
QUESTION = "How fast are answers at a given rate of requests, and which rate can a server sustain?"
HYPOTHESIS = (
    "Below capacity no request waits for another, so all models are fast; at capacity the queue"
    " grows for as long as the load lasts. The less CPU an answer costs, the higher the knee. When"
    " the server stalls for S seconds every T seconds, an open loop sees P(response > x) ="
    " (S - x) / T; a closed loop sees one slow request per stall and client."
)
HOW_TO_READ = (
    "Open loop: a Poisson schedule, fixed in advance, says when each request is due, whether or not"
    " the server keeps up; response time counts from then; less is better."
)
OF_LINES = "Further right more is asked. A line turns upwards at the model's knee."
INVALID = "mostly because requests were sent late"

CLIENTS = 16
WORK_US = 20
WORK = f"cpu:{WORK_US}us"
KNEE_LIMIT_S = 0.005
SEARCH_S = 0.06
RATES_PER_S: dict[Profile, tuple[int, ...]] = {
    "quick": (20_000,),
    "standard": (10_000, 30_000, 60_000),
    "full": (1_000, 5_000, 10_000, 20_000, 30_000, 34_000, 38_000, 42_000, 46_000, 50_000, 60_000),
}
# A schedule needs time to show what it has in store.
SLICE_S = 0.025
ROUNDS: dict[Profile, int] = {"quick": 8, "standard": 8, "full": 16}
STALLED_SERVER = "epoll"
STALL_S, STALL_EVERY_S = 0.1, 1.0
STALL_RATE_PER_S = 2_000.0
STALL_PERIODS = 2
STALLS = f"{1000 * STALL_S:g} ms every {'second' if STALL_EVERY_S == 1 else f'{STALL_EVERY_S:g} s'}"


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server at every rate, the search for its knee, and one stalled server."""
    rates = [
        Slices(
            connections=CLIENTS,
            arrivals="poisson",
            offered_per_s=float(rate),
            work=WORK,
            duration_s=SLICE_S,
            rounds=ROUNDS[profile],
        )
        for rate in RATES_PER_S[profile]
    ]
    search = Search(
        connections=CLIENTS, p99_limit_s=KNEE_LIMIT_S, work=WORK, warmup_s=0.03, duration_s=SEARCH_S
    )
    stalled = Requests(
        stall_s=STALL_S, stall_every_s=STALL_EVERY_S, duration_s=STALL_PERIODS * STALL_EVERY_S
    )
    asked = replace(
        stalled, connections=CLIENTS, arrivals="poisson", offered_per_s=STALL_RATE_PER_S
    )
    knees = [] if profile == "quick" else [search]
    return [
        *sweep(NAME, servers, [*rates, *knees]),
        *sweep(
            NAME,
            [model for model in servers if model.name == STALLED_SERVER],
            [stalled, asked],
        ),
    ]


def figures(run: Run) -> list[Figure]:
    """Response times, the knees, percentile curves at common rates, and the stalled server."""
    rows = _rated(run)
    found = [_hockey_stick(rows)]
    if knees := _knees(run):
        found.append(_knee_figure(run, knees))
    if rates := _common_rates(rows):
        found.append(_percentile_figure(rows, rates))
    if stalled := _stalled(run):
        found.append(_stall_figure(*stalled, omitted(run)))
    return found


def _hockey_stick(rows: Rows) -> Figure:
    percentiles: tuple[tuple[Percentile, str], ...] = (("p50", "median"), ("p99", "p99"))
    panels = tuple(
        Panel(
            "offered requests per second",
            f"response time, {title}",
            lines(rows, latency_us("response", percentile)),
            x_log=True,
            y_log=True,
            y_format="microseconds",
        )
        for percentile, title in percentiles
    )
    return Figure(
        name="load",
        title="The hockey stick: response time against offered load",
        panels=panels,
        caption=HOW_TO_READ + about_overloads(rows) + about_hollow(panels, INVALID),
        of_lines=OF_LINES,
        panel_height_in=3.4,
    )


def about_overloads(rows: Rows) -> str:
    """What a caption adds where more was offered than servers answered."""
    overloaded: dict[float, list[str]] = {}
    for name, row in rows.items():
        for rate, cell in row.items():
            judged = [record["verdict"]["overloaded"] for record in cell.valid]
            if 2 * judged.count(True) > len(judged):
                overloaded.setdefault(rate, []).append(name)
    return "".join(
        f" At {rate:,.0f}/s more is offered than {listed(names)} can answer: the backlog grows, and"
        f" response time with the length of a slice ({1000 * SLICE_S:g} ms)."
        for rate, names in sorted(overloaded.items())
    )


def _knee_figure(run: Run, knees: Mapping[str, Sequence[float]]) -> Figure:
    found = {name: e for name, values in knees.items() if (e := estimate(values)) is not None}
    return Figure(
        name="load-knee",
        title="The largest rate that each model sustains",
        panels=(
            Panel(
                f"requests per second, with 99 % of them answered and p99 below"
                f" {KNEE_LIMIT_S * 1000:g} ms",
                "",
                tuple(
                    Series(
                        name,
                        (Point(0, e.value, e.low, e.high),),
                        _rate(e.value) + _served(run, name),
                        partial=bool(_served(run, name)),
                    )
                    for name, e in found.items()
                ),
                kind="dots",
                ceiling=run.ceiling_per_s,
            ),
        ),
        caption=f"Each answer burns {WORK_US} us of CPU. The rate is doubled until the server"
        " fails, then bisected, anew in every block; each line is the 95 % confidence interval"
        " over blocks. Further right is better. The blocking server has one client, which sends all"
        " requests, so that one receive takes many of them.",
        panel_height_in=3.0,
        finding=sustained(run),
    )


def _percentile_figure(rows: Rows, rates: Sequence[float]) -> Figure:
    return Figure(
        name="load-percentiles",
        title="All percentiles of the response time, at common rates",
        panels=tuple(
            Panel(
                "percentile of requests",
                "response time",
                tuple(
                    Series(
                        name,
                        curve(row[rate], "response"),
                        partial=partial([row[rate]]),
                    )
                    for name, row in rows.items()
                    if rate in row and row[rate].valid
                ),
                title=f"{rate:,.0f} requests per second",
                nines=True,
                y_log=True,
                y_format="microseconds",
            )
            for rate in rates
        ),
        caption="Each step to the right adds a nine: the slowest tenth, hundredth, thousandth of"
        " the requests. All valid trials are merged; a curve ends where fewer than ten requests"
        " were slower.",
        panel_height_in=3.4,
    )


def _rated(run: Run) -> dict[str, dict[float, CellData]]:
    rows: dict[str, dict[float, CellData]] = {}
    for data, workload in measured_by(run, NAME, Requests):
        if workload.offered_per_s is not None and not workload.stall_s:
            rows.setdefault(data.server, {})[workload.offered_per_s] = data
    return {name: dict(sorted(row.items())) for name, row in rows.items()}


def _knees(run: Run) -> dict[str, list[float]]:
    return {
        data.server: values
        for data in run.of(NAME).values()
        if (values := [v for record in data.valid if (v := knee_per_s(record)) is not None])
    }


def knee_per_s(record: Record) -> float | None:
    """The rate that a search found; None for other trials."""
    found = record["knee"]
    return found["rate_per_s"] if found else None


def _common_rates(rows: Rows) -> list[float]:
    """Up to three rates with the most valid servers, the largest of each first."""
    count: dict[float, int] = {}
    for row in rows.values():
        for rate, cell in row.items():
            count[rate] = count.get(rate, 0) + bool(cell.valid)
    useful = [rate for rate, servers in sorted(count.items()) if servers >= 2]
    return useful[-3:] if len(useful) > 3 else useful


def curve(cell: CellData, kind: Latency) -> tuple[Point, ...]:
    """Percentile => microseconds, from the merged histograms, as far as percentiles are known."""
    answered, unanswered = cell.merged(kind)
    total = answered.get_total_count() + unanswered
    if total < 2 * histogram.SAMPLES_BEYOND:
        return ()
    percents = 100 * (1 - np.geomspace(1.0, histogram.SAMPLES_BEYOND / total, 40))
    known = [(x, histogram.percentile(answered, x, unanswered)) for x in percents.tolist()]
    return tuple(Point(x, value_ns / 1000) for x, value_ns in known if value_ns is not None)


def _stalled(run: Run) -> tuple[CellData, CellData] | None:
    found = {
        "open" if workload.offered_per_s is not None else "closed": data
        for data, workload in measured_by(run, NAME, Requests)
        if workload.stall_s
    }
    if len(found) < 2 or not all(data.valid for data in found.values()):
        return None
    return found["closed"], found["open"]


def _stall_figure(closed: CellData, opened: CellData, told: str) -> Figure:
    points = 1 - np.geomspace(1.0, 1e-4, 60)
    # P(R > x) = (S - x) / T solved for x, no less than nothing.
    theory = [
        (100 * share, 1e6 * (STALL_S - (1 - share) * STALL_EVERY_S))
        for share in points
        if (1 - share) * STALL_EVERY_S < STALL_S * 0.999
    ]
    return Figure(
        name="load-stall",
        title="The same stalling server, measured by an open and by a closed loop",
        panels=(
            Panel(
                "percentile of requests",
                "time",
                (
                    Series("open loop", curve(opened, "response"), tone="#D55E00"),
                    Series("theory", tuple(Point(x, y) for x, y in theory), dashed=True),
                    Series("closed loop", curve(closed, "service"), tone="#0072B2"),
                ),
                nines=True,
                y_log=True,
                y_format="microseconds",
            ),
        ),
        caption=f"The server is stopped for {STALLS}. The open loop goes on asking, so one request"
        " in ten meets the stall. The closed loop waits with its one request and asks nothing"
        " meanwhile, so it reports a server that is hardly ever slow: coordinated omission. Its few"
        " slow requests are not drawn, because a curve ends where fewer than ten requests were"
        " slower. Theory: P(response > x) = (S - x) / T.",
        panel_height_in=4.4,
        finding=told,
    )


def finding(run: Run) -> str:
    """The knees, and what the two loops say of the stalling server."""
    parts = [told for told in (sustained(run), omitted(run)) if told]
    if not measured_by(run, NAME, Search):
        parts.append("This run did not search for knees; a standard or full run does.")
    return " ".join(parts) or "The data do not decide: no search for a knee was valid."


def sustained(run: Run) -> str:
    """The knee of each server; empty where a run has none."""
    knees = {name: estimate(values) for name, values in _knees(run).items()}
    if not knees:
        return ""
    told = ", ".join(
        f"{name} {_at_least(run, name)}{_rates(e)}{_served(run, name)}"
        for name in knees
        if (e := knees[name]) is not None
    )
    return (
        f"Requests per second that each server sustains with p99 below {KNEE_LIMIT_S * 1000:g}"
        f" ms, when each answer burns {WORK_US} us of CPU: {told}."
    )


def omitted(run: Run) -> str:
    """What a closed loop does not see of a stalling server; empty where a run has not tried."""
    if not (stalled := _stalled(run)):
        return ""
    closed, opened = stalled
    theory_us = 1e6 * (STALL_S - (1 - 0.99) * STALL_EVERY_S)
    return (
        f"When the server stalls for {STALLS}, the open loop reports a p99 of"
        f" {_told(opened, 'response', 99)} (theory: {microseconds(theory_us)}), and the closed loop"
        f" {_told(closed, 'service', 99)}: it asks nothing while it waits."
    )


def _at_least(run: Run, server: str) -> str:
    """ "at least ", where late sends and not the server ended a search, or nothing did."""
    for data in run.of(NAME).values():
        if data.server != server:
            continue
        for found in filter(None, (record["knee"] for record in data.valid)):
            beyond = [p for p in found["probes"] if p["offered_per_s"] > found["rate_per_s"]]
            nearest = min(beyond, key=lambda probe: float(probe["offered_per_s"]), default=None)
            if nearest is None:
                return "at least "
            lag_ns, service_ns = nearest["send_lag_p99_ns"], nearest["service_p99_ns"]
            if lag_ns is not None and service_ns is not None and lag_ns > service_ns:
                return "at least "
    return ""


def _served(run: Run, server: str) -> str:
    """ " (1 of 16 served)", where that is so."""
    note = served([data for data in run.of(NAME).values() if data.server == server])
    return f" {note}" if note else ""


def _rates(found: Estimate) -> str:
    if found.n < MINIMUM_BLOCKS:
        return f"{_rate(found.value)} (too few blocks for an interval)"
    return f"{_rate(found.value)} [{_rate(found.low)}, {_rate(found.high)}]"


def _rate(per_s: float) -> str:
    return number(float(f"{per_s:.3g}"))


def _told(cell: CellData, kind: Latency, percentile: float) -> str:
    value_us = cell.merged_us(kind, percentile)
    return "unknown" if value_us is None else microseconds(value_us)
