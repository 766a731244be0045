"""What the processes of a server use: CPU time, memory, descriptors, threads.

A server may be several processes, and they may come and go. So what counts here is the tree as it
is at the moment of asking. CPU time of a child that has ended is not lost: once its parent has
waited for it, the kernel counts it as that of the parent's children (getrusage(2),
RUSAGE_CHILDREN). Context switches of such a child are lost.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from loadgen.engine.syscalls import Int64s, process_cpu_clock


@dataclass(frozen=True)
class Usage:
    """What a process tree has used so far, and what it holds now."""

    user_s: float
    system_s: float
    processes: int
    threads: int
    rss_bytes: int
    pss_bytes: int | None
    fds: int
    voluntary_switches: int
    involuntary_switches: int


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants that are there now; none when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_clocks(processes: Sequence[psutil.Process]) -> list[int]:
    """A clock id per process, for clock_gettime(2): its CPU time in nanoseconds."""
    return [process_cpu_clock(process.pid) for process in processes]


def cpu_ns_between(clocks_ns: Int64s) -> int:
    """The CPU time that processes used between two readings of their clocks.

    clocks_ns   int64[2, processes], nanoseconds; -1 where there was no such process (any more)

    What a process used before it ended meanwhile is not known, and counts as nothing.
    """
    there = (clocks_ns >= 0).all(axis=0)
    return int(np.diff(clocks_ns[:, there], axis=0).sum())


def measure_usage(processes: Sequence[psutil.Process]) -> Usage | None:
    """Sum over those processes that are still there; None when none of them is."""
    usages: list[Usage] = []
    for process in processes:
        # Each of these means that it has ended meanwhile.
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            usages.append(_usage(process))
    if not usages:
        return None
    pss = [usage.pss_bytes for usage in usages]
    return Usage(
        user_s=sum(usage.user_s for usage in usages),
        system_s=sum(usage.system_s for usage in usages),
        processes=len(usages),
        threads=sum(usage.threads for usage in usages),
        rss_bytes=sum(usage.rss_bytes for usage in usages),
        pss_bytes=None if None in pss else sum(filter(None, pss)),
        fds=sum(usage.fds for usage in usages),
        voluntary_switches=sum(usage.voluntary_switches for usage in usages),
        involuntary_switches=sum(usage.involuntary_switches for usage in usages),
    )


def _usage(process: psutil.Process) -> Usage:
    with process.oneshot():
        times = process.cpu_times()
        memory = process.memory_info()
    try:
        pss = _pss_bytes(process.pid)
    except PermissionError:
        pss = None
    except ProcessLookupError:
        pss = 0  # it has ended, and nobody has waited for it: only its CPU time is left
    voluntary = involuntary = threads = 0
    # psutil counts the switches of the main thread only.
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended meanwhile
        threads += 1
        voluntary += _field(status, "voluntary_ctxt_switches")
        involuntary += _field(status, "nonvoluntary_ctxt_switches")
    return Usage(
        user_s=times.user + times.children_user,
        system_s=times.system + times.children_system,
        processes=1,
        threads=threads,
        rss_bytes=memory.rss,
        pss_bytes=pss,
        fds=process.num_fds(),
        voluntary_switches=voluntary,
        involuntary_switches=involuntary,
    )


def _pss_bytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return _field(rollup, "Pss") * 1024


def _field(text: str, name: str) -> int:
    """The number behind `name:` at the beginning of a line, as /proc writes them."""
    match = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(match[1]) if match else 0
