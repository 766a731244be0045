"""A figure as tables: what the chart shows, for those who do not see it, or want the numbers."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from loadgen.report.figure import Figure, Panel, Point
from loadgen.report.html.marks import bar_told, told
from loadgen.report.units import formatted


@dataclass(frozen=True)
class Table:
    """A caption, a head, and rows; the first field of a row is its head."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(figure: Figure) -> list[Table]:
    """A table per panel, of the figure as it was made: all models, none left out."""
    return [table for panel in figure.panels if (table := _table(panel)) is not None]


def _table(panel: Panel) -> Table | None:
    caption = ": ".join(
        filter(None, (panel.title.replace("\n", ", "), panel.y_label or panel.x_label))
    )
    if panel.kind == "key":
        return None
    if panel.kind == "lanes":
        return Table(caption, ("who", "in order"), tuple(_lanes(panel)))
    if panel.kind in ("dots", "ratios"):
        return Table(caption, ("which", panel.x_label or "value"), tuple(_dots(panel)))
    xs = sorted({point.x for series in panel.series for point in series.points})
    if panel.nines:
        xs = [x for x in (50, 90, 99, 99.9, 99.99) if any(_on(s.points, x) for s in panel.series)]
    find = _on if panel.nines else _at
    if not xs:
        return None
    head = tuple(f"{x:g}" if panel.nines else formatted(x, panel.x_format) for x in xs)
    rows = tuple(
        (
            f"{series.label} {series.note}".strip(),
            *(
                told(point, lambda y: formatted(y, panel.y_format)) if point else ""
                for point in (find(series.points, x) for x in xs)
            ),
        )
        for series in panel.series
    )
    return Table(caption, (panel.x_label, *head), rows)


def _at(points: tuple[Point, ...], x: float) -> Point | None:
    return next((point for point in points if abs(point.x - x) <= 1e-6 * max(1.0, abs(x))), None)


def _on(points: tuple[Point, ...], percentile: float) -> Point | None:
    """Where a curve of percentiles passes this one: between two of its points on the line that the
    chart draws, which is straight in the logarithm of what is beyond."""
    for before, after in itertools.pairwise(points):
        if before.x <= percentile <= after.x < 100:
            if before.x == after.x:
                return after
            beyond = [math.log(100 - x) for x in (before.x, percentile, after.x)]
            share = (beyond[0] - beyond[1]) / (beyond[0] - beyond[2])
            return Point(percentile, before.y + share * (after.y - before.y))
    return None


def _dots(panel: Panel) -> Iterator[tuple[str, ...]]:
    for series in panel.series:
        first = series.points[:1]
        value = "".join(told(point, lambda y: formatted(y, panel.x_format)) for point in first)
        _, opened, words = series.note.partition(" (")
        more = f" ({words}" if opened else "" if series.points else series.note
        for truth in series.points[1:]:
            more += f" (should be {formatted(float(f'{truth.y:.3g}'), panel.x_format)})"
        yield series.label, f"{value}{more}".strip()


def _lanes(panel: Panel) -> Iterator[tuple[str, ...]]:
    for number, lane in enumerate(panel.lanes):
        bars = [bar for bar in panel.bars if bar.lane == number and bar.end > bar.start]
        yield lane, "; ".join(bar_told(panel, bar) for bar in bars)
