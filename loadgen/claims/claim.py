"""What a claim consists of, and what can be said of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence
    from loadgen.store.metric import Metric
    from loadgen.trial.cell import Cell

# What a program saw, by name, the unit in the name. `tries_X` and `held_X` belong together: of so
# many tries in the case X what tutorials say held in so many.
Seen = dict[str, int | float | str | None]

Kind = Literal["true", "false", "it depends", "not decided"]


@dataclass(frozen=True)
class Verdict:
    """What came out.

    kind      the verdict
    sentence  the figures that decide, with their intervals
    on        on what it depends; empty where it does not
    """

    kind: Kind
    sentence: str
    on: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.on}" if self.on else self.kind


@dataclass(frozen=True)
class Compared:
    """Two cells of one comparison, of which the first is compared with the second."""

    one: "Cell"
    other: "Cell"
    metric: "Metric"


def _nothing() -> Mapping[str, Compared]:
    return {}


def _no_cells() -> Mapping[str, "Cell"]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim.

    name      of its file
    says      what tutorials say, in one sentence
    tried     what was tried to find out
    why       why it comes out like this, in a sentence or two
    verdict   the rule by which the data of a run decide
    program   what runs alone for some seconds, and returns what it saw
    compares  by name, ratios that decide; they are claimed together with those of all claims
    watches   by name, cells that decide without being compared
    """

    name: str
    says: str
    tried: str
    why: str
    verdict: "Callable[[Evidence], Verdict]"
    program: Callable[[], Seen] | None = None
    compares: Callable[[], Mapping[str, Compared]] = _nothing
    watches: "Callable[[], Mapping[str, Cell]]" = _no_cells

    @property
    def source(self) -> str:
        """Its file, as seen from the lab's folder."""
        return f"loadgen/claims/{self.name}.py"
