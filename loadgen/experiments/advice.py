"""Which server for which load: every load that a run measured, with who came out best under it.

The answers are the run's own. Who is tied with the best is not resolved from it, or is equal to it
within the margin of claims; these comparisons are exploratory.
"""

from collections.abc import Collection, Iterator, Mapping

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.cards import is_usual, per_s, worded
from loadgen.experiments.handler import in_words
from loadgen.experiments.tools import (
    claimed,
    counted,
    interval,
    of_claim,
    started_as,
    with_options,
)
from loadgen.report.html.values import Place, Situation
from loadgen.store.metric import throughput
from loadgen.trial.methods import ChurnSlices, Method, Requests

# The experiments whose loads are situations that people have, the simplest first.
ASKED = ("throughput", "idle", "handler", "churn", "workers")


def situations(run: Run) -> tuple[Situation, ...]:
    """Every load of the run that two servers or more were measured under, simplest first."""
    return tuple(_situations(run))


def _situations(run: Run) -> Iterator[Situation]:
    for experiment in ASKED:
        loads: dict[Method, dict[str, CellData]] = {}
        for data in run.of(experiment).values():
            if data.cell.workload.metrics and _is_about_rates(data):
                usual = is_usual(run, data.cell)
                name = with_options(data.cell) if usual else started_as(data.cell)
                loads.setdefault(data.cell.workload, {})[name] = data
        for number, (load, cells) in enumerate(loads.items()):
            awake = [line.name for line in run.catalog if not line.sleeps]
            situation = _situation(f"{experiment}-{number}", experiment, load, cells, awake)
            if len(situation.places) > 1:
                yield situation


def _is_about_rates(data: CellData) -> bool:
    return isinstance(data.cell.workload, Requests | ChurnSlices) and bool(data.values(throughput))


def _situation(
    name: str,
    experiment: str,
    load: Method,
    cells: Mapping[str, CellData],
    awake: Collection[str],
) -> Situation:
    """awake: servers that use a core while nothing happens"""
    silent = int(getattr(load, "idle_connections", 0) or 0)
    work = str(getattr(load, "work", None) or "")
    connects = isinstance(load, ChurnSlices)
    cores = int(getattr(load, "server_cpus", 1) or 1)
    ranked = {
        server: found
        for server, data in cells.items()
        if not data.first["connections"]["limit"] and (found := data.over_blocks(throughput))
    }
    ordered = sorted(ranked, key=lambda server: -ranked[server].value)
    places = []
    for server in ordered:
        best = ordered[0]
        said, tied = "the most", True
        if server != best:
            said, tied = _against(cells[best], cells[server])
        places.append(Place(server, worded(ranked[server], per_s), said, tied))
    out = [
        f"{server} ({data.first['connections']['limit']})"
        for server, data in cells.items()
        if data.first["connections"]["limit"]
    ]
    # A connection per request costs its work by design: that is not what is asked about.
    kind = "none" if connects or not work else work.partition(":")[0]
    words = [counted(int(load.connections), "client") + " at a time"]
    words += [f"{silent:,} more that are silent"] if silent else []
    words += ["a new connection for every request"] if connects else []
    words += [in_words(work)] if work else ["answers that cost nothing extra"]
    words += [f"{cores} cores for the server" if cores > 1 else "one core for the server"]
    return Situation(
        name=name,
        experiment=experiment,
        busy=int(load.connections),
        silent=silent,
        work=kind,
        connects=connects,
        several_cores=cores > 1,
        words="; ".join(words),
        places=tuple(places),
        left_out=tuple(out),
        caveats=tuple(
            f"{place.server} never sleeps: it uses a whole core while nothing happens."
            for place in places
            if place.tied and cells[place.server].server in awake
        ),
    )


def _against(best: CellData, other: CellData) -> tuple[str, bool]:
    """How the best stands to another, and whether the two are tied."""
    found = claimed(best, other, throughput)
    if found is None:
        return "not compared in one block", False
    told = interval(of_claim(found))
    if found.kind == "equal":
        return f"equal within {100 * found.margin:.0f} % ({told})", True
    if found.kind == "unresolved":
        return f"not resolved from the best, which answers {told} times as many", True
    return f"the best answers {told} times as many", False
