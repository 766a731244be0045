"""A duel of a few servers: which of them is faster, by how much, and how sure is that?

It is asked by `python -m loadgen duel`, which makes the cells of what it is told; a bench has none
of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.claim import MARGIN
from loadgen.analysis.duel import P50, P99, Score, called, contestants, scores
from loadgen.analysis.estimate import MINIMUM_BLOCKS
from loadgen.analysis.run import Run
from loadgen.experiments.tools import counted
from loadgen.plan.plan import Profile
from loadgen.report.board import digits, ratio_text
from loadgen.report.figure import Figure, Panel, Point, Series
from loadgen.store.metric import Metric, cpu_us, throughput
from loadgen.trial.cell import Cell
from servers.catalog import Model

NAME = "duel"
QUESTION = "Which of these servers is faster, and by how much?"
HYPOTHESIS = "whoever asked may have had an expectation; the lab has none."
HOW_TO_READ = (
    "Each dot is a figure of one server divided by that of the first one, with its 95 % confidence"
    " interval over epochs of fresh processes. All of them were alive at once and took turns every"
    " few milliseconds."
)


@dataclass(frozen=True)
class Words:
    """How a ratio is told.

    axis     of a chart of such ratios
    verb     "poll `verb` 0.99 `times` epoll"
    more     what is said of a claim of the kind "faster", less of "slower"
    """

    axis: str
    verb: str
    times: str
    better: str
    worse: str


WORDS = {
    throughput: Words(
        "requests per second",
        "answers",
        "times as many requests per second as",
        "is faster: it",
        "is slower: it",
    ),
    cpu_us: Words(
        "CPU time per request",
        "uses",
        "times the CPU time per request of",
        "is cheaper: it",
        "is dearer: it",
    ),
    P50: Words(
        "median response time",
        "has",
        "times the median response time of",
        "is faster: it",
        "is slower: it",
    ),
    P99: Words(
        "p99 of the response time",
        "has",
        "times the p99 response time of",
        "has the shorter tail: it",
        "has the longer tail: it",
    ),
}


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """None: they are named on the command line."""
    del profile, servers
    return []


def found_in(run: Run) -> list[Score]:
    """All ratios of a stored run, by the precision that was asked for. The first contestant is the
    first of the plan."""
    planned = [Cell.of(cell) for cell in run.header["plan"]["cells"]]
    precision = run.header["plan"]["precision"]
    return scores(contestants(planned, run.records), MARGIN if precision is None else precision)


def figures(run: Run) -> list[Figure]:
    """A panel for each metric: the ratios to the first contestant."""
    reference = called(Cell.of(run.header["plan"]["cells"][0]))
    by_metric: dict[Metric, list[Score]] = {}
    for each in found_in(run):
        by_metric.setdefault(each.metric, []).append(each)
    if not by_metric:
        return []
    panels = tuple(
        Panel(
            f"{WORDS[metric].axis}, relative to {reference}",
            "",
            tuple(map(_line, found)),
            kind="ratios",
        )
        for metric, found in by_metric.items()
    )
    return [
        Figure(
            name=NAME,
            title=f"Servers, relative to {reference}",
            panels=panels,
            caption=HOW_TO_READ,
            panel_height_in=1.2 + 0.45 * max(len(panel.series) for panel in panels),
        )
    ]


def finding(run: Run) -> str:
    """A sentence for each ratio."""
    return " ".join(f"{sentence(each)}." for each in found_in(run)) or (
        "No epoch was valid for two of the servers."
    )


def sentence(score: Score) -> str:
    """What may be said of one ratio, without a full stop."""
    found, words = score.found, WORDS[score.metric]
    told, one, other = ratio_text(score), score.one, score.other
    if found.n < MINIMUM_BLOCKS:
        return (
            f"{one} {words.verb} {found.ratio:.{digits(score)}f} {words.times} {other}, not"
            f" resolved: {counted(found.n, 'valid epoch')}, and it takes {MINIMUM_BLOCKS}"
        )
    if found.kind == "equal":
        percent = f"{100 * found.margin:g} %"
        return f"{one} {words.verb} {told} {words.times} {other}: equal within {percent}"
    if found.resolved:
        judged = words.better if found.kind == "faster" else words.worse
        return f"{one} {judged} {words.verb} {told} {words.times} {other}"
    low, high = (f"{end:.{digits(score)}f}" for end in (found.low, found.high))
    more = ""
    if found.more_s:
        more = f"; about {counted(max(1, round(found.more_s)), 'more second')} would do"
    return (
        f"{one} {words.verb} {found.ratio:.{digits(score)}f} {words.times} {other},"
        f" not resolved: between {low} and {high}{more}"
    )


def _line(score: Score) -> Series:
    found = score.found
    known = found.n >= MINIMUM_BLOCKS
    point = Point(
        0, found.ratio, found.low if known else None, found.high if known else None, not known
    )
    return Series(score.one, (point,), ratio_text(score), tone="#0072B2")
