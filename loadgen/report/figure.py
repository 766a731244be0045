"""A chart as a value: what it shows and how to read it, without a word about how it is drawn.

An experiment makes figures of stored results, and a renderer draws them (svg.py). They are made of
numbers and texts only, so that they can be written as JSON and drawn elsewhere. Servers are named,
and no more: their colours, markers and order come with the run (analysis/catalog.py).
"""

from dataclasses import dataclass
from typing import Literal

from loadgen.report.units import Format

NEUTRAL = "#555555"
REFERENCE = "epoll"  # the server that others are compared with
BEYOND = "more than the generator reached when it was calibrated"


@dataclass(frozen=True)
class Point:
    """One measured value with its interval; hollow: no valid trial behind it."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hollow: bool = False


Role = Literal["front", "behind", "reference"]


@dataclass(frozen=True)
class Series:
    """One line, or one row of dots. `label` is the name of a server, or any text.

    tone     the colour of a label that is no server
    partial  of a server that serves a part of the clients only, and does not compare: in grey
    role     of a line: "behind" others it is thin, grey and without a name; the "reference" is
             dashed and named
    """

    label: str
    points: tuple[Point, ...]
    note: str = ""
    dashed: bool = False
    tone: str = NEUTRAL
    partial: bool = False
    role: Role = "front"


@dataclass(frozen=True)
class Wall:
    """Where a model ends, as a result: a vertical line with a text."""

    x: float
    text: str
    server: str


BarStyle = Literal["solid", "light", "faint", "hatched"]


@dataclass(frozen=True)
class Bar:
    """From start to end, in one lane of a swim-lane panel, in the colour of a server.

    style  "solid": something is done; "light": it waits; "faint": it waits, still outside;
           "hatched": the other side keeps it waiting
    text   in the bar where it fits, behind it where it does not
    """

    lane: int
    start: float
    end: float
    server: str
    style: BarStyle = "solid"
    text: str = ""


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    kind     "lines"; "dots": a row per series, with a dot at its first point's y, counted from
             zero; "ratios": likewise, around 1, and a tick where its second point says that it
             should be; "lanes": `bars`; "key": `bars` too, as a legend without axes
    ceiling  value above which the generator is the limit: shaded
    nines    the x axis is a percentile: 90 % and 99 % are as far apart as 99 % and 99.9 %
    x_format, y_format  how a value is written on the axis
    """

    x_label: str
    y_label: str
    series: tuple[Series, ...] = ()
    title: str = ""
    kind: Literal["lines", "dots", "ratios", "lanes", "key"] = "lines"
    x_log: bool = False
    y_log: bool = False
    nines: bool = False
    walls: tuple[Wall, ...] = ()
    ceiling: float | None = None
    bars: tuple[Bar, ...] = ()
    lanes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_format: Format = "number"
    y_format: Format = "number"


@dataclass(frozen=True)
class Figure:
    """What is drawn into one file.

    name     of the file, without suffix
    caption  how to read it
    finding  what it shows, where that is a part of what its section found
    of_lines what the caption says of lines and axes besides, where there are any
    columns  panels beside each other
    same_x   all panels have the x axis of the one that reaches farthest
    shared   the panels of a row have the same y axis, which is written once, on the left
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    caption: str
    columns: int = 1
    same_x: bool = False
    shared: bool = False
    panel_height_in: float = 3.6
    of_lines: str = ""
    finding: str = ""


@dataclass(frozen=True)
class Tested:
    """What a run says of a claim that tutorials make.

    name      by which it is tested alone
    says      the claim
    tried     what was tried
    verdict   in a few words
    sentence  the figures that decide
    why       why it is so
    source    the file that tests it, as seen from the lab's folder
    """

    name: str
    says: str
    tried: str
    verdict: str
    sentence: str
    why: str
    source: str


@dataclass(frozen=True)
class Report:
    """What a run has to show: the sentences it was made for, how precise it is, every server
    relative to the reference (a head and rows), a section per experiment, and what came out of the
    claims that it has tested."""

    headlines: tuple[str, ...]
    precision: str
    standings: tuple[tuple[str, ...], ...]
    sections: tuple["Section", ...]
    claims: tuple[Tested, ...] = ()


@dataclass(frozen=True)
class Section:
    """What one experiment contributes to a report: its question, what was expected, what came out
    in one sentence, and the figures."""

    name: str
    question: str
    hypothesis: str
    finding: str
    figures: tuple[Figure, ...]
