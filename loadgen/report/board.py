"""The standing of a duel while it goes on: a table that a terminal shows anew after every epoch;
elsewhere a line for each, and the table at the end."""

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from loadgen.analysis import duel
from loadgen.analysis.duel import Score
from loadgen.analysis.estimate import MINIMUM_BLOCKS
from loadgen.analysis.run import CellData
from loadgen.report.naming import figure
from loadgen.store.metric import Metric, cpu_us, throughput

HEADS = {
    throughput: "requests/s",
    cpu_us: "CPU/request",
    duel.P50: "p50",
    duel.P99: "p99",
}


class Board:
    """Shown inside the `with` statement; what it showed last stays.

    metrics      what contestants are compared by
    to_stderr    where the standard output is for something else
    """

    def __init__(self, metrics: Sequence[Metric], *, to_stderr: bool) -> None:
        self.console = Console(highlight=False, markup=False, emoji=False, stderr=to_stderr)
        self._metrics = metrics
        self._table = Table()
        self._live = Live(console=self.console, auto_refresh=False)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()
        elif kind is None and self._table.rows:
            self.console.print(self._table)

    def show(
        self, epochs: int, wanted: int, duellists: Sequence[CellData], scores: Sequence[Score]
    ) -> None:
        """What is known after so many epochs."""
        told = {(each.one, each.metric): ratio_text(each) for each in scores}
        names = [duel.called(each.cell) for each in duellists]
        title = f"epoch {epochs} of {wanted}"
        self._table = self._drawn(title, names, duellists, told)
        if self.console.is_terminal:
            self._live.update(self._table, refresh=True)
            return
        line = "; ".join(
            f"{name} {', '.join(told.get((name, metric), '-') for metric in self._metrics)}"
            for name in names[1:]
        )
        self.note(f"{title}: {line}")

    def note(self, text: str) -> None:
        """A line that stays, above the table."""
        self.console.print(text, soft_wrap=True)

    def _drawn(
        self,
        title: str,
        names: Sequence[str],
        duellists: Sequence[CellData],
        told: dict[tuple[str, Metric], str],
    ) -> Table:
        heads = [head for metric in self._metrics for head in (HEADS[metric], "ratio")]
        columns = (Column(head, justify="right", no_wrap=True) for head in heads)
        name = Column(title, overflow="fold", min_width=len(title))
        table = Table(name, *columns, box=None, pad_edge=False)
        for label, one in zip(names, duellists, strict=True):
            row = [label]
            for metric in self._metrics:
                found = one.over_blocks(metric)
                row.append(figure(metric, found.value, math.inf) if found else "-")
                row.append("1" if one is duellists[0] else told.get((label, metric), "-"))
            table.add_row(*row)
        return table


def ratio_text(score: Score) -> str:
    """ "0.99 [0.98, 1.00]", with as many digits as the precision has."""
    found = score.found
    value, low, high = (
        f"{each:.{digits(score)}f}" for each in (found.ratio, found.low, found.high)
    )
    return f"{value} [{low}, {high}]" if found.n >= MINIMUM_BLOCKS else value


def digits(score: Score) -> int:
    """Behind the point, so that the precision shows."""
    value = score.found.ratio
    if value >= 20:
        return 0
    return max(1 if value >= 5 else 2, math.ceil(-math.log10(score.found.margin)))
