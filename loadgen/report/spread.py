"""What becomes of a figure with more models than one look takes in.

Experiments make the same figures for six models and for twenty. Here, and nowhere else, it is
decided how many are too many: lines become small multiples, a panel per family before all others in
grey; rows and lanes stand family by family and get the height they need; many panels stand side by
side. Lines of one point each are rows from the start.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from loadgen.analysis.catalog import Catalog
from loadgen.report.figure import BEYOND, REFERENCE, Figure, Panel, Series
from loadgen.report.units import formatted

MANY = 8  # models in a panel, or panels below each other: so many are legible
TOGETHER = 7  # models that are alone in their families: so many share a panel
ALONE = "families of one"
COLUMNS = 3
ROW_IN, AROUND_ROWS_IN = 0.2, 1.1  # of a panel with rows or lanes: each of them, and the rest
SMALL, SMALLEST_IN = 0.65, 2.0  # height of a small multiple, of the panel that it stands for
BLANK = Panel("", "", kind="key")


def spread(figure: Figure, catalog: Catalog) -> Figure:
    """The figure, so that all of its models can be told apart."""
    figure = _with_rows_for_points(figure)
    if any(panel.kind == "lines" for panel in figure.panels):
        figure = replace(figure, caption=f"{figure.caption} {figure.of_lines}".strip())
    figure = replace(figure, of_lines="")
    if any(_servers(panel.series, catalog) > MANY for panel in figure.panels):
        lines = all(panel.kind == "lines" for panel in figure.panels)
        return _multiples(figure, catalog) if lines else _rows(figure, catalog)
    if any(_lanes(panel, catalog) > MANY for panel in figure.panels):
        return _rows(figure, catalog)
    if len(figure.panels) > MANY:
        return replace(figure, columns=COLUMNS, shared=True)
    return figure


def family(label: str, catalog: Catalog) -> str:
    """The family of the server with this label; none of other labels."""
    line = catalog.find(label)
    return line.family if line else ""


def by_family(labels: Iterable[str], catalog: Catalog) -> list[str]:
    """In the order of the catalog, but with the models of a family next to each other."""
    ordered = catalog.in_order(labels)
    families = list(dict.fromkeys(family(label, catalog) for label in ordered))
    return sorted(ordered, key=lambda label: families.index(family(label, catalog)))


def _servers(series: Sequence[Series], catalog: Catalog) -> int:
    return sum(catalog.find(each.label) is not None for each in series)


def _lanes(panel: Panel, catalog: Catalog) -> int:
    return sum(catalog.find(lane) is not None for lane in panel.lanes)


def _with_rows_for_points(figure: Figure) -> Figure:
    """Where everything was measured at one place of an axis, there are no lines: rows say more."""
    if not any(map(_is_one_place, figure.panels)):
        return figure
    texts = [wall.text for panel in figure.panels for wall in panel.walls if _is_one_place(panel)]
    return replace(
        figure,
        panels=tuple(_as_rows(p) if _is_one_place(p) else p for p in figure.panels),
        caption=" ".join([figure.caption, *_noted(texts)]),
    )


def _is_one_place(panel: Panel) -> bool:
    places = {point.x for series in panel.series for point in series.points}
    return panel.kind == "lines" and len(panel.series) > 1 and len(places) == 1


def _as_rows(panel: Panel) -> Panel:
    """Lines that have one point each as dots."""

    def told(series: Series) -> str:
        value = formatted(float(f"{series.points[0].y:.3g}"), panel.y_format)
        return f"{value} {series.note}".strip()

    place = next(point.x for series in panel.series for point in series.points)
    return Panel(
        panel.y_label,
        "",
        tuple(replace(series, note=told(series)) for series in panel.series if series.points),
        title=panel.title or f"{panel.x_label}: {formatted(place, panel.x_format)}",
        kind="dots",
        x_log=panel.y_log,
        x_range=panel.y_range,
        x_format=panel.y_format,
        ceiling=panel.ceiling,
    )


def _multiples(figure: Figure, catalog: Catalog) -> Figure:
    """Each panel as a block of small ones with the same axes, a family in each."""
    labels = {series.label: None for panel in figure.panels for series in panel.series}
    groups = _groups(by_family(labels, catalog), catalog)
    columns = 2 if len(groups) in (2, 4) else COLUMNS
    panels: list[Panel] = []
    for panel in figure.panels:
        panels += [_multiple(panel, title, members) for title, members in groups.items()]
        panels += [BLANK] * (-len(panels) % columns)
    return replace(
        figure,
        panels=tuple(panels),
        caption=" ".join([figure.caption, *_about(figure.panels)]),
        columns=columns,
        shared=True,
        panel_height_in=max(SMALLEST_IN, SMALL * figure.panel_height_in),
    )


def _groups(labels: Sequence[str], catalog: Catalog) -> dict[str, list[str]]:
    """Who shares a panel, by its title: families, and those who are alone in theirs."""
    families: dict[str, list[str]] = {}
    for label in labels:
        families.setdefault(family(label, catalog), []).append(label)
    alone = [members[0] for members in families.values() if len(members) == 1]
    groups = {ALONE: alone[:TOGETHER], f"more, {ALONE}": alone[TOGETHER:]}
    groups |= {title: members for title, members in families.items() if len(members) > 1}
    return {title: members for title, members in groups.items() if members}


def _multiple(panel: Panel, title: str, members: Sequence[str]) -> Panel:
    """A panel with some of its servers in front of all others."""
    roles: dict[str, list[Series]] = {"behind": [], "reference": [], "front": []}
    for series in panel.series:
        shown = replace(series, note="")
        if series.label in members:
            roles["front"].append(shown)
        elif series.label == REFERENCE:
            roles["reference"].append(replace(shown, role="reference"))
        else:
            roles["behind"].append(replace(shown, role="behind"))
    return replace(
        panel,
        series=(*roles["behind"], *roles["reference"], *roles["front"]),
        title=f"{panel.title}\n{title}".strip(),
        walls=tuple(replace(wall, text="") for wall in panel.walls if wall.server in members),
        notes=(),
    )


def _about(panels: Sequence[Panel]) -> Iterator[str]:
    """What a caption adds to small multiples: how to read them, and what has no room in them."""
    yield f"In each panel some models are in colour; all others are grey, {REFERENCE} is dashed."
    if any(panel.ceiling is not None for panel in panels):
        yield f"Shaded: {BEYOND}."
    series = [series for panel in panels for series in panel.series]
    texts = [f"{each.label} {each.note}" for each in series if each.note]
    texts += [wall.text for panel in panels for wall in panel.walls]
    texts += [note for panel in panels for note in panel.notes]
    yield from _noted(texts)


def _noted(texts: Iterable[str]) -> Iterator[str]:
    """What a caption adds of texts that have no room in panels, a sentence."""
    if found := "; ".join(dict.fromkeys(texts)):
        yield f"Note: {found}."


def _rows(figure: Figure, catalog: Catalog) -> Figure:
    """Rows and lanes family by family, as high as they need to be."""
    panels = tuple(_sorted(panel, catalog) for panel in figure.panels)
    most = max(len(panel.series) + len(panel.lanes) for panel in panels)
    columns = figure.columns
    if columns == 1 and len(panels) > 1 and not panels[0].lanes:
        columns = 2
    texts: list[str] = []
    if columns > 1:  # no room beside values
        texts = [text for panel in panels for text in map(_beside_value, panel.series) if text]
        panels = tuple(
            replace(panel, series=tuple(map(_value_only, panel.series))) for panel in panels
        )
    return replace(
        figure,
        panels=panels,
        caption=" ".join([figure.caption, *_noted(texts)]),
        columns=columns,
        panel_height_in=max(figure.panel_height_in, AROUND_ROWS_IN + ROW_IN * most),
    )


def _beside_value(series: Series) -> str:
    """ "blocking (1 of 64 served)" """
    _, opened, words = series.note.partition(" (")
    return f"{series.label}{opened}{words}" if opened else ""


def _value_only(series: Series) -> Series:
    return replace(series, note=series.note.partition(" (")[0])


def _sorted(panel: Panel, catalog: Catalog) -> Panel:
    """A panel whose rows or lanes stand family by family."""
    rows = by_family([series.label for series in panel.series], catalog)
    lanes = by_family(panel.lanes, catalog)
    return replace(
        panel,
        series=tuple(sorted(panel.series, key=lambda series: rows.index(series.label))),
        lanes=tuple(lanes),
        bars=tuple(replace(bar, lane=lanes.index(panel.lanes[bar.lane])) for bar in panel.bars),
    )
