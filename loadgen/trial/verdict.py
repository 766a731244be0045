"""May this trial be believed, and what limited it?

`judge` reads nothing but the record, so that `loadgen audit` can repeat every verdict from the
stored figures. A check returns a reason, which says what happened and what to do, or None.
"""

from collections.abc import Callable, Sequence
from typing import cast

from loadgen.store.schema import Bottleneck, Record, Verdict

# Offered and achieved rate may differ by this much.
RATE_TOLERANCE = 0.01
# A generator that was busy for more of the window than this had no time left to notice anything.
BUSY_LIMIT = 0.90
# Requests that go out later than this in open loop no longer follow the schedule.
SEND_LAG_P99_NS = 100_000
# Of the pinned CPUs' time, what the hypervisor may take.
STEAL_LIMIT = 0.03
# Of the time of the CPU that each side has to itself, what others may take. With nobody else about
# it is up to 0.12 on the server's CPU (interrupts, the hiccup meter; 774 trials of a reference run)
# and up to 0.05 on the generator's, which is all of it when it spins.
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
# Of the rounds of an epoch, how many may be void.
VOID_ROUNDS = 0.20

Check = Callable[[Record], str | None]


def judge(record: Record, checks: Sequence[Check]) -> Verdict:
    """The `verdict` of a record, of whose method `checks` have to pass."""
    voids = [reason for check in checks if (reason := check(record))]
    flags = [reason for check in FLAGS if (reason := check(record))]
    return {"valid": not voids, "bottleneck": bottleneck(record, checks), "reasons": voids + flags}


def bottleneck(record: Record, checks: Sequence[Check]) -> Bottleneck:
    """What kept the throughput from being higher.

    "model" where the server, by its design, serves none of those who ask; "offered" where all that
    was asked in an open loop was answered. Otherwise outstanding requests queue in front of
    whichever side is slower. So their time in the server (sent to arrived) against their time in
    the generator (arrived to read) names it; CPU figures do not, because a generator that polls is
    always busy.
    """
    if none_served_by_design(record):
        return "model"
    generator, service = record["generator"], record["latency_ns"]["service"]
    if not generator or not service or not service["mean"]:
        return "unknown"
    if record["offered_per_s"] is not None and not rate_missed(record):
        return "offered"
    if any(check(record) for check in checks if check in (generator_bound, generator_busy)):
        return "generator"
    read_delay_ns = generator["read_delay_ns"]["mean"] or 0.0
    return "generator" if read_delay_ns > service["mean"] else "server"


def not_measured(record: Record) -> str | None:
    """The server or the trial failed."""
    if record["outcome"] == "measured":
        return None
    return f"{record['outcome']}: {record['failure']}"


def wrong_answers(record: Record) -> str | None:
    """Bytes that differ from what had to be answered."""
    mismatched = record["counts"]["mismatched"]
    return f"{mismatched} wrong answers: fix the server before timing it" if mismatched else None


def errors(record: Record) -> str | None:
    """Connections that failed with requests outstanding."""
    count = record["counts"]["error"]
    return f"{count} requests failed with an error: see the server's log" if count else None


def unanswered(record: Record) -> str | None:
    """A closed loop has nothing left over unless the server stopped answering."""
    count = record["counts"]["timed_out"]
    if not count or record["offered_per_s"] is not None:
        return None
    return f"{count} requests were not answered within the drain: the server hangs"


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
    """In a search for a knee, of the rate that it found."""
    offered, counts = record["offered_per_s"], record["counts"]
    if offered is None:
        return None
    achieved = counts["ok"] / counts["scheduled"] if counts["scheduled"] else 0.0
    if achieved >= 1 - RATE_TOLERANCE:
        return None
    return f"only {achieved:.1%} of the offered {offered:,.0f}/s were answered: offer less"


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
    """The schedule was not kept."""
    generator = record["generator"]
    if record["offered_per_s"] is None or not generator:
        return None
    lag_ns = generator["send_lag_ns"]["p99"]
    if lag_ns is None or lag_ns <= SEND_LAG_P99_NS:
        return None
    return f"requests went out late (p99 {lag_ns / 1000:,.0f} us): offer less, or free the CPU"


def steal(record: Record) -> str | None:
    """Time that the hypervisor gave to others."""
    machine = record["machine"]
    fraction = machine and machine["steal_fraction"]
    if not fraction or fraction <= STEAL_LIMIT:
        return None
    return f"the hypervisor took {fraction:.1%} of the CPUs: repeat when the host is quieter"


def server_starved(record: Record) -> str | None:
    """Others on the server's CPU."""
    cost, machine = record["server_cost"], record["machine"]
    if not cost or not machine or machine["server_cpu_busy"] is None:
        return None
    others = machine["server_cpu_busy"] - cost["cpu_fraction"]
    if machine["shared"] or others <= SERVER_CPU_OTHERS:
        return None
    return f"others used {others:.0%} of the server's CPU: stop what else runs here, and repeat"


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
    """Handshakes that the kernel dropped."""
    count = record["machine"] and record["machine"]["listen_overflows"]
    if not count:
        return None
    return f"{count} connections were dropped by a full backlog: raise net.core.somaxconn"


def retransmits(record: Record) -> str | None:
    """Losses, or acknowledgements that came very late."""
    count = record["machine"] and record["machine"]["retransmits"]
    if not count or not _asks(record):
        return None  # nobody asked: those of others do not matter
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
    return "generator and server share one CPU: use a machine with two or more"


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
    if generator["cpu_fraction"] < GENERATOR_CPU_SHARE or cost["cpu_fraction"] >= BUSY_LIMIT:
        return None
    if generator["busy_fraction"] <= BUSY_LIMIT:
        return None
    return (
        f"the generator was busy for {generator['busy_fraction']:.0%} of its slices, the server for"
        f" {cost['cpu_fraction']:.0%}: this measures the generator"
    )


CHECKS: tuple[Check, ...] = (
    not_measured,
    wrong_answers,
    errors,
    unanswered,
    not_greeted,
    nothing_answered,
    rate_missed,
    generator_bound,
    late_sends,
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
    unanswered,
    not_greeted,
    nothing_answered,
    too_many_void,
    generator_bound_in_slices,
)

# These are said and do not void: whoever has one CPU only wants to see something all the same.
FLAGS: tuple[Check, ...] = (shared_cpu, paused, ended_early)
