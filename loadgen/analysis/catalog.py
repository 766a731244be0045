"""The servers of a stored run as they were presented when it was measured.

A run keeps the catalog of its day, so that its figures stay what they were when a server is added,
recoloured or removed later.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from loadgen.store.schema import Model


@dataclass(frozen=True, kw_only=True)
class CatalogLine:
    """What charts and sentences need to know of a server.

    name    what it is called on the command line
    family  the group it belongs to
    idea    the model in one sentence
    sleeps  uses no CPU while nothing happens
    colour  in every chart, as #RRGGBB
    marker  of its points in every chart: Matplotlib's letter for it (matplotlib.markers)
    """

    name: str
    family: str
    idea: str
    sleeps: bool
    colour: str
    marker: str


class Catalog(tuple[CatalogLine, ...]):
    """The lines in reading order, which is the order of tables and charts too."""

    __slots__ = ()

    def find(self, label: str) -> CatalogLine | None:
        """The server that a label names; more words may follow the name."""
        name = label.split(" ")[0]
        return next((line for line in self if line.name == name), None)

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Labels of servers in the order of the catalog, all others behind."""

        def place(name: str) -> int:
            line = self.find(name)
            return self.index(line) if line else len(self)

        return sorted(names, key=place)


def of_lines(lines: Iterable[Model]) -> Catalog:
    """The catalog that a run stored (`Header.catalog`)."""
    return Catalog(
        CatalogLine(
            name=line["name"],
            family=line["family"],
            idea=line["idea"],
            sleeps=line["sleeps"],
            colour=line["colour"],
            marker=line["marker"],
        )
        for line in lines
    )
