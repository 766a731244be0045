"""A run while it goes on: the table of results fills itself, what did not count is grey and says
why, and all of it fits into the terminal.

Nothing is drawn but when a trial, or an epoch of a comparison, is stored: no thread draws while a
slice is measured (library: rich.live, auto_refresh).
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from loadgen.plan.order import comparison
from loadgen.report.naming import figure, named, titles
from loadgen.report.units import minutes, plural
from loadgen.trial.cell import Cell

if TYPE_CHECKING:
    from loadgen.plan.plan import Plan
    from loadgen.store.schema import Record

GREY = "dim not bold"
PENDING = "."  # to be measured
# Of what did not count, so much is kept in sight, in lines of the terminal.
REASONS, LINES_EACH = 3, 2
BAR_WIDTH = 20
# A terminal so low has no room for reasons.
LEAST_TABLE = 8
# Of a table before columns are left out.
WIDEST = 10_000


class Standing:
    """Shown inside the `with` statement, on a terminal; it leaves nothing behind, because the
    summary shows all of it.

    total_s   about how long all will take
    """

    def __init__(self, plan: "Plan", total_s: float, console: Console) -> None:
        self._plan = plan
        self._total_s, self._done_s = total_s, 0.0
        self._records: dict[Cell, list[Record]] = {}
        self._last: Cell | None = None
        self._reasons: list[str] = []
        self._live = Live(self, console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live.console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live.console.is_terminal:
            self._live.stop()

    def add(self, measured: Sequence[tuple[Cell, "Record"]]) -> None:
        """What was measured together, and is stored."""
        for cell, record in measured:
            self._records.setdefault(cell, []).append(record)
            self._done_s += cell.workload.seconds
        self._last = measured[-1][0]
        self._reasons += void_lines(measured)
        if self._live.console.is_terminal:
            self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As much as there is room for: the bar always, then reasons, then rows of the table."""
        reasons = [
            line
            for reason in self._reasons[-REASONS:]
            for line in textwrap.wrap(
                reason,
                options.max_width,
                max_lines=LINES_EACH,
                subsequent_indent="  ",
                placeholder=" …",
            )
        ]
        height = options.height or console.height
        reasons = reasons[-max(0, height - LEAST_TABLE) :] if height > LEAST_TABLE else []
        room = height - len(reasons) - 2
        if self._last is not None:
            yield from self._table(console, options.max_width, room)
        for reason in reasons:
            yield Text(reason, style=GREY, no_wrap=True, overflow="ellipsis")
        yield self._bar()

    def _bar(self) -> Table:
        left_s = max(0.0, self._total_s - self._done_s)
        line = Table.grid(Column(), Column(no_wrap=True), Column(ratio=1), padding=(0, 1))
        now = Text(named(self._last) if self._last else "", no_wrap=True, overflow="ellipsis")
        share = min(1.0, self._done_s / self._total_s) if self._total_s else 1.0
        line.add_row(
            ProgressBar(total=1.0, completed=share, width=BAR_WIDTH),
            f"{share:.0%}, about {minutes(left_s)} left",
            now,
        )
        return line

    def _table(self, console: Console, width: int, room: int) -> Iterator[Table | Text]:
        """That of the experiment which was measured last, with the workload that was measured last
        in bold: its columns as far as they fit, its rows as far as there is room."""
        assert self._last is not None
        name = self._last.experiment
        cells = [cell for cell in self._plan.cells if cell.experiment == name and not cell.replica]
        workloads = list(dict.fromkeys(replace(cell, server="") for cell in cells))
        heads = titles(workloads)
        now = replace(self._last, server="", replica=0)
        at = workloads.index(now) if now in workloads else 0
        # The column of now stays; others go, from the side that has more of them.
        first, end = 0, len(workloads)
        endless = console.options.update(width=WIDEST)
        while True:
            table = self._drawn(cells, workloads[first:end], heads[first:end], now, room)
            wanted = console.measure(table, options=endless).maximum
            if end - first <= 1 or wanted <= width:
                break
            if at - first > end - 1 - at:
                first += 1
            else:
                end -= 1
        yield Text(f"{name}, {self._progress(now)}", no_wrap=True, overflow="ellipsis")
        yield table

    def _progress(self, now: Cell) -> str:
        """ "epoch 2 of 5" """
        group = [cell for cell in self._plan.cells if comparison(cell) == comparison(now)]
        done = max((len(self._records.get(cell, ())) for cell in group), default=0)
        planned = self._plan.planned(tuple(group or [now]))
        word = "epoch" if now.workload.together else "trial"
        more = " (further ones: the interval is wide)" if done > planned else ""
        return f"{word} {done} of {max(done, planned)}{more}"

    def _drawn(
        self,
        cells: Sequence[Cell],
        workloads: Sequence[Cell],
        heads: Sequence[str],
        now: Cell,
        room: int,
    ) -> Table:
        lines = max((head.count("\n") + 1 for head in heads), default=1)
        planned = set(cells)
        servers = list(dict.fromkeys(cell.server for cell in cells))
        table = Table(
            Column("", no_wrap=True),
            *(
                Column(head, justify="right", no_wrap=True, style="bold" if each == now else "")
                for head, each in zip(heads, workloads, strict=True)
            ),
            box=None,
            pad_edge=False,
            collapse_padding=True,
            show_header=any(heads),
        )
        rows = max(1, room - lines)
        shown = servers if len(servers) <= rows else servers[: rows - 1]
        for server in shown:
            of = [replace(workload, server=server) for workload in workloads]
            table.add_row(server, *(self._figure(cell) if cell in planned else "" for cell in of))
        if len(shown) < len(servers):
            table.add_row(Text(f"and {plural(len(servers) - len(shown), 'server')}", style=GREY))
        return table

    def _figure(self, cell: Cell) -> Text:
        """What a cell comes to so far: the median of what counts, in a few characters."""
        records = self._records.get(cell, [])
        if not records:
            return Text(PENDING, style=GREY)
        valid = [record for record in records if record["verdict"]["valid"]]
        if not valid:
            return Text("void", style=GREY)
        metric = cell.workload.headline
        values = [value for record in valid if (value := metric(record)) is not None]
        told = figure(metric, median(values), math.inf) if values else "-"
        connections = valid[0]["connections"]
        if connections["limit"] is not None:
            told += f" ({connections['greeted']:,} of {connections['attempted']:,})"
        return Text(told)


def void_lines(measured: Sequence[tuple[Cell, "Record"]]) -> Iterator[str]:
    """What did not count of what was measured together, and why: of rounds one line, because they
    are void for every server; and one for each trial."""
    void = next((record["slices"]["void"] for _, record in measured if record["slices"]), [])
    reasons = [reason for reason in void if reason]
    if reasons:
        cell = comparison(measured[0][0])
        what = named(cell).replace(" ,", ",")
        yield f"void: {what}: {len(reasons)} of {len(void)} rounds: {reasons[0]}"
    for cell, record in measured:
        if not record["verdict"]["valid"]:
            yield f"invalid: {named(cell)}: {'; '.join(record['verdict']['reasons'])}"
