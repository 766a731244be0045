"""Figures drawn by Matplotlib, as SVG: one look for all of them.

A figure names its servers, and the catalog of its run says in which colour and with which marker
they are drawn, so a model looks the same in every figure.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation, Transform

from loadgen.analysis.catalog import Catalog
from loadgen.report.figure import BEYOND, Bar, Figure, Panel, Point, Series, Wall
from loadgen.report.spread import MANY, family, spread
from loadgen.report.units import formatted

WIDTH_IN = 9.0
DPI = 144  # 1,296 pixels: sharp where a page shows 900
TEXT_POINTS = 9.0
LABEL_POINTS = 8.5
PANEL_TITLE_POINTS = 10.0
INK, FAINT, GRID = "#222222", "#5F5F5F", "#E3E3E3"
PARTIAL, BEHIND = "#9A9A9A", "#D2D2D2"
NINES = (0, 50, 90, 99, 99.9, 99.99, 99.999)
MARKER = "o"  # of what is no server
# Curves that coincide: each is shifted by this much to the right of the one before. Axes that are
# narrower than DODGE_FULL_IN shift less.
DODGE_POINTS, DODGE_FULL_IN = 2.4, 5.0
TICK_IN = 0.6  # for the text of one, with its unit
LINE_POINTS, REFERENCE_POINTS, BEHIND_POINTS = 1.8, 1.3, 0.8
BESIDE_POINTS = 8.0  # a name so close to a mark is seen to be its name
CONTRAST = 3.0  # of a text, at least, with the paper
LONGEST_NAME = 72  # of a series; a chart of longer ones has no room for anything else
FAMILY_GAP = 0.5  # of a row, between families where there are many models
# Inches around the axes of a panel; and how much less is below an axis without a label.
TITLE_IN, PANEL_TITLE_IN, LEFT_IN, BELOW_IN, LINE_IN, EDGE_IN = 0.5, 0.22, 0.8, 0.54, 0.175, 0.12
UNLABELLED_IN = 0.2
STYLE: Any = {  # matplotlib lists the keys it knows as a type of its own
    # The same figure gives the same bytes, so that redrawing shows no difference.
    "svg.hashsalt": "io-lab",
    # Text stays text: it can be searched and read aloud.
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
}

Pixels = npt.NDArray[np.float64]


def save(figure: Figure, folder: Path, catalog: Catalog) -> Path:
    """Draw as SVG; returns the path. Raises OSError when it cannot be written.

    catalog   how the servers look: `Run.catalog`
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"{figure.name}.svg"
    canvas = draw(figure, catalog)
    with matplotlib.rc_context(STYLE):
        canvas.savefig(path, metadata={"Title": figure.title, "Date": None, "Creator": None})
    return path


def draw(figure: Figure, catalog: Catalog) -> Canvas:
    """As a Matplotlib figure, with the looks that `catalog` gives to its servers."""
    with matplotlib.rc_context(STYLE):
        return _Sheet(spread(_short(figure), catalog), catalog).canvas


def _short(figure: Figure) -> Figure:
    """With names that leave room for a chart: a server may be called by a whole command."""

    def cut(name: str) -> str:
        return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"

    panels = (
        replace(
            panel,
            series=tuple(replace(each, label=cut(each.label)) for each in panel.series),
            lanes=tuple(map(cut, panel.lanes)),
        )
        for panel in figure.panels
    )
    return replace(figure, panels=tuple(panels))


class _Sheet:
    """The arithmetic of one figure: everything is placed in inches, and texts are measured."""

    def __init__(self, figure: Figure, catalog: Catalog) -> None:
        self._catalog = catalog
        self.canvas = Canvas(figsize=(WIDTH_IN, 1), dpi=DPI)
        FigureCanvasAgg(self.canvas)
        caption = wrapped(figure.caption, WIDTH_IN - 2 * EDGE_IN)
        left_in, right_in = self._margins(figure)
        pitch_in = (WIDTH_IN - left_in * figure.shared) / figure.columns
        width_in = pitch_in - right_in - left_in * (not figure.shared)
        title_in = pitch_in - EDGE_IN - left_in * (not figure.shared)
        panels = [self._in_place(figure, number, title_in) for number in range(len(figure.panels))]
        # All axes are equally high, whatever is above and below them.
        lines = max(panel.title.count("\n") + bool(panel.title) for panel in panels)
        has_labels = any(panel.x_label for panel in panels)
        above_in = PANEL_TITLE_IN * bool(lines) + LINE_IN * max(lines - 1, 0)
        axes_in = figure.panel_height_in - BELOW_IN - PANEL_TITLE_IN * bool(lines) - EDGE_IN
        row_in = EDGE_IN + above_in + axes_in + BELOW_IN - UNLABELLED_IN * (not has_labels)
        rows = -(-len(panels) // figure.columns)
        below_in = 2 * EDGE_IN + LINE_IN * len(caption)
        height_in = TITLE_IN + rows * row_in + below_in
        self.canvas.set_size_inches(WIDTH_IN, height_in)
        self.canvas.text(
            EDGE_IN / WIDTH_IN,
            1 - 0.3 / height_in,
            figure.title,
            size=13,
            weight="bold",
            color=INK,
        )
        self.canvas.text(
            EDGE_IN / WIDTH_IN,
            EDGE_IN / height_in,
            "\n".join(caption),
            size=TEXT_POINTS,
            color=FAINT,
            va="bottom",
            linespacing=1.3,
        )
        for number, panel in enumerate(panels):
            row, column = divmod(number, figure.columns)
            top_in = height_in - TITLE_IN - row * row_in - EDGE_IN - above_in
            ax = self.canvas.add_axes(
                (
                    (column * pitch_in + left_in) / WIDTH_IN,
                    (top_in - axes_in) / height_in,
                    width_in / WIDTH_IN,
                    axes_in / height_in,
                )
            )
            _dress(panel, ax)
            _PAINTERS[panel.kind](panel, ax, self)
            if figure.shared:
                ax.xaxis.set_label_coords(0, -0.28 / axes_in)
                ax.xaxis.label.set_horizontalalignment("left")
                ax.tick_params(labelleft=column == 0)
        if figure.same_x:
            reach = max(ax.get_xlim()[1] for ax in self.canvas.axes)
            for ax in self.canvas.axes:
                ax.set_xlim(right=reach)

    def _in_place(self, figure: Figure, number: int, title_in: float) -> Panel:
        """A panel as it is written where it stands: its title in lines, and axes that it shares
        with others named once."""
        panel = figure.panels[number]
        column = number % figure.columns
        is_lowest = number + figure.columns >= len(figure.panels)
        lines = [
            line
            for part in panel.title.split("\n")
            for line in wrapped(part, title_in, PANEL_TITLE_POINTS)
        ]
        return replace(
            panel,
            title="\n".join(lines),
            x_label="" if figure.shared and (column or not is_lowest) else panel.x_label,
            y_label="" if figure.shared and column else panel.y_label,
        )

    def colour(self, label: str, otherwise: str = FAINT) -> str:
        """That of the server with this name; a text may follow the name."""
        line = self._catalog.find(label)
        return line.colour if line else otherwise

    def tint(self, series: Series) -> str:
        """The colour of the server with this label, or the series' own tone."""
        if series.role != "front":
            return INK if series.role == "reference" else BEHIND
        return PARTIAL if series.partial else self.colour(series.label, series.tone)

    def rows(self, labels: Sequence[str]) -> list[float]:
        """Where rows stand; where there are many, families stand apart."""
        gap = FAMILY_GAP if len(labels) > MANY else 0.0
        families = [family(label, self._catalog) for label in labels]
        apart = [0, *(one != other for one, other in itertools.pairwise(families))]
        return [row + gap * count for row, count in enumerate(itertools.accumulate(apart))]

    def marker(self, label: str) -> str:
        """Tells models apart without colour."""
        line = self._catalog.find(label)
        return line.marker if line else MARKER

    def _margins(self, figure: Figure) -> tuple[float, float]:
        """Left and right of all panels alike, so that their axes stand below each other."""
        left, right = [LEFT_IN + LINE_IN * figure.shared], [0.3]  # low axes have names of two lines
        for panel in figure.panels:
            if panel.kind == "lines":
                named = [each for each in panel.series if each.role != "behind"]
                right += [text_width_in(_name(each)) + 0.35 for each in named]
            else:
                values = [_value(each, panel) for each in panel.series]
                right += [text_width_in(value) + 0.3 for value in values]
                names = [each.label for each in panel.series] + list(panel.lanes)
                left += [text_width_in(name, TEXT_POINTS) + 0.25 for name in names]
        return max(left), max(right)


@functools.cache
def text_width_in(text: str, points: float = LABEL_POINTS) -> float:
    """How wide a line of text is drawn. To ask takes milliseconds, so each is asked once."""
    font = FontProperties(family="DejaVu Sans", size=points)
    renderer: Any = RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]
    width, _, _ = renderer.get_text_width_height_descent(text, font, False)
    return float(width) / DPI


def wrapped(text: str, limit_in: float, points: float = TEXT_POINTS) -> list[str]:
    """A text in lines of this width."""
    lines: list[list[str]] = []
    used_in = math.inf
    for word in text.split():
        used_in += text_width_in(f" {word}", points)
        if used_in > limit_in:
            lines.append([])
            used_in = text_width_in(word, points)
        lines[-1].append(word)
    return [" ".join(line) for line in lines] or [""]


def _dress(panel: Panel, ax: Axes) -> None:
    height_in = ax.get_window_extent().height / DPI
    y_label = "\n".join(wrapped(panel.y_label, height_in))
    ax.set_title(panel.title, size=PANEL_TITLE_POINTS, loc="left", color=INK)
    ax.set_xlabel(panel.x_label, size=TEXT_POINTS, color=INK)
    ax.set_ylabel(y_label, size=TEXT_POINTS, color=INK)
    ax.tick_params(labelsize=LABEL_POINTS, colors=INK, length=3)
    ax.grid(True, color=GRID, linewidth=0.6, axis="both" if panel.kind == "lines" else "x")
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    # Before the formatters, which a scale replaces with its own.
    if panel.x_log or panel.nines:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    if panel.y_log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formatted(value, panel.x_format)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formatted(value, panel.y_format)))


def _name(series: Series) -> str:
    return f"{series.label} {series.note}".strip()


def _value(series: Series, panel: Panel) -> str:
    """What stands beside a row."""
    if series.note or not series.points:
        return series.note
    return formatted(float(f"{series.points[0].y:.3g}"), panel.x_format)


def _legible(colour: str) -> Any:
    """A colour for words: as dark as it takes to read them on white."""
    tone = np.array(to_rgb(colour))
    linear = np.where(tone <= 0.04045, tone / 12.92, ((tone + 0.055) / 1.055) ** 2.4)
    light = float(linear @ (0.2126, 0.7152, 0.0722))
    most = 1.05 / CONTRAST - 0.05
    return colour if light <= most else tuple(tone * (most / light) ** (1 / 2.4))


def _width_in(ax: Axes) -> float:
    return float(ax.get_window_extent().width) / DPI


def _interval(point: Point) -> tuple[float, float] | None:
    """The interval of a point, if it is known."""
    if point.low is None or point.high is None or not math.isfinite(point.high):
        return None
    return point.low, point.high


def _lines(panel: Panel, ax: Axes, sheet: _Sheet) -> None:
    points = [point for series in panel.series for point in series.points]
    if not points:
        _words_only(panel, ax)
        return
    place = _places([point.x for point in points], panel)
    _limit_x(panel, ax, [place(point.x) for point in points])
    _limit_y(panel, ax, points)
    _mark_x(panel, ax, sorted({point.x for point in points}), place)
    shown = [series for series in panel.series if series.points]
    dodged = [series for series in shown if series.role == "front"]
    tracks: list[tuple[Series, Pixels]] = []
    for series in shown:
        dodge = dodged.index(series) - (len(dodged) - 1) / 2 if series in dodged else 0.0
        track = _one_line(panel, ax, sheet, series, place, dodge)
        if series.role != "behind":
            tracks.append((series, track))
    texts = _Texts(ax, sheet, [track for _, track in tracks])
    if panel.ceiling is not None:
        _shade(panel.ceiling, ax, texts)
    for wall in panel.walls:
        _build(wall, place(wall.x), sheet.colour(wall.server), ax, texts)
    for number, note in enumerate(panel.notes):
        corners = [(x, y) for y in (0.06, 0.94) for x in (0.02, 0.5)]
        spots = [ax.transAxes.transform((x, abs(y - 0.07 * number))) for x, y in corners]
        texts.put(note, FAINT, spots)
    _label_ends([(series, track[-1]) for series, track in tracks], ax, sheet, texts)


def _words_only(panel: Panel, ax: Axes) -> None:
    """A panel without a point says so, and shows its notes, instead of an empty grid."""
    words = "\n".join(panel.notes) or "nothing was measured"
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", size=TEXT_POINTS, color=FAINT)
    ax.set_xticks([])
    ax.set_yticks([])


_POINTS = {"front": LINE_POINTS, "reference": REFERENCE_POINTS, "behind": BEHIND_POINTS}


def _one_line(
    panel: Panel,
    ax: Axes,
    sheet: _Sheet,
    series: Series,
    place: Any,
    dodge: float,
) -> Pixels:
    """Draw one series; returns points along it, in pixels, the last one at its end.

    dodge   by how many steps it is shifted to the right
    """
    tone = sheet.tint(series)
    narrow = min(1, _width_in(ax) / DODGE_FULL_IN)
    shift = 0.0 if panel.nines else dodge * DODGE_POINTS / 72 * narrow
    moved = ax.transData + ScaledTranslation(shift, 0, ax.figure.dpi_scale_trans)
    xs = [place(point.x) for point in series.points]
    ys = [point.y for point in series.points]
    ax.plot(
        xs,
        ys,
        color=tone,
        linewidth=_POINTS[series.role],
        linestyle="--" if series.dashed or series.role == "reference" else "-",
        solid_capstyle="round",
        transform=moved,
    )
    # A curve through percentiles has no measured points of its own.
    if not panel.nines and series.role == "front":
        reaches = [
            (x, *reach) for x, p in zip(xs, series.points, strict=True) if (reach := _interval(p))
        ]
        if reaches:
            ax.vlines(*zip(*reaches, strict=True), color=tone, linewidth=1.3, transform=moved)
            _mark_clipped(reaches, ax, tone, moved)
        for hollow in (False, True):
            shown = [(x, p.y) for x, p in zip(xs, series.points, strict=True) if p.hollow == hollow]
            if not shown:
                continue
            ax.plot(
                [x for x, _ in shown],
                [y for _, y in shown],
                marker=sheet.marker(series.label),
                markersize=5.5,
                markerfacecolor="white" if hollow else tone,
                markeredgecolor=tone if hollow else "white",
                markeredgewidth=1.1 if hollow else 0.6,
                linestyle="none",
                transform=moved,
                zorder=3,
            )
    corners = moved.transform(np.column_stack([xs, ys]))
    steps = [np.linspace(a, b, 40) for a, b in itertools.pairwise(corners)]
    return np.concatenate([*steps, corners[-1:]])


def _mark_clipped(
    reaches: Iterable[tuple[float, float, float]], ax: Axes, tone: str, moved: Transform
) -> None:
    """A little arrow where an interval goes on beyond the axes."""
    bottom, top = ax.get_ylim()
    arrows = [(x, top, "^") for x, _, high in reaches if high > top]
    arrows += [(x, bottom, "v") for x, low, _ in reaches if low < bottom]
    for x, y, arrow in arrows:
        ax.plot([x], [y], marker=arrow, markersize=5, color=tone, transform=moved, clip_on=False)


def _places(xs: Iterable[float], panel: Panel) -> Any:
    """Where a value stands on the axis: on a log axis, zero gets a place left of all others."""
    if panel.nines:
        return lambda x: 1 / (1 - x / 100)
    positive = [x for x in xs if x > 0]
    zero = min(positive) / 4 if panel.x_log and positive else 0.0
    return lambda x: x if x > 0 else zero


def _limit_x(panel: Panel, ax: Axes, places: Sequence[float]) -> None:
    low, high = panel.x_range or (min(places), max(places))
    if panel.x_log or panel.nines:
        margin = max(high / low, 2) ** 0.04
        ax.set_xlim(low / margin, high * margin)
    elif panel.x_range:
        ax.set_xlim(low, high)
    else:
        margin = 0.04 * (high - low or 1)
        ax.set_xlim(low - margin, high + margin)


def _limit_y(panel: Panel, ax: Axes, points: Sequence[Point]) -> None:
    """Room for all values, and for intervals unless they dwarf the values."""
    values = [point.y for point in points] + ([panel.ceiling] if panel.ceiling else [])
    reaches = [end for point in points for end in _interval(point) or ()]
    if panel.y_log:
        positive = [value for value in values if value > 0] or [1.0]
        low, high = min(positive), max(positive)
        low = max(low / 2, min([low, *(end for end in reaches if end > 0)])) / 1.25
        high = min(high * 2, max([high, *reaches])) * 1.25
        subs = (1,) if high / low >= 500 else (1, 2, 5) if high / low >= 8 else (1, 1.5, 2, 3, 5, 7)
        ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    else:
        low, high = 0.0, max(values) or 1.0
        high = min(high * 1.3, max([high, *reaches])) * (1.12 if panel.ceiling else 1.07)
    ax.set_ylim(*(panel.y_range or (low, high)))


def _mark_x(panel: Panel, ax: Axes, xs: Sequence[float], place: Any) -> None:
    """Ticks at measured values, as many as have room; a zero on a log axis is set apart."""
    if not panel.x_log and not panel.nines:
        return
    wanted = [x for x in NINES if x <= xs[-1]] if panel.nines else xs
    room_pixels = 0.36 * DPI
    shown: list[float] = []
    reached = -math.inf
    for x in wanted:
        at = ax.transData.transform((place(x), 1))[0]
        if at - reached >= room_pixels:
            shown.append(x)
            reached = at
    ax.set_xticks([place(x) for x in shown])
    ax.set_xticklabels([f"{x:g}" if panel.nines else formatted(x, panel.x_format) for x in shown])
    if xs[0] == 0 and len(xs) > 1 and not panel.nines:
        gap = math.sqrt(place(xs[0]) * place(xs[1]))
        along = ax.get_xaxis_transform()
        ax.text(gap, 0, "//", transform=along, ha="center", va="center", size=9, color=INK)


class _Texts:
    """Texts among the lines: each goes where it hides least."""

    def __init__(self, ax: Axes, sheet: _Sheet, obstacles: Sequence[Pixels]) -> None:
        self.ax, self._sheet = ax, sheet
        self._points = np.concatenate([*obstacles, np.empty((0, 2))])
        self._taken: list[Bbox] = []

    def put(
        self, text: str, colour: str, spots: Iterable[Pixels], of: Pixels | None = None
    ) -> None:
        """Write `text` with the left end of its middle at the best of `spots` (pixels).

        of   what it names (pixels): a line leads to it where the text is not beside it
        """
        width = text_width_in(text) * DPI
        half = LABEL_POINTS * DPI / 72 * 0.7
        frame = self.ax.get_window_extent()

        def badness(spot: Pixels) -> float:
            box = Bbox.from_extents(spot[0], spot[1] - half, spot[0] + width, spot[1] + half)
            hidden = (
                (self._points > (box.x0 - 3, box.y0)) & (self._points < (box.x1 + 3, box.y1))
            ).all(axis=1)
            outside = max(frame.x0 - box.x0, box.x1 - frame.x1, 0)
            outside += max(frame.y0 - box.y0, box.y1 - frame.y1, 0)
            touched = sum(box.overlaps(other) for other in self._taken)
            # What is close to a line seems to be its name.
            close = (abs(self._points[:, 1] - spot[1]) < 3 * half) & (
                (self._points[:, 0] > box.x0) & (self._points[:, 0] < box.x1)
            )
            weighed = hidden.sum() + 0.1 * close.sum()
            return float(weighed + 20 * outside + 10_000 * touched)

        x, y = min(spots, key=badness)
        self._taken.append(Bbox.from_extents(x, y - half, x + width, y + half))
        if of is not None:
            self._lead(Bbox.from_extents(x, y - half / 2, x + width, y + half / 2), of, colour)
        across, up = self.ax.transAxes.inverted().transform((x, y))
        self.ax.text(
            across,
            up,
            text,
            transform=self.ax.transAxes,
            size=LABEL_POINTS,
            color=_legible(colour),
            va="center",
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
            zorder=4,
        )

    def _lead(self, box: Bbox, to: Pixels, colour: str) -> None:
        """A thin line from a text's nearest side, unless that is close."""
        start = np.clip(to, (box.x0, box.y0), (box.x1, box.y1))
        if np.hypot(*(to - start)) > BESIDE_POINTS * DPI / 72:
            ends = self.ax.transAxes.inverted().transform([start, to])
            self.ax.plot(*ends.T, transform=self.ax.transAxes, color=colour, linewidth=0.7)

    def fits(self, text: str) -> bool:
        """Is the panel wide enough for a text?"""
        return text_width_in(text) < _width_in(self.ax)

    def around(self, text: str, x: float, y: float) -> list[Pixels]:
        """Spots for a text beside a pixel, the nearest first."""
        width = text_width_in(text) * DPI
        return [
            np.array([x + dx, y + dy])
            for away in (10, 18, 28, 40)
            for dx, dy in (
                (away, 0),
                (away, away),
                (away, -away),
                (-width / 2, away + 6),
                (-width / 2, -away - 6),
                (-width - away, 0),
                (-width - away, away),
                (-width - away, -away),
            )
        ]


def _shade(ceiling: float, ax: Axes, texts: _Texts) -> None:
    """Shade what the generator could not have measured."""
    ax.axhspan(ceiling, ax.get_ylim()[1], color="#EEEEEE", linewidth=0, zorder=0)
    _, y = ax.transData.transform((ax.get_xlim()[0], ceiling))
    frame = ax.get_window_extent()
    above = y + LABEL_POINTS * DPI / 72
    spots = [np.array([frame.x0 + share * frame.width, above]) for share in (0.02, 0.3, 0.55)]
    if texts.fits(BEYOND):
        texts.put(BEYOND, FAINT, spots)


def _build(wall: Wall, x: float, tone: str, ax: Axes, texts: _Texts) -> None:
    """Draw a wall, and its text beside it."""
    ax.axvline(x, color=tone, linewidth=1.4, linestyle=(0, (1, 1.5)))
    if not wall.text:
        return
    frame = ax.get_window_extent()
    at = ax.transData.transform((x, ax.get_ylim()[0]))[0]
    heights = [frame.y0 + share * frame.height for share in np.linspace(0.95, 0.05, 19)]
    beside = {round(spot[0]) for spot in texts.around(wall.text, at, 0) if spot[1] == 0}
    texts.put(wall.text, tone, [np.array([side, y]) for y in heights for side in beside])


def _label_ends(
    ends: Sequence[tuple[Series, Pixels]], ax: Axes, sheet: _Sheet, texts: _Texts
) -> None:
    """Name each line: right of the axes, or beside its end where it ends early."""
    frame = ax.get_window_extent()
    gap, points = LABEL_POINTS * 1.25 * DPI / 72, 72 / DPI
    last = max((end[0] for _, end in ends), default=0.0)
    at_edge: list[tuple[float, Series]] = []
    for series, (x, y) in ends:
        if x > last - 0.12 * frame.width:
            at_edge.append((float(np.clip(y, frame.y0, frame.y1)), series))
        else:
            name, end = _name(series), np.array([x, y])
            texts.put(name, sheet.tint(series), texts.around(name, x, y), of=end)
    at_edge.sort(key=lambda entry: entry[0])
    heights = apart([y for y, _ in at_edge], gap, frame.y0, frame.y1)
    for (y, series), height in zip(at_edge, heights, strict=True):
        ax.annotate(
            _name(series),
            # Points: an SVG file has other pixels than the canvas.
            xy=(points * (frame.x1 + 3), points * y),
            xycoords="figure points",
            xytext=(points * (frame.x1 + 0.18 * DPI), points * height),
            textcoords="figure points",
            size=LABEL_POINTS,
            color=_legible(sheet.tint(series)),
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": sheet.tint(series),
                "linewidth": 0.7,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def apart(
    heights: Sequence[float], gap: float, low: float = -math.inf, high: float = math.inf
) -> list[float]:
    """Move sorted heights so that neighbours are at least `gap` apart and all within bounds.

    Each group that had to move stays centred on where it wanted to be, as far as bounds allow.
    """
    groups: list[tuple[float, int]] = []  # wanted centre, size

    def centre(wanted: float, size: int) -> float:
        half = gap * (size - 1) / 2
        return max(min(wanted, high - half), low + half)

    for height in heights:
        groups.append((height, 1))
        while len(groups) > 1:
            (below, m), (above, n) = groups[-2], groups[-1]
            if centre(above, n) - centre(below, m) >= gap * (m + n) / 2:
                break
            groups[-2:] = [((below * m + above * n) / (m + n), m + n)]
    return [
        centre(wanted, size) + gap * (index - (size - 1) / 2)
        for wanted, size in groups
        for index in range(size)
    ]


def _dots(panel: Panel, ax: Axes, sheet: _Sheet) -> None:
    """A row per series: its name, a dot with its interval, its value."""
    if not panel.series:
        _words_only(panel, ax)
        return
    heights = sheet.rows([series.label for series in panel.series])
    low, high = _limit_dots(panel, ax)
    for height, series in zip(heights, panel.series, strict=True):
        tone = sheet.tint(series)
        for truth in series.points[1:]:
            ax.vlines(truth.y, height - 0.3, height + 0.3, color=INK, linewidth=1.6)
        for point in series.points[:1]:
            if interval := _interval(point):
                ends = np.clip(interval, low, high)
                ax.plot(ends, [height, height], color=tone, linewidth=2.2, solid_capstyle="butt")
                for end, kept, arrow in zip(interval, ends, "<>", strict=True):
                    if end != kept:  # it goes on beyond the axis
                        ax.plot([kept], [height], arrow, markersize=5, color=tone, clip_on=False)
            ax.plot(
                [point.y],
                [height],
                marker=sheet.marker(series.label),
                markersize=7,
                color=tone,
                markerfacecolor="white" if point.hollow else tone,
                linestyle="none",
                clip_on=False,
            )
        ax.annotate(
            _value(series, panel),
            xy=(1, height),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            size=LABEL_POINTS,
            color=INK,
        )
    ax.set_yticks(heights, [series.label for series in panel.series])
    ax.tick_params(axis="y", length=0, pad=7)  # a dot at the left end hides no letter
    ax.spines["left"].set_visible(False)
    ax.grid(True, axis="y", color=GRID, linewidth=0.6, linestyle=(0, (1, 2)))
    ax.set_ylim(heights[-1] + 0.6, -0.6)
    if panel.ceiling is not None and panel.ceiling < high:
        ax.axvspan(panel.ceiling, high, color="#EEEEEE", linewidth=0, zorder=0)
        ax.annotate(
            BEYOND,
            xy=(1, 1),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            size=LABEL_POINTS,
            color=FAINT,
        )


def _limit_dots(panel: Panel, ax: Axes) -> tuple[float, float]:
    """Room for all dots, and for intervals unless they dwarf them; returns the ends of the axis."""
    points = [point for series in panel.series for point in series.points]
    values = [point.y for point in points]
    reached = [*values, *(end for point in points for end in _interval(point) or ())]
    wide = max(2, int(_width_in(ax) / TICK_IN))
    if panel.x_log:
        positive = [value for value in reached if value > 0] or [1.0]
        low, high = min(positive) / 1.15, max(positive) * 1.15
        # As many ticks as have room.
        fine = [LogLocator(subs=subs, numticks=20) for subs in ((1, 2, 5), (1, 3), (1,))]
        ticks = [[x for x in each.tick_values(low, high) if low <= x <= high] for each in fine]
        ax.set_xticks(next((xs for xs in ticks if len(xs) <= wide), ticks[-1][::2]))
    elif panel.kind == "ratios":
        ax.axvline(1, color=FAINT, linewidth=0.9)
        low, high = min(1.0, *reached), max(1.0, *reached)
        margin = 0.04 * (high - low or 1)
        low, high = low - margin, high + margin
    else:
        low, high = 0.0, 1.04 * min(1.5 * max(values, default=0), max(reached, default=0)) or 1.0
    if not panel.x_log:  # 1 is among such steps, if they are ratios
        ax.xaxis.set_major_locator(MaxNLocator(wide, steps=[1, 2, 5, 10]))
    low, high = panel.x_range or (low, high)
    ax.set_xlim(low, high)
    return low, high


# How much of its colour a bar has; and how high it is, of the height of a lane.
_OPACITY = {"solid": 1.0, "light": 0.4, "faint": 0.3, "hatched": 0.0}
_HEIGHT = {"solid": 0.74, "light": 0.74, "faint": 0.16, "hatched": 0.74}


def _lanes(panel: Panel, ax: Axes, sheet: _Sheet) -> None:
    ax.set_yticks(range(len(panel.lanes)), panel.lanes)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ticks = max(2, int(_width_in(ax) / TICK_IN))
    ax.xaxis.set_major_locator(MaxNLocator(min(ticks, 9), integer=True))
    ax.set_ylim(len(panel.lanes) - 0.5, -0.5)
    last = max((bar.end for bar in panel.bars), default=1)
    low, high = panel.x_range or (0, last * 1.05)
    for wall in panel.walls:  # their texts end inside
        share = (max(map(text_width_in, wall.text.split("\n"))) + 0.1) / _width_in(ax)
        high = max(high, low + (wall.x - low) / (1 - min(share, 0.8)))
    ax.set_xlim(low, high)
    for bar in panel.bars:
        tone = to_rgb(sheet.colour(bar.server))
        ax.barh(
            bar.lane,
            bar.end - bar.start,
            left=bar.start,
            height=_HEIGHT[bar.style],
            facecolor=(*tone, _OPACITY[bar.style]),
            edgecolor=tone if bar.style == "hatched" else "white",
            hatch="/////" if bar.style == "hatched" else None,
            linewidth=0.5,
        )
        if bar.text:
            _inscribe(bar, ax, sheet)
    for wall in panel.walls:
        tone_name = sheet.colour(wall.server)
        ax.axvline(wall.x, color=tone_name, linewidth=1, linestyle=":")
        ax.annotate(
            wall.text,
            xy=(wall.x, 0.5),
            xycoords=ax.get_xaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            size=LABEL_POINTS,
            color=_legible(tone_name),
            va="center",
        )


def _inscribe(bar: Bar, ax: Axes, sheet: _Sheet) -> None:
    """Write a bar's text into it, or behind it."""
    (left, _), (right, _) = ax.transData.transform([(bar.start, 0), (bar.end, 0)])
    fits = text_width_in(bar.text) * DPI + 6 < right - left
    red, green, blue = to_rgb(sheet.colour(bar.server))
    is_dark = bar.style == "solid" and 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
    over_hatching = fits and bar.style == "hatched"
    ax.annotate(
        bar.text,
        xy=((bar.start + bar.end) / 2 if fits else bar.end, bar.lane),
        xytext=(0 if fits else 4, 0),
        textcoords="offset points",
        size=LABEL_POINTS,
        color="white" if fits and is_dark else INK,
        ha="center" if fits else "left",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1} if over_hatching else None,
    )


def _key(panel: Panel, ax: Axes, sheet: _Sheet) -> None:
    ax.set_axis_off()
    if panel.lanes:
        _lanes(panel, ax, sheet)


_PAINTERS = {"lines": _lines, "dots": _dots, "ratios": _dots, "lanes": _lanes, "key": _key}
