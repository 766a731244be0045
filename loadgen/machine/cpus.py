"""Which CPUs the server and the generator have, and how a function gets to run on the latter."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from loadgen.engine.syscalls import Int64s

T = TypeVar("T")

# Of every second the kernel takes 50 ms from a real-time thread that never sleeps, if others want
# its CPU (sched(7), sched_rt_runtime_us): what is shorter than the rest is not disturbed.
REALTIME_MOST_S = 0.9


@dataclass(frozen=True)
class Pinning:
    """Which CPUs the server and the generator have to themselves: never compare across pinnings."""

    server: frozenset[int]
    generator: frozenset[int]

    @property
    def shared(self) -> bool:
        """One CPU for both: they take it from each other, and figures say little."""
        return bool(self.server & self.generator)

    def wider(self, count: int) -> "Pinning":
        """With so many CPUs for the server, as far as there are: those that nobody has, and the
        generator's last, which it then takes its part of."""
        ours = os.sched_getaffinity(0)
        free = [*sorted(self.server), *sorted(ours - self.server - self.generator)]
        return Pinning(frozenset([*free, *sorted(self.generator)][:count]), self.generator)

    def as_record(self) -> dict[str, Any]:
        """As stored with every trial."""
        return {
            "server_cpus": sorted(self.server),
            "generator_cpus": sorted(self.generator),
            "shared": self.shared,
        }


def choose_pinning() -> Pinning:
    """The first CPU we may use for the server, the last for the generator."""
    cpus = sorted(os.sched_getaffinity(0))
    return Pinning(frozenset(cpus[:1]), frozenset(cpus[-1:]))


@contextmanager
def realtime_priority(wanted: bool, thread: int = 0) -> Iterator[bool]:
    """A thread (0: the calling one) runs before all ordinary ones of its CPU while the block does,
    if that is `wanted` and we may; yields whether it does (sched(7), SCHED_FIFO)."""
    before = os.sched_getscheduler(thread), os.sched_getparam(thread)
    granted = False
    if wanted:
        with suppress(PermissionError):
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
            granted = True
    try:
        yield granted
    finally:
        if granted:
            os.sched_setscheduler(thread, *before)


def run_pinned(
    cpus: frozenset[int],
    work: Callable[[Int64s], T],
    meanwhile: Callable[[threading.Event], object],
) -> T:
    """Call `work` in a thread pinned to `cpus`, and return its result, or raise what it raised.

    work        gets a stop flag (int64[1]), which is set when we are interrupted, by Ctrl-C for
                example; then we still wait until it returns
    meanwhile   called in our own thread with an event that is set once `work` has ended; it has to
                return soon after that
    """
    stop = np.zeros(1, np.int64)
    ended = threading.Event()
    done: list[T] = []
    errors: list[BaseException] = []

    def pinned() -> None:
        try:
            os.sched_setaffinity(0, cpus)  # of this thread alone (sched_setaffinity(2))
            done.append(work(stop))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=pinned, name="generator")
    try:
        thread.start()  # may be interrupted when the thread already runs
        meanwhile(ended)
        thread.join()
    except BaseException:
        stop[0] = 1
        if thread.is_alive():
            thread.join()
        raise
    if errors:
        raise errors[0]
    return done[0]
