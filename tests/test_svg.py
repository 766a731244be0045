"""Every kind of figure, looked at with numbers: no text hides another, and nothing is lost."""

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from loadgen.analysis.catalog import of_lines
from loadgen.report import svg
from loadgen.report.figure import (
    BEYOND,
    NEUTRAL,
    REFERENCE,
    Bar,
    Figure,
    Panel,
    Point,
    Series,
    Wall,
)
from loadgen.store import provenance

CATALOG = of_lines(provenance.catalog())

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SILENT = (0, 100, 500, 900, 1000, 2000, 5000)
NAMES = ("blocking", "threaded", "nonblocking", "select", "poll", "epoll")
ALL = tuple(line.name for line in CATALOG)
# One per family or more: as many as a run has that names no servers.
SOME = (*NAMES, "epoll_et", "sigio", "socketserver", "prefork", "asyncio", "uvloop", "io_uring")


def points(
    xs: tuple[float, ...], ys: list[float], hollow: float | None = None
) -> tuple[Point, ...]:
    return tuple(
        Point(x, y, 0.96 * y, 1.05 * y, hollow=x == hollow) for x, y in zip(xs, ys, strict=True)
    )


def ties(names: tuple[str, ...] = NAMES) -> tuple[Series, ...]:
    """Servers of which all but two coincide, one is slow, and one point is not valid."""
    series = []
    for number, name in enumerate(names):
        top = 9e3 if number == 0 else 112e3 if number == 1 else 160e3 + number
        ys = [9e3 + (top - 9e3) * (1 - math.exp(-x / 8)) for x in CLIENTS]
        note = "(1 of 512 served)" if number == 0 else ""
        series.append(Series(name, points(CLIENTS, ys, 64 if number == 2 else None), note))
    return tuple(series)


THROUGHPUT = Figure(
    "throughput",
    "All clients busy",
    (Panel("clients", "answers per second", ties(), x_log=True, ceiling=240e3),),
    "How to read it, at some length, " * 12,
    panel_height_in=4.4,
)
IDLE = Figure(
    "idle",
    "Silent clients",
    (
        Panel(
            "silent clients",
            "answers per second",
            (
                Series("blocking", points((0,), [8.9e3]), "(1 of 8 served)"),
                Series("select", points(SILENT[:4], [120e3, 75e3, 25e3, 15e3])),
                Series("poll", points(SILENT, [120e3, 80e3, 38e3, 24e3, 22e3, 12e3, 5e3])),
                Series("epoll", points(SILENT, [106e3, 104e3, 103e3, 101e3, 99e3, 98e3, 97e3])),
            ),
            x_log=True,
            y_log=True,
            walls=(Wall(1024, "select: ValueError at fd 1024", "select"),),
            notes=("uvloop is skipped: not installed", "trio is skipped: not installed"),
        ),
    ),
    "How to read it.",
)
GRID = Figure(
    "grid",
    "Four panels",
    tuple(
        Panel("clients", "us", ties(), title=title, x_log=True, y_log=True)
        for title in ("median", "p99", "p99.9", "CPU")
    ),
    "How to read it.",
    columns=2,
)
ROWS = Figure(
    "rows",
    "Who wins",
    (
        Panel(
            "answers per second",
            "",
            tuple(Series(s.label, (s.points[6],)) for s in ties()),
            kind="dots",
        ),
        Panel(
            "ratio to epoll",
            "",
            tuple(
                Series(s.label, (Point(0, s.points[6].y / 160e3, 0.9, 1.1),), "a tie")
                for s in ties()
            ),
            kind="dots",
            x_log=True,
        ),
    ),
    "How to read it.",
)
LANES = Figure(
    "lanes",
    "Who runs when",
    (
        Panel(
            "milliseconds",
            "",
            kind="lanes",
            lanes=("client 1", "client 2"),
            bars=(Bar(0, 0, 3, "epoll"), Bar(1, 1, 4, "select", "faint")),
            x_range=(0, 5),
        ),
    ),
    "How to read it.",
)
SHARES = tuple(100 * (1 - 10 ** (-step / 10)) for step in range(41))
NINES = Figure(
    "nines",
    "Percentiles",
    (
        Panel(
            "percentile",
            "us",
            tuple(
                Series(name, tuple(Point(x, base * (1 - math.log10(1.001 - x / 100))) for x in to))
                for name, base, to in (("poll", 51, SHARES), ("epoll", 50, SHARES[:30]))
            ),
            nines=True,
            y_log=True,
        ),
    ),
    "How to read it.",
)
NOTHING = Figure("nothing", "Nothing", (Panel("x", "y", notes=("all was skipped",)),), "Empty.")
RATIOS = Figure(
    "ratios",
    "Known differences",
    (
        Panel(
            "relative to the plain server",
            "",
            (
                Series("2 % slower", (Point(0, 0.98, 0.97, 0.99), Point(0, 0.983)), "0.98"),
                Series("the same", (Point(0, 1.1, hollow=True),), "1.1"),
            ),
            kind="ratios",
        ),
    ),
    "How to read it.",
)


def crowded(names: tuple[str, ...]) -> list[Figure]:
    """The same figures with more models than one look takes in."""
    series = ties(names)
    clients = Panel("clients", "answers per second", series, x_log=True, ceiling=240e3)
    times = [
        replace(clients, y_label=label, y_log=True, y_format="microseconds", ceiling=None)
        for label in ("connect to greeting, median", "connect to answer, median", "server CPU")
    ]
    once = tuple(replace(each, points=each.points[6:7]) for each in series)
    wall = Wall(64, "select: no descriptor beyond 1,023, serves 1,020 of 5,008", "select")
    rows = tuple(replace(e, note=f"{e.points[0].y:,.0f} {e.note}".strip()) for e in once)
    dots = Panel("answers per second", "", rows, title="each answer sleeps", kind="dots")
    bars = tuple(
        Bar(lane, start, start + 1, name, text=text)
        for lane, name in enumerate(names)
        for start, text in enumerate(("epoll_wait", "recvfrom", "sendto"))
    )
    calls = Panel("system calls", "", kind="lanes", lanes=names, bars=bars)
    conversation = [
        Panel(
            "",
            "",
            title=f"{line.name}: {line.idea}",
            kind="lanes",
            lanes=("client 1", "client 2, slow"),
            bars=(Bar(0, 0, 60, line.name), Bar(1, 10, 131, line.name, "light")),
            walls=(Wall(131, "all done:\n131 ms", line.name),),
            x_format="milliseconds",
        )
        for line in CATALOG
        if line.name in names
    ]
    read = "How to read it, at some length, " * 5
    size = len(names)
    return [
        Figure(f"lines-{size}", "Lines", (replace(clients, walls=(wall,)),), read),
        Figure(f"grid-{size}", "Times", tuple(times), read, panel_height_in=3.2),
        Figure(
            f"once-{size}",
            "One number of clients",
            tuple(replace(panel, series=once) for panel in (clients, *times)),
            read,
        ),
        Figure(f"rows-{size}", "Rows", (dots, dots), read, columns=2, panel_height_in=2.6),
        Figure(f"lanes-{size}", "Calls", (calls, calls), read, panel_height_in=2.9),
        Figure(
            f"timeline-{size}",
            "Timeline",
            tuple(conversation),
            read,
            columns=2,
            same_x=True,
            panel_height_in=1.75,
        ),
    ]


CROWDED = [*crowded(SOME), *crowded(ALL)]
FIGURES = [RATIOS, THROUGHPUT, IDLE, GRID, ROWS, LANES, NINES, NOTHING]


@pytest.fixture(params=[*FIGURES, *CROWDED], ids=lambda figure: figure.name)
def figure(request: pytest.FixtureRequest) -> Figure:
    one: Figure = request.param
    return one


@pytest.fixture(params=CROWDED, ids=lambda figure: figure.name)
def crowd(request: pytest.FixtureRequest) -> Figure:
    one: Figure = request.param
    return one


def words(canvas: Canvas) -> dict[str, list[Bbox]]:
    """All texts that are drawn, and where, in pixels."""
    canvas.canvas.draw()
    beyond = {
        id(tick.label1)
        for ax in canvas.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in axis.majorTicks
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    found: dict[str, list[Bbox]] = {}
    for text in canvas.findobj(Text):
        shown = text.get_text().strip()
        if shown and shown != "//" and text.get_visible() and id(text) not in beyond:
            # Not the method of an annotation, which counts its leader in.
            found.setdefault(shown, []).append(Text.get_window_extent(text))
    return found


def test_no_text_hides_another_or_leaves_the_picture(figure: Figure) -> None:
    canvas = svg.draw(figure, CATALOG)
    boxes = [(text, box) for text, places in words(canvas).items() for box in places]

    for (text, box), (other, others) in itertools.combinations(boxes, 2):
        across = min(box.x1, others.x1) - max(box.x0, others.x0)
        up = min(box.y1, others.y1) - max(box.y0, others.y0)
        # A box has room for accents and descenders that hardly any word uses: two points of it.
        assert across <= 1 or up <= 2 * svg.DPI / 72, f"{text!r} and {other!r}"
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= canvas.bbox.x1, text
        assert box.y1 <= canvas.bbox.y1, text


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_every_series_is_named_once_in_every_panel(figure: Figure) -> None:
    shown = words(svg.draw(figure, CATALOG))

    for name in {series.label for panel in figure.panels for series in panel.series}:
        carrying = [text for text in shown if text == name or text.startswith(f"{name} (")]
        wanted = sum(name in [series.label for series in panel.series] for panel in figure.panels)
        assert sum(len(shown[text]) for text in carrying) == wanted


def test_of_many_models_each_is_named_for_every_panel(crowd: Figure) -> None:
    """And the reference in all the small panels that stand for one."""
    shown = words(svg.draw(crowd, CATALOG))
    names = {series.label for panel in crowd.panels for series in panel.series}
    names |= {lane for panel in crowd.panels for lane in panel.lanes if CATALOG.find(lane)}

    for name in names:
        assert len(shown[name]) >= len(crowd.panels), name
        assert name == REFERENCE or len(shown[name]) == len(crowd.panels), name


def test_a_figure_with_many_models_stays_on_two_screens(crowd: Figure) -> None:
    few, many = (
        svg.draw(one, CATALOG).get_figheight()
        for one in (replace(crowd, panels=crowd.panels[:1]), crowd)
    )
    assert few <= 8.5
    assert many <= 17


def test_it_is_stored_as_svg_of_moderate_size(figure: Figure, tmp_path: Path) -> None:
    path = svg.save(figure, tmp_path / "charts", CATALOG)

    assert path.name == f"{figure.name}.svg"
    assert path.stat().st_size < 600_000  # of 24 panels with every model in each
    assert ElementTree.parse(path).getroot().get("width") == f"{72 * svg.WIDTH_IN:g}pt"


def test_every_text_of_the_file_is_within_it(figure: Figure, tmp_path: Path) -> None:
    """The file has other pixels than the canvas on which all places are worked out."""
    root = ElementTree.parse(svg.save(figure, tmp_path / "charts", CATALOG)).getroot()
    _, _, width, height = map(float, root.get("viewBox", "").split())
    texts = root.findall(".//{*}text")
    assert texts
    for text in texts:
        where = text.get("transform", "")
        moved = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", where)
        x, y = moved.groups() if moved else (text.get("x"), text.get("y"))
        assert 0 <= float(str(x)) <= width, text.text
        assert 0 <= float(str(y)) <= height, text.text


def test_drawing_again_gives_the_same_bytes(figure: Figure, tmp_path: Path) -> None:
    first = svg.save(figure, tmp_path / "one", CATALOG).read_bytes()

    assert svg.save(figure, tmp_path / "two", CATALOG).read_bytes() == first


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    svg.draw(THROUGHPUT, CATALOG)
    assert dict(matplotlib.rcParams) == before


def axes(figure: Figure) -> Axes:
    return svg.draw(figure, CATALOG).axes[0]


def test_a_model_looks_the_same_in_every_figure() -> None:
    found = CATALOG.find("epoll with 4 workers")
    assert found is not None
    assert found == CATALOG.find("epoll")
    looks = [(line.colour, line.marker) for line in CATALOG]
    assert len(looks) == len(set(looks)) == len({colour for colour, _ in looks})

    looks = [(line.colour, line.marker) for line in CATALOG if line.name in NAMES]
    labels = (*NAMES, "epoll with 4 workers", "somebody else's")
    lines = tuple(Series(label, points(CLIENTS, [9e3] * 10)) for label in labels)
    for y_log in (False, True):
        ax = axes(Figure("f", "t", (Panel("x", "y", lines, x_log=True, y_log=y_log),), "c"))
        drawn = [line for line in ax.lines if line.get_linestyle() != "None"]
        marks = [line.get_marker() for line in ax.lines if len(line.get_xdata()) == len(CLIENTS)]
        assert [line.get_color() for line in drawn] == [
            *(colour for colour, _ in looks),
            found.colour,
            NEUTRAL,
        ]
        assert [mark for mark in marks if mark != "None"] == [
            *(marker for _, marker in looks),
            found.marker,
            svg.MARKER,
        ]


def test_curves_that_coincide_stay_visible_and_none_is_thicker() -> None:
    """Their marks stand beside each other; thickness would read as importance."""
    ax = axes(THROUGHPUT)
    lines = [line for line in ax.lines if line.get_linestyle() != "None"]
    marks = [line for line in ax.lines if line.get_marker() != "None" and len(line.get_xdata())]
    last = sorted(mark.get_transform().transform(mark.get_xydata())[-1][0] for mark in marks[-4:])

    assert all(b - a > 2 for a, b in itertools.pairwise(last))
    assert len({line.get_linewidth() for line in lines}) == 1


def test_an_invalid_point_is_hollow() -> None:
    marks = {
        tuple(line.get_xdata()): line.get_markerfacecolor()
        for line in axes(THROUGHPUT).lines
        if line.get_marker() != "None"
    }

    assert marks[64,] == "white"


def test_zero_has_a_place_of_its_own_on_a_logarithmic_axis() -> None:
    ax = axes(IDLE)
    labels = [label.get_text() for label in ax.get_xticklabels()]

    assert labels[:2] == ["0", "100"]
    assert "5k" in labels
    assert any(text.get_text() == "//" for text in ax.texts)
    places = np.diff(ax.transData.transform([(x, 1e4) for x in ax.get_xticks()])[:, 0])
    assert places.min() >= 0.3 * svg.DPI


def test_a_wall_is_drawn_with_its_text() -> None:
    ax = axes(IDLE)

    assert any(list(line.get_xdata()) == [1024, 1024] for line in ax.lines)
    assert any(text.get_text() == "select: ValueError at fd 1024" for text in ax.texts)


def test_a_line_that_ends_early_is_named_where_it_ends() -> None:
    canvas = svg.draw(IDLE, CATALOG)
    found = words(canvas)
    frame = canvas.axes[0].get_window_extent()

    assert found["select"][0].x1 < frame.x1
    assert found["blocking (1 of 8 served)"][0].x0 < frame.x0 + 0.2 * frame.width
    assert found["poll"][0].x0 > frame.x1


def test_a_name_apart_from_the_end_of_its_line_is_led_to_it() -> None:
    early = Series("select", (Point(0, 1.0), Point(1, 1.0)))
    crowd = tuple(
        Series(name, tuple(Point(x, 0.9 + 0.04 * row) for x in range(9)))
        for row, name in enumerate(NAMES)
        if name != "select"
    )
    panel = Panel("x", "y", (early, *crowd), y_range=(0.5, 1.15), x_range=(0, 8))
    ax = axes(Figure("f", "t", (panel,), "c", panel_height_in=2.0))

    (leader,) = [line for line in ax.lines if line.get_transform() == ax.transAxes]
    end = ax.transAxes.transform(leader.get_xydata()[-1])
    across, up = end - ax.transData.transform((1, 1.0))
    assert abs(up) < 1
    assert abs(across) < 3 * svg.DODGE_POINTS * svg.DPI / 72, "six lines are dodged"
    assert not led(replace(panel, series=(early, Series("poll", (Point(8, 0.9),)))))


def led(panel: Panel) -> bool:
    """Is there a line that leads from a name to a mark?"""
    ax = axes(Figure("f", "t", (panel,), "c", panel_height_in=2.0))
    return any(line.get_transform() == ax.transAxes for line in ax.lines)


def test_an_interval_that_dwarfs_the_values_does_not_flatten_them() -> None:
    wide = Series("epoll", (Point(1, 100, 1e-9, 1e12), Point(2, 110, 0, math.inf)))
    for y_log in (False, True):
        ax = axes(Figure("f", "t", (Panel("x", "y", (wide,), y_log=y_log),), "c"))
        low, high = ax.get_ylim()
        assert high < 400
        assert low == 0 or low > 30


def test_what_the_generator_cannot_send_is_shaded() -> None:
    ax = axes(THROUGHPUT)

    assert ax.get_ylim()[1] > 240e3
    assert any(patch.get_y() == 240e3 for patch in ax.patches if hasattr(patch, "get_y"))


def test_a_log_axis_has_plain_numbers() -> None:
    for figure in (IDLE, ROWS, NINES, GRID):
        shown = words(svg.draw(figure, CATALOG))
        assert not any("^" in text or "times" in text for text in shown)


def test_a_single_point_and_a_zero_are_drawn() -> None:
    for y_log in (False, True):
        panel = Panel("x", "y", (Series("epoll", (Point(8, 0.0),)),), x_log=True, y_log=y_log)
        words(svg.draw(Figure("f", "t", (panel,), "c"), CATALOG))


def test_an_axis_says_values_as_its_panel_does() -> None:
    line = Series("epoll", (Point(1024, 50.0), Point(65536, 20_000.0)))
    panel = Panel(
        "x", "y", (line,), x_log=True, y_log=True, x_format="size", y_format="microseconds"
    )
    shown = words(svg.draw(Figure("f", "t", (panel,), "c"), CATALOG))
    assert {"1 KiB", "64 KiB", "100 us", "10 ms"} <= set(shown)


def test_a_ratio_stands_beside_one_and_beside_what_it_should_be() -> None:
    (ax,) = svg.draw(RATIOS, CATALOG).axes
    dots = {line.get_xdata()[0]: line for line in ax.lines if line.get_marker() == "o"}
    reaches = [tuple(line.get_xdata()) for line in ax.lines if line.get_marker() == "None"]
    (tick,) = ax.collections

    assert set(dots) == {0.98, 1.1}
    assert dots[1.1].get_markerfacecolor() == "white", "hollow"
    assert (0.97, 0.99) in reaches
    assert (1, 1) in reaches, "where both are equal"
    assert {x for x, _ in tick.get_segments()[0]} == {0.983}
    assert ax.get_xlim()[0] > 0.9, "a ratio has no zero to begin at"


def test_an_interval_that_leaves_its_row_ends_in_an_arrow() -> None:
    rows = (
        Series("epoll", (Point(0, 10.0, 9.0, 100.0),)),
        Series("poll", (Point(0, 10.0, 9.0, 11.0),)),
        Series("select", (Point(0, 10.0, -5.0, 11.0),)),
    )
    ax = axes(Figure("f", "t", (Panel("x", "", rows, kind="dots"),), "c"))
    low, high = ax.get_xlim()
    arrows = {
        (line.get_marker(), tuple(line.get_xydata()[0]))
        for line in ax.lines
        if line.get_marker() in ("<", ">")
    }
    assert arrows == {(">", (high, 0)), ("<", (low, 2))}


def test_rows_of_nothing_say_so() -> None:
    panel = Panel("x", "", kind="dots", ceiling=200e3)
    assert "nothing was measured" in words(svg.draw(Figure("f", "t", (panel,), "c"), CATALOG))


def test_a_row_without_a_dot_has_its_words() -> None:
    rows = (Series("epoll", (Point(0, 190e3),)), Series("blocking", (), "0 of 8 served"))
    canvas = svg.draw(Figure("f", "t", (Panel("x", "", rows, kind="dots"),), "c"), CATALOG)

    assert {"0 of 8 served", "190k", "blocking"} <= words(canvas).keys()
    assert len([line for line in canvas.axes[0].lines if line.get_marker() == "o"]) == 0


def test_rows_show_what_the_generator_could_not_send() -> None:
    rows = (Series("epoll", (Point(0, 190e3, 180e3, 230e3),)),)
    for ceiling, shaded in ((200e3, True), (900e3, False)):
        panel = Panel("x", "", rows, kind="dots", ceiling=ceiling)
        shown = words(svg.draw(Figure("f", "t", (panel,), "c"), CATALOG))
        assert (BEYOND in shown) == shaded


@settings(deadline=None)  # the machine may be busy
@given(
    heights=st.lists(st.floats(0, 300), max_size=12).map(sorted),
    gap=st.floats(1, 20),
)
def test_labels_are_moved_apart_as_little_as_needed(heights: list[float], gap: float) -> None:
    moved = svg.apart(heights, gap, 0, 300)

    assert all(b - a >= gap - 1e-6 for a, b in itertools.pairwise(moved))
    assert all(-1e-6 <= height <= 300 + 1e-6 for height in moved)
    if all(b - a >= gap for a, b in itertools.pairwise(heights)):
        assert moved == pytest.approx(heights)


def test_a_text_among_the_lines_hides_none_of_their_marks() -> None:
    """select ends at 900, and poll goes on to the right of it, where its name would stand first."""
    xs = (1, 10, 100, 900, 1000, 1200, 1500, 2000, 5000)
    panel = Panel(
        "x",
        "y",
        (
            Series("select", tuple(Point(x, 15e3) for x in xs[:4])),
            Series("poll", tuple(Point(x, 15e3) for x in xs)),
        ),
        x_log=True,
        walls=(Wall(1024, "select: ValueError at fd 1024", "select"),),
        y_range=(0, 15.5e3),
    )
    canvas = svg.draw(Figure("f", "t", (panel,), "c"), CATALOG)
    ax = canvas.axes[0]
    marks = [
        line.get_transform().transform(line.get_xydata())
        for line in ax.lines
        if line.get_marker() != "None" and len(line.get_xydata())
    ]
    for text in ("select", "select: ValueError at fd 1024"):
        (box,) = words(canvas)[text]
        assert not any(box.contains(x, y) for x, y in np.concatenate(marks)), text
