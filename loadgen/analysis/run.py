"""A stored run, ready to be asked: its cells, and what its trials say of them together."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hdrh.histogram import HdrHistogram

from loadgen.analysis import catalog
from loadgen.analysis.catalog import Catalog
from loadgen.analysis.estimate import (
    MINIMUM_BLOCKS,
    PRECISION,
    Estimate,
    Metric,
    epochs_needed,
    estimate,
    ratio,
)
from loadgen.store import histogram, runs
from loadgen.store.runs import ResultsError
from loadgen.store.schema import Header, Latency, Record
from loadgen.trial.cell import Cell


@dataclass(frozen=True)
class CellData:
    """All trials of one cell."""

    cell: Cell
    records: list[Record] = field(default_factory=list)
    again: list[Record] = field(default_factory=list)
    """of the same server once more, in the same comparisons"""

    @property
    def valid(self) -> list[Record]:
        """Those that count."""
        return [record for record in self.records if record["verdict"]["valid"]]

    @property
    def compared(self) -> list[Record]:
        """What another server is to be compared with."""
        return [*self.records, *self.again]

    @property
    def first(self) -> Record:
        """One of them, for what all have in common: a valid one, if there is any."""
        return (self.valid or self.records)[0]

    @property
    def server(self) -> str:
        """The name of the server that was measured."""
        return self.cell.server

    @property
    def half_width(self) -> float | None:
        """Half the interval, relative to its value, of the figure that is to become narrow."""
        found = self.over_blocks(self.cell.workload.target)
        return found.half_width if found else None

    def over_blocks(self, metric: Metric) -> Estimate | None:
        """Median and interval over the valid trials.

        Slices are short, and some epochs of a slow server have too few requests for a p99: those
        that have one are not like the others. So a percentile by slices is that of the requests of
        all epochs together, and its interval that of the epochs' own, where each has one.
        """
        own = estimate(self.values(metric))
        quantile = getattr(metric, "quantile", None)
        if quantile is None or not self.first["slices"]:
            return own
        value = self.merged_us(*quantile)
        if value is None:
            return None
        if own is None or own.n < len(self.valid):
            return Estimate(value, 0.0, math.inf, 1)
        return replace(own, value=value, low=min(own.low, value), high=max(own.high, value))

    def values(self, metric: Metric) -> list[float]:
        """One figure per valid trial that has it."""
        values = [metric(record) for record in self.valid]
        return [value for value in values if value is not None]

    def merged(self, kind: Latency) -> tuple[HdrHistogram, int]:
        """All requests of all valid trials: those that were answered, in nanoseconds, and how many
        more were not. Raises ResultsError for what is no histogram."""
        texts = [record["histograms"][kind] for record in self.valid]
        summaries = [record["latency_ns"][kind] for record in self.valid]
        try:
            merged = histogram.merge(histogram.decode(text) for text in texts if text)
        except ValueError as error:
            raise ResultsError(f"{self.cell.id}: {error}: restore the file") from error
        return merged, sum(summary["censored"] for summary in summaries if summary)

    def merged_us(self, kind: Latency, percent: float) -> float | None:
        """A percentile (0 to 100) of all requests of all valid trials, in microseconds; None where
        `histogram.percentile` is."""
        answered, unanswered = self.merged(kind)
        value_ns = histogram.percentile(answered, percent, unanswered)
        return None if value_ns is None else value_ns / 1000


@dataclass(frozen=True)
class Run:
    """A stored run."""

    path: Path
    header: Header
    records: Sequence[Record]

    @functools.cached_property
    def cells(self) -> dict[str, CellData]:
        """By the cell's id, in the order of the plan. Raises ResultsError for a cell that this lab
        does not know."""
        try:
            planned = [Cell.of(cell) for cell in self.header["plan"]["cells"]]
            measured = [Cell.of(record["cell"]) for record in self.records]
        except ValueError as error:
            raise ResultsError(f"{self.path} was measured by another lab: {error}") from error
        # In a run of schema 1 only the trials say how long they are.
        cells = {cell.id: cell for cell in (*planned, *measured)}
        found = {id: CellData(cell) for id, cell in cells.items()}
        for cell, record in zip(measured, self.records, strict=True):
            found[cell.id].records.append(record)
            if (original := _plain(cell)) != cell and original.id in found:
                found[original.id].again.append(record)
        return {cell: data for cell, data in found.items() if data.records}

    @functools.cached_property
    def catalog(self) -> Catalog:
        """Its servers as they were presented when it was measured."""
        return catalog.of_lines(self.header["catalog"])

    @functools.cached_property
    def ceiling_per_s(self) -> float | None:
        """What the generator reached against the leanest peer; None if it was not calibrated, or if
        a server reached more than that: then the calibration was disturbed, and is no ceiling."""
        calibrated = [point["throughput_per_s"] for point in self.header["calibration"]]
        served = [record["throughput_per_s"] or 0.0 for record in self.records]
        ceiling = max(calibrated, default=None)
        return None if ceiling is None or ceiling < max(served, default=0.0) else ceiling

    def of(self, experiment: str) -> dict[str, CellData]:
        """The cells of one experiment, by id; servers in the order of the catalog. The same once
        more (`Cell.replica`) is left out: it is compared, and not shown."""
        found = {
            id: data
            for id, data in self.cells.items()
            if data.cell.experiment == experiment and not data.cell.replica
        }
        servers = self.catalog.in_order({data.server: None for data in found.values()})
        return dict(sorted(found.items(), key=lambda entry: servers.index(entry[1].server)))

    @functools.cached_property
    def twins(self) -> list[tuple[CellData, CellData]]:
        """Each cell that was measured twice in the same comparisons: (the same once more, it)."""
        found = {data.cell: data for data in self.cells.values()}
        return [
            (data, found[original])
            for cell, data in found.items()
            if cell.replica and (original := _plain(cell)) in found
        ]

    def along(self, experiment: str, axis: str) -> dict[str, dict[float, CellData]]:
        """Server => value of a workload field => cell, both in order."""
        table: dict[str, dict[float, CellData]] = {}
        for data in self.of(experiment).values():
            value: float = getattr(data.cell.workload, axis)
            table.setdefault(data.server, {})[value] = data
        return {name: dict(sorted(row.items())) for name, row in table.items()}


def load(path: Path) -> Run:
    """Read a run folder. Raises ResultsError."""
    stored = runs.load(path)
    return Run(stored.path, stored.header, stored.records)


def needs_more(cells: Sequence[Cell], records: Sequence[Record], planned: int) -> bool:
    """Is another block of these cells, which are measured together, worth its time? Looks at
    nothing but what was measured so far.

    planned   blocks of the first stage

    Of a server that has a trial of its own it is not: what the lab decides it decides by slices.
    """
    if not cells[0].workload.together:
        return False
    blocks = len({record["block"] for record in records})
    return blocks < MINIMUM_BLOCKS or blocks < blocks_needed(cells, records, planned)


def blocks_needed(cells: Sequence[Cell], records: Sequence[Record], planned: int) -> int:
    """So many blocks make every ratio to the reference narrow, as the planned ones predict.

    The reference is the server that takes part twice. Who serves a part of the clients only does
    something else, and is not waited for.
    """
    first = [record for record in records if record["block"] < planned]
    of = {cell: [record for record in first if Cell.of(record["cell"]) == cell] for cell in cells}
    reference = next((_plain(cell) for cell in cells if cell.replica), cells[0])
    compared = [record for cell in cells if _plain(cell) == reference for record in of[cell]]
    found = [
        ratio(of[cell], compared, cell.workload.target)
        for cell in cells
        if _plain(cell) != reference
        and not any(record["connections"]["limit"] for record in of[cell])
    ]
    return max(
        (epochs_needed(each.logs, PRECISION) for each in found if each and len(each.logs) > 1),
        default=planned,
    )


def _plain(cell: Cell) -> Cell:
    """The same, not "once more"."""
    return replace(cell, replica=0)
