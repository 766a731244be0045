"""What machine this is, which CPUs are used for what, and how the machine behaved meanwhile."""

import os
import platform
import re
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

# What a process needs for itself, besides one per client: standard streams, files, pollers, pipes.
OWN_DESCRIPTORS = 64


@dataclass(frozen=True)
class Pinning:
    """Which CPUs the server and the generator have to themselves: never compare across pinnings."""

    server: frozenset[int]
    generator: frozenset[int]

    @property
    def shared(self) -> bool:
        """One CPU for both: they take it from each other, and figures say little."""
        return bool(self.server & self.generator)

    def as_record(self) -> dict[str, Any]:
        """As stored with every trial."""
        return {
            "server_cpus": sorted(self.server),
            "generator_cpus": sorted(self.generator),
            "shared": self.shared,
        }


def pinning() -> Pinning:
    """The first CPU we may use for the server, the last for the generator."""
    cpus = sorted(os.sched_getaffinity(0))
    return Pinning(frozenset(cpus[:1]), frozenset(cpus[-1:]))


def describe() -> dict[str, Any]:
    """The machine, as stored once per run. What this system does not tell is null."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "hypervisor": " hypervisor " in f" {_cpu_flags()} ",
        "memory_bytes": psutil.virtual_memory().total,
        "governor": setting("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "somaxconn": setting("/proc/sys/net/core/somaxconn"),
        "port_range": setting("/proc/sys/net/ipv4/ip_local_port_range"),
        "congestion_control": setting("/proc/sys/net/ipv4/tcp_congestion_control"),
        "tcp_rmem": setting("/proc/sys/net/ipv4/tcp_rmem"),
        "tcp_wmem": setting("/proc/sys/net/ipv4/tcp_wmem"),
        "descriptors": {"soft": soft, "hard": hard},
        "load_1min": os.getloadavg()[0],
    }


def setting(path: str) -> str | None:
    """The content of a file of /proc or /sys; None where it does not exist."""
    try:
        return " ".join(Path(path).read_text().split())
    except OSError:
        return None


def raise_descriptor_limit() -> int:
    """Raise our soft limit to the hard one, for the servers too; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def lack_of_descriptors(clients: int, limit: int) -> str | None:
    """Why one process, of `limit` descriptors, cannot hold so many clients; None if it can."""
    needed = clients + OWN_DESCRIPTORS
    if needed <= limit:
        return None
    return f"needs {needed:,} descriptors and the limit is {limit:,}: raise `ulimit -Hn`"


@dataclass(frozen=True)
class Snapshot:
    """Counters of the kernel at one moment.

    cpus            CPU number => (busy, steal, total) clock ticks (proc_stat(5))
    listen_overflows  connections dropped because a backlog was full, whole machine
    retransmits     TCP segments sent again, whole machine, but for probes that found nothing lost:
                    a receiver that is slow to read long lines causes them (RFC 8985, 7)
    """

    cpus: dict[int, tuple[int, int, int]]
    listen_overflows: int
    retransmits: int

    @classmethod
    def take(cls) -> "Snapshot":
        """Now."""
        cpus = {}
        for line in Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name.startswith("cpu") and name != "cpu":
                user, nice, system, idle, iowait, irq, softirq, steal = map(int, fields[:8])
                busy = user + nice + system + irq + softirq
                cpus[int(name[3:])] = busy, steal, busy + steal + idle + iowait
        return cls(
            cpus,
            _counter("/proc/net/netstat", "TcpExt", "ListenOverflows"),
            _counter("/proc/net/snmp", "Tcp", "RetransSegs")
            - _counter("/proc/net/netstat", "TcpExt", "TCPLossProbes")
            + _counter("/proc/net/netstat", "TcpExt", "TCPLossProbeRecovery"),
        )


def behaviour(before: Snapshot, after: Snapshot, cpus: Pinning) -> dict[str, Any]:
    """How the machine behaved between two moments: shares of the pinned CPUs' time, and counts."""

    def share(which: frozenset[int], column: int) -> float | None:
        spent = sum(after.cpus[cpu][column] - before.cpus[cpu][column] for cpu in which)
        total = sum(after.cpus[cpu][2] - before.cpus[cpu][2] for cpu in which)
        return round(spent / total, 4) if total > 0 else None

    return {
        "steal_fraction": share(cpus.server | cpus.generator, 1),
        "server_cpu_busy": share(cpus.server, 0),
        "generator_cpu_busy": share(cpus.generator, 0),
        "listen_overflows": after.listen_overflows - before.listen_overflows,
        # A probe may carry new data, and then is none of the segments sent again.
        "retransmits": max(0, after.retransmits - before.retransmits),
        **cpus.as_record(),
    }


class KernelMemory(NamedTuple):
    """What the kernel holds, for the whole machine."""

    slab_bytes: int
    """its own objects: sockets, their files and what waits for them, but not only those"""
    socket_buffer_bytes: int
    """what TCP accounts for data under way (the pages of /proc/net/sockstat)"""


def kernel_memory() -> KernelMemory:
    """Now. Raises OSError where /proc does not tell."""
    slab = re.search(r"^Slab:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    pages = re.search(r"^TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    if slab is None or pages is None:
        raise OSError("/proc/meminfo or /proc/net/sockstat has another form than expected")
    return KernelMemory(int(slab[1]) * 1024, int(pages[1]) * os.sysconf("SC_PAGESIZE"))


def _counter(path: str, group: str, name: str) -> int:
    """One number of /proc/net/netstat or snmp: a line of names, then a line of values."""
    lines = [line for line in Path(path).read_text().splitlines() if line.startswith(f"{group}:")]
    names, values = (line.split() for line in lines[:2])
    return int(values[names.index(name)])


def _cpu_model() -> str | None:
    return _cpuinfo("model name") or platform.processor() or None


def _cpu_flags() -> str:
    return _cpuinfo("flags") or ""


def _cpuinfo(name: str) -> str | None:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
