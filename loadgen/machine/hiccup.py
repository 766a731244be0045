"""How long the machine itself paused: a thread per CPU sleeps a while and notes the excess.

With a real-time priority (sched(7), SCHED_FIFO) such a thread waits for nobody but the kernel and
the hypervisor, so its excess is what any program on that CPU would have been delayed by. Without
the privilege it also waits for its turn behind the server or the generator; then only its absence
proves something, and the record says so.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from loadgen.engine.syscalls import NS_PER_S, Int64s, clock_gettime, clock_nanosleep, compiled
from loadgen.store import histogram

# A wake-up costs a virtual CPU about 20 us: sleeping one millisecond took 2 % of the throughput,
# five take less than 0.9 %. A pause this long is always seen, a shorter one by chance.
SLEEP_NS = 5_000_000
# More than an hour; memory that is not written to is not used.
_CAPACITY = 4_000_000
_CLOCK_MONOTONIC = 1


@compiled
def _note(time: Int64s, excess_ns: Int64s, stop: Int64s) -> int:
    """Sleep until told to stop; fills `excess_ns` and returns how many."""
    count = 0
    while stop[0] == 0 and count < len(excess_ns):
        clock_gettime(_CLOCK_MONOTONIC, time.ctypes.data)
        before_ns = time[0] * NS_PER_S + time[1]
        time[0] = 0
        time[1] = SLEEP_NS
        clock_nanosleep(_CLOCK_MONOTONIC, 0, time.ctypes.data, 0)
        clock_gettime(_CLOCK_MONOTONIC, time.ctypes.data)
        excess_ns[count] = time[0] * NS_PER_S + time[1] - before_ns - SLEEP_NS
        count += 1
    return count


class _Watch:
    """One thread on one CPU."""

    def __init__(self, cpu: int, stop: Int64s) -> None:
        self.excess_ns: Int64s = np.zeros(_CAPACITY, np.int64)
        self.realtime = False
        self._cpu, self._stop = cpu, stop
        self._thread = threading.Thread(target=self._run, name=f"hiccups of CPU {cpu}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        # Both of the calling thread alone.
        os.sched_setaffinity(0, {self._cpu})
        with suppress(PermissionError):
            # Before the generator, which may have the lowest of them.
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
            self.realtime = True
        count = _note(np.zeros(2, np.int64), self.excess_ns, self._stop)
        self.excess_ns = self.excess_ns[:count]

    def join(self) -> None:
        if self._thread.ident is not None:  # it was started
            self._thread.join()


@contextmanager
def noted(groups: Mapping[str, frozenset[int]]) -> Iterator[dict[str, Any]]:
    """Note the hiccups of some groups of CPUs while the block runs.

    The dictionary is filled when the block is left: for each group {n, p50, p90, p99, max} in
    nanoseconds, and whether all watched with a real-time priority (`realtime`).
    """
    found: dict[str, Any] = {}
    stop = np.zeros(1, np.int64)
    watches = {name: [_Watch(cpu, stop) for cpu in sorted(cpus)] for name, cpus in groups.items()}
    everyone = [watch for group in watches.values() for watch in group]
    try:
        for watch in everyone:
            watch.start()
        yield found
    finally:
        stop[0] = 1
        for watch in everyone:
            watch.join()
    found["realtime"] = all(watch.realtime for watch in everyone)
    for name, group in watches.items():
        summary = histogram.summary(np.concatenate([watch.excess_ns for watch in group]))
        found[name] = {key: summary[key] for key in ("n", "p50", "p90", "p99", "max")}


def compile() -> None:
    """Compile the loop, or load it from the cache."""
    _note(np.zeros(2, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64))
