"""The lab measures what it knows: every server twice, and a server made slower by a known amount.

A reader learns how often this lab sees a difference where there is none, and how large a real one
has to be to be seen. The reference server takes part twice in every comparison of every experiment:
all of these count here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy import special

from loadgen.analysis.claim import Claim, claim
from loadgen.analysis.estimate import CONFIDENCE, ratio
from loadgen.analysis.run import Run
from loadgen.experiments.tools import REFERENCE, counted
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel, Point, Series
from loadgen.store.metric import cpu_us, throughput
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from servers.catalog import Model

NAME = "trust"
QUESTION = "Does the lab find differences where there are some, and only there?"
HYPOTHESIS = (
    "The same server under two names differs in one comparison of twenty, because intervals cover"
    " 95 %. A server that works X us longer on each answer answers fewer requests in proportion."
)
HOW_TO_READ = (
    "Each dot is the answers per second of one server divided by those of the plain one, with its"
    " 95 % confidence interval over epochs; the upright tick is what it should be. The plain server"
    " burns 500 us of CPU for each answer, slower ones more."
)

CLIENTS = 4
# So long that the clock by which a server burns it is no matter: it reads it every 0.6 us.
WORK_US = 500
EXTRA_US: dict[Profile, tuple[int, ...]] = {
    "quick": (10,),
    "standard": (10,),
    "full": (10, 25, 50),
}
# What a standard run decides by. A run of more epochs makes several such comparisons.
EPOCHS = 5
# Fewer comparisons say nothing about a rate.
ENOUGH = 10


@dataclass(frozen=True)
class Known:
    """A ratio whose truth is known: of a server against the plain one.

    found   over all epochs
    parts   the comparisons that EPOCHS epochs each make
    """

    label: str
    truth: float
    found: Claim
    parts: tuple[Claim, ...]

    @property
    def told_apart(self) -> int:
        """In how many of its parts a difference was seen."""
        return sum(part.differs for part in self.parts)

    @property
    def covered(self) -> int:
        """In how many of its parts the interval contains the truth."""
        return sum(part.low <= self.truth <= part.high for part in self.parts)


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """A plain server, the same again, and some that are slower by a known amount."""
    if all(model.name != REFERENCE for model in servers):
        return []
    plain = Cell(
        experiment=NAME,
        server=REFERENCE,
        workload=Slices(connections=CLIENTS, work=working(0)),
    )
    return [
        plain,
        replace(plain, replica=1),
        *(replace(plain, options=("--work", working(extra_us))) for extra_us in EXTRA_US[profile]),
    ]


def working(extra_us: int) -> str:
    """What an answer costs a server that works longer."""
    return f"cpu:{WORK_US + extra_us}us"


def slower(run: Run) -> list[Known]:
    """The server that was made slower, as far as the run has both sides.

    A server that is always busy answers one request per CPU time of one answer: with x us more the
    ratio is c / (c + x).
    """
    by_options = {data.cell.options: data for data in run.of(NAME).values()}
    plain = by_options.get(())
    cost = plain.over_blocks(cpu_us) if plain else None
    if plain is None or cost is None:
        return []
    found = [
        known(
            f"{extra_us} us slower",
            cost.value / (cost.value + extra_us),
            data.records,
            plain.compared,
        )
        for extra_us in EXTRA_US["full"]
        if (data := by_options.get(("--work", working(extra_us))))
    ]
    return [each for each in found if each]


def identical(run: Run) -> list[Known]:
    """The server against itself, in every comparison of the run, by experiment."""
    found = [
        known(data.cell.experiment, 1.0, twin.records, data.records) for twin, data in run.twins
    ]
    return [each for each in found if each]


def known(label: str, truth: float, one: Sequence[Record], other: Sequence[Record]) -> Known | None:
    """By answers per second; None where no epoch has both."""
    found = ratio(one, other, throughput)
    whole = claim(found.logs) if found else None
    if found is None or whole is None:
        return None
    parts = (found.logs[start : start + EPOCHS] for start in range(0, len(found.logs), EPOCHS))
    claims = (claim(part) for part in parts if len(part) == EPOCHS)
    return Known(label, truth, whole, tuple(part for part in claims if part))


def figures(run: Run) -> list[Figure]:
    """Measured ratios beside what they should be."""
    itself = [replace(e, label="the same server") for e in identical(run) if e.label == NAME]
    lines = tuple(
        Series(
            each.label,
            (
                Point(0, each.found.ratio, each.found.low, each.found.high),
                Point(0, each.truth),
            ),
            "{}, should be {}".format(*_told(each)),
            tone="#0072B2",
        )
        for each in (*itself, *slower(run))
    )
    return [
        Figure(
            name="trust",
            title="Known differences, as the lab measures them",
            panels=(
                Panel("answers per second, relative to the plain server", "", lines, kind="ratios"),
            ),
            caption=HOW_TO_READ,
            panel_height_in=3.0,
        )
    ]


def finding(run: Run) -> str:
    """False alarms with their binomial interval, and the measured sizes of known differences."""
    themselves = [part for each in identical(run) for part in each.parts]
    if not themselves:
        return "The data do not decide: no server was measured against itself often enough."
    alarms = sum(part.differs for part in themselves)
    text = (
        f"{REFERENCE} was compared with itself {counted(len(themselves), 'time')}, over {EPOCHS}"
        f" epochs each, and a difference was seen {counted(alarms, 'time')}"
    )
    if len(themselves) >= ENOUGH:
        low, high = (f"{100 * end:.0f} %" for end in _rate(alarms, len(themselves)))
        text += f" (5 % would be right; 95 % confidence interval of the rate: {low} to {high})"
    sentences = [text, *(_size(each) for each in slower(run))]
    return f"{'. '.join(sentences)}."


def _rate(count: int, of: int) -> tuple[float, float]:
    """The exact 95 % interval of a rate (Clopper and Pearson 1934, Biometrika 26)."""
    tail = (1 - CONFIDENCE) / 2
    low = special.betaincinv(count, of - count + 1, tail) if count else 0.0
    high = special.betaincinv(count + 1, of - count, 1 - tail) if count < of else 1.0
    return float(low), float(high)


def _size(each: Known) -> str:
    """What was found of a known difference."""
    found, truth = _told(each)
    text = f"{each.label} it answers {found} times as much, should be {truth}"
    if len(each.parts) >= ENOUGH:
        of = len(each.parts)
        text += (
            f": told apart in {each.told_apart} of {of} comparisons, and the interval contains the"
            f" truth in {each.covered} of {of}"
        )
    return text[0].upper() + text[1:]


def _told(each: Known) -> tuple[str, str]:
    """What was found and what is true, so precisely that half of the interval has two digits."""
    found, half = each.found, (each.found.high - each.found.low) / 2
    digits = 3 if not 0 < half < math.inf else max(3, 1 - math.floor(math.log10(half)))
    return (
        f"{found.ratio:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]",
        f"{each.truth:.{digits}f}",
    )
