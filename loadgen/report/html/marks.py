"""What the painters of all kinds of panels share: colours, markers, words, walls."""

import html
import math
from collections.abc import Callable
from typing import Any

from loadgen.analysis.catalog import Catalog
from loadgen.report.figure import Bar, BarStyle, Panel, Point, Series, Wall
from loadgen.report.units import formatted

# In Plotly's words: {"data": traces, "layout": axes, walls and words}.
Graph = dict[str, Any]
# Matplotlib's letters for markers, in Plotly's words.
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "d": "diamond-tall",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "P": "cross",
    "X": "x",
    "*": "star",
}
MOST_LETTERS = 120
PARTIAL, BEHIND, INK, FAINT = "#8A8A8A", "#C4C4C4", "ink", "faint"


def inscribed(text: str) -> str:
    """A text for the chart library, which reads some markup in it: as text, and no longer than has
    room."""
    return html.escape(text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}\u2026")


def server_of(label: str, catalog: Catalog) -> str:
    """The server that a label names, as the page knows it; none of other labels."""
    line = catalog.find(label)
    return line.name if line else ""


def tone_of(series: Series, catalog: Catalog) -> str:
    if series.role != "front":
        return INK if series.role == "reference" else BEHIND
    line = catalog.find(series.label)
    return PARTIAL if series.partial else line.colour if line else series.tone


def symbol_of(label: str, catalog: Catalog) -> str:
    line = catalog.find(label)
    return SYMBOLS.get(line.marker, "circle") if line else "circle"


def reach(point: Point) -> tuple[float, float]:
    """How far the interval of a point reaches down and up; nothing where it is not known."""
    if point.low is None or point.high is None or not math.isfinite(point.high):
        return 0.0, 0.0
    return max(0.0, point.y - point.low), max(0.0, point.high - point.y)


def told(point: Point, write: Callable[[float], str]) -> str:
    """A point in words: "61k [59k, 63k]"."""
    value = write(three_digits(point.y))
    if point.low is not None and point.high is not None and math.isfinite(point.high):
        ends = [write(three_digits(end)) for end in (point.low, point.high)]
        value += f" [{', '.join(ends)}]"
    return f"{value} (no valid trial)" if point.hollow else value


def three_digits(value: float) -> float:
    """Three digits; four from 1 to 1.1, where ratios are told from 1."""
    return float(f"{value:.{4 if 1 <= value < 1.1 else 3}g}")


def five_digits(value: float) -> float:
    """Five digits: more are not seen, and the page is smaller."""
    return float(f"{value:.5g}")


def note_at(text: str, x: float, y: float) -> Graph:
    """A note at a place of the axes."""
    return {
        "text": inscribed(text),
        "xref": "paper",
        "yref": "paper",
        "x": x,
        "y": y,
        "xanchor": "left",
        "yanchor": "top",
        "align": "left",
        "showarrow": False,
        "font": {"color": FAINT, "size": 11},
    }


def build_wall(wall: Wall, x: float, number: int, catalog: Catalog, layout: Graph) -> None:
    """The wall of this number, at a place of the x axis, and its text beside it."""
    line = catalog.find(wall.server)
    tone = line.colour if line else FAINT
    layout["shapes"].append(
        {
            "type": "line",
            "yref": "paper",
            "x0": x,
            "x1": x,
            "y0": 0,
            "y1": 1,
            "line": {"color": tone, "width": 1.6, "dash": "dot"},
        }
    )
    if wall.text:
        word = note_at(wall.text.replace(", ", ",\n"), 0, 0.98 - 0.16 * number)
        word |= {
            "xref": "x",
            "x": math.log10(x) if layout["xaxis"]["type"] == "log" else x,
            "xshift": 5,
            "font": {"color": tone, "size": 11},
        }
        word["text"] = word["text"].replace("\n", "<br>")
        layout["annotations"].append(word)


# What a bar means, by its look: of time, and of system calls.
DOES: dict[bool, dict[BarStyle, str]] = {
    True: {
        "solid": "is answered",
        "light": "waits for its turn",
        "faint": "waits outside",
        "hatched": "pauses",
    },
    False: {
        "solid": "a call",
        "light": "asks who is ready",
        "faint": "",
        "hatched": "a call in vain",
    },
}


def bar_told(panel: Panel, bar: Bar) -> str:
    """A bar in words: "waits for its turn, 3 ms to 7.1 ms"."""
    does = DOES[panel.x_format == "milliseconds"][bar.style]
    start, end = (formatted(three_digits(x), panel.x_format) for x in (bar.start, bar.end))
    return ", ".join(filter(None, (bar.text or does, f"{start} to {end}")))
