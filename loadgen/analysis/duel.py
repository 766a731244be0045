"""A duel: each contestant against the first, and how many epochs decide it.

Two stages (Stein 1945, Annals of Mathematical Statistics 16). After the first, one look at how much
the ratios scatter says how many epochs make every interval narrow enough, and that many are
measured. The means are not looked at: whoever stopped as soon as a difference shows would stop at
differences that chance made, and intervals would cover the truth less often than they say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.claim import Claim, claim
from loadgen.analysis.estimate import MINIMUM_BLOCKS, MOST_EPOCHS, epochs_needed, ratio
from loadgen.analysis.run import CellData
from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Method, Slices

FIRST_EPOCHS = 5

P50 = metric.latency_us("response", "p50")
P99 = metric.latency_us("response", "p99")


@dataclass(frozen=True)
class Score:
    """A figure of one contestant, divided by that of the first."""

    one: str
    other: str
    metric: Metric
    found: Claim

    def as_record(self) -> dict[str, object]:
        """For JSON. From too few epochs there is no interval: its ends are null."""
        found = self.found
        known = found.n >= MINIMUM_BLOCKS
        return {
            "a": self.one,
            "b": self.other,
            "metric": self.metric.name,
            "ratio": found.ratio,
            "low": found.low if known else None,
            "high": found.high if known else None,
            "claim": found.kind,
        }


def metrics(workload: Method) -> tuple[Metric, ...]:
    """What contestants are compared by: how much they do, or at a given rate how fast."""
    if isinstance(workload, Slices) and workload.offered_per_s is not None:
        return P50, P99
    return metric.throughput, metric.cpu_us


def called(cell: Cell) -> str:
    """A contestant's name; who takes part twice has two."""
    return f"{cell.server} (again)" if cell.replica else cell.server


def contestants(cells: Sequence[Cell], records: Sequence[Record]) -> list[CellData]:
    """What was measured of each, in the order of the cells."""
    found = {cell: CellData(cell) for cell in cells}
    for record in records:
        found[Cell.of(record["cell"])].records.append(record)
    return list(found.values())


def scores(duellists: Sequence[CellData], precision: float) -> list[Score]:
    """Every ratio to the first of them that there is: by each contestant, metric by metric."""
    first, *others = duellists
    epoch_s = sum(each.cell.workload.seconds for each in duellists)
    return [
        Score(called(one.cell), called(first.cell), figure, said)
        for one in others
        for figure in metrics(first.cell.workload)
        if (logs := _logs(one, first, figure))
        and (
            said := claim(
                logs,
                margin=precision,
                more_is_faster=figure is metric.throughput,
                epoch_s=epoch_s,
            )
        )
    ]


def epochs_wanted(duellists: Sequence[CellData], precision: float) -> int:
    """How many epochs to measure in all, as the first stage says; before it is over, those of the
    first stage. Who has failed all along is not waited for."""
    first, *others = duellists
    if max((len(each.records) for each in duellists), default=0) < FIRST_EPOCHS:
        return FIRST_EPOCHS
    wanted = [FIRST_EPOCHS]
    for one in others:
        for figure in metrics(first.cell.workload):
            logs = _logs(_first_stage(one), _first_stage(first), figure)
            if len(logs) > 1:
                lost = FIRST_EPOCHS - len(logs)
                wanted.append(lost + epochs_needed(logs, precision))
    return min(max(wanted), MOST_EPOCHS)


def excluded(epoch: Sequence[Record]) -> list[str]:
    """What of an epoch does not count: a line for each reason, with all whom it concerns."""
    reasons: dict[str, list[str]] = {}
    for record in epoch:
        if not record["verdict"]["valid"]:
            said = record["failure"] or "; ".join(record["verdict"]["reasons"])
            reasons.setdefault(said, []).append(called(Cell.of(record["cell"])))
    return [f"{', '.join(names)} excluded: {reason}" for reason, names in reasons.items()]


def void(records: Sequence[Record]) -> str | None:
    """How many of the rounds were excluded for everybody; None: none was."""
    by_epoch = {record["block"]: record["slices"] for record in records if record["slices"]}
    rounds = [reason for slices in by_epoch.values() for reason in slices["void"]]
    reasons = [reason for reason in rounds if reason]
    if not reasons:
        return None
    return f"{len(reasons)} of {len(rounds)} rounds were void and are excluded, as: {reasons[0]}"


def complaints(duellists: Sequence[CellData], found: Sequence[Score]) -> list[str]:
    """Who failed, and of whom too little is known; a line each."""
    first, *others = duellists
    known = {score.one for score in found if score.found.n >= MINIMUM_BLOCKS}
    return [
        *(text for each in duellists if (text := _failure(each))),
        *(
            f"{name} has fewer than {MINIMUM_BLOCKS} valid epochs in common with"
            f" {called(first.cell)}"
            for each in others
            if (name := called(each.cell)) not in known
        ),
    ]


def _failure(one: CellData) -> str | None:
    failures = [record["failure"] for record in one.records if record["failure"] is not None]
    if not failures:
        return None
    epochs = f"{len(failures)} of {len(one.records)} epochs"
    return f"{called(one.cell)} failed in {epochs}, as: {failures[0]}"


def _first_stage(one: CellData) -> CellData:
    records = [record for record in one.records if record["block"] < FIRST_EPOCHS]
    return CellData(one.cell, records)


def _logs(one: CellData, other: CellData, figure: Metric) -> tuple[float, ...]:
    found = ratio(one.records, other.records, figure)
    return found.logs if found else ()
