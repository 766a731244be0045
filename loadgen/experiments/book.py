"""Everything that the page of a run shows, gathered from its experiments."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from loadgen.analysis.run import Run
from loadgen.experiments import advice, cards, footprint, headlines, idle_cost, load, tour
from loadgen.experiments.tools import counted, listed
from loadgen.report import page
from loadgen.report.figure import Report
from loadgen.report.html.values import Book, Card, Situation
from loadgen.report.naming import named
from loadgen.trial.cell import Cell


def book(run: Run, report: Report, filmed: Collection[str] = ()) -> Book:
    """What the page of a run shows.

    report  that of the run
    filmed  servers that have a page because there is a film of them, measured or not
    """
    told = headlines.by_outcome(run)
    shown = cards.cards(run, filmed)
    situations = advice.situations(run)
    return Book(
        report=report,
        decided=tuple(text for kind, text in told if kind in ("faster", "slower")),
        ties=tuple(text for kind, text in told if kind == "equal"),
        undecided=tuple(text for kind, text in told if kind == "unresolved"),
        glance=tuple(_glance(run, shown, situations)),
        machine=page.machine(run),
        uncontrolled=tuple(_uncontrolled(run)),
        invalid=tuple(_invalid(run)),
        cards=shown,
        measures=cards.measures(run),
        situations=situations,
        tour=tour.stops(run),
        measured_in=_measured_in(run, [section.name for section in report.sections]),
    )


def _glance(
    run: Run, shown: Sequence[Card], situations: Sequence[Situation]
) -> Iterator[tuple[str, str, str]]:
    """What a reader asks first."""
    busy = [each for each in situations if each.experiment == "throughput"]
    if busy:
        most = max(busy, key=lambda each: each.busy)
        yield f"Which serves most, with {most.busy:,} busy clients?", _best(most), "q-throughput"
    silent = [each for each in situations if each.experiment == "idle" and each.silent]
    if silent:
        most = max(silent, key=lambda each: each.silent)
        question = f"And beside {most.silent:,} idle connections?"
        yield question, _best(most), "q-idle"
    if run.of("idle_cost"):
        yield "Which is cheapest while nothing happens?", idle_cost.finding(run), "q-idle_cost"
    if run.of("footprint"):
        question = "How much memory does a connection take?"
        yield question, footprint.finding(run), "q-footprint"
    if told := load.omitted(run):
        yield "Why does the p99 of a closed loop lie?", told, "q-load"
    ends = [f"{card.name}: {end}" for card in shown for end in card.serves]
    if ends:
        yield "Which serve a part of their clients only?", "; ".join(ends) + ".", "models"


def _measured_in(run: Run, sections: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Server => sections that have something of it."""
    found: dict[str, set[str]] = {}
    for data in run.cells.values():
        found.setdefault(data.cell.server, set()).add(data.cell.experiment)
    return {
        server: tuple(name for name in sections if name in experiments)
        for server, experiments in found.items()
    }


def _best(situation: Situation) -> str:
    first = situation.places[0]
    tied = [place.server for place in situation.places[1:] if place.tied]
    beaten = [place for place in situation.places if not place.tied]
    text = f"{first.server}, {first.value}"
    if tied:
        together = listed([first.server, *tied])
        text = f"{together} lead together, {first.value}: which of them is first is not decided"
    if beaten:
        text += f". Next is {beaten[0].server}, {beaten[0].value}: {beaten[0].against_best}"
    return f"{text}."


def _uncontrolled(run: Run) -> Iterator[str]:
    """What of the machine nobody held still, or watched."""
    machine = run.header["environment"]
    if machine["hypervisor"]:
        stolen = [
            record["machine"]["steal_fraction"]
            for record in run.records
            if record["machine"] and record["machine"]["steal_fraction"] is not None
        ]
        most = (
            f"; it took up to {100 * max(stolen):.1f} % of the CPUs during a trial"
            if stolen
            else ""
        )
        yield f"The machine is virtual: what else its host does is not known{most}."
    if machine["governor"] is None:
        yield "The clock rate of its CPUs is not known, and was not fixed."
    elif machine["governor"] != "performance":
        yield f"The clock rate of its CPUs was left to the governor {machine['governor']}."
    if machine["shared"]:
        yield "Server and generator had one CPU together."
    if machine["load_1min"] > 0.5:
        yield f"The load of the machine was {machine['load_1min']:.1f} when the run began."
    rounds = [
        void is not None
        for record in run.records
        if record["slices"]
        for void in record["slices"]["void"]
    ]
    if rounds:
        disturbed = 100 * sum(rounds) / len(rounds)
        yield f"{disturbed:.1f} % of the rounds were disturbed, and do not count."
    skipped = Counter(skip["reason"] for skip in run.header["plan"]["skipped"])
    for reason, times in sorted(skipped.items()):
        yield f"Not measured, {counted(times, 'cell')}: {reason}."


def _invalid(run: Run) -> Iterator[str]:
    reasons = Counter(
        (named(Cell.of(record["cell"])), "; ".join(record["verdict"]["reasons"]))
        for record in run.records
        if not record["verdict"]["valid"]
    )
    for (cell, reason), times in sorted(reasons.items()):
        yield f"{cell}{f', {times} times' if times > 1 else ''}: {reason}"
