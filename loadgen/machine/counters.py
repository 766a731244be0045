"""What the kernel counts for the whole machine, and how the machine behaved between two moments."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from loadgen.machine.cpus import Pinning
from loadgen.store.schema import Machine


@dataclass(frozen=True)
class Snapshot:
    """Counters of the kernel at one moment.

    cpus               CPU number => (busy, steal, total) clock ticks (proc_stat(5))
    listen_overflows   connections dropped because a backlog was full, whole machine
    retransmits        TCP segments sent again, whole machine, but for probes that found nothing
                       lost: a receiver that is slow to read long lines causes them (RFC 8985, 7)
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


def behaviour(before: Snapshot, after: Snapshot, cpus: Pinning) -> Machine:
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
        "server_cpus": sorted(cpus.server),
        "generator_cpus": sorted(cpus.generator),
        "shared": cpus.shared,
        "clock_drift_ns": None,
        "hiccup_ns": None,
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
