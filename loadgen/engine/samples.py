"""What a drive leaves behind: the stamps of every request, the clocks of the window, the errors."""

import errno
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from loadgen.engine.syscalls import Bools, Bytes, Int32s, Int64s

# Why a connection failed, where errno has no word for it.
CLOSED = -1
UNSOLICITED = -2
NOT_GREETED = -3


class Outcome(IntEnum):
    """What became of a request."""

    OK = 0
    MISMATCHED = 1
    ERROR = 2
    TIMED_OUT = 3


class WindowClocks(NamedTuple):
    """Clocks read inside the loop at the start [0] and at the end [1] of the window, in ns."""

    realtime_ns: Int64s
    """int64[2]"""
    monotonic_ns: Int64s
    """int64[2]"""
    generator_cpu_ns: Int64s
    """int64[2]: CPU time of the thread that drives"""
    busy_ns: Int64s
    """int64[2]: time since the start, without that spent asking in vain for something to do"""
    server_cpu_ns: Int64s
    """int64[2, k]: one column per server clock; -1 where it could not be read"""

    @property
    def elapsed_ns(self) -> int:
        """From start to end; 1 at least, because a window can be empty."""
        return max(1, int(np.diff(self.realtime_ns)[0]))

    @property
    def busy_fraction(self) -> float:
        """The share of that time that was not spent asking in vain for something to do."""
        return int(np.diff(self.busy_ns)[0]) / self.elapsed_ns

    @property
    def cpu_fraction(self) -> float:
        """The share of that time for which the driving thread had a CPU."""
        return int(np.diff(self.generator_cpu_ns)[0]) / self.elapsed_ns


def window_clocks(clocks_ns: Int64s) -> WindowClocks:
    """Name the columns of int64[2, 4 + server clocks], which `buffers.read_clocks` filled."""
    return WindowClocks(
        clocks_ns[:, 0], clocks_ns[:, 1], clocks_ns[:, 2], clocks_ns[:, 3], clocks_ns[:, 4:]
    )


@dataclass(frozen=True)
class Samples:
    """All that was stamped, one element per request, in the order they were intended in."""

    intended_ns: Int64s
    sent_ns: Int64s
    """0: never sent"""
    arrived_ns: Int64s
    """0: no complete answer"""
    read_ns: Int64s
    """0: no complete answer"""
    connection: Int32s
    """index into `fds`"""
    outcome: Bytes
    """an Outcome each"""
    window_start_ns: int
    window_end_ns: int
    clocks: WindowClocks
    errors: Int32s
    """int32[connections]: 0, an errno, CLOSED or UNSOLICITED"""
    unstamped: int
    """answers without a kernel stamp; `arrived` is `read` for them"""
    full: bool
    """a closed loop ended early because there was no room for more stamps; the window ends there"""
    stamped: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64[k]: the requests whose leaving the kernel stamped too"""
    send_path_ns: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64[k]: how long after `sent` each of those left; none where the kernel gives no stamps"""
    longest_gap_ns: int | None = None
    """the largest step between two looks at the clock, so the longest pause of the CPU that the
    loop spun on; None: it did not spin"""

    @property
    def in_window(self) -> Bools:
        """Mask of the requests that belong to the window, by their intended time; bool[n]."""
        return (self.window_start_ns <= self.intended_ns) & (self.intended_ns < self.window_end_ns)

    @property
    def sending_ns(self) -> Int64s:
        """How long after `sent` each request left, int64[n]: what is not the server's doing.

        Exactly where the kernel stamped it, the median of those elsewhere, and never beyond the
        answer; 0 where there is neither stamp nor answer.
        """
        sending_ns = np.zeros_like(self.sent_ns)
        if len(self.send_path_ns):
            sending_ns[:] = round(np.median(self.send_path_ns))
            sending_ns[self.stamped] = self.send_path_ns
        most_ns: Int64s = np.maximum(self.arrived_ns - self.sent_ns, 0)
        return np.minimum(sending_ns, most_ns)

    @property
    def service_ns(self) -> Int64s:
        """From when a request left until its answer had arrived, int64[n]; of those answered."""
        return self.arrived_ns - self.sent_ns - self.sending_ns


class Greetings(NamedTuple):
    """One element per connection."""

    greeted: Bools
    arrived_ns: Int64s
    """kernel stamp (CLOCK_REALTIME) of the last byte of the greeting; 0: not greeted"""
    errors: Int32s
    """0 (greeted, or not yet), an errno, CLOSED, or NOT_GREETED (it said something else)"""


def error_name(code: int) -> str:
    """Return the word for an element of `Samples.errors` or `Greetings.errors`, say "ECONNRESET".

    0 is no error; who was not greeted all the same is still waiting.
    """
    words = {
        0: "waiting for the greeting",
        CLOSED: "closed",
        UNSOLICITED: "unsolicited bytes",
        NOT_GREETED: "wrong greeting",
    }
    return words.get(code) or errno.errorcode.get(code, f"errno {code}")


def by_name(codes: Int32s) -> Counter[str]:
    """Count errors by their names."""
    return Counter(map(error_name, codes.tolist()))
