"""What about this machine will disturb a measurement, and what to do about it."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from loadgen.machine.counters import Snapshot, behaviour
from loadgen.machine.cpus import Pinning
from loadgen.machine.describe import describe_machine, read_setting
from loadgen.machine.limits import raise_descriptor_limit

# Long enough for 10 ms ticks to show 1 %.
WATCH_S = 1.0
DESCRIPTORS_NEEDED = 20_000
BACKLOG_NEEDED = 1_024
PORTS_NEEDED = 20_000
STEAL_LIMIT = 0.03
# Of any one CPU: a program that is pinned disturbs one of them, and the mean would hide it.
LOAD_LIMIT = 0.10


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    serious   figures measured on this machine would be wrong or missing; otherwise a remark
    """

    subject: str
    state: str
    fine: bool
    advice: str = ""
    serious: bool = True


def examine(wait: Callable[[float], None] = time.sleep) -> list[Finding]:
    """Look at everything; watches the CPUs for WATCH_S seconds."""
    before, after = _watch(wait)
    limit = raise_descriptor_limit()
    return [
        cores(len(os.sched_getaffinity(0))),
        steal(behaviour(before, after, _everything())["steal_fraction"]),
        other_load(_busy(before, after)),
        governor(read_setting(_CPUFREQ + "cpu0/cpufreq/scaling_governor")),
        turbo(read_setting(_CPUFREQ + "cpufreq/boost")),
        descriptors(limit),
        ports(read_setting("/proc/sys/net/ipv4/ip_local_port_range")),
        backlog(read_setting("/proc/sys/net/core/somaxconn")),
        congestion_control(read_setting("/proc/sys/net/ipv4/tcp_congestion_control")),
        hypervisor(bool(describe_machine()["hypervisor"])),
    ]


def watch_load(wait: Callable[[float], None] = time.sleep) -> Finding:
    """What else is running, watched for WATCH_S seconds."""
    return other_load(_busy(*_watch(wait)))


def fit(findings: Iterable[Finding]) -> bool:
    """May figures measured here be believed?"""
    return all(each.fine or not each.serious for each in findings)


_CPUFREQ = "/sys/devices/system/cpu/"


def _watch(wait: Callable[[float], None]) -> tuple[Snapshot, Snapshot]:
    before = Snapshot.take()
    wait(WATCH_S)
    return before, Snapshot.take()


def _everything() -> Pinning:
    cpus = frozenset(os.sched_getaffinity(0))
    return Pinning(cpus, cpus)


def _busy(before: Snapshot, after: Snapshot) -> dict[int, float]:
    """The share of its time that each usable CPU ran programs; those it is known of."""
    shares = {
        cpu: behaviour(before, after, Pinning(frozenset([cpu]), frozenset()))["server_cpu_busy"]
        for cpu in os.sched_getaffinity(0)
    }
    return {cpu: share for cpu, share in shares.items() if share is not None}


def cores(count: int) -> Finding:
    """Server and generator need a CPU each."""
    return Finding(
        "cores",
        f"{count} usable",
        count >= 2,
        "give this process two CPUs: with one, generator and server take it from each other",
    )


def steal(fraction: float | None) -> Finding:
    """Time that the hypervisor gave to somebody else."""
    if fraction is None:
        return Finding("steal", "unknown", True)
    return Finding(
        "steal",
        f"{fraction:.1%} over {WATCH_S:.0f} s",
        fraction <= STEAL_LIMIT,
        "the host is busy: measure later, or on a machine of your own",
    )


def other_load(busy: Mapping[int, float]) -> Finding:
    """What else is running, by the share of each CPU's time."""
    if not busy:
        return Finding("other load", "unknown", True)
    cpu = max(busy, key=lambda cpu: busy[cpu])
    return Finding(
        "other load",
        f"other programs use {100 * busy[cpu]:.0f} % of CPU {cpu}",
        busy[cpu] <= LOAD_LIMIT,
        "close what is running besides: `top` names it",
    )


def governor(name: str | None) -> Finding:
    """A governor other than performance changes the clock rate under our hands."""
    return Finding(
        "governor",
        name or "not visible",
        name in (None, "performance"),
        "cpupower frequency-set -g performance",
        serious=False,
    )


def turbo(state: str | None) -> Finding:
    """With turbo the speed depends on temperature and on the neighbours."""
    return Finding(
        "turbo",
        {None: "not visible", "0": "off", "1": "on"}.get(state, str(state)),
        state != "1",
        "echo 0 > /sys/devices/system/cpu/cpufreq/boost",
        serious=False,
    )


def descriptors(limit: int) -> Finding:
    """One per client, in the server and in the generator."""
    return Finding(
        "descriptors",
        f"{limit:,} per process",
        limit >= DESCRIPTORS_NEEDED,
        f"`ulimit -Hn {DESCRIPTORS_NEEDED}`: experiments with more clients are skipped",
        serious=limit < 1_100,
    )


def ports(port_range: str | None) -> Finding:
    """Clients of one address need one each, and keep it for a minute after closing."""
    if port_range is None:
        return Finding("ports", "unknown", True)
    low, high = map(int, port_range.split())
    return Finding(
        "ports",
        f"{high - low + 1:,} per address pair",
        high - low + 1 >= PORTS_NEEDED,
        "sysctl net.ipv4.ip_local_port_range='32768 60999'",
    )


def backlog(somaxconn: str | None) -> Finding:
    """listen(2) caps every backlog at this."""
    if somaxconn is None:
        return Finding("backlog", "unknown", True)
    return Finding(
        "backlog",
        f"somaxconn {int(somaxconn):,}",
        int(somaxconn) >= BACKLOG_NEEDED,
        f"sysctl net.core.somaxconn={4 * BACKLOG_NEEDED}",
    )


def congestion_control(name: str | None) -> Finding:
    """Makes no difference to small messages on loopback; named, so that others can repeat it."""
    return Finding("congestion control", name or "unknown", True)


def hypervisor(present: bool) -> Finding:
    """Waking an idle virtual CPU takes tens of microseconds."""
    return Finding(
        "hypervisor",
        "virtual machine" if present else "none seen",
        not present,
        "latencies of single requests include the wake-up of a virtual CPU: compare ratios",
        serious=False,
    )
