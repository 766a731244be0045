"""The lab measures what it knows: every server twice, and a server made slower by a known amount.

A reader learns how often this lab sees a difference where there is none, and how large a real one
has to be to be seen. The reference server takes part twice in every comparison of every experiment:
all of these count here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy import stats

from loadgen.analysis.claim import Claim, claim
from loadgen.analysis.estimate import ratio
from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import REFERENCE, counted, margin_of
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel, Point, Series
from loadgen.store.metric import cpu_us, throughput
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
    "Each line is the answers per second of one server divided by those of the plain one, with its"
    " 95 % confidence interval over epochs; the cross is what it should be. The plain server burns"
    " 100 us of CPU for each answer, the others more."
)

CLIENTS = 16
# Long enough that 2 % of it is more than the clock's own cost.
WORK_US = 100
EXTRA_US = (2, 5, 10)
# Fewer comparisons say nothing about a rate.
ENOUGH = 10


@dataclass(frozen=True)
class Known:
    """A ratio whose truth is known: of a server against the plain one."""

    label: str
    truth: float
    found: Claim


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """A plain server, the same again, and some that are slower by a known amount."""
    del profile  # it has one form
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
        *(replace(plain, options=("--work", working(extra_us))) for extra_us in EXTRA_US),
    ]


def working(extra_us: int) -> str:
    """What an answer costs a server that works longer."""
    return f"cpu:{WORK_US + extra_us}us"


def known(run: Run) -> list[Known]:
    """The server that was made slower, as far as the run has both sides.

    A server that is always busy answers one request per CPU time of one answer: with x us more the
    ratio is c / (c + x).
    """
    by_options = {data.cell.options: data for data in run.of(NAME).values()}
    plain = by_options.get(())
    cost = plain.over_blocks(cpu_us) if plain else None
    if plain is None or cost is None:
        return []
    return [
        Known(f"{extra_us} us slower", cost.value / (cost.value + extra_us), found)
        for extra_us in EXTRA_US
        if (data := by_options.get(("--work", working(extra_us))))
        and (found := against(data, plain))
    ]


def identical(run: Run) -> list[tuple[CellData, Claim]]:
    """The server against itself, in every comparison of the run."""
    return [(data, found) for data, twin in run.twins if (found := against(twin, data))]


def against(one: CellData, other: CellData) -> Claim | None:
    """By answers per second."""
    found = ratio(one.records, other.records, throughput)
    return claim(found.logs) if found else None


def figures(run: Run) -> list[Figure]:
    """Measured ratios beside what they should be."""
    themselves = [
        Known("the same server", 1.0, found)
        for data, found in identical(run)
        if data.cell.experiment == NAME
    ]
    return [
        Figure(
            name="trust",
            title="Known differences, as the lab measures them",
            panels=(
                Panel(
                    "answers per second, relative to the plain server",
                    "",
                    tuple(
                        Series(
                            each.label,
                            (Point(0, each.found.ratio, each.found.low, each.found.high),),
                            f"{_told(each.found)}, should be {each.truth:.3f}",
                            tone="#0072B2",
                        )
                        for each in (*themselves, *known(run))
                    ),
                    kind="bars",
                ),
            ),
            caption=HOW_TO_READ,
            panel_height_in=3.0,
        )
    ]


def finding(run: Run) -> str:
    """False alarms with their binomial interval, and the measured sizes of known differences."""
    themselves = [found for _, found in identical(run) if found.n > 1]
    told = "; ".join(
        f"{each.label} {_told(each.found)}, should be {each.truth:.3f}" for each in known(run)
    )
    if not themselves or not told:
        return "The data do not decide: no server was measured against itself."
    alarms = sum(found.differs for found in themselves)
    text = (
        f"{REFERENCE} was compared with itself in {counted(len(themselves), 'comparison')} of this"
        f" run, and a difference was seen in {alarms}"
    )
    if len(themselves) >= ENOUGH:
        rate = stats.binomtest(alarms, len(themselves)).proportion_ci(0.95)
        low, high = (f"{100 * end:.0f} %" for end in (rate.low, rate.high))
        text += f" (5 % would be right; 95 % confidence interval of the rate: {low} to {high})"
    widest = max(margin_of(found) for found in themselves)
    text += f"; the widest interval was +-{100 * widest:.1f} %"
    return f"{text}. Ratios to the plain server: {told}."


def _told(found: Claim) -> str:
    return f"{found.ratio:.3f} [{found.low:.3f}, {found.high:.3f}]"
