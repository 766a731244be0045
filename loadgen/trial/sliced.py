"""What a slice leaves behind, and the record that all slices of a server make.

Nothing here measures or waits.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from statistics import fmean, median
from typing import NamedTuple, TypeVar, cast

import numpy as np

from loadgen.engine.churn import Churn
from loadgen.engine.datagrams import Account, DatagramSamples
from loadgen.engine.samples import Outcome, Samples, by_name
from loadgen.engine.syscalls import NS_PER_S, Int64s
from loadgen.store import histogram, schema
from loadgen.store.metric import cpu_us_of_slices as cpu_us
from loadgen.store.schema import Machine, Record
from loadgen.target.usage import Usage
from loadgen.trial import summary

# Another server that used more CPU than this share of a slice makes its round void.
OTHERS_CPU = 0.01
# So does a pause of the generator's own CPU that is this long.
PAUSE_NS = 10_000_000
PAUSE_SHARE = 0.1  # and this share of the slice
# And clocks that came apart this far within a slice: somebody set one.
DRIFT_NS = 1_000_000
CLOCK_SET = "a clock was set"

T = TypeVar("T")

# Of a slice, what the generator has of its CPU when nobody else wants it, at least.
CPU_OF_ITS_OWN = 0.95


class Comings(NamedTuple):
    """Clients that came during a drive, each for one conversation."""

    attempted: int
    greeted: int
    failed: dict[str, int]
    """how many were not greeted, by reason"""
    greeting_ns: Int64s
    """of those that came within the slice, from just before connect()"""


class Slice(NamedTuple):
    """One server driven once, in ns. Arrays have an element per ok request of the slice."""

    turn: int
    start_ns: int
    """of the slice, CLOCK_REALTIME"""
    length_ns: int
    answers: int
    """that arrived within the slice"""
    span_ns: int
    """what they took"""
    drive_answers: int
    """settling and drain included"""
    cpu_ns: int | None
    """of the server, settling and drain included; None of somebody else's"""
    others_cpu_ns: int
    """of the other servers meanwhile"""
    pause_ns: int
    """the longest of the generator"""
    counts: schema.Counts
    """of requests that were due within the slice"""
    around: schema.Counts
    """of those that were due before"""
    window: schema.Window
    unstamped: int
    lost: dict[str, int]
    busy_fraction: float
    """of the generator, as is the next"""
    cpu_fraction: float
    sending_ns: int
    """what was taken off service times, all together"""
    send_path_ns: Int64s
    """of the requests whose leaving the kernel stamped"""
    service_ns: Int64s
    response_ns: Int64s
    send_lag_ns: Int64s
    read_delay_ns: Int64s
    drift_ns: int
    comings: Comings | None
    """None where connections stay"""
    datagrams: Account | None = None
    """what became of them; None where there are connections"""
    crowded: bool = False
    """others wanted the server's CPU just before or just after"""

    @property
    def void(self) -> str | None:
        """Why its round is to be excluded, for every server; None: for no reason of its own."""
        if wrong := self.counts["mismatched"] + self.around["mismatched"]:
            return f"{wrong} wrong answers"
        if ground := disturbed(self.others_cpu_ns, self.length_ns, self.pause_ns):
            return ground
        return CLOCK_SET if abs(self.drift_ns) > DRIFT_NS else None


def disturbed(others_cpu_ns: int, length_ns: int, pause_ns: int) -> str | None:
    """What the machine did to a slice, as far as its columns tell."""
    if others_cpu_ns > OTHERS_CPU * length_ns:
        return f"servers that were not driven used {others_cpu_ns / 1e6:.2f} ms of CPU"
    if pause_ns > max(PAUSE_NS, PAUSE_SHARE * length_ns):
        return f"the generator paused for {pause_ns / 1e6:.0f} ms"
    return None


def void_rounds(driven: Sequence[Sequence[Slice | None]]) -> list[str | None]:
    """Why each round is excluded, for every server; None: it is not. One sequence per server."""
    rounds = zip(*driven, strict=True)
    return [next((one.void for one in slices if one and one.void), None) for slices in rounds]


def samples_of(driven: Samples | Churn) -> Samples:
    """The requests of a drive, each of which may be a conversation of its own."""
    return driven.samples if isinstance(driven, Churn) else driven


def lost(driven: Samples | Churn) -> dict[str, int]:
    """Greeted connections that failed, by reason."""
    errors = samples_of(driven).errors
    failed = errors != 0
    if isinstance(driven, Churn):
        failed &= driven.greeted_ns > 0
    return dict(by_name(errors[failed]))


def of(
    driven: Samples | Churn, turn: int, cpu_ns: int | None, others_cpu_ns: int, drain_s: float
) -> Slice:
    """What is kept of a drive. Faults count wherever in it they were."""
    samples = samples_of(driven)
    ok = samples.outcome == Outcome.OK
    start_ns, end_ns = samples.window_start_ns, samples.window_end_ns
    counted = ok & samples.in_window
    intended, sent = samples.intended_ns[counted], samples.sent_ns[counted]
    arrived, read = samples.arrived_ns[counted], samples.read_ns[counted]
    clocks = samples.clocks
    inside = summary.window(samples, drain_s)
    return Slice(
        turn=turn,
        start_ns=start_ns,
        length_ns=end_ns - start_ns,
        answers=inside["answered"],
        span_ns=span_ns(samples.arrived_ns[ok], start_ns, end_ns),
        drive_answers=int(ok.sum()),
        cpu_ns=cpu_ns,
        others_cpu_ns=others_cpu_ns,
        pause_ns=samples.longest_gap_ns or 0,
        counts=summary.counted(samples.outcome[samples.in_window]),
        around=summary.counted(samples.outcome[~samples.in_window]),
        window=inside,
        unstamped=samples.unstamped,
        lost=lost(driven),
        busy_fraction=clocks.busy_fraction,
        cpu_fraction=clocks.cpu_fraction,
        service_ns=samples.service_ns[counted],
        sending_ns=int(samples.sending_ns[counted].sum()),
        send_path_ns=samples.send_path_ns,
        response_ns=arrived - intended,
        send_lag_ns=sent - intended,
        read_delay_ns=read - arrived,
        drift_ns=int((np.diff(clocks.realtime_ns) - np.diff(clocks.monotonic_ns))[0]),
        comings=_comings(driven) if isinstance(driven, Churn) else None,
        datagrams=samples.account if isinstance(samples, DatagramSamples) else None,
    )


def span_ns(arrived_ns: Int64s, start_ns: int, end_ns: int) -> int:
    """What the answers within a slice took: from the last one before it to its own last one.

    A slice begins and ends anywhere between two answers. A server that hands them out in bursts, 8
    at a time every 3 ms, would have 3 or 4 bursts in 10 ms by luck, a quarter more or less; and the
    median over rounds would be either, and not what lies between. Each pause between two answers
    counts where it ends, so that on the whole none is left out.

    arrived_ns   int64[n], in any order
    """
    before_ns = arrived_ns[arrived_ns < start_ns]
    within_ns = arrived_ns[(start_ns <= arrived_ns) & (arrived_ns < end_ns)]
    if not len(within_ns):
        return end_ns - start_ns
    first_ns = int(before_ns.max()) if len(before_ns) else start_ns
    return int(within_ns.max()) - first_ns or end_ns - start_ns


def _comings(driven: Churn) -> Comings:
    samples, greeted = driven.samples, driven.greeted_ns > 0
    counted = greeted & samples.in_window
    return Comings(
        attempted=len(greeted),
        greeted=int(greeted.sum()),
        failed=dict(by_name(samples.errors[~greeted])),
        greeting_ns=(driven.greeted_ns - samples.sent_ns)[counted],
    )


def fill_in(
    record: Record,
    warm_up: Slice,
    driven: Sequence[Slice | None],
    void: Sequence[str | None],
    *,
    settle_ns: int,
    together: int,
    offered_per_s: float | None,
    machine: Machine,
    realtime: bool,
) -> None:
    """The record of one server, from its slices.

    Faults count wherever they were, and all else in the rounds that are not void: rates and costs
    are medians over slices, latencies are those of all their requests.

    warm_up   what was driven before the first round
    driven    one slice per round; None: the server had failed before
    void      by round: why it is excluded
    together  how many servers took turns
    realtime  the generator's thread had a real-time priority
    """
    slices = [one for one in driven if one]
    kept = [one for one, reason in zip(driven, void, strict=True) if one and not reason]
    everything = [warm_up, *slices]
    is_open = offered_per_s is not None
    record["offered_per_s"] = offered_per_s
    record["slices"] = _columns(record, driven, void, settle_ns, together, is_open)
    # Faults count in void rounds too, and all else in the others only.
    excluded = [one for one, reason in zip(driven, void, strict=True) if one and reason]
    faults = _without_ok(_sum([one.counts for one in excluded]))
    record["counts"] = _sum([*(one.counts for one in kept), faults])
    record["warmup"] = _sum([warm_up.counts, *(one.around for one in everything)])
    record["window"] = _windows([one.window for one in kept]) if kept else None
    record["connections"]["lost"] = dict(sum((Counter(one.lost) for one in everything), Counter()))
    if accounts := [one.datagrams for one in kept if one.datagrams]:
        unanswered = [one.datagrams for one in excluded if one.datagrams]
        summary.fill_in_datagrams(record, datagrams_of(accounts, unanswered), None)
    if comings := [one.comings for one in everything if one.comings]:
        _fill_in_comings(record, comings)
    record["machine"] = {
        **machine,
        "clock_drift_ns": max((one.drift_ns for one in everything), key=abs),
    }
    if not kept:
        return
    record["throughput_per_s"] = median([one.answers * NS_PER_S / one.span_ns for one in kept])
    summary.fill_in_latency(record, "service", _together([one.service_ns for one in kept]))
    if is_open:
        summary.fill_in_latency(record, "response", _together([one.response_ns for one in kept]))
    if greetings := [one.comings.greeting_ns for one in kept if one.comings]:
        summary.fill_in_latency(record, "greeting", _together(greetings))
    undisturbed = [one for one in kept if one.cpu_fraction >= CPU_OF_ITS_OWN] or kept
    record["generator"] = {
        "cpu_fraction": median([one.cpu_fraction for one in kept]),
        "busy_fraction": median([one.busy_fraction for one in undisturbed]),
        "send_lag_ns": _summary([one.send_lag_ns for one in kept]),
        "read_delay_ns": _summary([one.read_delay_ns for one in kept]),
        "overlap_ns": None,
        "stamps": summary.stamps(record),
        "unstamped": sum(one.unstamped for one in everything),
        "full": False,
        "send_path_ns": summary.send_path(
            _together([one.send_path_ns for one in kept]), sum(one.sending_ns for one in kept)
        ),
        "realtime": realtime,
        "longest_gap_ns": max(one.pause_ns for one in slices),
    }


def datagrams_of(kept: Sequence[Account], excluded: Sequence[Account]) -> Account:
    """Of several slices, as `counts`: of those that are excluded what was not answered in time."""
    faults = [one._replace(sent=one.lost + one.late, answered=0) for one in excluded]
    return Account(*map(sum, zip(*kept, *faults, strict=True)))


def _fill_in_comings(record: Record, comings: Sequence[Comings]) -> None:
    attempted = sum(one.attempted for one in comings)
    record["connections"] |= {
        "attempted": attempted,
        "due": attempted,
        "greeted": sum(one.greeted for one in comings),
        "failed": dict(sum((Counter(one.failed) for one in comings), Counter())),
    }


def fill_in_cost(record: Record, before: Usage | None, after: Usage | None) -> None:
    """What the server used: CPU per answer and its share of a CPU while it was driven, as medians
    over the slices that count; times and switches over all of them."""
    if before is None or after is None or record["slices"] is None:
        return  # somebody else's server, or one that was never driven
    costs = [cost for cost in cpu_us(record["slices"]) if cost is not None]
    shares = [
        cost_us * answers * 1000 / span_ns
        for cost_us, answers, span_ns in zip(
            cpu_us(record["slices"]),
            record["slices"]["answers"],
            record["slices"]["span_ns"],
            strict=True,
        )
        if cost_us is not None and answers is not None and span_ns
    ]
    lengths_ns = [length_ns for length_ns in record["slices"]["length_ns"] if length_ns]
    record["server_cost"] = {
        **cast(schema.Usage, dataclasses.asdict(after)),
        "user_s": after.user_s - before.user_s,
        "system_s": after.system_s - before.system_s,
        "voluntary_switches": after.voluntary_switches - before.voluntary_switches,
        "involuntary_switches": after.involuntary_switches - before.involuntary_switches,
        "cpu_us_per_request": median(costs) if costs else None,
        "cpu_fraction": median(shares) if shares else 0.0,
        "watched_s": sum(lengths_ns) / NS_PER_S,
        "drive_requests": sum(filter(None, record["slices"]["drive_answers"])),
    }


def _columns(
    record: Record,
    driven: Sequence[Slice | None],
    void: Sequence[str | None],
    settle_ns: int,
    together: int,
    is_open: bool,
) -> schema.Slices:
    began_ns = round(datetime.fromisoformat(record["started_at"]).timestamp() * 1000) * 1_000_000

    def column(of: Callable[[Slice], T | None]) -> list[T | None]:
        return [of(one) if one else None for one in driven]

    def percentile(percent: float) -> Callable[[Slice], int | None]:
        def of(one: Slice) -> int | None:
            values_ns = one.response_ns if is_open else one.service_ns
            return round(float(np.percentile(values_ns, percent))) if len(values_ns) else None

        return of

    return {
        "together": together,
        "settle_ns": settle_ns,
        "turn": column(lambda one: one.turn),
        "start_ns": column(lambda one: one.start_ns - began_ns),
        "length_ns": column(lambda one: one.length_ns),
        "answers": column(lambda one: one.answers),
        "span_ns": column(lambda one: one.span_ns),
        "drive_answers": column(lambda one: one.drive_answers),
        "cpu_ns": column(lambda one: one.cpu_ns),
        "p50_ns": column(percentile(50)),
        "p99_ns": column(percentile(99)),
        "others_cpu_ns": column(lambda one: one.others_cpu_ns),
        "pause_ns": column(lambda one: one.pause_ns),
        "crowded": column(lambda one: one.crowded),
        "void": list(void),
    }


def _sum(counts: Sequence[schema.Counts]) -> schema.Counts:
    return {
        "scheduled": sum(one["scheduled"] for one in counts),
        "ok": sum(one["ok"] for one in counts),
        "mismatched": sum(one["mismatched"] for one in counts),
        "error": sum(one["error"] for one in counts),
        "timed_out": sum(one["timed_out"] for one in counts),
    }


def _without_ok(counts: schema.Counts) -> schema.Counts:
    return {**counts, "scheduled": counts["scheduled"] - counts["ok"], "ok": 0}


def _windows(windows: Sequence[schema.Window]) -> schema.Window:
    """Of several slices: what was answered and open in all, the longest silence, and how fast the
    backlog grew within each, in the mean."""
    return {
        "answered": sum(one["answered"] for one in windows),
        "open_at_start": sum(one["open_at_start"] for one in windows),
        "open_at_end": sum(one["open_at_end"] for one in windows),
        "fewest_open_first_half": sum(one["fewest_open_first_half"] for one in windows),
        "fewest_open_second_half": sum(one["fewest_open_second_half"] for one in windows),
        "backlog_growth_per_s": fmean(one["backlog_growth_per_s"] for one in windows),
        "silence_ns": max(one["silence_ns"] for one in windows),
    }


def _together(pieces: Sequence[Int64s]) -> Int64s:
    return np.concatenate(pieces)


def _summary(pieces: Sequence[Int64s]) -> schema.Summary:
    return cast(schema.Summary, histogram.summary(_together(pieces)))
