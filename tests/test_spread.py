"""More models than one look takes in: what becomes of a figure, as a value."""

import itertools
from dataclasses import replace

from loadgen.analysis.catalog import of_lines
from loadgen.report.figure import BEYOND, REFERENCE, Bar, Figure, Panel, Point, Series, Wall
from loadgen.report.spread import ALONE, MANY, TOGETHER, by_family, spread
from loadgen.store import provenance

CATALOG = of_lines(provenance.catalog())
NAMES = [line.name for line in CATALOG]
FAMILY = {line.name: line.family for line in CATALOG}


def figure(names: list[str], xs: tuple[float, ...] = (1, 64), kind: str = "lines") -> Figure:
    series = tuple(
        Series(name, tuple(Point(x, 1000.0 + x) for x in xs), "(1 of 64 served)" * (not number))
        for number, name in enumerate(names)
    )
    wall = Wall(64, "select: it ends here", "select")
    panel = Panel("clients", "answers", series, kind=kind, walls=(wall,), ceiling=9e3)  # type: ignore[arg-type]
    return Figure("f", "t", (panel, panel), "How to read it.")


def test_few_models_stay_as_they_are() -> None:
    few = figure(NAMES[:MANY])
    assert spread(few, CATALOG) == few


def test_many_lines_become_a_panel_per_family() -> None:
    found = spread(figure(NAMES), CATALOG)
    panels = [panel for panel in found.panels if panel.kind == "lines"]
    front = [[s.label for s in panel.series if s.role == "front"] for panel in panels]

    half = len(front) // 2
    assert front[:half] == front[half:], "both panels are shown in the same way"
    assert sorted(name for names in front[:half] for name in names) == sorted(NAMES)
    for panel, names in zip(panels, front, strict=True):
        assert len(names) <= TOGETHER
        families = {FAMILY[name] for name in names}
        if panel.title == ALONE:
            assert len(families) == len(names)
        else:
            assert families == {panel.title}
    assert len(found.panels) % found.columns == 0


def test_a_small_multiple_shows_all_others_behind_and_the_reference() -> None:
    for panel in spread(figure(NAMES), CATALOG).panels:
        if panel.kind == "lines":
            roles = {series.label: series.role for series in panel.series}
            assert sorted(roles) == sorted(NAMES)
            assert roles[REFERENCE] != "behind"
            order = [series.role for series in panel.series]
            ranks = ["behind", "reference", "front"]
            assert order == sorted(order, key=ranks.index), "nothing hides the models in front"
            assert [wall.server for wall in panel.walls] == ["select"] * (
                roles["select"] == "front"
            )


def test_what_has_no_room_in_small_multiples_is_said_below() -> None:
    caption = spread(figure(NAMES), CATALOG).caption

    assert caption.startswith("How to read it. ")
    assert BEYOND in caption
    assert "Note: blocking (1 of 64 served); select: it ends here." in caption


def test_a_caption_speaks_of_lines_where_there_are_any() -> None:
    told = "Further right there are more."
    for names in (NAMES[:6], NAMES):
        for places in ((1, 64), (64,)):
            found = spread(replace(figure(names, places), of_lines=told), CATALOG)
            lines = any(panel.kind == "lines" for panel in found.panels)
            assert (told in found.caption) == lines
            assert found.of_lines == ""


def test_lines_of_one_point_each_are_rows() -> None:
    for names in (NAMES[:6], NAMES):
        found = spread(figure(names, (64,)), CATALOG)
        assert {panel.kind for panel in found.panels} == {"dots"}
        assert {panel.title for panel in found.panels} == {"clients: 64"}
        assert sorted(s.label for s in found.panels[0].series) == sorted(names)
        assert "select: it ends here" in found.caption
    (alone,) = spread(
        Figure("f", "t", (Panel("x", "y", (Series("epoll", (Point(1, 2),)),)),), "c"), CATALOG
    ).panels
    assert alone.kind == "lines", "nothing to compare with"


def test_rows_and_lanes_stand_by_family_and_get_their_height() -> None:
    found = spread(figure(NAMES, (64,), "dots"), CATALOG)
    assert [series.label for series in found.panels[0].series] == by_family(NAMES, CATALOG)
    assert found.panel_height_in > 0.2 * len(NAMES)
    assert found.columns == 2

    bars = tuple(Bar(lane, 0, 1, name) for lane, name in enumerate(NAMES))
    lanes = Panel("calls", "", kind="lanes", lanes=tuple(NAMES), bars=bars)
    (panel,) = spread(Figure("f", "t", (lanes,), "c"), CATALOG).panels
    assert list(panel.lanes) == by_family(NAMES, CATALOG)
    assert all(panel.lanes[bar.lane] == bar.server for bar in panel.bars)


def test_a_family_stands_together_in_the_order_of_the_catalog() -> None:
    ordered = by_family(NAMES, CATALOG)
    families = [FAMILY[name] for name in ordered]

    assert sorted(ordered) == sorted(NAMES)
    changes = sum(one != other for one, other in itertools.pairwise(families))
    assert changes == len(set(families)) - 1
    for each in set(families):
        assert [n for n in ordered if FAMILY[n] == each] == [n for n in NAMES if FAMILY[n] == each]


def test_many_panels_stand_side_by_side() -> None:
    lane = Panel("", "", kind="lanes", lanes=("client 1",), bars=(Bar(0, 0, 1, "epoll"),))
    found = spread(Figure("f", "t", (lane,) * 23, "c"), CATALOG)
    assert found.columns == 3
    assert found.shared
