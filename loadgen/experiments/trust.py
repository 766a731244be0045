"""The lab measures what it knows: one server twice, and a server made slower by a known amount.

A reader learns how often this lab would see a difference where there is none, and how large a real
one has to be to be seen. `bench --experiments trust --blocks 40` asks more thoroughly.
"""

from collections.abc import Sequence

from scipy import stats

from loadgen.analysis import CellData, Estimate, Run, estimate, latency_us, ratio
from loadgen.charts import Figure, Panel, Point, Series
from loadgen.experiments import Cell, Profile
from loadgen.experiments.tools import interval
from loadgen.workload import Workload
from servers.catalog import VARIANTS, Variant

NAME = "trust"
QUESTION = "Does the lab find differences where there are some, and only there?"
HYPOTHESIS = (
    "The same server under two names differs in one comparison of twenty, because intervals cover"
    " 95 %. A server that works X us longer per answer comes out X us slower."
)
HOW_TO_READ = (
    "Each bar is the median service time of one server divided by that of the plain one, over"
    " paired blocks, with its 95 % interval. The label says what it should be. The first bar is the"
    " same server once more."
)

SERVER = "epoll"
# Long enough that 5 % of it is more than the clock's own cost.
WORK_US = 100
EXTRA_US = (5, 10, 20)
# An equal command line under another name.
PLAIN = ("--work", f"cpu:{WORK_US}us")
AGAIN = (*PLAIN, "--host", "127.0.0.1")
WINDOW_S: dict[Profile, float] = {"quick": 0.2, "standard": 0.3, "full": 1.0}
# Pairs behind one comparison of a standard run.
PAIRS = 3

MEDIAN_US = latency_us("service", "p50")


def cells(profile: Profile, servers: Sequence[Variant]) -> list[Cell]:
    """The plain server, the same again, and three that are slower by a known amount."""
    if all(variant.name != SERVER for variant in servers):
        return []
    slower = [("--work", f"cpu:{WORK_US + extra}us") for extra in EXTRA_US]
    return [
        Cell(
            experiment=NAME,
            server=SERVER,
            workload=Workload(warmup_s=0.1, duration_s=WINDOW_S[profile]),
            options=options,
        )
        for options in (PLAIN, AGAIN, *slower)
    ]


def figures(run: Run) -> list[Figure]:
    """Measured ratios beside what they should be."""
    bars = []
    for label, cell, truth in _compared(run):
        found = ratio(cell.records, _plain(run).records, MEDIAN_US)
        if found is not None:
            value = found.estimate
            bars.append(
                Series(
                    label,
                    (Point(0, value.value, value.low, value.high),),
                    f"{interval(value)}, truth {truth:.2f}",
                    tone="#0072B2",
                )
            )
    return [
        Figure(
            name="trust",
            title="What the lab says of differences it knows",
            panels=(
                Panel("service time, relative to the plain server", "", tuple(bars), kind="bars"),
            ),
            caption=HOW_TO_READ,
            panel_height_in=2.6,
        )
    ]


def _cells_by_options(run: Run) -> dict[tuple[str, ...], CellData]:
    """Command line options => cell."""
    ids = {cell.id: cell.options for cell in cells("standard", VARIANTS)}
    return {ids[name]: data for name, data in run.of(NAME).items() if name in ids}


def _plain(run: Run) -> CellData:
    return _cells_by_options(run).get(PLAIN, CellData())


def _compared(run: Run) -> list[tuple[str, CellData, float]]:
    """Label, cell and true ratio of everything that is compared with the plain server."""
    found = _cells_by_options(run)
    base = _plain(run).over_blocks(MEDIAN_US)
    if base is None:
        return []
    compared = [("the same again", found[AGAIN], 1.0)] if AGAIN in found else []
    for extra_us in EXTRA_US:
        cell = found.get(("--work", f"cpu:{WORK_US + extra_us}us"))
        if cell is not None:
            compared.append((f"{extra_us} us slower", cell, 1 + extra_us / base.value))
    return compared


def false_alarms(run: Run) -> tuple[int, int]:
    """Comparisons of the server with itself that were no tie, of how many; PAIRS pairs each."""
    again = _cells_by_options(run).get(AGAIN, CellData())
    first, second = _by_block(_plain(run)), _by_block(again)
    ratios = [second[block] / first[block] for block in sorted(first.keys() & second.keys())]
    groups = [ratios[i : i + PAIRS] for i in range(0, len(ratios) - PAIRS + 1, PAIRS)]
    found = [e for group in groups if (e := estimate(group)) is not None]
    return sum(not e.low <= 1 <= e.high for e in found), len(found)


def _by_block(cell: CellData) -> dict[int, float]:
    return {
        record["block"]: value for record in cell.valid if (value := MEDIAN_US(record)) is not None
    }


def finding(run: Run) -> str:
    """False alarms with their binomial interval, and the measured sizes of known differences."""
    alarms, comparisons = false_alarms(run)
    known: list[tuple[str, Estimate, float]] = []
    for label, cell, truth in _compared(run):
        found = ratio(cell.records, _plain(run).records, MEDIAN_US)
        if found is not None:
            known.append((label, found.estimate, truth))
    if not comparisons or not known:
        return "The data do not decide: no pair of trials was valid."
    rate = stats.binomtest(alarms, comparisons).proportion_ci(0.95)
    listed = "; ".join(
        f"{label}: {found.value:.3f} [{found.low:.3f}, {found.high:.3f}], truth {truth:.3f}"
        for label, found, truth in known
    )
    return (
        f"One server under two names: {alarms} false alarms in {comparisons} comparisons of"
        f" {PAIRS} pairs (95 % interval of the rate {rate.low:.0%} to {rate.high:.0%})."
        f" Ratios of service time: {listed}."
    )
