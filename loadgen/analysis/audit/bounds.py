"""What one figure of a record allows another one to be: laws of queues, clocks, schedules, sizes.

Nothing here knows how fast a server is. A bound holds for every server on every machine, or it says
by how much clocks and ticks may be off.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from loadgen.analysis.audit.words import (
    HISTOGRAM_TOLERANCE,
    NS_PER_S,
    TICKS_S,
    all_answered,
    answered,
    is_open,
    longest_s,
    near,
    ticks_s,
    warmup_s,
    window_s,
    work_ns,
)
from loadgen.machine.hiccup import SLEEP_NS
from loadgen.store import histogram
from loadgen.store.schema import Record, Usage
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Churn, Requests, Search
from loadgen.trial.verdict import BUSY_LIMIT, PAUSE_SHARE
from loadgen.workload import arrivals
from loadgen.workload.load import Load
from servers import catalog

# Two clocks of one machine may be slewed against each other by 500 millionths (adjtimex(2)), and an
# edge of the window is read a little late.
CLOCKS = 0.01
# The edges of a window are read by a generator that may have to wait for its CPU.
EDGES_S = 0.1
# Until a drive has begun, and until everything that watched it has ended.
AROUND_DRIVE_S = 0.15
# CPU time per answer in the warm-up, the drain and between them may differ from that of the window
# by half; and what a server does when nobody drives it yet.
CPU_OUTSIDE, CPU_AROUND_S = 0.5, 0.1
# Shares of ticks of 10 ms (proc_stat(5)): CPUs are not read at the same moment.
SHARES = 0.02
# What a drive may add to a server's memory: in all, per client that asks, and per byte of a line
# that is held, copied and joined.
GROWTH_BYTES, GROWTH_PER_CLIENT_BYTES, COPIES_OF_A_LINE = 2**20, 2**18, 16
# What asking in vain for an answer may take; of so many answers one comes while nobody is busy.
ASKING_NS, SOME_ANSWERS = 2_000, 100
# Of a stalled server's schedule: requests meet a stall by chance.
STALL_CHANCE = 0.7


def shapes(record: Record) -> Iterator[str]:
    """Percentiles rise, and the mean lies where they allow it."""
    generator: Any = record["generator"] or {}
    summaries: dict[str, Any] = {
        **record["latency_ns"],
        "send lag": generator.get("send_lag_ns"),
        "read delay": generator.get("read_delay_ns"),
        "lateness": record["reaping"] and record["reaping"]["lateness_ns"],
    }
    for name, found in summaries.items():
        if not found or not found["n"]:
            continue
        total = found["n"] + found["censored"]
        points = [(0.0, found["min"])]
        for key, percent in histogram.PERCENTILES.items():
            if found[key] is not None:
                points.append((min(1.0, percent / 100 * total / found["n"]), found[key]))
        points.append((1.0, found["max"]))
        low = sum((b - a) * value for (a, value), (b, _) in pairwise(points))
        high = sum((b - a) * value for (a, _), (b, value) in pairwise(points))
        values = [value for _, value in points]
        rises = all(b >= a or near(a, b) for a, b in pairwise(values))
        slack = 2 * HISTOGRAM_TOLERANCE * max(map(abs, (low, high))) + 1
        if not rises or not low - slack <= found["mean"] <= high + slack:
            yield (
                f"{name}: min, percentiles and max are {values}, and allow no mean of"
                f" {found['mean']:,.1f} ns"
            )


def sums(record: Record) -> Iterator[str]:
    """In an open loop, from due to arrived is from due to sent and from sent to arrived."""
    response, service = record["latency_ns"]["response"], record["latency_ns"]["service"]
    generator: Any = record["generator"]
    if not response or not service or not generator:
        return
    sending = (generator["send_path_ns"] or {}).get("subtracted", 0) / max(1, service["n"])
    parts: Any = service["mean"], generator["send_lag_ns"]["mean"], sending
    if None in parts or response["mean"] is None:
        return
    if not math.isclose(response["mean"], sum(parts), rel_tol=1e-9, abs_tol=1):
        yield (
            f"the mean response time is {response['mean']:,.1f} ns, and send lag and service time"
            f" make {sum(parts):,.1f}"
        )


def counted(record: Record) -> Iterator[str]:
    """What the generator says of answers it says of as many as there are."""
    generator, ok = record["generator"], record["counts"]["ok"]
    for name in ("send_lag_ns", "read_delay_ns"):
        found: Any = generator and generator[name]
        if found and found["n"] != ok:
            yield f"{name} is of {found['n']:,} answers, and there are {ok:,}"


def read_delays(record: Record) -> Iterator[str]:
    """While an answer waits to be read the generator is busy, or has no CPU; and no more than all
    that are outstanding can wait at once."""
    generator: Any = record["generator"]
    seconds = window_s(record)
    if not generator or not record["counts"]["ok"] or not seconds:
        return
    delay = generator["read_delay_ns"]
    drain_s: Any = record["cell"]["workload"].get("drain_s") or 0.0
    if delay["max"] / NS_PER_S > warmup_s(record) + seconds + drain_s + EDGES_S:
        yield f"an answer waited {delay['max'] / NS_PER_S:.3g} s to be read, longer than the drive"
    slots = outstanding(record)
    if slots is None:
        return
    waited_s = delay["n"] * delay["mean"] / NS_PER_S
    busy = generator["busy_fraction"] + max(0.0, 1 - generator["cpu_fraction"])
    busy_s = min(busy, 1.0) * seconds + delay["max"] / NS_PER_S
    if waited_s > slots * busy_s * (1 + CLOCKS):
        yield (
            f"answers waited {waited_s:.3g} s in all to be read, and the generator was busy for"
            f" {busy_s:.3g} s with at most {slots} of them"
        )


def read_at_once(record: Record) -> Iterator[str]:
    """A generator that waits now and then reads some answer at once: it asks again and again
    whether there is one, and has nothing else to do."""
    generator: Any = record["generator"]
    seconds, ok, machine = window_s(record), record["counts"]["ok"], record["machine"]
    workload = Cell.of(record["cell"]).workload
    if not generator or not seconds or not machine or machine["shared"] or generator["full"]:
        return
    waits = generator["busy_fraction"] < BUSY_LIMIT and workload.is_back_to_back
    if not waits or ok < SOME_ANSWERS:
        return
    least_ns = generator["read_delay_ns"]["min"]
    turn_ns = generator["busy_fraction"] * seconds * NS_PER_S / ok
    if least_ns > 2 * turn_ns + ASKING_NS:
        yield (
            f"every answer waited {least_ns:,} ns or longer to be read, and one takes the generator"
            f" {turn_ns:,.0f} ns"
        )


def outstanding(record: Record) -> int | None:
    """How many requests there can be at once in a closed loop; None in an open one."""
    workload = Cell.of(record["cell"]).workload
    if is_open(record) or not workload.connections:
        return None
    active = record["connections"]["active"]
    clients = workload.connections if active is None else active
    depth = workload.pipeline_depth if isinstance(workload, Requests) else 0
    return clients - 1 + depth if depth else clients


def in_flight(record: Record) -> Iterator[str]:
    """Little's law as a bound, where requests do not follow each other at once: who keeps one
    outstanding for the window cannot wait for longer than that."""
    seconds, slots = window_s(record), outstanding(record)
    generator: Any = record["generator"]
    service: Any = record["latency_ns"]["service"]
    ok = record["counts"]["ok"]
    workload = Cell.of(record["cell"]).workload
    if not seconds or not slots or not generator or not ok or workload.is_back_to_back:
        return
    sending: Any = generator["send_path_ns"] or {"subtracted": 0}
    took_ns = ok * (service["mean"] + generator["read_delay_ns"]["mean"]) + sending["subtracted"]
    took_s = took_ns / NS_PER_S
    most_s = slots * (seconds + longest_s(record)) * (1 + CLOCKS)
    if took_s > most_s:
        yield f"{slots} at a time had at most {most_s:.3g} s, and theirs took {took_s:.3g} s"
    least_s = slots * (seconds - longest_s(record)) * (1 - CLOCKS)
    # A slot that connects anew has other things to do than to wait for an answer.
    if isinstance(workload, Requests) and all_answered(record) and took_s < least_s:
        yield f"{slots} at a time had at least {least_s:.3g} s, and theirs took {took_s:.3g} s"


def planned_load(record: Record) -> Load | None:
    """What the generator was told in an open loop; None in a closed one, and in slices, each of
    which has a schedule of its own (slices.py)."""
    workload, rate_per_s = Cell.of(record["cell"]).workload, record["offered_per_s"]
    if rate_per_s is None or record["slices"]:
        return None
    if isinstance(workload, Search):
        return workload.load(record["seed"], rate_per_s)
    return workload.load(record["seed"]) if isinstance(workload, Requests) else None


def due_in_window(load: Load) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """When the requests of a window are due, ns; the warm-up counts from 0."""
    due_ns = arrivals.schedule(load)
    return due_ns[due_ns >= round(load.warmup_s * NS_PER_S)]


def schedule(record: Record) -> Iterator[str]:
    """The seed says how many requests an open loop sends."""
    workload = Cell.of(record["cell"]).workload
    asked = workload.offered_per_s if isinstance(workload, Requests) else None
    if isinstance(workload, Requests) and record["generator"] and record["offered_per_s"] != asked:
        yield f"offered_per_s is {record['offered_per_s']}, and the cell says {asked}"
        return
    load = planned_load(record)
    if load is None or not record["generator"]:
        return
    planned, scheduled = len(due_in_window(load)), record["counts"]["scheduled"]
    if planned != scheduled:
        yield f"{scheduled:,} requests were scheduled, and the seed makes {planned:,}"
    cost = record["server_cost"]
    if cost and cost["drive_requests"] != len(arrivals.schedule(load)):
        yield (
            f"{cost['drive_requests']:,} requests were driven, and the seed makes"
            f" {len(arrivals.schedule(load)):,} with the warm-up"
        )


def work(record: Record) -> Iterator[str]:
    """No answer is quicker than its work, which takes CPU time where it burns."""
    kind, takes_ns = work_ns(record)
    service, cost = record["latency_ns"]["service"], record["server_cost"]
    if not takes_ns or not service or service["min"] is None:
        return
    path = record["generator"] and record["generator"]["send_path_ns"]
    # The median of the generator's own path is taken off, and that of a request may be shorter.
    if service["min"] + (path["p50"] if path else 0) < takes_ns * (1 - CLOCKS):
        yield f"an answer took {service['min']:,} ns, and burns or sleeps {takes_ns:,}"
    if kind == "cpu" and cost:
        used_s, worked_s = cost["user_s"] + cost["system_s"], takes_ns * service["n"] / NS_PER_S
        if used_s + ticks_s(cost) < worked_s * (1 - CLOCKS):
            yield f"the server used {used_s:.3g} s of CPU, and its answers burn {worked_s:.3g} s"


def queue(record: Record) -> Iterator[str]:
    """No server is quicker than a perfect one that is busy with nothing but the work of its
    answers, one after the other on one CPU (Lindley's recursion)."""
    kind, takes_ns = work_ns(record)
    load, machine, counts = planned_load(record), record["machine"], record["counts"]
    response: Any = record["latency_ns"]["response"]
    if kind != "cpu" or not load or not response or not machine or len(machine["server_cpus"]) > 1:
        return
    due_ns = due_in_window(load)
    if not counts["ok"] == counts["scheduled"] == len(due_ns):
        return
    turn = np.arange(len(due_ns))
    done_ns = (turn + 1) * takes_ns + np.maximum.accumulate(due_ns - turn * takes_ns)
    least_ns = done_ns - due_ns
    for name, least in (("mean", least_ns.mean()), ("max", least_ns.max())):
        if response[name] < least * (1 - CLOCKS):
            yield (
                f"the {name} response time is {response[name]:,.0f} ns; a perfect server that"
                f" works {takes_ns:,} ns on each of these requests needs {least:,.0f}"
            )


def stalls(record: Record) -> Iterator[str]:
    """A server that was stopped again and again has made requests wait for it."""
    workload = Cell.of(record["cell"]).workload
    if not isinstance(workload, Requests) or not workload.stall_s or not record["counts"]["ok"]:
        return
    response: Any = record["latency_ns"]["response"]
    if workload.stall_every_s > workload.duration_s:
        return
    if response:
        # Whoever comes in a stall waits half of it: S of every T seconds.
        least_s = STALL_CHANCE * workload.stall_s**2 / (2 * workload.stall_every_s)
        if response["mean"] / NS_PER_S < least_s:
            yield f"the mean response time is less than stalls make it, {least_s * 1e3:.3g} ms"
    elif longest_s(record) < (1 - CLOCKS) * workload.stall_s:
        yield f"no request took as long as a stall, {workload.stall_s:g} s"


def cpu_time(record: Record) -> Iterator[str]:
    """Clocks of the window, the kernel's ticks of the drive, and the number of CPUs agree."""
    cost, machine, seconds = record["server_cost"], record["machine"], window_s(record)
    if not cost or not machine or not seconds:
        return
    cores, used_s = len(machine["server_cpus"]), cost["user_s"] + cost["system_s"]
    if record["connections"]["lost"]:
        return  # the drive was over before the window, and its clocks were read at once
    if not 0 <= cost["cpu_fraction"] <= cores * (1 + CLOCKS):
        yield f"the server used {cost['cpu_fraction']:.3g} of {cores} CPUs"
    in_window_s = cost["cpu_fraction"] * cost["watched_s"]
    if used_s + ticks_s(cost) < in_window_s * (1 - CLOCKS):
        yield f"the drive took {used_s:.3g} s of CPU, and its window {in_window_s:.3g} s"
    if cost["cpu_us_per_request"] is None or isinstance(Cell.of(record["cell"]).workload, Search):
        return  # a search drives many times
    if not record["verdict"]["valid"]:
        return  # where others had the CPUs, the window is not like the rest of the drive
    expected_s = cost["cpu_us_per_request"] * cost["drive_requests"] / 1e6
    if abs(used_s - expected_s) > CPU_OUTSIDE * min(used_s, expected_s) + CPU_AROUND_S:
        yield (
            f"the drive took {used_s:.3g} s of CPU, and its {cost['drive_requests']:,} requests"
            f" make {expected_s:.3g} s at the price of the window"
        )


def elapsed(record: Record) -> Iterator[str]:
    """All clocks saw a window of the length that the cell says, if the trial is to be believed."""
    generator, seconds = record["generator"], window_s(record)
    cost, machine = record["server_cost"], record["machine"]
    if not generator or not seconds or generator["full"] or not record["verdict"]["valid"]:
        return
    whole = not record["connections"]["lost"]  # without connections a drive is over
    # Who only watches sleeps; who asks and has no CPU reads the clocks late.
    asks = bool(Cell.of(record["cell"]).workload.connections)
    late_s = max(0.0, 1 - generator["cpu_fraction"]) * seconds if asks else 0.0
    if cost and whole and abs(cost["watched_s"] - seconds) > late_s + EDGES_S:
        yield f"the CPU clocks were read {cost['watched_s']:.3g} s apart, of {seconds:g} s"
    hiccups = machine and machine["hiccup_ns"]
    if not machine or not hiccups or isinstance(Cell.of(record["cell"]).workload, Search):
        return
    drain_s: Any = record["cell"]["workload"].get("drain_s") or 0.0
    waits = is_open(record) or not all_answered(record)
    after_s = drain_s if waits else min(drain_s, longest_s(record))
    most_s = warmup_s(record) + seconds + after_s + AROUND_DRIVE_S
    watched = (
        (hiccups["server_cpu"], machine["server_cpus"]),
        (hiccups["generator_cpu"], machine["generator_cpus"]),
    )
    for meter, cpus in watched:
        slept_s = meter["n"] / max(1, len(cpus)) * SLEEP_NS / NS_PER_S
        if slept_s > most_s:
            yield f"pauses were watched for {slept_s:.3g} s, and the drive took {most_s:.3g} s"


def cpu_shares(record: Record) -> Iterator[str]:
    """Busy, stolen and idle time of a CPU are parts of one whole."""
    machine, generator = record["machine"], record["generator"]
    if generator and not (
        0 <= generator["busy_fraction"] <= 1 + CLOCKS
        and 0 <= generator["cpu_fraction"] <= 1 + CLOCKS
    ):
        yield "the generator used more than its CPU"
    if not machine or machine["server_cpu_busy"] is None or machine["generator_cpu_busy"] is None:
        return
    server, sender = len(machine["server_cpus"]), len(machine["generator_cpus"])
    busy = server * machine["server_cpu_busy"] + sender * machine["generator_cpu_busy"]
    taken = busy / (server + sender) + (machine["steal_fraction"] or 0.0)
    seconds = window_s(record)
    if not 0 <= taken <= 1 + SHARES + (TICKS_S / seconds if seconds else 1.0):
        yield f"busy and stolen time are {taken:.1%} of the CPUs' time"


def clients(record: Record) -> Iterator[str]:
    """As many came as the cell says, and the model says how many of them it serves."""
    workload, found = Cell.of(record["cell"]).workload, record["connections"]
    if not found["attempted"] or isinstance(workload, Churn):
        return
    if found["attempted"] != workload.clients:
        yield f"{found['attempted']:,} clients came, and the cell says {workload.clients:,}"
    if found["active"] is None:
        return
    if not 0 <= found["active"] <= min(workload.connections, found["greeted"]):
        yield f"{found['active']:,} of {found['greeted']:,} greeted clients ask"
    if record["server"]["name"] not in [model.name for model in catalog.every()]:
        return
    model = catalog.find(record["server"]["name"])
    serves = model.serves(found["attempted"])
    # How many descriptors a server has for itself was not always the same.
    if abs(found["due"] - serves) > catalog.OWN_DESCRIPTORS or (
        (found["limit"] is None) != (serves == found["attempted"])
    ):
        yield f"{found['due']:,} clients were to be served, and the model serves {serves:,}"


def sizes(record: Record) -> Iterator[str]:
    """Memory, threads and descriptors that a process tree can have."""
    cost, held = record["server_cost"], record["footprint"]
    # Threads and processes that are gone with their clients took their counts along.
    usages: dict[str, Usage | None] = {"drive": None if record["reaping"] else cost}
    if held:
        usages |= {"empty": held["empty"], "connected": held["connected"]}
    for name, usage in usages.items():
        if usage and not is_possible(usage):
            yield f"no process is of the size that is said of it ({name})"
    if not held:
        return
    before, after = held["empty"], held["connected"]
    alike = before["processes"] == after["processes"]  # a process per client shares most of it
    if alike and before["pss_bytes"] is not None and after["pss_bytes"] is not None:
        # What is added for clients is shared with nobody, and what a process begins to write to no
        # longer.
        apart = after["rss_bytes"] - before["rss_bytes"]
        apart -= after["pss_bytes"] - before["pss_bytes"]
        if abs(apart) > GROWTH_BYTES * after["processes"]:
            yield f"RSS and PSS grew apart by {apart:,} bytes while clients connected"
    if not cost:
        return
    line_bytes: Any = record["cell"]["workload"].get("message_bytes") or 0
    each = GROWTH_PER_CLIENT_BYTES + COPIES_OF_A_LINE * line_bytes
    asking = (record["connections"]["active"] or 0) + _slow(record)
    grown = cost["rss_bytes"] - after["rss_bytes"]
    if not -GROWTH_BYTES <= grown <= GROWTH_BYTES + asking * each:
        yield f"the server grew by {grown:,} bytes while {asking} clients asked"


def _slow(record: Record) -> int:
    return int(record["cell"]["workload"].get("slow_connections") or 0)


def is_possible(usage: Usage) -> bool:
    """Are these the figures of a process tree?"""
    pss = usage["pss_bytes"]
    times = usage["user_s"], usage["system_s"]
    counts = usage["fds"], usage["voluntary_switches"], usage["involuntary_switches"]
    return (
        min(times) >= 0
        and min(counts) >= 0
        and 1 <= usage["processes"] <= usage["threads"]
        and usage["rss_bytes"] > 0
        and (pss is None or 0 < pss <= usage["rss_bytes"])
    )


def ended_early(record: Record) -> Iterator[str]:
    """Of a window that memory cut short, the clocks say how long it was."""
    generator, cost, stated = record["generator"], record["server_cost"], record["throughput_per_s"]
    if not generator or not generator["full"] or not cost or not stated:
        return
    derived = answered(record) / cost["watched_s"]
    if not math.isclose(stated, derived, rel_tol=PAUSE_SHARE):
        yield f"throughput_per_s is {stated:,.1f}, and the CPU clocks make {derived:,.1f}"
    slots, service = outstanding(record), record["latency_ns"]["service"]
    if slots and service and service["mean"]:
        most = slots * NS_PER_S / service["mean"] * (1 + longest_s(record) / cost["watched_s"])
        if stated > most * (1 + CLOCKS):
            yield f"throughput_per_s is {stated:,.1f}, and {slots} clients can make {most:,.1f}"


CHECKS: tuple[Callable[[Record], Iterator[str]], ...] = (
    shapes,
    sums,
    counted,
    read_delays,
    read_at_once,
    in_flight,
    schedule,
    work,
    queue,
    stalls,
    cpu_time,
    elapsed,
    cpu_shares,
    clients,
    sizes,
    ended_early,
)
