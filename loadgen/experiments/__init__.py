"""One file, one question. `ALL` is the order in which they are run and reported.

An experiment is a module with
    NAME, QUESTION, HYPOTHESIS, HOW_TO_READ   texts
    cells(profile, servers)                   what is measured: a list of `Cell`
    figures(run)                              an `analysis.Run` => a list of `figure.Figure`
    finding(run)                              one sentence with figures from the run's own data
"""

import dataclasses
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

from loadgen.report.figure import Figure, Section
from loadgen.store.results import ResultsError
from loadgen.workload.workload import Workload
from servers.catalog import Variant

if TYPE_CHECKING:
    from loadgen.analysis.analysis import Run

Profile = Literal["quick", "standard", "full"]

ALL = (
    "throughput",
    "idle",
    "load",
    "idle_cost",
    "churn",
    "slow_clients",
    "handler",
    "payload",
    "footprint",
    "fairness",
    "timeline",
    "system_calls",
    "trust",
)

# What a run of a minute has time for; the others are named on the command line.
QUICK = ("throughput", "idle", "load", "timeline")

# How long a trial lasts is no part of what it measures, and its seed changes from block to block.
_NOT_IN_ID = {"warmup_s", "duration_s", "drain_s", "seed"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination that is measured again in every block.

    options   further words of the server's command line, names and values in turn
    """

    experiment: str
    server: str
    workload: Workload
    options: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Stable and unique within a run: experiment/server/what differs from the plainest load."""
        plain = Workload()
        parts = [
            f"{field.name}={getattr(self.workload, field.name)}"
            for field in dataclasses.fields(Workload)
            if field.name not in _NOT_IN_ID
            and getattr(self.workload, field.name) != getattr(plain, field.name)
        ]
        parts += [
            "=".join(pair).removeprefix("--")
            for pair in zip(*[iter(self.options)] * 2, strict=True)
        ]
        return "/".join((self.experiment, self.server, ",".join(parts) or "plain"))


class Experiment(Protocol):
    """The form that every module in this folder has."""

    NAME: str
    QUESTION: str
    HYPOTHESIS: str
    HOW_TO_READ: str

    def cells(self, profile: Profile, servers: Sequence[Variant]) -> list[Cell]:
        """What is measured."""

    def figures(self, run: "Run") -> list[Figure]:
        """What is drawn, from stored trials alone."""

    def finding(self, run: "Run") -> str:
        """What came out, in one sentence."""


def find(name: str) -> Experiment:
    """The experiment of that name; KeyError says which names there are."""
    if name not in ALL:
        raise KeyError(f"unknown experiment {name!r}; there are: {', '.join(ALL)}")
    return cast(Experiment, importlib.import_module(f"{__name__}.{name}"))


def sections(run: "Run") -> list[Section]:
    """What the experiments of a run have to show, in the order of its plan.

    Raises ResultsError for a run whose experiments this lab does not know.
    """
    try:
        return [
            Section(
                name=name,
                question=experiment.QUESTION,
                hypothesis=experiment.HYPOTHESIS,
                finding=experiment.finding(run),
                figures=tuple(experiment.figures(run)),
            )
            for name in run.header["plan"]["experiments"]
            if run.of(name) and (experiment := find(name))
        ]
    except KeyError as error:
        raise ResultsError(f"{run.path} was measured by another lab: {error.args[0]}") from error
