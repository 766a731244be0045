"""What only some trials have: shares of clients, a search's way, a timeline, system calls, what a
program saw."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from loadgen.analysis.audit.bounds import CLOCKS, due_in_window
from loadgen.analysis.audit.words import (
    HISTOGRAM_TOLERANCE,
    NS_PER_S,
    is_whole,
    longest_s,
    same,
    window_s,
    work_ns,
)
from loadgen.clients.timeline import APART_NS
from loadgen.store import histogram
from loadgen.store.schema import ClientTimeline, Knee, Record
from loadgen.trial import verdict
from loadgen.trial.cell import Cell
from loadgen.trial.methods import search
from loadgen.trial.methods.demonstration import Demonstration
from loadgen.trial.methods.reaping import Reaping
from loadgen.trial.methods.requests import Requests
from loadgen.trial.methods.search import Probe, Search

# By which call a model waits, as strace(1) writes it on one architecture or another.
_WAITS = {"select": r"p?select6?|_newselect", "poll": r"p?poll", "epoll": r"epoll_p?wait2?"}

# What a program's rate of a case begins with: see loadgen/claims.
PER_S = "messages_per_s_"
# How long before its greeting arrives a server may have noted that a client is there: those that
# come together are greeted one after the other, and its CPU may be taken away meanwhile.
EARLY_NS = 20_000_000

# Of fewer samples the neighbours of a p99 may be this far apart.
MANY_SAMPLES, FEW_APART = 10_000, 0.1


def shares(record: Record) -> Iterator[str]:
    """Shares are of whole answers, and Jain's index lies where the extremes allow it."""
    found, ok, active = record["fairness"], record["counts"]["ok"], record["connections"]["active"]
    if not found or not active:
        return
    greedy = found["greedy_share"]
    many = active - (greedy is not None)
    low, high = found["slowest_share"], found["fastest_share"]
    mean = (1 - (greedy or 0.0)) / many
    if not all(is_whole(share * ok) for share in (low, high, greedy or 0.0)):
        yield f"a share of {ok:,} answers is no whole number of them"
    # Of a given mean and given extremes (Bhatia and Davis 2000), and two clients at these at least.
    most = (high - mean) * (mean - low)
    rest = many - 2
    least = (high - mean) ** 2 + (mean - low) ** 2 if many > 1 else 0.0
    least = (least + ((high + low - 2 * mean) ** 2 / rest if rest > 0 else 0.0)) / many
    bounds = [mean**2 / (mean**2 + spread) for spread in (most, least)]
    if not low * (1 - 1e-9) <= mean <= high * (1 + 1e-9) or not (
        bounds[0] * (1 - 1e-9) <= found["jain"] <= bounds[1] * (1 + 1e-9)
    ):
        yield f"Jain's index is {found['jain']:.6g}, and the shares allow {bounds}"
    yield from _turns(record, low * ok, high * ok)


def _turns(record: Record, fewest: float, most: float) -> Iterator[str]:
    """A client that asks one at a time gets as many answers as its time holds."""
    seconds, workload = window_s(record), Cell.of(record["cell"]).workload
    service: Any = record["latency_ns"]["service"]
    if not seconds or not isinstance(workload, Requests) or workload.offered_per_s is not None:
        return
    if most * service["min"] / NS_PER_S > (seconds + longest_s(record)) * (1 + CLOCKS):
        yield f"one client got {most:,.0f} answers, more than its time holds"
    overlap: Any = record["generator"] and record["generator"]["overlap_ns"]
    if not overlap or record["counts"]["ok"] != record["counts"]["scheduled"]:
        return
    # Before its first request of the window it may still have waited for one from before.
    least_s = fewest * longest_s(record) + overlap["start_ns"] / NS_PER_S
    if least_s < seconds * (1 - CLOCKS):
        yield f"one client got {fewest:,.0f} answers, and waited for them too short a time"


def largest_rate(record: Record) -> Iterator[str]:
    """The knee follows from the rates that were tried, and these from each other."""
    found, workload = record["knee"], Cell.of(record["cell"]).workload
    if not found:
        return
    if not isinstance(workload, Search):
        yield "there is a knee, and nobody searched for it"
        return
    if not same(found["limit_ns"], workload.p99_limit_s * NS_PER_S):
        yield f"the limit of p99 is {found['limit_ns']:,.0f} ns, and the cell says another"
    for probe in found["probes"]:
        load = workload.load(record["seed"], probe["offered_per_s"])
        if not is_whole(probe["achieved"] * len(due_in_window(load))):
            yield f"at {probe['offered_per_s']:,.0f}/s, no whole number of requests was answered"
    try:
        best = searched_again(found)
    except _OtherWayError as another:
        yield str(another)
        return
    if best is None or not same(best, found["rate_per_s"]):
        yield f"the knee is {found['rate_per_s']}, and its probes make {best}"
    elif not same(record["offered_per_s"], best):
        yield f"the record is of {record['offered_per_s']}/s, and the knee {best}"
    else:
        yield from at_knee(record)


class _OtherWayError(Exception):
    """A search would not have gone the way that is stored; the text says where."""


def searched_again(found: Knee) -> float | None:
    """The knee that a search finds when it is told what the stored probes say.

    Raises _OtherWayError where it would have tried another rate, more of them or fewer.
    """
    tried = found["probes"]
    left = iter(tried)

    def tell(rate_per_s: float) -> Probe[None]:
        probe = next(left, None)
        if probe is None:
            raise _OtherWayError(f"{rate_per_s:,.0f}/s was to be tried, and the probes end")
        if not same(probe["offered_per_s"], rate_per_s):
            stored = probe["offered_per_s"]
            raise _OtherWayError(f"{rate_per_s:,.0f}/s was to be tried, and it was {stored:,.0f}/s")
        p99_ns = math.inf if probe["p99_ns"] is None else probe["p99_ns"]
        return Probe(rate_per_s, probe["achieved"], p99_ns, None)

    best, probes = search.search(tell, found["limit_ns"])
    if len(probes) < len(tried):
        raise _OtherWayError(f"the search was over after {len(probes)} of {len(tried)} probes")
    return best.offered_per_s if best else None


def at_knee(record: Record) -> Iterator[str]:
    """The record's figures are those of the last probe that was kept at the knee."""
    found: Any = record["knee"]
    generator: Any = record["generator"]
    counts = record["counts"]
    kept = [
        probe
        for probe in found["probes"]
        if same(probe["offered_per_s"], found["rate_per_s"])
        and probe["p99_ns"] is not None
        and probe["p99_ns"] <= found["limit_ns"]
    ]
    if not kept or not generator or not counts["scheduled"]:
        yield "there is no probe of the knee"
        return
    last = kept[-1]
    if not same(last["achieved"], verdict.achieved(counts, record["window"])):
        yield "the share answered at the knee is not that of its probe"
    if not same(last["busy_fraction"], generator["busy_fraction"]):
        yield "the generator's busy fraction at the knee is not that of its probe"
    stated: dict[str, Any] = {
        "p99_ns": record["latency_ns"]["response"],
        "service_p99_ns": record["latency_ns"]["service"],
        "send_lag_p99_ns": generator["send_lag_ns"],
    }
    for name, summary in stated.items():
        value = summary["p99"] if summary and not summary["censored"] else None
        if value is None or not summary:
            continue
        # A probe's lies between two neighbours of so many, the summary's is one of them.
        apart = 10 * HISTOGRAM_TOLERANCE if summary["n"] >= MANY_SAMPLES else FEW_APART
        if not math.isclose(value, last[name], rel_tol=apart, abs_tol=1_000):
            yield f"{name} at the knee is {last[name]:,.0f} of its probe, {value:,} of the record"


def steps(record: Record) -> Iterator[str]:
    """A timeline's steps follow each other, and counts and latencies follow from them."""
    found, workload = record["timeline"], Cell.of(record["cell"]).workload
    if not found:
        return
    clients, counts = found["clients"], record["counts"]
    asked: Any = record["cell"]["workload"].get("requests")
    ok = sum(len(client["requests"]) for client in clients)
    wrong = sum(client["mismatched"] for client in clients)
    if (len(clients), ok, wrong) != (workload.connections, counts["ok"], counts["mismatched"]):
        yield f"the timeline has {len(clients)} clients, {ok} answers, {wrong} wrong ones"
    if counts["scheduled"] != len(clients) * asked:
        yield f"{len(clients)} clients with {asked} requests each are not {counts['scheduled']}"
    for number, client in enumerate(clients):
        moments = list(_moments(client))
        if moments != sorted(moments):
            yield f"client {number} did one thing before the one before"
        if client["connect_ns"] < number * APART_NS * (1 - CLOCKS):
            yield f"client {number} came before its time"
    derived = {
        "service": [
            request["arrived_ns"] - request["complete_ns"]
            for client in clients
            for request in client["requests"]
        ],
        "greeting": [
            client["greeted_ns"] - client["connect_ns"]
            for client in clients
            if client["greeted_ns"]
        ],
    }
    summaries: Any = record["latency_ns"]
    for kind, values_ns in derived.items():
        if summaries[kind] != histogram.summary(np.array(values_ns, np.int64)):
            yield f"{kind} latencies are not those of the steps"
    _, takes_ns = work_ns(record)
    if derived["service"] and min(derived["service"]) < takes_ns * (1 - CLOCKS):
        yield f"an answer came within {min(derived['service']):,} ns, and takes {takes_ns:,}"


def _moments(client: ClientTimeline) -> Iterator[int]:
    """What a client saw, in the order in which it has to be."""
    yield client["connect_ns"]
    if client["greeted_ns"]:
        yield client["greeted_ns"]
    for request in client["requests"]:
        yield from (request["sent_ns"], request["complete_ns"], request["arrived_ns"])
    if client["left_ns"]:
        yield client["left_ns"]


def calls(record: Record) -> Iterator[str]:
    """System calls add up, and are those by which the model waits."""
    found = record["system_calls"]
    if not found:
        return
    asked = record["cell"]["workload"].get("requests")
    if not found["requests"] == record["counts"]["ok"] == asked:
        yield f"{found['requests']} requests were traced, of {asked}"
    each = found["per_request"]
    if not same(found["total"], math.fsum(each.values())):
        yield f"{found['total']} calls per request, and those of each kind make other ones"
    if not all(count > 0 and is_whole(count * found["requests"]) for count in each.values()):
        yield f"of {found['requests']} requests no whole number of calls was counted"
    shown: dict[str, int] = {}
    for run in found["sequence"]:
        shown[run["call"]] = shown.get(run["call"], 0) + run["times"]
    if any(one["call"] == other["call"] for one, other in pairwise(found["sequence"])):
        yield "the sequence shows the same call twice in a row"
    if any(times > each.get(call, 0.0) * found["requests"] for call, times in shown.items()):
        yield "the sequence shows more calls than were counted"
    # At least half of the requests are as long as the median one, the others at least one call.
    upper = found["requests"] - found["requests"] // 2
    least = (upper * sum(shown.values()) + found["requests"] - upper) / found["requests"]
    # And a call that every request makes equally often is in the median one as often.
    if found["total"] < least * (1 - 1e-9) or not shown:
        yield f"{found['total']} calls per request, and the sequence makes {least:.3g} at least"
    yield from _waits(record["server"]["name"], each)


def _waits(server: str, each: dict[str, float]) -> Iterator[str]:
    names = [call.split(" ")[0] for call in each]
    for model, call in _WAITS.items():
        waited = any(re.fullmatch(call, name) for name in names)
        if server in _WAITS and waited != (server == model):
            yield f"{server} {'waits' if waited else 'does not wait'} as {model} does"


def deaths(record: Record) -> Iterator[str]:
    """Each client had one worker, the busiest died, and its clients lost their connection."""
    found = record["death"]
    if not found:
        return
    clients, greeted = found["clients"], record["connections"]["greeted"]
    if sum(clients) != greeted or clients != sorted(clients, reverse=True):
        yield f"{greeted} clients came, and workers had {clients}, the busiest first"
    if found["lost"] != clients[0]:
        yield f"{found['lost']} clients were lost with a worker that had {clients[0]}"
    parts = found["greeted"], found["greeted_later"], found["broken"]
    newcomers = found["newcomers"]
    if (
        min(parts) < 0
        or sum(parts) > newcomers
        or newcomers != record["cell"]["workload"].get("connections")
    ):
        yield f"of {newcomers} newcomers {parts} were greeted, later, or not"


def observed(record: Record) -> Iterator[str]:
    """What a program saw belongs to its claim, and no case held more often than it was tried."""
    found, workload = record["observation"], Cell.of(record["cell"]).workload
    if not isinstance(workload, Demonstration):
        if found:
            yield f"something was observed of {found['claim']}, and nobody looked"
        return
    if not found:
        if record["outcome"] == "measured":
            yield "nothing was observed"
        return
    if found["claim"] != workload.claim:
        yield f"{found['claim']} was observed, and the cell is of {workload.claim}"
    seen = found["seen"]
    cases = {name.partition("_")[2] for name in seen if name.startswith(("tries_", "held_"))}
    for case in sorted(cases):
        tries, held = seen.get(f"tries_{case}"), seen.get(f"held_{case}")
        if not isinstance(tries, int) or not isinstance(held, int) or not 0 <= held <= tries:
            yield f"{case} held in {held} of {tries} tries"
    for name, value in seen.items():
        if isinstance(value, str) or value is None:
            continue
        if value < 0 or ("fraction" in name and value > 1):
            yield f"{name} cannot be {value}"
    yield from _in_time(seen)


def _in_time(seen: Mapping[str, int | float | str | None]) -> Iterator[str]:
    """One case is tried after the other: at the rates that they had, they took no longer than the
    program did."""
    took_s, spent_s = seen.get("took_s"), 0.0
    for name, rate_per_s in seen.items():
        if name.startswith(PER_S) and isinstance(rate_per_s, float):
            tries = seen.get(f"tries_{name.removeprefix(PER_S)}")
            if not isinstance(tries, int) or rate_per_s <= 0:
                yield f"{name} is a rate of nothing"
                return
            spent_s += (tries - 1) / rate_per_s
    if not isinstance(took_s, float) or spent_s > took_s * (1 + CLOCKS):
        yield f"the program took {took_s} s, and its cases {spent_s:.3g} s"


def reaped(record: Record) -> Iterator[str]:
    """No more clients were told that they are silent than were, and none before it was due."""
    found, workload = record["reaping"], Cell.of(record["cell"]).workload
    due = isinstance(workload, Reaping) and workload.lets_go
    if found is None:
        if due and record["generator"]:
            yield "silent clients were to be let go, and nobody says what became of them"
        return
    if not due:
        yield "silent clients were let go, and the cell has none, or no time-out"
    connections = record["connections"]
    silent, told, late = found["silent"], found["told"], found["lateness_ns"]
    if silent + (connections["active"] or 0) != connections["greeted"]:
        yield (
            f"{connections['greeted']:,} clients were greeted; {silent:,} were silent and"
            f" {connections['active']} asked"
        )
    if not 0 <= told <= silent or told != (late["n"] if late else 0) or (late and not told):
        yield f"{told:,} of {silent:,} silent clients were told, and as late as {late}"
    elif late and late["min"] is not None and late["min"] < -EARLY_NS:
        yield f"a client was let go {-late['min'] / 1e6:.1f} ms before it was due"


CHECKS: tuple[Callable[[Record], Iterator[str]], ...] = (
    shares,
    largest_rate,
    steps,
    calls,
    deaths,
    observed,
    reaped,
)
