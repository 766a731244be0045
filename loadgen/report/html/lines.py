"""Panels with lines, as the chart library takes them."""

import math
import textwrap
from collections.abc import Callable, Sequence

from matplotlib.ticker import LogLocator, MaxNLocator

from loadgen.analysis.catalog import Catalog
from loadgen.report.figure import BEYOND, Panel, Point, Series
from loadgen.report.html.marks import (
    Graph,
    build_wall,
    five_digits,
    inscribed,
    note_at,
    reach,
    server_of,
    symbol_of,
    told,
    tone_of,
)
from loadgen.report.svg import apart
from loadgen.report.units import formatted

NINES = (0, 50, 90, 99, 99.9, 99.99, 99.999)
WIDTHS = {"front": 2.2, "reference": 1.6, "behind": 1.0}
LETTER_PIXELS = 7
MOST_BESIDE = 24  # letters of a name at the end of a line
LABEL_PIXELS, AROUND_AXES_PIXELS = 14, 56  # a name at the end of a line; above and below axes


def lines(panel: Panel, catalog: Catalog, height: int) -> Graph:
    points = [point for series in panel.series for point in series.points]
    place, marks, words = _places(panel, sorted({point.x for point in points}))
    data = [_line(panel, series, catalog, place) for series in panel.series if series.points]
    layout: Graph = {
        "xaxis": {
            "title": {"text": inscribed(panel.x_label)},
            "type": "log" if panel.x_log or panel.nines else "linear",
            "tickvals": marks,
            "ticktext": words,
        },
        "yaxis": _y_axis(panel, points, height),
        "shapes": [],
        "annotations": [],
    }
    if points:
        layout["xaxis"]["range"] = _x_range(panel, [place(point.x) for point in points])
    if panel.ceiling is not None and points:
        _shade(panel, layout)
    for number, wall in enumerate(panel.walls):
        build_wall(wall, place(wall.x), number, catalog, layout)
    for number, note in enumerate(panel.notes or (() if points else ("nothing was measured",))):
        layout["annotations"].append(note_at(note, 0.02, 0.97 - 0.08 * number))
    named = _names_at_ends(panel, layout, catalog, height)
    layout["annotations"] += named
    longest = max((len(word["text"]) for word in named), default=0)
    return {"data": data, "layout": layout, "height": height, "right": 14 + 7 * longest}


def _names_at_ends(panel: Panel, layout: Graph, catalog: Catalog, height: int) -> list[Graph]:
    """Each line's name right of the axes, near its end; further down or up where another stands."""
    if not panel.series:
        return []
    axis = layout["yaxis"]
    low, high = axis["range"]
    ends = []
    for series in panel.series:
        if series.role == "behind" or not series.points:
            continue
        y = series.points[-1].y
        y = math.log10(max(y, 1e-12)) if axis["type"] == "log" else y
        ends.append((min(1.0, max(0.0, (y - low) / (high - low))), series))
    farthest = max((series.points[-1].x for _, series in ends), default=0.0)
    ends.sort(key=lambda end: end[0])
    gap = LABEL_PIXELS / max(1, height - AROUND_AXES_PIXELS)
    heights = apart([y for y, _ in ends], gap, 0.0, 1.0)
    found = []
    for (_, series), y in zip(ends, heights, strict=True):
        word = note_at(series.label[:MOST_BESIDE], 1.0, round(y, 4))
        word |= {"yanchor": "middle", "xshift": 7, "name": server_of(series.label, catalog)}
        word["font"] = {"color": tone_of(series, catalog), "size": 11}
        if series.points[-1].x < farthest:
            word["text"] += f" (to {formatted(series.points[-1].x, panel.x_format)})"
        found.append(word)
    return found


def _line(panel: Panel, series: Series, catalog: Catalog, place: Callable[[float], float]) -> Graph:
    tone = tone_of(series, catalog)
    front = series.role == "front"
    reaches = [reach(point) for point in series.points]
    name = f"{series.label} {series.note}".strip()
    trace: Graph = {
        "type": "scatter",
        "mode": "lines+markers" if front and not panel.nines else "lines",
        "name": inscribed(name),
        "meta": server_of(series.label, catalog),
        "x": [place(point.x) for point in series.points],
        "y": [five_digits(point.y) for point in series.points],
        "text": [
            f"<b>{inscribed(name)}</b><br>{inscribed(panel.x_label)}:"
            f" {_x_word(panel, point.x)}<br>{inscribed(panel.y_label)}:"
            f" {told(point, lambda y: formatted(y, panel.y_format))}"
            for point in series.points
        ],
        "hoverinfo": "text",
        "line": {
            "color": tone,
            "width": WIDTHS[series.role],
            "dash": "dash" if series.dashed or series.role == "reference" else "solid",
        },
        "marker": {
            "color": tone,
            "size": 8,
            "symbol": [
                f"{symbol_of(series.label, catalog)}{'-open' if point.hollow else ''}"
                for point in series.points
            ],
        },
    }
    if front and not panel.nines and any(map(any, reaches)):
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "arrayminus": [five_digits(low) for low, _ in reaches],
            "array": [five_digits(high) for _, high in reaches],
            "color": tone,
            "thickness": 1.4,
            "width": 3,
        }
    return trace


def _x_word(panel: Panel, x: float) -> str:
    return f"{x:g}" if panel.nines else formatted(x, panel.x_format)


def _places(
    panel: Panel, xs: Sequence[float]
) -> tuple[Callable[[float], float], list[float], list[str]]:
    """Where a value stands on the x axis, and its ticks: zero has a place on a log axis too, and
    of percentiles 90 and 99 are as far apart as 99 and 99.9."""
    if panel.nines:
        shown = [x for x in NINES if xs and x <= xs[-1]]
        return (
            lambda x: five_digits(1 / (1 - x / 100)),
            [five_digits(1 / (1 - x / 100)) for x in shown],
            [f"{x:g}" for x in shown],
        )
    positive = [x for x in xs if x > 0]
    zero = min(positive) / 4 if panel.x_log and positive else 0.0

    def place(x: float) -> float:
        return x if x > 0 else zero

    if panel.x_log:
        return place, [place(x) for x in xs], [formatted(x, panel.x_format) for x in xs]
    low, high = panel.x_range or (min(xs, default=0.0), max(xs, default=1.0))
    ticks = [float(x) for x in MaxNLocator(6).tick_values(low, high)]
    return place, ticks, [formatted(x, panel.x_format) for x in ticks]


def _x_range(panel: Panel, places: Sequence[float]) -> list[float]:
    low, high = panel.x_range or (min(places), max(places))
    if panel.x_log or panel.nines:
        low, high = math.log10(low), math.log10(high)
    margin = 0.05 * (high - low or 0.5)
    return [low - margin, high + margin]


def _y_axis(panel: Panel, points: Sequence[Point], height: int) -> Graph:
    """Room for all values, and for intervals unless they dwarf the values."""
    values = [point.y for point in points] + ([panel.ceiling] if panel.ceiling else [])
    ends = [end for point in points for end in (point.low, point.high) if end is not None]
    ends = [end for end in ends if math.isfinite(end)]
    lines = textwrap.wrap(panel.y_label, max(12, (height - AROUND_AXES_PIXELS) // LETTER_PIXELS))
    axis: Graph = {"title": {"text": "<br>".join(map(inscribed, lines))}}
    if panel.y_log:
        positive = [value for value in values if value > 0] or [1.0]
        low, high = min(positive), max(positive)
        low = max(low / 2, min([low, *(end for end in ends if end > 0)])) / 1.25
        high = min(high * 2, max([high, *ends])) * 1.25
        if panel.y_range:
            low, high = panel.y_range
        subs = (1,) if high / low >= 500 else (1, 2, 5) if high / low >= 8 else (1, 1.5, 2, 3, 5, 7)
        ticks = LogLocator(subs=subs, numticks=20).tick_values(low, high)
        axis |= {"type": "log", "range": [math.log10(low), math.log10(high)]}
    else:
        low, high = 0.0, max(values, default=0.0) or 1.0
        high = min(high * 1.3, max([high, *ends])) * 1.07
        low, high = panel.y_range or (low, high)
        ticks = MaxNLocator(6).tick_values(low, high)
        axis |= {"type": "linear", "range": [low, high]}
    shown = [float(tick) for tick in ticks if low <= tick <= high]
    axis |= {"tickvals": shown, "ticktext": [formatted(y, panel.y_format) for y in shown]}
    return axis


def _shade(panel: Panel, layout: Graph) -> None:
    """What lies beyond the generator's reach."""
    low, high = layout["yaxis"]["range"]
    ceiling = panel.ceiling or 0.0
    if panel.y_log or not low < ceiling < high:
        return
    layout["shapes"].append(
        {
            "type": "rect",
            "layer": "below",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": ceiling,
            "y1": high,
            "fillcolor": "shade",
            "line": {"width": 0},
        }
    )
    layout["annotations"].append(note_at(BEYOND, 0.02, 0.995))
