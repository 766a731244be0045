"""The few sentences that a run is for, named before it is made.

Whoever looks at a hundred ratios finds some that differ by chance. These are the ones that are
claimed; together they are wrong in one run of twenty at most (Holm, `claim.headlines`). Whatever
else a run shows is exploratory, and the report says so.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadgen.analysis.claim import Claim, Kind, claim, headlines
from loadgen.analysis.estimate import ratio
from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import ANSWERS, REFERENCE, counted, epoch_s, interval, of_claim
from loadgen.store.metric import Metric, throughput
from loadgen.trial.methods import Method

CONVERSATIONS = ("completes", "times as many conversations per second as")


@dataclass(frozen=True)
class Headline:
    """One comparison: of two servers in an experiment, at the largest load that both had, or under
    one kind of work.

    load   the field of the workload that says how much; the largest is meant
    words  what is the case, from that field's value
    work   only under workloads with this
    """

    experiment: str
    one: str
    other: str
    load: str
    words: Callable[[int], str]
    work: str | None = None
    verb: tuple[str, str] = ANSWERS
    metric: Metric = throughput


def _idle(clients: int) -> str:
    return f"Beside {clients:,} idle connections"


def _busy(clients: int) -> str:
    return f"With {counted(clients, 'busy client')}"


def _slots(slots: int) -> str:
    return f"With a connection for every request, {slots:,} at a time,"


HEADLINES = (
    Headline("idle", "epoll", "poll", "idle_connections", _idle),
    Headline("idle", "epoll", "threaded", "idle_connections", _idle),
    Headline("throughput", "epoll", "poll", "connections", _busy),
    Headline("throughput", "epoll", "threaded", "connections", _busy),
    Headline(
        "handler",
        "threaded",
        "epoll",
        "connections",
        lambda _: "When each answer sleeps 1 ms",
        work="sleep:1ms",
    ),
    Headline(
        "handler",
        "threaded",
        "epoll",
        "connections",
        lambda _: "When each answer burns 100 us of CPU",
        work="cpu:100us",
    ),
    Headline(
        "churn", "epoll", "threaded", "connections", _slots, work="cpu:20us", verb=CONVERSATIONS
    ),
)


def sentences(run: Run) -> list[str]:
    """What the run says of each headline whose experiment it has."""
    return [told for _, told in by_outcome(run)]


def by_outcome(run: Run) -> list[tuple[Kind, str]]:
    """The same, each with what came out."""
    found = [(each, *measured) for each in HEADLINES if (measured := _measured(run, each))]
    resolved = headlines([one for _, _, one in found])
    return [
        (one.kind, sentence(each, value, one))
        for (each, value, _), one in zip(found, resolved, strict=True)
    ]


def precision(run: Run) -> str:
    """How narrow the ratios of servers to the reference are that took turns with it, and how much
    of the work was void; empty where none did. Who serves one client of many is not compared."""
    widths = []
    for _, reference in run.twins:
        for data in run.of(reference.cell.experiment).values():
            alike = data.cell.workload == reference.cell.workload
            whole = not data.first["connections"]["limit"]
            if alike and whole and data.cell != reference.cell and data.first["slices"]:
                found = ratio(data.records, reference.compared, data.cell.workload.target)
                widths.append(found.estimate.half_width if found else math.inf)
    if not widths:
        return ""
    by_epoch = {
        (record["started_at"], record["cell"]["experiment"]): record["slices"]["void"]
        for record in run.records
        if record["slices"]
    }
    rounds = [reason is not None for void in by_epoch.values() for reason in void]
    narrow, fair = (sum(width <= limit for width in widths) for limit in (0.03, 0.05))
    ratios, void = counted(len(widths), "ratio"), sum(rounds) / len(rounds)
    return (
        f"Of {ratios} to {REFERENCE}, {narrow / len(widths):.0%} are known to 3 % and"
        f" {fair / len(widths):.0%} to 5 %; {void:.1%} of {len(rounds):,} rounds were void."
    )


def sentence(headline: Headline, value: int, found: Claim) -> str:
    """A claim in words."""
    when, one, other = headline.words(value), headline.one, headline.other
    told, percent = interval(of_claim(found)), f"{100 * found.margin:.0f} %"
    verb, times = headline.verb
    if found.kind == "equal":
        return f"{when} {one} and {other} are equal within {percent} ({told})."
    if found.resolved:
        return f"{when} {one} {verb} {told} {times} {other}."
    more = ""
    if found.more_s:
        more = f"; about {counted(max(1, round(found.more_s / 60)), 'more minute')} would do"
    return (
        f"{when} {one} {verb} {told} {times} {other}; whether they differ by more than {percent}"
        f" is not resolved{more}."
    )


def _measured(run: Run, headline: Headline) -> tuple[int, Claim] | None:
    """The largest load that both servers were measured under, and the claim about it."""
    by_load: dict[int, dict[str, CellData]] = {}
    for data in run.of(headline.experiment).values():
        workload = data.cell.workload
        if workload.work == headline.work and data.cell.server in (headline.one, headline.other):
            by_load.setdefault(_load(workload, headline.load), {})[data.cell.server] = data
    both: Mapping[int, dict[str, CellData]] = {
        value: servers for value, servers in by_load.items() if len(servers) == 2
    }
    for value in sorted(both, reverse=True):
        one, other = both[value][headline.one], both[value][headline.other]
        found = ratio(one.compared, other.compared, headline.metric)
        if found is not None and (said := claim(found.logs, epoch_s=epoch_s(one))):
            return value, said
    return None


def _load(workload: Method, field: str) -> int:
    value = getattr(workload, field)
    assert isinstance(value, int)
    return value
