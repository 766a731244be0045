"""Panels with rows, as the chart library takes them: dots, and bars in lanes."""

import math
from collections.abc import Sequence

from matplotlib.ticker import LogLocator, MaxNLocator

from loadgen.analysis.catalog import Catalog
from loadgen.report.figure import Bar, Panel, Point, Series
from loadgen.report.html.marks import (
    FAINT,
    INK,
    Graph,
    bar_told,
    build_wall,
    five_digits,
    inscribed,
    note_at,
    reach,
    server_of,
    symbol_of,
    three_digits,
    told,
    tone_of,
)
from loadgen.report.units import formatted

ROW_PIXELS, AROUND_PIXELS = 25, 75
LANE_PIXELS = 22
MOST_BESIDE = 40  # letters of a name beside a row
# How much of its colour a bar has, how high it is, and how it is hatched.
_LOOKS = {
    "solid": (1.0, 0.74, ""),
    "light": (0.4, 0.74, ""),
    "faint": (0.55, 0.16, ""),
    "hatched": (1.0, 0.74, "/"),
}


def dots(panel: Panel, catalog: Catalog) -> Graph:
    """A row per series: its name and value, a dot with its interval."""
    count = len(panel.series)
    data: list[Graph] = []
    for row, series in enumerate(panel.series):
        data += [_dot(panel, row, series, point, catalog) for point in series.points[:1]]
        data += [_truth(panel, row, series, point, catalog) for point in series.points[1:]]
    axis = _dot_axis(panel)
    layout: Graph = {
        "xaxis": axis | {"title": {"text": inscribed(panel.x_label)}},
        "yaxis": {
            "tickvals": list(range(count)),
            "ticktext": [_row_head(panel, series) for series in panel.series],
            "range": [count - 0.4, -0.6],
            "type": "linear",
            "rows": True,
        },
        "shapes": [],
        "annotations": [],
    }
    if panel.kind == "ratios":
        layout["shapes"].append(
            {
                "type": "line",
                "yref": "paper",
                "x0": 1,
                "x1": 1,
                "y0": 0,
                "y1": 1,
                "line": {"color": FAINT, "width": 1, "dash": "solid"},
            }
        )
    if not panel.series:
        layout["annotations"].append(note_at("nothing was measured", 0.02, 0.97))
    return {"data": data, "layout": layout, "height": AROUND_PIXELS + ROW_PIXELS * max(count, 2)}


def _row_head(panel: Panel, series: Series) -> str:
    """A name with its value: beside a row there is no room on a phone."""
    value, _, words = series.note.partition(" (")
    value = value.partition(" [")[0]
    if not value and series.points:
        value = formatted(three_digits(series.points[0].y), panel.x_format)
    served = f" ({words.removesuffix(' served)')})" if words.endswith(" served)") else ""
    return f"{inscribed(series.label[:MOST_BESIDE] + served)}  <b>{inscribed(value)}</b>"


def _dot(panel: Panel, row: int, series: Series, point: Point, catalog: Catalog) -> Graph:
    low, high = reach(point)
    name = inscribed(f"{series.label} {series.note}".strip())
    value = told(point, lambda y: formatted(y, panel.x_format))
    tone = tone_of(series, catalog)
    return _mark(row, series, point, catalog) | {
        "text": [f"<b>{name}</b><br>{inscribed(panel.x_label)}: {value}"],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "arrayminus": [five_digits(low)],
            "array": [five_digits(high)],
            "color": tone,
            "thickness": 2.2,
            "width": 0,
        },
        "marker": {
            "color": tone,
            "size": 10,
            "symbol": f"{symbol_of(series.label, catalog)}{'-open' * point.hollow}",
        },
    }


def _truth(panel: Panel, row: int, series: Series, point: Point, catalog: Catalog) -> Graph:
    """A tick where a row should be."""
    return _mark(row, series, point, catalog) | {
        "text": [f"should be {formatted(three_digits(point.y), panel.x_format)}"],
        "marker": {"color": INK, "size": 16, "symbol": "line-ns-open"},
    }


def _mark(row: int, series: Series, point: Point, catalog: Catalog) -> Graph:
    return {
        "type": "scatter",
        "mode": "markers",
        "meta": server_of(series.label, catalog),
        "name": inscribed(series.label),
        "x": [five_digits(point.y)],
        "y": [row],
        "hoverinfo": "text",
    }


def _dot_axis(panel: Panel) -> Graph:
    points = [point for series in panel.series for point in series.points]
    values = [point.y for point in points]
    ends = [end for p in points for end in (p.low, p.high) if end is not None]
    reached = [*values, *(end for end in ends if math.isfinite(end))]
    if panel.x_log:
        positive = [value for value in reached if value > 0] or [1.0]
        low, high = min(positive) / 1.15, max(positive) * 1.15
        subs = (1,) if high / low >= 100 else (1, 2, 5)
        ticks = LogLocator(subs=subs, numticks=20).tick_values(low, high)
        axis: Graph = {"type": "log", "range": [math.log10(low), math.log10(high)]}
    else:
        if panel.kind == "ratios":
            low, high = min(1.0, *reached, 1.0), max(1.0, *reached, 1.0)
            margin = 0.05 * (high - low or 1)
            low, high = low - margin, high + margin
        else:
            low, high = 0.0, 1.06 * min(1.5 * max(values, default=0), max(reached, default=0))
            high = high or 1.0
        low, high = panel.x_range or (low, high)
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
        axis = {"type": "linear", "range": [low, high]}
    shown = [float(tick) for tick in ticks if low <= tick <= high]
    return axis | {"tickvals": shown, "ticktext": [formatted(x, panel.x_format) for x in shown]}


def lanes(panel: Panel, catalog: Catalog) -> Graph:
    """Bars in lanes, those of one server and look in one trace."""
    groups: dict[tuple[str, str], list[Bar]] = {}
    for bar in panel.bars:
        groups.setdefault((bar.server, bar.style), []).append(bar)
    data = [_bars(panel, server, style, bars, catalog) for (server, style), bars in groups.items()]
    last = max((bar.end for bar in panel.bars), default=1.0)
    low, high = panel.x_range or (0.0, 1.05 * last)
    high = max(high, *(low + (wall.x - low) * 1.3 for wall in panel.walls), low)
    is_key = panel.kind == "key"
    whole = MaxNLocator(4, integer=True).tick_values(low, high)
    ticks = [float(x) for x in whole if low <= x <= high and not is_key]
    count = len(panel.lanes)
    layout: Graph = {
        "xaxis": {
            "title": {"text": inscribed(panel.x_label)},
            "type": "linear",
            "range": [low, high],
            "tickvals": ticks,
            "ticktext": [formatted(x, panel.x_format) for x in ticks],
        },
        "yaxis": {
            "tickvals": list(range(count)),
            "ticktext": [inscribed(lane[:MOST_BESIDE]) for lane in panel.lanes],
            "range": [count - 0.5, -0.5],
            "type": "linear",
            "rows": True,
        },
        "shapes": [],
        "annotations": [],
    }
    for wall in panel.walls:
        build_wall(wall, wall.x, 0, catalog, layout)
    return {"data": data, "layout": layout, "height": 62 + LANE_PIXELS * max(count, 2)}


def _bars(panel: Panel, server: str, style: str, bars: Sequence[Bar], catalog: Catalog) -> Graph:
    line = catalog.find(server)
    tone = line.colour if line else "#555555"
    opacity, height, hatch = _LOOKS[style]
    trace: Graph = {
        "type": "bar",
        "orientation": "h",
        "meta": line.name if line else "",
        "name": inscribed(server),
        "base": [five_digits(bar.start) for bar in bars],
        "x": [five_digits(bar.end - bar.start) for bar in bars],
        "y": [bar.lane for bar in bars],
        "width": height,
        "text": [inscribed(bar.text) for bar in bars],
        "textposition": "outside" if panel.kind == "key" else "inside",
        "insidetextanchor": "middle",
        "constraintext": "none" if panel.kind == "key" else "inside",
        "textfont": {"size": 11},
        "cliponaxis": False,
        "hovertext": [
            inscribed(f"{panel.lanes[bar.lane]}: {bar_told(panel, bar)}") for bar in bars
        ],
        "hoverinfo": "text" if panel.kind != "key" else "skip",
        "marker": {"color": tone, "opacity": opacity, "line": {"color": tone, "width": 0.5}},
    }
    if hatch:
        trace["marker"]["pattern"] = {"shape": hatch, "fgcolor": tone, "size": 6, "solidity": 0.35}
    return trace
