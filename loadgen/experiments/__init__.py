"""Each experiment asks one question, in one file: what is measured for it, drawn and said.

`ALL` is the order in which they are run and reported.

An experiment is a module with
    NAME, QUESTION, HYPOTHESIS, HOW_TO_READ   texts
    cells(profile, servers)                   what is measured: a list of `Cell`
    figures(run)                              an `analysis.Run` => a list of `figure.Figure`
    finding(run)                              one sentence with figures from the run's own data
"""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Report, Section
from loadgen.store.runs import ResultsError
from loadgen.trial.cell import Cell
from servers import catalog
from servers.catalog import Model

if TYPE_CHECKING:
    from loadgen.analysis.run import Run

ALL = (
    "throughput",
    "idle",
    "load",
    "idle_cost",
    "churn",
    "slow_clients",
    "handler",
    "workers",
    "payload",
    "receive_size",
    "footprint",
    "fairness",
    "edges",
    "timeline",
    "system_calls",
    "interpreters",
    "trust",
    "transports",
    "http",
    "reaping",
    "claims",
)

# For a run that names them: together with the others they would take too long.
BY_NAME = ("transports", "http", "reaping", "claims")

# Not asked by a bench: its cells are named on the command line (`duel`).
OTHERS = ("duel",)

# What a run of a minute has time for; the others are named on the command line.
QUICK = ("throughput", "idle", "load", "timeline")

# Where nobody names servers, these measure one of every family; the others have time for those of
# the tutorials.
OF_EVERY_FAMILY = (
    "throughput",
    "idle",
    "idle_cost",
    "churn",
    "footprint",
    "timeline",
    "system_calls",
    "reaping",
)
# And these have servers of their own, of all that there are.
OF_THEIR_OWN = (
    "workers",
    "receive_size",
    "edges",
    "interpreters",
    "transports",
    "http",
    "claims",
)
# And these measure servers without connections too, unless servers were chosen.
WITH_DATAGRAMS = ("transports",)

# Measured under every interpreter that is named; the others under the first.
UNDER_EACH_INTERPRETER = ("workers", "receive_size", "interpreters")


class Experiment(Protocol):
    """The form that every module in this folder has."""

    NAME: str
    QUESTION: str
    HYPOTHESIS: str
    HOW_TO_READ: str

    def cells(self, profile: Profile, servers: Sequence[Model]) -> list[Cell]:
        """What is measured."""

    def figures(self, run: "Run") -> list[Figure]:
        """What is drawn, from stored trials alone."""

    def finding(self, run: "Run") -> str:
        """What came out, in one sentence."""


def find(name: str) -> Experiment:
    """The experiment of that name; KeyError says which names there are."""
    if name not in (*ALL, *OTHERS):
        raise KeyError(catalog.unknown("experiment", name, ALL))
    return cast(Experiment, importlib.import_module(f"{__name__}.{name}"))


def cells(
    name: str, profile: Profile, servers: Sequence[Model], pythons: Sequence[str] = ()
) -> list[Cell]:
    """What is measured for the experiment of that name.

    servers  that were chosen, or those that are for a run in which nobody chooses
    pythons  interpreters for the servers, as they were named; none: the lab's own
    """
    if name in WITH_DATAGRAMS and list(servers) in (catalog.usual(), list(catalog.MODELS)):
        servers = catalog.every()
    elif list(servers) == catalog.usual():
        if name in OF_THEIR_OWN:
            servers = catalog.MODELS
        elif name not in OF_EVERY_FAMILY:
            servers = [model for model in servers if model.standing == "classic"]
    found = find(name).cells(profile, servers)
    under: Sequence[str | None] = pythons or [None]
    if name not in UNDER_EACH_INTERPRETER:
        under = under[:1]
    return [replace(cell, python=python) for python in under for cell in found]


def report(run: "Run") -> Report:
    """What a run has to show: its headlines, and its experiments in the order of its plan.

    Raises ResultsError for a run whose experiments this lab does not know.
    """
    sections = tuple(
        Section(
            name=name,
            question=experiment.QUESTION,
            hypothesis=experiment.HYPOTHESIS,
            finding=experiment.finding(run),
            figures=tuple(experiment.figures(run)),
        )
        for name, experiment in _measured(run)
    )
    from loadgen.experiments import claims, headlines, standings

    return Report(
        tuple(headlines.sentences(run)),
        headlines.precision(run),
        standings.table(run),
        sections,
        claims.tested(run),
    )


def findings(run: "Run") -> list[tuple[str, str]]:
    """What each experiment of a run says of its own data: (name, sentence); as `report`."""
    return [(name, experiment.finding(run)) for name, experiment in _measured(run)]


def headlines_of(run: "Run") -> list[str]:
    """What a run says of the claims that were named before it, a sentence each, and last how
    precise it is."""
    from loadgen.experiments import headlines

    return list(filter(None, (*headlines.sentences(run), headlines.precision(run))))


def _measured(run: "Run") -> list[tuple[str, Experiment]]:
    try:
        return [(name, find(name)) for name in run.header["plan"]["experiments"] if run.of(name)]
    except KeyError as error:
        raise ResultsError(f"{run.path} was measured by another lab: {error.args[0]}") from error
