"""One look for all figures.

A `Figure` is a plain value, built from stored results; drawing it needs nothing else. Colours and
order come from the catalog, so a model looks the same in every figure.
"""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from servers import catalog

WIDTH_IN = 9.0
DPI = 100
LABEL_POINTS = 8.5
INK, FAINT, GRID = "#222222", "#777777", "#DDDDDD"
NINES = (0, 50, 90, 99, 99.9, 99.99, 99.999)
MARKERS = "osD^vP*Xh<>d"

# Deterministic: the same figure gives the same bytes, so that redrawing shows no difference.
matplotlib.rcParams["svg.hashsalt"] = "io-lab"
matplotlib.rcParams["svg.fonttype"] = "none"


@dataclass(frozen=True)
class Point:
    """One measured value with its interval; hollow: no valid trial behind it."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hollow: bool = False


@dataclass(frozen=True)
class Series:
    """One line, or one set of bars. `label` is a server of the catalog, or any text.

    tone   the colour of a label that is no server
    """

    label: str
    points: tuple[Point, ...]
    note: str = ""
    dashed: bool = False
    tone: str = "#555555"

    @property
    def tint(self) -> str:
        """The colour that the catalog gives to this label, or `tone`."""
        return colour(self.label, self.tone)


@dataclass(frozen=True)
class Wall:
    """Where a model ends, as a result: a vertical line with a text."""

    x: float
    text: str
    server: str


@dataclass(frozen=True)
class Bar:
    """From start to end, in one lane of a swim-lane panel."""

    lane: int
    start: float
    end: float
    server: str
    faint: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    kind     "lines"; "bars": one horizontal bar per series, its first point's y; "lanes": `bars`
    ceiling  y above which the generator is the limit: shaded
    nines    the x axis is a percentile: 90 % and 99 % are as far apart as 99 % and 99.9 %
    """

    x_label: str
    y_label: str
    series: tuple[Series, ...] = ()
    title: str = ""
    kind: Literal["lines", "bars", "lanes"] = "lines"
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


@dataclass(frozen=True)
class Figure:
    """What is drawn into one file.

    name     of the file, without suffix
    caption  how to read it
    columns  panels beside each other
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    caption: str
    columns: int = 1
    panel_height_in: float = 3.6


def colour(label: str, otherwise: str = FAINT) -> str:
    """That of the server with this name in the catalog; a text may follow the name."""
    for variant in catalog.VARIANTS:
        if variant.name == label.split(" ")[0]:
            return variant.colour
    return otherwise


def marker(label: str) -> str:
    """Tells models apart without colour."""
    names = [variant.name for variant in catalog.VARIANTS]
    name = label.split(" ")[0]
    return MARKERS[names.index(name) % len(MARKERS)] if name in names else "o"


def short(value: float) -> str:
    """A tick label: 1000 => 1k, 0.5 => 0.5."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def save(figure: Figure, folder: Path) -> list[Path]:
    """Draw as SVG and PNG; returns both paths. Raises OSError when it cannot be written."""
    canvas = draw(figure)
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{figure.name}.svg", folder / f"{figure.name}.png"]
    canvas.savefig(paths[0], metadata={"Date": None, "Creator": None})
    canvas.savefig(paths[1], dpi=DPI, metadata={"Software": None})
    return paths


def draw(figure: Figure) -> Canvas:
    """As a Matplotlib figure."""
    rows = -(-len(figure.panels) // figure.columns)
    caption = textwrap.wrap(figure.caption, 125)
    top_in, bottom_in = 0.55, 0.3 + 0.17 * len(caption)
    height_in = rows * figure.panel_height_in + top_in + bottom_in
    canvas = Canvas(figsize=(WIDTH_IN, height_in))
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(rows, figure.columns, squeeze=False)
    longest = max((len(s.label + s.note) for p in figure.panels for s in p.series), default=0)
    has_labels = any(panel.kind == "lines" for panel in figure.panels)
    has_names = any(panel.kind != "lines" for panel in figure.panels)
    label_in = 0.25 + 0.068 * longest
    canvas.subplots_adjust(
        left=(0.2 + label_in if has_names else 0.75) / WIDTH_IN,
        right=1 - (label_in if has_labels else 0.3) / WIDTH_IN,
        top=1 - (top_in + 0.15) / height_in,
        bottom=(bottom_in + 0.5) / height_in,
        wspace=(0.75 + label_in) / (WIDTH_IN / figure.columns - 0.75 - label_in),
        hspace=0.38,
    )
    canvas.text(
        0.1 / WIDTH_IN, 1 - 0.28 / height_in, figure.title, size=13, weight="bold", color=INK
    )
    canvas.text(
        0.1 / WIDTH_IN,
        0.12 / height_in,
        "\n".join(caption),
        size=8.5,
        color=FAINT,
        va="bottom",
        linespacing=1.3,
    )
    for panel, ax in zip(figure.panels, axes.flat, strict=False):
        _PAINTERS[panel.kind](panel, ax)
        _dress(panel, ax)
    for ax in axes.flat[len(figure.panels) :]:
        ax.set_axis_off()
    for panel, ax in zip(figure.panels, axes.flat, strict=False):
        if panel.kind == "lines":
            _label_ends(panel, ax)
    return canvas


def _dress(panel: Panel, ax: Axes) -> None:
    ax.set_title(panel.title, size=10, loc="left", color=INK)
    ax.set_xlabel(panel.x_label, size=9, color=INK)
    ax.set_ylabel(panel.y_label, size=9, color=INK)
    ax.tick_params(labelsize=8.5, colors=INK, length=3)
    ax.grid(True, color=GRID, linewidth=0.6, axis="both" if panel.kind == "lines" else "x")
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for number, note in enumerate(panel.notes):
        ax.text(
            0.02, 0.03 + 0.06 * number, note, transform=ax.transAxes, size=LABEL_POINTS, color=FAINT
        )


def _lines(panel: Panel, ax: Axes) -> None:
    xs = sorted({point.x for series in panel.series for point in series.points})
    place = _places(xs, panel)
    # Curves that coincide stay visible: each is a little thinner than the one below it.
    for depth, series in enumerate(panel.series):
        tone = series.tint
        thickness = 1.2 + 2.4 * (len(panel.series) - 1 - depth) / max(len(panel.series) - 1, 1)
        points = series.points
        ax.plot(
            [place(point.x) for point in points],
            [point.y for point in points],
            color=tone,
            linewidth=thickness,
            linestyle="--" if series.dashed else "-",
            alpha=0.9,
            solid_capstyle="round",
        )
        for point in points:
            x = place(point.x)
            if point.low is not None and point.high is not None:
                ax.plot([x, x], [point.low, point.high], color=tone, linewidth=1.2)
            if panel.nines:
                continue  # a curve through many percentiles, not some measured points
            ax.plot(
                [x],
                [point.y],
                marker=marker(series.label),
                markersize=5,
                markerfacecolor="white" if point.hollow else tone,
                markeredgecolor=tone,
                linestyle="none",
            )
    if panel.y_log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if panel.x_log or panel.nines:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        shown = [x for x in NINES if x <= xs[-1]] if panel.nines else _spread(xs, place)
        ax.set_xticks([place(x) for x in shown])
        ax.set_xticklabels([f"{x:g}" if panel.nines else short(x) for x in shown])
    else:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if panel.x_range:
        ax.set_xlim(*panel.x_range)
    if panel.y_range:
        ax.set_ylim(*panel.y_range)
    elif not panel.y_log:
        ax.set_ylim(bottom=0)
    if panel.ceiling is not None:
        top = max(ax.get_ylim()[1], panel.ceiling * 1.1)
        ax.set_ylim(top=top)
        ax.axhspan(panel.ceiling, top, color="#EEEEEE", zorder=0)
        ax.text(
            0.01,
            panel.ceiling,
            " beyond what the generator can measure",
            transform=ax.get_yaxis_transform(),
            size=LABEL_POINTS,
            color=FAINT,
            va="bottom",
        )
    for wall in panel.walls:
        x = place(wall.x)
        ax.axvline(x, color=colour(wall.server), linewidth=1.2, linestyle=":")
        ax.text(
            x,
            0.97,
            f" {wall.text}",
            transform=ax.get_xaxis_transform(),
            size=LABEL_POINTS,
            color=colour(wall.server),
            rotation=90,
            ha="right",
            va="top",
        )


def _places(xs: Sequence[float], panel: Panel) -> Any:
    """Where a value stands on the axis: on a log axis, zero gets a place left of all others."""
    if panel.nines:
        return lambda x: 1 / (1 - x / 100)
    positive = [x for x in xs if x > 0]
    if panel.x_log and positive and len(positive) < len(xs):
        zero = min(positive) / 3
        return lambda x: x if x > 0 else zero
    return lambda x: x


def _spread(xs: Sequence[float], place: Any) -> list[float]:
    """Ticks at measured values, but not closer than a label is wide (log axis)."""
    shown: list[float] = []
    for x in xs:
        if not shown or place(x) / place(shown[-1]) >= 1.5:
            shown.append(x)
    return shown


def _label_ends(panel: Panel, ax: Axes) -> None:
    """Write each series' name at its right end, moved apart where two would touch."""
    labelled = [series for series in panel.series if series.points]
    if not labelled:
        return
    low, high = ax.get_ylim()
    to_axes = ax.transData + ax.transAxes.inverted()
    box = ax.get_window_extent()
    gap = LABEL_POINTS * 1.25 * ax.figure.dpi / 72 / box.height
    xs = sorted({point.x for series in panel.series for point in series.points})
    place = _places(xs, panel)
    ends = []
    for series in labelled:
        last = series.points[-1]
        inside = min(max(last.y, low), high)
        ends.append((*to_axes.transform((place(last.x), inside)), series))
    ends.sort(key=lambda end: end[1])
    heights = apart([end[1] for end in ends], gap)
    for (x, y, series), height in zip(ends, heights, strict=True):
        text = series.label + (f" {series.note}" if series.note else "")
        ax.annotate(
            text,
            xy=(x, y),
            xycoords="axes fraction",
            xytext=(1.03, height),
            textcoords="axes fraction",
            size=LABEL_POINTS,
            color=series.tint,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": series.tint, "linewidth": 0.5},
        )


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move sorted heights so that neighbours are at least `gap` apart, and each group stays
    centred on where it wanted to be."""
    groups: list[list[float]] = []  # [wanted centre, size]
    for height in heights:
        groups.append([height, 1])
        while len(groups) > 1:
            (below, m), (above, n) = groups[-2], groups[-1]
            if above - below >= gap * (m + n) / 2:
                break
            groups[-2:] = [[(below * m + above * n) / (m + n), m + n]]
    return [
        centre + gap * (index - (size - 1) / 2)
        for centre, size in groups
        for index in range(int(size))
    ]


def _bars(panel: Panel, ax: Axes) -> None:
    names = [series.label for series in panel.series]
    for row, series in enumerate(panel.series):
        point = series.points[0]
        tone = series.tint
        ax.barh(
            row,
            point.y,
            height=0.62,
            color="white" if point.hollow else tone,
            edgecolor=tone,
            alpha=0.85,
        )
        reach = point.y
        if point.low is not None and point.high is not None:
            ax.plot([point.low, point.high], [row, row], color=INK, linewidth=1.4)
            reach = max(reach, point.high)
        ax.annotate(
            series.note or short(float(f"{point.y:.3g}")),
            xy=(reach, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            size=LABEL_POINTS,
            color=INK,
        )
    ax.set_yticks(range(len(names)))
    ax.set_yticklabels(names)
    ax.invert_yaxis()
    if panel.x_log:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if panel.x_range:
        ax.set_xlim(*panel.x_range)
    else:
        ax.margins(x=0.18)


def _lanes(panel: Panel, ax: Axes) -> None:
    for bar in panel.bars:
        ax.barh(
            bar.lane,
            bar.end - bar.start,
            left=bar.start,
            height=0.62,
            color=colour(bar.server),
            alpha=0.25 if bar.faint else 0.9,
            linewidth=0,
        )
    ax.set_yticks(range(len(panel.lanes)))
    ax.set_yticklabels(panel.lanes)
    ax.set_ylim(len(panel.lanes) - 0.5, -0.5)
    if panel.x_range:
        ax.set_xlim(*panel.x_range)


_PAINTERS = {"lines": _lines, "bars": _bars, "lanes": _lanes}


def in_catalog_order(labels: Iterable[str]) -> list[str]:
    """Servers in the order of the catalog, others behind."""
    names = [variant.name for variant in catalog.VARIANTS]
    return sorted(labels, key=lambda label: names.index(label) if label in names else len(names))
