"""The lab measures what it knows: one server twice, and a server made slower by a known amount.

A reader learns how often this lab would see a difference where there is none, and how large a real
one has to be to be seen. `bench --experiments trust --blocks 40` asks more thoroughly.

The known differences are between servers that work on each answer for a given time by the clock,
which varies little. How much a server varies whose speed is the machine's, its throughput shows,
compared with itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from scipy import stats

from loadgen.analysis.estimate import Estimate, Metric, by_block, estimate, ratio
from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import measured_by, ratio_text
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel, Point, Series
from loadgen.store.metric import latency_us, throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests
from servers.catalog import Model

NAME = "trust"
QUESTION = "Does the lab find differences where there are some, and only there?"
HYPOTHESIS = (
    "The same server under two names differs in one comparison of twenty, because intervals cover"
    " 95 %. A server that works X us longer on each answer comes out X us slower."
)
HOW_TO_READ = (
    "Each bar is a metric of one server divided by that of the plain server, over paired blocks,"
    " with its 95 % confidence interval. The label says what it should be. The first two bars"
    " compare the plain server with itself: its median service time, and its throughput with 64"
    " busy clients."
)

SERVER = "epoll"
# Long enough that 5 % of it is more than the clock's own cost.
WORK_US = 100
EXTRA_US = (5, 10, 20)
BUSY_CLIENTS = 64
WINDOW_S: dict[Profile, float] = {"quick": 0.2, "standard": 0.3, "full": 1.0}
# Pairs behind one comparison of a standard run.
PAIRS = 3

# Fewer comparisons say nothing about a rate.
ENOUGH = 10

# What an answer costs, and which replica: all that tells these cells apart.
Key = tuple[str | None, int]

MEDIAN_US = latency_us("service", "p50")


@dataclass(frozen=True)
class Known:
    """A comparison whose outcome is known: a server against the plain one, of the same kind."""

    label: str
    cell: CellData
    plain: CellData
    metric: Metric
    truth: float


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Two plain servers, each of them again, and three that are slower by a known amount."""
    if all(model.name != SERVER for model in servers):
        return []
    plain = Requests(work=working(0), warmup_s=0.1, duration_s=WINDOW_S[profile])
    busy = Requests(connections=BUSY_CLIENTS, warmup_s=0.1, duration_s=WINDOW_S[profile])
    slower = [replace(plain, work=working(extra_us)) for extra_us in EXTRA_US]
    plan = [(plain, 0), (plain, 1), *((workload, 0) for workload in slower), (busy, 0), (busy, 1)]
    return [
        Cell(experiment=NAME, server=SERVER, workload=workload, replica=replica)
        for workload, replica in plan
    ]


def working(extra_us: int) -> str:
    """What an answer costs a server that works longer."""
    return f"cpu:{WORK_US + extra_us}us"


def known(run: Run) -> Iterator[Known]:
    """The comparisons of which the run has both sides."""
    found = {
        (workload.work, data.cell.replica): data
        for data, workload in measured_by(run, NAME, Requests)
    }

    def pair(label: str, one: Key, other: Key, metric: Metric, truth: float) -> Iterator[Known]:
        if one in found and other in found:
            yield Known(label, found[one], found[other], metric, truth)

    plain, busy = (working(0), 0), (None, 0)
    yield from pair("the same server", (working(0), 1), plain, MEDIAN_US, 1.0)
    yield from pair("the same server, busy", (None, 1), busy, throughput, 1.0)
    base = found[plain].over_blocks(MEDIAN_US) if plain in found else None
    for extra_us in EXTRA_US if base else ():
        truth = 1 + extra_us / base.value if base else 1.0
        slower = (working(extra_us), 0)
        yield from pair(f"{extra_us} us slower", slower, plain, MEDIAN_US, truth)


def compared(run: Run) -> list[tuple[Known, Estimate]]:
    """Each comparison with the ratio that was found."""
    return [
        (each, found.estimate)
        for each in known(run)
        if (found := ratio(each.cell.records, each.plain.records, each.metric)) is not None
    ]


def figures(run: Run) -> list[Figure]:
    """Measured ratios beside what they should be."""
    bars = tuple(
        Series(
            each.label,
            (Point(0, found.value, found.low, found.high),),
            f"{ratio_text(found, 3)}, should be {each.truth:.3f}",
            tone="#0072B2",
        )
        for each, found in compared(run)
    )
    return [
        Figure(
            name="trust",
            title="Known differences, as the lab measures them",
            panels=(Panel("relative to the plain server", "", bars, kind="bars"),),
            caption=HOW_TO_READ,
            panel_height_in=3.0,
        )
    ]


def false_alarms(run: Run) -> tuple[int, int]:
    """Comparisons of a server with itself that were no tie, of how many; PAIRS pairs each."""
    alarms = comparisons = 0
    for each in known(run):
        if each.truth != 1.0:
            continue
        first, second = (by_block(cell.records, each.metric) for cell in (each.plain, each.cell))
        ratios = [second[block] / first[block] for block in sorted(first.keys() & second.keys())]
        for start in range(0, len(ratios) - PAIRS + 1, PAIRS):
            found = estimate(ratios[start : start + PAIRS])
            comparisons += 1
            alarms += found is not None and not found.low <= 1 <= found.high
    return alarms, comparisons


def finding(run: Run) -> str:
    """False alarms with their binomial interval, and the measured sizes of known differences."""
    alarms, comparisons = false_alarms(run)
    told = "; ".join(
        f"{each.label} {ratio_text(found, 3)}, should be {each.truth:.3f}"
        for each, found in compared(run)
    )
    if not comparisons or not told:
        return "The data do not decide: no pair of trials was valid."
    text = (
        f"The lab saw a difference between identical servers in {alarms} of {comparisons}"
        f" comparisons of {PAIRS} pairs"
    )
    if comparisons >= ENOUGH:
        rate = stats.binomtest(alarms, comparisons).proportion_ci(0.95)
        low, high = (f"{100 * end:.0f} %" for end in (rate.low, rate.high))
        text += f" (95 % confidence interval of the rate: {low} to {high})"
    return f"{text}. Ratios to the plain server: {told}."
