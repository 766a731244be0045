"""What the kernel counts for the whole machine, and how the machine behaved between two moments."""

import ipaddress
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from loadgen.machine.cpus import Pinning
from loadgen.store.schema import Machine

CLOCK_ATTEMPTS = 5

# Of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h: what `ss -ltm` asks the kernel.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_INET_DIAG_SKMEMINFO = 7
_SK_MEMINFO_DROPS = 8
_TCP_LISTEN = 10
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBBBI48x")  # inet_diag_req_v2: family, protocol, extensions, -, states
_SOCKET = struct.Struct("!4xH2x16s")  # inet_diag_msg: ... source port, ... source address
_SOCKET_BYTES = 72
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_REPLY_BYTES = 65_536


@dataclass(frozen=True)
class Snapshot:
    """Counters of the kernel at one moment.

    cpus               CPU number => (busy, steal, total) clock ticks (proc_stat(5))
    listen_overflows   connections dropped because a backlog was full, whole machine
    retransmits        TCP segments sent again, whole machine, but for probes that found nothing
                       lost: a receiver that is slow to read long lines causes them (RFC 8985, 7)
    clock_offset_ns    CLOCK_REALTIME - CLOCK_MONOTONIC: both run alike (clock_gettime(2)), so it
                       changes when somebody sets the clock, and only then
    """

    cpus: dict[int, tuple[int, int, int]]
    listen_overflows: int
    retransmits: int
    clock_offset_ns: int = 0

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
            clock_offset_ns(),
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
        "listener_drops": None,
        # A probe may carry new data, and then is none of the segments sent again.
        "retransmits": max(0, after.retransmits - before.retransmits),
        "server_cpus": sorted(cpus.server),
        "generator_cpus": sorted(cpus.generator),
        "shared": cpus.shared,
        "clock_drift_ns": after.clock_offset_ns - before.clock_offset_ns,
        "hiccup_ns": None,
    }


def clock_offset_ns(
    realtime_ns: Callable[[], int] = time.time_ns,
    monotonic_ns: Callable[[], int] = time.monotonic_ns,
) -> int:
    """CLOCK_REALTIME - CLOCK_MONOTONIC, now.

    Between two readings the caller may lose its CPU for milliseconds. So one clock is read before
    and after the other, and of several attempts the one counts whose readings were closest
    (Cristian: Probabilistic clock synchronization, 1989).
    """
    attempts = []
    for _ in range(CLOCK_ATTEMPTS):
        before_ns, real_ns, after_ns = monotonic_ns(), realtime_ns(), monotonic_ns()
        attempts.append((after_ns - before_ns, real_ns - (before_ns + after_ns) // 2))
    return min(attempts)[1]


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


def listener_drops(host: str, port: int) -> int | None:
    """Connections that the kernel has dropped at the sockets that listen at an address, since they
    did; None where nothing listens, or where the kernel does not tell.

    The kernel counts in the socket (`sk_drops`, tcp_listendrop() in include/net/tcp.h): backlogs
    that were full, and what else kept it from taking a connection; sock_diag(7) tells, as
    SK_MEMINFO_DROPS. /proc/net/netstat sums up over all sockets of the machine.

    host   numeric
    """
    asked = ipaddress.ip_address(host)
    try:
        found = [
            drops
            for address, at, drops in _listeners()
            if at == port and (address == asked or address.is_unspecified)
        ]
    except OSError:
        return None
    return sum(found) if found else None


def _listeners() -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int, int]]:
    """Address, port and drops of each TCP socket that listens here. Raises OSError."""
    for family, length in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        for payload in _dumped(family):
            port, address = _SOCKET.unpack_from(payload)
            drops = _drops(payload[_SOCKET_BYTES:])
            yield ipaddress.ip_address(address[:length]), port, drops


def _dumped(family: int) -> Iterator[bytes]:
    """The kernel's reply to a question about all listeners of a family, a message each."""
    wanted = 1 << (_INET_DIAG_SKMEMINFO - 1)
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, wanted, 0, 1 << _TCP_LISTEN)
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(header + request)
        while True:
            reply = kernel.recv(_REPLY_BYTES)
            while reply:
                length, kind, *_ = _HEADER.unpack_from(reply)
                if kind == _NLMSG_ERROR:
                    raise OSError("the kernel tells nothing of its listeners")
                if kind == _NLMSG_DONE:
                    return
                yield reply[_HEADER.size : length]
                reply = reply[_aligned(length) :]


def _drops(attributes: bytes) -> int:
    """`sk_drops` among the attributes of a socket. Raises OSError where it is missing."""
    while attributes:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _INET_DIAG_SKMEMINFO:
            offset = _ATTRIBUTE.size + 4 * _SK_MEMINFO_DROPS
            return int(struct.unpack_from("=I", attributes, offset)[0])
        attributes = attributes[_aligned(length) :]
    raise OSError("the kernel does not tell what a listener dropped")


def _aligned(length: int) -> int:
    """Messages and attributes of netlink begin at multiples of four bytes."""
    return (length + 3) & ~3


def datagram_drops(host: str, port: int) -> int | None:
    """Datagrams that the kernel has dropped at the UDP sockets that are bound to an address, since
    they were made; None where nobody is, or where the kernel does not tell.

    It drops for want of room in the receive buffer, and for little else (`sk_drops`; proc(5), the
    last column of /proc/net/udp).

    host   numeric
    """
    asked = ipaddress.ip_address(host)
    found = []
    for name, words in (("udp", 1), ("udp6", 4)):
        try:
            rows = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            digits, _, at = columns[1].partition(":")
            # Words of 32 bits, as the machine has them.
            packed = struct.pack(f"={words}I", *struct.unpack(f">{words}I", bytes.fromhex(digits)))
            address = ipaddress.ip_address(packed)
            if int(at, 16) == port and (address == asked or address.is_unspecified):
                found.append(int(columns[-1]))
    return sum(found) if found else None


def _counter(path: str, group: str, name: str) -> int:
    """One number of /proc/net/netstat or snmp: a line of names, then a line of values."""
    lines = [line for line in Path(path).read_text().splitlines() if line.startswith(f"{group}:")]
    names, values = (line.split() for line in lines[:2])
    return int(values[names.index(name)])
