"""May this trial be believed, and what limited it?

`judge` reads nothing but the record, so that `loadgen audit` can repeat every verdict from the
stored figures. A check returns a reason, which says what happened and what to do, or None.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, cast

from loadgen.store.schema import Bottleneck, Counts, Record, Verdict, Window

# Offered and achieved rate may differ by this much.
RATE_TOLERANCE = 0.01
# Nor is a backlog called growing that chance explains. The number of requests that come due in a
# time is Poisson, its standard deviation the root of its mean (Kingman: Poisson Processes, 1993),
# and so is, in front of a server at its capacity, that of the backlog's change. Beyond two of them
# are, in simulations of 1,000 to 60,000/s for 0.2 and 1 s, at most 2 % of the windows at 95 % of
# the capacity (service times exponential; constant: none in 200) and 3.5 % at 99 %.
# tests/test_summary.py simulates again.
BACKLOG_DEVIATIONS = 2.0
# A generator that was busy for more of the window than this had no time left to notice anything.
BUSY_LIMIT = 0.90
# A side whose CPU is busy for less than this is not what others wait for. In the reference run
# (`throughput`) a server with one client is busy for 37 to 63 %, with eight or more for above 90.
NOT_BUSY = 0.70
# What it takes at most to wake a sleeping thread on a CPU that sleeps too: 2 to 50 us on hardware
# (its deepest idle states: /sys/devices/system/cpu/cpu0/cpuidle/*/latency), more under a
# hypervisor. Whoever waits for longer waits for something else.
WAKE_UP_NS = 200_000
# Requests that go out later than this in open loop no longer follow the schedule.
SEND_LAG_P99_NS = 100_000
# Of the pinned CPUs' time, what the hypervisor may take.
STEAL_LIMIT = 0.03
# Of the time of each CPU that the two sides have to themselves, what others may take. With nobody
# else about it is up to 0.12 on the server's CPU (interrupts, the hiccup meter; 774 trials of a
# reference run) and up to 0.05 on the generator's, which is all of it when it spins.
SERVER_CPU_OTHERS = 0.20
GENERATOR_CPU_SHARE = 0.90
# A pause of the machine this long, as a share of the window, moves more than a p99.
PAUSE_SHARE = 0.05
# Segments sent again per segment of requests. The kernel counts for the whole machine, and probes
# early when an acknowledgement is late (RFC 8985): a few are no loss. Below 1 in 100 they cannot
# move a p99.
RETRANSMIT_LIMIT = 0.01
SEGMENT_BYTES = 65_536
# Apart from each other, over one trial.
CLOCK_DRIFT_NS = 1_000_000
# Of the answers, how many may have no stamp of the kernel, which begins to stamp a moment after it
# was asked to: they count as arrived when they were read.
UNSTAMPED_LIMIT = 0.01
# Of the rounds of an epoch, how many may be void: beyond it says little of the rest.
VOID_ROUNDS = 0.50

Check = Callable[[Record], str | None]


def judge(record: Record, checks: Sequence[Check]) -> Verdict:
    """The `verdict` of a record, of whose method `checks` have to pass."""
    voids = [reason for check in checks if (reason := check(record))]
    flags = [reason for check in FLAGS if (reason := check(record))]
    return {
        "valid": not voids,
        "overloaded": overloaded(record),
        "bottleneck": bottleneck(record, checks),
        "reasons": voids + flags,
    }


def bottleneck(record: Record, checks: Sequence[Check]) -> Bottleneck:
    """What kept the throughput from being higher.

    "model" where the server, by its design, serves none of those who ask; "offered" where all that
    was asked in an open loop was answered; "wake-up" where neither side is busy (`woken_up`).
    Otherwise outstanding requests queue in front of whichever side is slower. So their time in the
    server (sent to arrived) against their time in the generator (arrived to read) names it; CPU
    figures do not, because a generator that polls is always busy.
    """
    if none_served_by_design(record):
        return "model"
    generator, service = record["generator"], record["latency_ns"]["service"]
    if not generator or not service or not service["mean"]:
        return "unknown"
    if record["offered_per_s"] is not None and not overloaded(record) and not rate_missed(record):
        return "offered"
    own = (generator_bound, generator_busy, late_sends)
    if any(check(record) for check in checks if check in own):
        return "generator"
    read_delay_ns = generator["read_delay_ns"]["mean"] or 0.0
    if read_delay_ns > service["mean"]:
        return "generator"
    if woken_up(record):
        return "wake-up"
    if generator["stamps"] == "generator":
        # How long answers waited for the generator is not known; whether the server idled is.
        cost = record["server_cost"]
        return "server" if cost and cost["cpu_fraction"] / cores(record) >= NOT_BUSY else "unknown"
    return "server"


def woken_up(record: Record) -> bool:
    """Is neither side busy, although somebody always waits? Then the time goes into waking them.

    With a few clients server and generator take turns: each sleeps, or has nothing to do, until
    the other's message has woken it. No side is saturated, and a faster one of them would change
    little (Lazowska et al.: Quantitative System Performance, 1984, 5.2: below N* clients). What
    an answer takes beyond its CPU time tells this from a server that sleeps for reasons of its
    own.
    """
    generator, cost, machine = record["generator"], record["server_cost"], record["machine"]
    service = record["latency_ns"]["service"]
    if record["window"] is None or record["offered_per_s"] is not None:
        return False  # records of schema 1 were judged without this
    if not generator or not cost or not machine or not service or not service["mean"]:
        return False
    if server_starved(record) or generator_starved(record):
        return False  # it is others who keep them from being busy
    if max(cost["cpu_fraction"] / cores(record), generator["busy_fraction"]) >= NOT_BUSY:
        return False
    return service["mean"] - 1000 * (cost["cpu_us_per_request"] or 0.0) <= WAKE_UP_NS


def cores(record: Record) -> int:
    """How many CPUs a server can keep busy: each of its processes one, as far as it has so many."""
    cost, machine = record["server_cost"], record["machine"]
    if not cost or not machine:
        return 1
    return max(1, min(len(machine["server_cpus"]), cost["processes"]))


def achieved(counts: Counts, window: Window | None) -> float:
    """The share of a rate that was answered while it was offered.

    A server keeps a rate when its backlog, the requests that are due and not answered, does not
    grow: then answers come as fast as requests (Loynes, 1962). A pause of either side makes the
    backlog rise and fall again, wherever the window ends; so what has to stay is the fewest that
    are open at any moment, of the second half of the window against the first. What it grew by was
    not answered, of half of the requests, unless chance explains it (BACKLOG_DEVIATIONS).
    """
    scheduled = counts["scheduled"]
    if not scheduled:
        return 0.0
    ended_well = counts["ok"] / scheduled
    if window is None:
        return ended_well  # of schema 1: by the end of the drain
    grown = window["fewest_open_second_half"] - window["fewest_open_first_half"]
    due = scheduled / 2
    kept = 1.0 if grown <= BACKLOG_DEVIATIONS * math.sqrt(due) else 1 - grown / due
    return min(ended_well, kept)


def overloaded(record: Record) -> bool | None:
    """Was more offered than the server, or the generator, had answered meanwhile? None where no
    rate was offered, or where nobody counted."""
    counts, window = record["counts"], record["window"]
    if record["offered_per_s"] is None or window is None:
        return None
    # Those that were never answered are another matter: see `unanswered` and `rate_missed`.
    all_ended_well: Counts = {**counts, "ok": counts["scheduled"]}
    return bool(counts["scheduled"]) and achieved(all_ended_well, window) < 1 - RATE_TOLERANCE


def not_measured(record: Record) -> str | None:
    """The server or the trial failed."""
    if record["outcome"] == "measured":
        return None
    return f"{record['outcome']}: {record['failure']}"


def _faults(record: Record, outcome: Literal["mismatched", "error", "timed_out"]) -> str | None:
    """How many requests ended so in the whole drive, "3" or "3 (2 in the warm-up)"; or None."""
    before = record["warmup"][outcome] if record["warmup"] else 0
    count = record["counts"][outcome] + before
    if not count:
        return None
    return f"{count} ({before} in the warm-up)" if before else str(count)


def wrong_answers(record: Record) -> str | None:
    """Bytes that differ from what had to be answered, in the warm-up too."""
    faults = _faults(record, "mismatched")
    return f"{faults} wrong answers: fix the server before timing it" if faults else None


def errors(record: Record) -> str | None:
    """Connections that failed with requests outstanding, in the warm-up too."""
    faults = _faults(record, "error")
    return f"{faults} requests failed with an error: see the server's log" if faults else None


def lost_connections(record: Record) -> str | None:
    """Connections that failed while nothing was outstanding on them: no request says so."""
    lost = record["connections"]["lost"]
    if not lost or _faults(record, "error") or _faults(record, "mismatched"):
        return None
    kinds = ", ".join(f"{count} {kind}" for kind, count in lost.items())
    return f"{sum(lost.values())} connections were lost ({kinds}): see the server's log"


def unanswered(record: Record) -> str | None:
    """A closed loop has nothing left over unless the server stopped answering; an open loop may,
    as long as the server is still at work on it when the drain ends."""
    faults = _faults(record, "timed_out")
    if not faults or record["datagrams"]:
        return None  # a datagram that was lost is a result
    if record["offered_per_s"] is None:
        return f"{faults} requests were not answered within the drain: the server hangs"
    window, drain_s = record["window"], record["cell"]["workload"].get("drain_s")
    if window is None or not isinstance(drain_s, (int, float)):
        return None
    silence_s = window["silence_ns"] / 1e9
    if not drain_s or silence_s <= drain_s / 2:
        return None
    return (
        f"{faults} requests were not answered, and nothing else was in the last {silence_s:.2g} s:"
        " the server hangs"
    )


def clients_unanswered(record: Record) -> str | None:
    """Clients of a closed loop of which no latency tells: their one request began before the
    window and ended after it."""
    count = record["connections"]["unanswered"]
    if not count:
        return None
    return (
        f"{count} of {record['connections']['active'] or count} clients were not answered within"
        " the window: the server hangs, or the window is too short"
    )


def not_greeted(record: Record) -> str | None:
    """Fewer clients than the model serves by its design."""
    connections = record["connections"]
    missing = connections["due"] - connections["greeted"]
    if missing <= 0:
        return None
    kinds = ", ".join(f"{count} {kind}" for kind, count in connections["failed"].items())
    return f"{missing} of {connections['due']} connections were not greeted: {kinds}"


def none_served_by_design(record: Record) -> bool:
    """Did clients that only wait take all the places that the model has?"""
    connections = record["connections"]
    return bool(connections["limit"]) and connections["active"] == 0 and _asks(record)


def nothing_answered(record: Record) -> str | None:
    """No figure without an answer, unless it is the model's design that nobody gets one."""
    if record["counts"]["ok"] or not _asks(record) or none_served_by_design(record):
        return None  # where nobody asks, what is measured is the waiting
    return "no request was answered: there is nothing to report"


def _asks(record: Record) -> bool:
    """Is there a client that sends requests?"""
    return record["cell"]["workload"]["connections"] != 0


def rate_missed(record: Record) -> str | None:
    """Requests that were not answered although there was no overload, which is measured as one. Of
    a search for a knee: of the rate that it found, which has to be kept."""
    offered = record["offered_per_s"]
    if offered is None or (overloaded(record) and not record["knee"]) or record["datagrams"]:
        return None
    share = achieved(record["counts"], record["window"])
    if share >= 1 - RATE_TOLERANCE:
        return None
    return f"only {share:.1%} of the offered {offered:,.0f}/s were answered: offer less"


def generator_bound(record: Record) -> str | None:
    """A generator that is never idle is the limit unless the server's CPU is never idle either."""
    machine = record["machine"]
    if machine and (machine["server_cpu_busy"] or 0) >= BUSY_LIMIT:
        return None
    return generator_busy(record)


def generator_busy(record: Record) -> str | None:
    """A generator that is never idle."""
    generator, machine = record["generator"], record["machine"]
    if not generator or not machine or machine["server_cpu_busy"] is None:
        return None
    if generator["busy_fraction"] <= BUSY_LIMIT:
        return None
    return (
        f"the generator was busy for {generator['busy_fraction']:.0%} of the window, the server's"
        f" CPU for {machine['server_cpu_busy']:.0%}: this measures the generator"
    )


def late_sends(record: Record) -> str | None:
    """The schedule was not kept.

    In an overload requests wait for the server for so long that lateness matters by its share of
    that. And where the server leaves its sockets full, a generator that is not busy is late by the
    server's doing.
    """
    generator, response = record["generator"], record["latency_ns"]["response"]
    if record["offered_per_s"] is None or not generator:
        return None
    lag_ns, limit_ns = generator["send_lag_ns"]["p99"], float(SEND_LAG_P99_NS)
    if overloaded(record) and response and response["mean"]:
        if generator["busy_fraction"] <= BUSY_LIMIT:
            return None
        limit_ns = max(limit_ns, RATE_TOLERANCE * response["mean"])
    if lag_ns is None or lag_ns <= limit_ns:
        return None
    return f"requests went out late (p99 {lag_ns / 1000:,.0f} us): offer less, or free the CPU"


def unstamped_answers(record: Record) -> str | None:
    """Arrivals that the kernel was to stamp and did not: their latencies include the generator's
    own delay. Where the generator's stamps were all there is, the record says so instead."""
    generator = record["generator"]
    if not generator or generator["stamps"] == "generator":
        return None
    warmup = record["warmup"]
    answers = record["counts"]["ok"] + (warmup["ok"] if warmup else 0)
    if generator["unstamped"] <= max(1, UNSTAMPED_LIMIT * answers):
        return None
    return (
        f"{generator['unstamped']:,} of {answers:,} answers came without a stamp of the kernel:"
        " their latencies are not comparable"
    )


def steal(record: Record) -> str | None:
    """Time that the hypervisor gave to others."""
    machine = record["machine"]
    fraction = machine and machine["steal_fraction"]
    if not fraction or fraction <= STEAL_LIMIT:
        return None
    return f"the hypervisor took {fraction:.1%} of the CPUs: repeat when the host is quieter"


def server_starved(record: Record) -> str | None:
    """Others on the server's CPUs: what all used there, without what the server did, in cores."""
    cost, machine = record["server_cost"], record["machine"]
    if not cost or not machine or machine["server_cpu_busy"] is None or machine["shared"]:
        return None
    cpus = len(machine["server_cpus"])
    others = machine["server_cpu_busy"] * cpus - cost["cpu_fraction"]
    if others <= SERVER_CPU_OTHERS * cpus:
        return None
    whose = "CPU" if cpus == 1 else f"{cpus} CPUs"
    share = f"{others / cpus:.0%} of the server's {whose}"
    return f"others used {share}: stop what else runs here, and repeat"


def generator_starved(record: Record) -> str | None:
    """A generator that spins uses all of its CPU, unless others do."""
    generator, machine = record["generator"], record["machine"]
    if not generator or not machine or machine["shared"]:
        return None
    share = generator["cpu_fraction"]
    if not _asks(record) or share >= GENERATOR_CPU_SHARE:
        return None
    return f"the generator got {share:.0%} of its CPU: stop what else runs here, and repeat"


def overflows(record: Record) -> str | None:
    """Handshakes that the kernel dropped at the server's own listener; what it dropped at others'
    (`listen_overflows` counts for the whole machine) is not our loss."""
    count = record["machine"] and record["machine"]["listener_drops"]
    if not count:
        return None
    return f"{count} connections were dropped by a full backlog: raise net.core.somaxconn"


def retransmits(record: Record) -> str | None:
    """Losses, or acknowledgements that came very late."""
    count = record["machine"] and record["machine"]["retransmits"]
    if not count or not _asks(record) or record["datagrams"]:
        return None  # nobody asked, or not by TCP: those of others do not matter
    # Long lines take several segments, of at most 64 KiB on loopback.
    message_bytes = cast(int, record["cell"]["workload"].get("message_bytes", 1))
    segments = record["counts"]["scheduled"] * -(-message_bytes // SEGMENT_BYTES)
    if count <= RETRANSMIT_LIMIT * segments:
        return None
    return f"{count} segments were sent again: something delays or loses packets here"


def clocks_apart(record: Record) -> str | None:
    """Stamps are of CLOCK_REALTIME, which somebody may set."""
    drift_ns = record["machine"] and record["machine"]["clock_drift_ns"]
    if drift_ns is None or abs(drift_ns) <= CLOCK_DRIFT_NS:
        return None
    return f"the clock was set during the trial ({drift_ns / 1e6:+.1f} ms): stop the time daemon"


def shared_cpu(record: Record) -> str | None:
    """Generator and server take it from each other."""
    if not record["machine"] or not record["machine"]["shared"]:
        return None
    if len(record["machine"]["server_cpus"]) > 1:
        return "the generator has one of the server's CPUs, and takes its part of it"
    return "generator and server share one CPU: use a machine with two or more"


def growing_latency(record: Record) -> str | None:
    """A latency in front of a backlog that grows is a figure of the run's length."""
    window = record["window"]
    if not window or not overloaded(record):
        return None
    answered_per_s, growth_per_s = record["throughput_per_s"], window["backlog_growth_per_s"]
    if datagrams := record["datagrams"]:
        return (
            f"overloaded: {answered_per_s or 0:,.0f}/s of the offered"
            f" {record['offered_per_s']:,.0f}/s were answered, and {datagrams['lost']:,} datagrams"
            " were lost"
        )
    return (
        f"overloaded: {answered_per_s or 0:,.0f}/s of the offered {record['offered_per_s']:,.0f}/s"
        f" were answered, and {growth_per_s:,.0f} more requests waited after each second:"
        " latency grows with the length of the run"
    )


def paused(record: Record) -> str | None:
    """The longest hiccup; without a real-time priority the meter also waits for its turn."""
    hiccups = record["machine"] and record["machine"]["hiccup_ns"]
    if not hiccups or not hiccups["realtime"]:
        return None
    longest_ns = max(hiccups["server_cpu"]["max"] or 0, hiccups["generator_cpu"]["max"] or 0)
    duration_s = record["cell"]["workload"].get("duration_s")
    if not isinstance(duration_s, (int, float)) or longest_ns <= PAUSE_SHARE * duration_s * 1e9:
        return None
    return f"the machine paused for {longest_ns / 1e6:.0f} ms: high percentiles are its doing"


def ended_early(record: Record) -> str | None:
    """A closed loop is as fast as it is, and the memory for stamps is fixed before."""
    if not record["generator"] or not record["generator"]["full"]:
        return None
    return "the window ended early, there was no room for more stamps: shorten it or the warm-up"


def too_many_void(record: Record) -> str | None:
    """Rounds that the machine spoilt."""
    slices = record["slices"]
    if not slices or not slices["void"]:
        return None
    reasons = [reason for reason in slices["void"] if reason]
    share = len(reasons) / len(slices["void"])
    if share <= VOID_ROUNDS:
        return None
    return f"{share:.0%} of the rounds are void, as the first: {reasons[0]}"


def generator_bound_in_slices(record: Record) -> str | None:
    """A generator that is never idle while the server is, as far as both had a CPU."""
    generator, cost = record["generator"], record["server_cost"]
    if not generator or not cost or record["offered_per_s"] is not None:
        return None
    share = cost["cpu_fraction"] / cores(record)
    if generator["cpu_fraction"] < GENERATOR_CPU_SHARE or share >= BUSY_LIMIT:
        return None
    if generator["busy_fraction"] <= BUSY_LIMIT:
        return None
    return (
        f"the generator was busy for {generator['busy_fraction']:.0%} of its slices, the server for"
        f" {share:.0%}: this measures the generator"
    )


CHECKS: tuple[Check, ...] = (
    not_measured,
    wrong_answers,
    errors,
    lost_connections,
    unanswered,
    clients_unanswered,
    not_greeted,
    nothing_answered,
    rate_missed,
    generator_bound,
    late_sends,
    unstamped_answers,
    steal,
    server_starved,
    generator_starved,
    overflows,
    retransmits,
    clocks_apart,
)

# Of a server that was driven in slices. What the machine does to a slice, it does to its round.
SLICE_CHECKS: tuple[Check, ...] = (
    not_measured,
    wrong_answers,
    errors,
    lost_connections,
    unanswered,
    not_greeted,
    nothing_answered,
    too_many_void,
    rate_missed,
    generator_bound_in_slices,
    late_sends,
    unstamped_answers,
    overflows,
)

# These are said and do not void: an overload can be measured as one, and whoever has one CPU only
# wants to see something all the same.
FLAGS: tuple[Check, ...] = (growing_latency, shared_cpu, paused, ended_early)
