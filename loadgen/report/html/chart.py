"""A figure as the chart library takes it: the same values that svg.py draws.

Each panel is a graph of its own, so that the page can set them beside or below each other. Numbers
are written here, by units.py, and the library writes none of its own.
"""

from collections.abc import Sequence

from loadgen.analysis.catalog import Catalog
from loadgen.report.figure import Figure, Panel
from loadgen.report.html import lines, rows
from loadgen.report.html.marks import SYMBOLS, Graph
from loadgen.report.spread import spread

PIXELS_PER_INCH = 88


def graphs(figure: Figure, catalog: Catalog) -> Graph:
    """A figure for the page: its panels, and the servers that can be picked out in it."""
    figure = spread(figure, catalog)
    panels = [_panel(panel, figure, catalog) for panel in figure.panels]
    if figure.same_x:
        _share_reach(panels)
    servers = dict.fromkeys(
        trace["meta"] for panel in panels for trace in panel["data"] if trace["meta"]
    )
    return {
        "panels": panels,
        "columns": figure.columns,
        "servers": [
            {"name": name, "colour": line.colour, "symbol": SYMBOLS.get(line.marker, "circle")}
            for name in catalog.in_order(servers)
            if (line := catalog.find(name))
        ],
        "caption": figure.caption,
    }


def lanes_of(panel: Panel, catalog: Catalog) -> Graph:
    """One panel of lanes, for the page of a model."""
    return _panel(panel, Figure("", "", (panel,), ""), catalog)


def _share_reach(panels: Sequence[Graph]) -> None:
    """All panels have the x axis of the one that reaches farthest."""
    ranges = [panel["layout"]["xaxis"].get("range") for panel in panels]
    reach = max((each[1] for each in ranges if each), default=None)
    for panel, each in zip(panels, ranges, strict=True):
        if each and reach is not None:
            panel["layout"]["xaxis"]["range"] = [each[0], reach]


def _panel(panel: Panel, figure: Figure, catalog: Catalog) -> Graph:
    if panel.kind == "lines":
        graph = lines.lines(panel, catalog, round(figure.panel_height_in * PIXELS_PER_INCH))
    elif panel.kind in ("dots", "ratios"):
        graph = rows.dots(panel, catalog)
    else:
        graph = rows.lanes(panel, catalog)
    graph |= {"title": panel.title, "kind": panel.kind}
    return graph
