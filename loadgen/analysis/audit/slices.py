"""Servers that took turns: every figure from its columns, and the servers of a comparison together.

CHECKS look at one record for itself; WHOLE at those of one epoch, whose slices share one clock, one
order and one list of void rounds.
"""

import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple

from loadgen.analysis.audit.bounds import (
    CLOCKS,
    CPU_OUTSIDE,
    EDGES_S,
    due_in_window,
    outstanding,
)
from loadgen.analysis.audit.words import (
    HISTOGRAM_TOLERANCE,
    NS_PER_S,
    ROUNDING,
    cell_id,
    grown,
    is_open,
    longest_s,
    same,
    ticks_s,
)
from loadgen.plan.order import comparison
from loadgen.store import histogram
from loadgen.store.schema import Record, Slices
from loadgen.trial import sliced, slicing
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests
from loadgen.trial.orders import round_orders
from loadgen.workload import arrivals
from loadgen.workload.load import Load
from servers import catalog

# Of every slice, in every round.
COLUMNS = (
    "turn",
    "start_ns",
    "length_ns",
    "answers",
    "span_ns",
    "drive_answers",
    "cpu_ns",
    "p50_ns",
    "p99_ns",
    "others_cpu_ns",
    "pause_ns",
    "crowded",
    "void",
)
# What is known of every slice that there was.
ALWAYS = (
    "start_ns",
    "length_ns",
    "answers",
    "span_ns",
    "drive_answers",
    "others_cpu_ns",
    "pause_ns",
    "crowded",
)
# A number of seconds as a whole number of nanoseconds, and the sum of two of them.
ROUNDED_NS = 2
ROUNDED_PER_S = 1e-6
# An interpolated percentile lies between two neighbours, of which either may count.
NEIGHBOURS = 2
_WRONG = re.compile(r"(\d+) wrong answers")


def kept_rounds(slices: Slices) -> list[int]:
    """The rounds that count, of those in which the server was driven."""
    return [
        number
        for number, (answers, void) in enumerate(
            zip(slices["answers"], slices["void"], strict=True)
        )
        if answers is not None and void is None
    ]


def kept(slices: Slices, name: str) -> list[Any]:
    """A column in the rounds that count."""
    column = _column(slices, name)
    return [column[number] for number in kept_rounds(slices)]


def _column(slices: Slices, name: str) -> list[Any]:
    values: list[Any] = slices[name]  # type: ignore[literal-required]
    return values


def columns(record: Record) -> Iterator[str]:
    """There is a slice in every round of the cell, as long as the cell says at least."""
    slices, workload = record["slices"], Cell.of(record["cell"]).workload
    if slices is None:
        if workload.together and record["counts"]["scheduled"]:
            yield "there are answers, and no slices"
        return
    if not workload.together:
        yield "there are slices, and the cell asks for none"
        return
    fields: Any = workload
    for name in COLUMNS:
        if len(_column(slices, name)) != fields.rounds:
            yield f"{name} is of {len(_column(slices, name))} rounds, and there are {fields.rounds}"
            return
    driven = [turn is not None for turn in slices["turn"]]
    if driven != sorted(driven, reverse=True):
        yield "a server that had failed was driven again"
    for name in ALWAYS:
        values = _column(slices, name)
        if [value is not None for value in values] != driven or min(
            filter(_known, values), default=0
        ) < 0:
            yield f"{name} is not known of every slice, or less than nothing"
    lengths_ns = [length_ns for length_ns in slices["length_ns"] if length_ns is not None]
    least_ns = fields.duration_s * NS_PER_S
    most_ns = max(least_ns, slicing.LONGEST_SLICE_S * NS_PER_S)
    if lengths_ns and not (
        least_ns - ROUNDED_NS <= min(lengths_ns)
        and max(lengths_ns) <= min(most_ns, min(lengths_ns)) + ROUNDED_NS
    ):
        yield f"slices are {min(lengths_ns):,} to {max(lengths_ns):,} ns long"
    if slices["settle_ns"] < slicing.SETTLE_S * NS_PER_S - ROUNDED_NS:
        yield f"a server settled for {slices['settle_ns']:,} ns, which is too short"


def _known(value: object) -> bool:
    return value is not None


def rates(record: Record) -> Iterator[str]:
    """Throughput is the median of the slices that count, and answers are their sum."""
    slices, window, counts = record["slices"], record["window"], record["counts"]
    if slices is None:
        return
    per_s = [
        answers * NS_PER_S / span_ns
        for answers, span_ns in zip(kept(slices, "answers"), kept(slices, "span_ns"), strict=True)
        if span_ns
    ]
    derived = median(per_s) if per_s else None
    if not same(record["throughput_per_s"], derived):
        yield f"throughput_per_s is {record['throughput_per_s']}, and its slices make {derived}"
    answers = sum(kept(slices, "answers"))
    if (window["answered"] if window else 0) != answers or (window is None) != (not per_s):
        yield f"{answers:,} answers arrived in the slices, and the window says another number"
    for within, driven in zip(slices["answers"], slices["drive_answers"], strict=True):
        if within is not None and driven is not None and within > driven:
            yield f"{within:,} answers of a slice are more than the {driven:,} of its drive"
            break
    all_ok = counts["ok"] + (record["warmup"]["ok"] if record["warmup"] else 0)
    in_drives = sum(kept(slices, "drive_answers"))
    if not counts["ok"] <= in_drives <= all_ok:
        yield (
            f"{in_drives:,} answers of all drives, {counts['ok']:,} in the slices, {all_ok:,} with"
            " the warm-up: these do not fit"
        )


# Of the lengths of the slices, by which the spans of their answers may differ.
SPANS = 0.05


def spans(record: Record) -> Iterator[str]:
    """What the answers of a slice took begins and ends at an answer. So it is longer or shorter
    than the slice by a part of a pause between two of them at each end, and over many slices about
    as long: two parts of a pause have a variance of a sixth of its square, and no pause is longer
    than a request is, as a rule. A server whose CPU others take for a moment pauses for longer. So
    only the half of the slices counts in which the two are nearest: throughput is a median, and
    stays among the honest slices while these are more than half."""
    slices = record["slices"]
    if slices is None or is_open(record):
        return
    served = [
        (abs(span_ns - length_ns), span_ns, length_ns, pause_ns)
        for answers, crowded, span_ns, length_ns, pause_ns in zip(
            *(
                kept(slices, name)
                for name in ("answers", "crowded", "span_ns", "length_ns", "pause_ns")
            ),
            strict=True,
        )
        if answers and not crowded
    ]
    if not served:
        return
    nearest = sorted(served)[: (len(served) + 1) // 2]
    _, spans_ns, lengths_ns, pauses_ns = map(sum, zip(*nearest, strict=True))
    service: Any = record["latency_ns"]["service"]
    chance_ns = 3 * math.sqrt(len(nearest) / 6) * (service["p50"] or service["mean"] or 0)
    longest_ns = longest_s(record) * NS_PER_S
    if abs(spans_ns - lengths_ns) > SPANS * lengths_ns + chance_ns + pauses_ns + longest_ns:
        yield f"the answers of slices took {spans_ns:,} ns, and the slices {lengths_ns:,}"


def growth_of_slices(record: Record) -> Iterator[str]:
    """How fast the backlog grew, in the mean of the slices that count: all are of one length."""
    slices, window = record["slices"], record["window"]
    if slices is None or window is None:
        return
    lengths_ns: list[int] = kept(slices, "length_ns")
    derived = grown(window) / (sum(lengths_ns) / 2 / NS_PER_S)
    # Slices that cancel each other out leave the rounding of each.
    stated = window["backlog_growth_per_s"]
    if not math.isclose(stated, derived, rel_tol=ROUNDING, abs_tol=ROUNDED_PER_S):
        yield (
            f"backlog_growth_per_s is {stated:,.1f}, and the fewest open"
            f" requests make {derived:,.1f}"
        )


def costs(record: Record) -> Iterator[str]:
    """What the server used, from the columns as the lab derives it."""
    slices, cost = record["slices"], record["server_cost"]
    if slices is None or cost is None:
        return
    per_answer_us, shares = [], []
    for cpu_ns, driven, answers, span_ns in zip(
        *(kept(slices, name) for name in ("cpu_ns", "drive_answers", "answers", "span_ns")),
        strict=True,
    ):
        if cpu_ns is not None and driven and span_ns:
            per_answer_us.append(cpu_ns / 1000 / driven)
            shares.append(cpu_ns / driven * answers / span_ns)
    derived = {
        "cpu_us_per_request": median(per_answer_us) if per_answer_us else None,
        "cpu_fraction": median(shares) if shares else 0.0,
        "watched_s": sum(filter(None, slices["length_ns"])) / NS_PER_S,
        "drive_requests": sum(filter(None, slices["drive_answers"])),
    }
    stated: Any = cost
    for name, value in derived.items():
        if not same(stated[name], value):
            yield f"{name} is {stated[name]}, and its slices make {value}"


def ticks(record: Record) -> Iterator[str]:
    """The kernel's ticks of all drives, and the clocks of each slice, agree."""
    slices, cost = record["slices"], record["server_cost"]
    if slices is None or cost is None:
        return
    used_s = cost["user_s"] + cost["system_s"]
    in_slices_s = sum(filter(None, slices["cpu_ns"])) / NS_PER_S
    if used_s + ticks_s(cost) < in_slices_s * (1 - CLOCKS):
        yield f"the server used {used_s:.3g} s of CPU, and {in_slices_s:.3g} s in its slices"
    model, warmup = catalog.find(record["server"]["name"]), record["warmup"]
    fields: Any = record["cell"]["workload"]
    if not model.sleeps or fields.get("slow_connections") or not warmup:
        return  # it is busy between its slices, too
    each_us = cost["cpu_us_per_request"]
    if each_us is None:
        return
    # A void round has a price of its own: something went wrong in it.
    void_ns = sum(slices["cpu_ns"][n] or 0 for n, why in enumerate(slices["void"]) if why)
    settled = sum(
        (slices["drive_answers"][n] or 0) - (slices["answers"][n] or 0)
        for n, why in enumerate(slices["void"])
        if why
    )  # in void rounds: counted as a warm-up
    answers = record["counts"]["ok"] + warmup["ok"] - settled
    expected_s = each_us * answers / 1e6 + void_ns / NS_PER_S
    if abs(used_s - expected_s) > CPU_OUTSIDE * min(used_s, expected_s) + ticks_s(cost):
        yield (
            f"the server used {used_s:.3g} s of CPU, and its answers make {expected_s:.3g} s at the"
            " price of its slices"
        )


def percentiles(record: Record) -> Iterator[str]:
    """The histogram holds the requests of all slices that count: as many of them lie below the
    median, or the 99th percentile, of each as its number of answers says."""
    slices, window = record["slices"], record["window"]
    kind = "response" if is_open(record) else "service"
    text = record["histograms"][kind]  # type: ignore[literal-required]
    if slices is None or window is None or text is None:
        return
    found = [
        one
        for one in zip(
            *(kept(slices, name) for name in ("answers", "p50_ns", "p99_ns")), strict=True
        )
        if None not in one
    ]
    if any(p50_ns > p99_ns for _, p50_ns, p99_ns in found):
        yield "a slice has a median above its 99th percentile"
    values_ns, counts = histogram.recorded(histogram.decode(text))
    # Requests that were due in a slice, and answers that arrived in it, differ by what was open at
    # its edges.
    open_at_edges = window["open_at_start"] + window["open_at_end"]
    slack = open_at_edges + NEIGHBOURS * len(kept_rounds(slices))
    for at_ns in sorted({ns for _, *both in found for ns in both}):
        least = sum(n * (0.99 if p99 <= at_ns else 0.5 * (p50 <= at_ns)) for n, p50, p99 in found)
        most = sum(
            n * (0.5 if at_ns <= p50 else 0.99 if at_ns <= p99 else 1) for n, p50, p99 in found
        )
        at_most = counts[values_ns <= at_ns * (1 + HISTOGRAM_TOLERANCE) + 1].sum()
        below = counts[values_ns < at_ns * (1 - HISTOGRAM_TOLERANCE) - 1].sum()
        if at_most < least - slack or below > most + slack:
            yield (
                f"{at_most:,} of the {kind} times are {at_ns:,} ns at most, and the slices make"
                f" {least:,.0f} to {most:,.0f}"
            )
            break


# The share of a client's time that may lie between an answer and the next request. It was at most
# 0.1 % in each of the 2,155 cells in closed loop of the committed runs, and 10.5 % in an honest
# duel beside six suites of tests at once.
BETWEEN = 0.2


def client_time(record: Record) -> Iterator[str]:
    """Little's law as a bound: a client of a closed loop waits for one answer at a time."""
    slices, window, slots = record["slices"], record["window"], outstanding(record)
    generator: Any = record["generator"]
    service: Any = record["latency_ns"]["service"]
    counts, workload = record["counts"], Cell.of(record["cell"]).workload
    if slices is None or window is None or not generator or not slots or not counts["ok"]:
        return
    lengths_ns: list[int] = kept(slices, "length_ns")
    longest_ns = longest_s(record) * NS_PER_S
    sending: Any = generator["send_path_ns"] or {"subtracted": 0}
    took_ns = counts["ok"] * (service["mean"] + generator["read_delay_ns"]["mean"])
    took_ns += sending["subtracted"]
    most_ns = (slots * sum(lengths_ns) + window["open_at_end"] * longest_ns) * (1 + CLOCKS)
    if took_ns > most_ns:
        yield f"{slots} at a time had {most_ns / 1e9:.3g} s at most, and took {took_ns / 1e9:.3g} s"
    # While the generator pauses no client asks for anything.
    asking_ns = sum(lengths_ns) - sum(kept(slices, "pause_ns"))
    least_ns = (slots * asking_ns - window["open_at_start"] * longest_ns) * (1 - BETWEEN)
    # A slot that connects anew has other things to do than to wait for an answer.
    one_by_one = isinstance(workload, Requests) and counts["ok"] == counts["scheduled"]
    if one_by_one and took_ns < least_ns:
        yield (
            f"{slots} at a time had {least_ns / 1e9:.3g} s at least, and took {took_ns / 1e9:.3g} s"
        )
    for answers, p50_ns, length_ns in zip(
        kept(slices, "answers"), kept(slices, "p50_ns"), lengths_ns, strict=True
    ):
        # The slower half took the median at least; who had been asked before is left out.
        if p50_ns and (answers - slots) / 2 * p50_ns > slots * (length_ns + longest_ns):
            yield f"{answers:,} answers of {p50_ns:,} ns are more than a slice holds"
            break


CHECKS: tuple[Callable[[Record], Iterator[str]], ...] = (
    columns,
    rates,
    spans,
    growth_of_slices,
    costs,
    ticks,
    percentiles,
    client_time,
)


# Servers that were alive together.


@dataclass(frozen=True)
class Epoch:
    """What was measured together, and where in the run: lines count from 1."""

    records: tuple[Record, ...]
    first_line: int

    @property
    def driven(self) -> list[Record]:
        """Those that took turns, by their numbers."""
        return [record for record in self.records if record["slices"] is not None]

    @property
    def name(self) -> str:
        """For a line of the audit."""
        last_line = self.first_line + len(self.records) - 1
        return f"lines {self.first_line} to {last_line} (block {self.records[0]['block']})"


class Driven(NamedTuple):
    """A slice, as columns keep it."""

    round: int
    turn: int
    record: Record
    start_ns: int
    end_ns: int
    settle_ns: int
    cpu_ns: int
    others_cpu_ns: int


def epochs(records: Iterable[Record]) -> list[Epoch]:
    """The groups of records that were measured together, in order."""
    found: list[Epoch] = []
    previous: object = None
    for number, record in enumerate(records, start=1):
        cell = Cell.of(record["cell"])
        if not cell.workload.together:
            previous = None
            continue
        key = record["block"], comparison(cell)
        if key == previous:
            found[-1] = Epoch((*found[-1].records, record), found[-1].first_line)
        else:
            found.append(Epoch((record,), number))
        previous = key
    return found


def of_epochs(
    check: Callable[[Epoch], Iterator[str]],
) -> Callable[[Any], Iterator[str]]:
    """A check of a run, made of one of an epoch."""

    def of_run(stored: Any) -> Iterator[str]:
        for epoch in epochs(stored.records):
            if epoch.driven:
                yield from (f"{epoch.name}: {problem}" for problem in check(epoch))

    of_run.__name__, of_run.__doc__ = check.__name__, check.__doc__
    return of_run


@of_epochs
def together(epoch: Epoch) -> Iterator[str]:
    """Who was alive together began at the same moment, on one machine, under one seed."""
    first = epoch.driven[0]
    for record in epoch.records:
        name = cell_id(record)
        if record["started_at"] != first["started_at"] or record["seed"] != first["seed"]:
            yield f"{name} began at another moment, or with another seed"
        if record["machine"] and _machine(record) != _machine(first):
            yield f"{name} saw another machine"
    for record in epoch.driven:
        slices: Any = record["slices"]
        if slices["together"] != len(epoch.driven):
            yield f"{slices['together']} servers took turns, and {len(epoch.driven)} are stored"
        if slices["void"] != first["slices"]["void"]:  # type: ignore[index]
            yield f"{cell_id(record)} has other void rounds"


def _machine(record: Record) -> dict[str, Any]:
    """What is not counted for each server by itself."""
    own = ("listener_drops", "clock_drift_ns")
    return {name: value for name, value in (record["machine"] or {}).items() if name not in own}


@of_epochs
def turns(epoch: Epoch) -> Iterator[str]:
    """The seed says who came when in each round."""
    rounds = len(_slices(epoch.driven[0])["turn"])
    chance = random.Random(epoch.driven[0]["seed"])
    for number, order in enumerate(round_orders(len(epoch.driven), rounds, chance)):
        for turn, server in enumerate(order):
            found = _slices(epoch.driven[server])["turn"][number]
            if found not in (turn, None):
                yield (
                    f"in round {number} {cell_id(epoch.driven[server])} had turn {found}, and the"
                    f" seed makes {turn}"
                )
                return


def _slices(record: Record) -> Slices:
    assert record["slices"] is not None
    return record["slices"]


def in_order(epoch: Epoch) -> list[Driven]:
    """All slices of an epoch, by round and turn."""
    found = []
    for record in epoch.driven:
        slices = _slices(record)
        for number, turn in enumerate(slices["turn"]):
            if turn is not None:
                start_ns: Any = slices["start_ns"][number]
                length_ns: Any = slices["length_ns"][number]
                found.append(
                    Driven(
                        number,
                        turn,
                        record,
                        start_ns,
                        start_ns + length_ns,
                        slices["settle_ns"],
                        slices["cpu_ns"][number] or 0,
                        slices["others_cpu_ns"][number] or 0,
                    )
                )
    return sorted(found, key=lambda one: (one.round, one.turn))


@of_epochs
def moments(epoch: Epoch) -> Iterator[str]:
    """A slice begins when the one before it is over and its server has settled."""
    found = in_order(epoch)
    before_ns = 0
    for one in found:
        if one.start_ns + ROUNDED_NS < before_ns + one.settle_ns:
            yield (
                f"in round {one.round} the slice of {cell_id(one.record)} began"
                f" {one.start_ns - before_ns:,} ns after what came before, and settling takes"
                f" {one.settle_ns:,}"
            )
            return
        before_ns = one.end_ns


@of_epochs
def clocks(epoch: Epoch) -> Iterator[str]:
    """No server used more CPU time than there was between its neighbours' slices, nor did the
    others meanwhile."""
    found = in_order(epoch)
    for number, one in enumerate(found):
        began_ns = found[number - 1].end_ns if number else 0
        drain_s: Any = one.record["cell"]["workload"]["drain_s"]
        over_ns = one.end_ns + (drain_s + EDGES_S + slicing.REST_S) * NS_PER_S
        if number + 1 < len(found):
            over_ns = found[number + 1].start_ns - found[number + 1].settle_ns
        machine = one.record["machine"]
        had_ns = (over_ns - began_ns) * len(machine["server_cpus"] if machine else [0])
        if max(one.cpu_ns, one.others_cpu_ns) > had_ns * (1 + CLOCKS):
            yield (
                f"in round {one.round} {cell_id(one.record)} used {one.cpu_ns:,} ns of CPU and"
                f" others {one.others_cpu_ns:,}, of {had_ns:,.0f}"
            )
            return


@of_epochs
def voided(epoch: Epoch) -> Iterator[str]:
    """A round is void for a ground that a slice of it has, and for no other; and each ground voids.

    How many answers of a slice were wrong is not stored, nor how far its clocks came apart: there
    the sums have to allow it.
    """
    slices = [_slices(record) for record in epoch.driven]
    wrong = sum(_mismatched(record) for record in epoch.driven)
    drifted = any(
        record["machine"] and abs(record["machine"]["clock_drift_ns"] or 0) > sliced.DRIFT_NS
        for record in epoch.driven
    )
    for number, stated in enumerate(slices[0]["void"]):
        grounds = [ground for each in slices if (ground := _ground(each, number))]
        derived = grounds[0] if grounds else None
        if stated == derived:
            continue
        if stated and (counted := _WRONG.fullmatch(stated)) and int(counted[1]) <= wrong:
            wrong -= int(counted[1])
            continue
        if stated == sliced.CLOCK_SET and drifted:
            continue
        yield f"round {number} is {_void(stated)}, and its slices make it {_void(derived)}"


def _mismatched(record: Record) -> int:
    warmup = record["warmup"]
    return record["counts"]["mismatched"] + (warmup["mismatched"] if warmup else 0)


def _ground(slices: Slices, number: int) -> str | None:
    others_cpu_ns, length_ns = slices["others_cpu_ns"][number], slices["length_ns"][number]
    pause_ns = slices["pause_ns"][number]
    if others_cpu_ns is None or length_ns is None or pause_ns is None:
        return None
    return sliced.disturbed(others_cpu_ns, length_ns, pause_ns)


def _void(reason: str | None) -> str:
    return f"void ({reason})" if reason else "not void"


@of_epochs
def schedules(epoch: Epoch) -> Iterator[str]:
    """In an open loop the seed says how many requests each slice had, and each drive."""
    for server, record in enumerate(epoch.driven):
        workload, slices, warmup = (
            Cell.of(record["cell"]).workload,
            _slices(record),
            record["warmup"],
        )
        if not is_open(record) or not isinstance(workload, Requests) or not warmup:
            continue
        counts = record["counts"]
        if counts["ok"] != counts["scheduled"] or warmup["ok"] != warmup["scheduled"]:
            continue  # which of them were not answered is not stored
        planned = [
            _load(workload, record, round_number, server)
            for round_number, turn in enumerate(slices["turn"])
            if turn is not None
        ]
        due = sum(len(due_in_window(planned[number])) for number in kept_rounds(slices))
        if due != counts["scheduled"]:
            yield f"{counts['scheduled']:,} requests were scheduled, and the seed makes {due:,}"
        for load, driven in zip(planned, slices["drive_answers"], strict=False):
            if driven != len(arrivals.schedule(load)):
                yield f"a drive had {driven} answers, and the seed makes another number"
                break


def _load(workload: Requests, record: Record, round_number: int, server: int) -> Load:
    slices = _slices(record)
    length_ns: Any = slices["length_ns"][round_number]
    return replace(
        workload.load(
            slicing.drive_seed(record["seed"], round_number, server),
            record["connections"]["active"],
        ),
        warmup_s=slices["settle_ns"] / NS_PER_S,
        duration_s=length_ns / NS_PER_S,
    )


WHOLE: Sequence[Callable[[Any], Iterator[str]]] = (
    together,
    turns,
    moments,
    clocks,
    voided,
    schedules,
)
