"""What every compiled loop does: keep time, read the clocks of the window, wait, know its end.

The two loops, `requests` and `churn`, have the same shape:

    start(loop), begin with every connection
    while not is_out_of_time(loop) and there is something to wait for:
        count = next_events(loop, ...)
        handle them, and begin what is due, as long as there is room
    finish(loop)

They share these steps and not the `while` around them. A loop that is given what to call, as an
argument or by a closure, would be compiled anew in every process: Numba knows a compiled function
by its identity, so it does not find on disk what it compiled for one of another process.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from loadgen.engine.buffers import (
    CLOCK_REALTIME,
    EVENTS,
    SyscallBuffers,
    clock,
    nap,
    new_buffers,
    read_clocks,
)
from loadgen.engine.samples import Samples, window_clocks
from loadgen.engine.syscalls import NS_PER_S, Int32s, Int64s, compiled, epoll_wait
from loadgen.workload.dialogue import Dialogue
from loadgen.workload.load import Load

_PROGRESS = np.dtype(
    [
        ("start_ns", np.int64),  # of the warm-up
        ("now_ns", np.int64),
        ("window_start_ns", np.int64),
        ("window_end_ns", np.int64),
        ("idle_ns", np.int64),  # spent asking in vain for something to do
        ("begun", np.int64),  # requests
        ("ended", np.int64),
        ("clocks_read", np.int64),  # 0, 1 or 2: how many times
        ("longest_gap_ns", np.int64),  # between two looks at the clock
        ("next_stamped", np.int64),  # the next request whose leaving the kernel is to stamp
        ("stamped", np.int64),  # how many rows of `left_ns` are filled
        ("full", np.bool_),  # there was no room for another request
    ],
    align=True,
)


class Loop(NamedTuple):
    """What a loop is given, and how far it has come. Made once per drive, for one thread."""

    buffers: SyscallBuffers
    progress: Any  # record array[1] of _PROGRESS
    lengths_ns: Int64s  # int64[3]: of warm-up, window and drain
    clocks_ns: Int64s  # int64[2, 4 + server clocks]: see samples.window_clocks
    server_clocks: Int64s  # int64[k]: clock ids
    stop: Int64s  # int64[1]: another thread sets it to end the loop
    left_ns: Int64s  # int64[k, 2]: a request, and the kernel's stamp of its leaving
    spin: bool


def new_loop(
    epoll: int,
    load: Load,
    said: Dialogue,
    server_clocks: Sequence[int],
    spin: bool,
    stop: Int64s | None,
    stamped: int = 0,
) -> Loop:
    """Make everything that both loops need; the parameters are those of `requests.drive`, and
    `stamped` is how many transmit stamps there is room for."""
    progress = np.recarray(1, _PROGRESS)
    progress.fill(0)
    lengths_s = np.array([load.warmup_s, load.duration_s, load.drain_s])
    return Loop(
        buffers=new_buffers(epoll, said),
        progress=progress,
        lengths_ns=(lengths_s * NS_PER_S).round().astype(np.int64),
        clocks_ns=np.zeros((2, 4 + len(server_clocks)), np.int64),
        server_clocks=np.array(server_clocks, np.int64),
        stop=np.zeros(1, np.int64) if stop is None else stop,
        left_ns=np.zeros((stamped, 2), np.int64),
        spin=spin,
    )


def new_rows(capacity: int, dtype: np.dtype[Any], **initial: int) -> Any:
    """Make a record array with a row per request, zero but for some columns.

    Written to before the clock starts: the pages of a fresh array appear when they are first
    touched.
    """
    rows = np.recarray(capacity, dtype)
    rows.fill(0)
    for column, value in initial.items():
        rows[column] = value
    return rows


def collected(
    loop: Loop, rows: Any, intended_ns: Int64s, sent_ns: Int64s, errors: Int32s
) -> Samples:
    """Name what a loop has left in its arrays, once it has ended.

    `rows` have `arrived_ns`, `read_ns`, `connection` and `outcome`.
    """
    progress = loop.progress[0]
    stamped, left_ns = loop.left_ns[: progress.stamped].T
    return Samples(
        intended_ns=intended_ns,
        sent_ns=sent_ns,
        arrived_ns=rows.arrived_ns,
        read_ns=rows.read_ns,
        connection=rows.connection,
        outcome=rows.outcome,
        window_start_ns=int(progress.window_start_ns),
        window_end_ns=int(progress.window_end_ns),
        clocks=window_clocks(loop.clocks_ns),
        errors=errors,
        unstamped=int(loop.buffers.unstamped[0]),
        full=bool(progress.full),
        stamped=stamped,
        send_path_ns=left_ns - sent_ns[stamped],
        longest_gap_ns=int(progress.longest_gap_ns) if loop.spin else None,
    )


@compiled
def start(loop: Loop) -> None:
    """Start the clock: the warm-up begins now."""
    progress = loop.progress[0]
    progress.start_ns = progress.now_ns = clock(loop.buffers, CLOCK_REALTIME)
    progress.window_start_ns = progress.start_ns + loop.lengths_ns[0]
    progress.window_end_ns = progress.window_start_ns + loop.lengths_ns[1]


@compiled
def look_at_clock(loop: Loop) -> None:
    """Let it be now."""
    let_it_be(loop, clock(loop.buffers, CLOCK_REALTIME))


@compiled
def let_it_be(loop: Loop, now_ns: int) -> None:
    """Note the time that a clock showed, and the longest step from one to the next."""
    progress = loop.progress[0]
    progress.longest_gap_ns = max(progress.longest_gap_ns, now_ns - progress.now_ns)
    progress.now_ns = now_ns


@compiled
def read_due_clocks(loop: Loop) -> None:
    """Read the clocks of the window when it starts, and again when it ends."""
    progress = loop.progress[0]
    if progress.clocks_read == 0 and progress.now_ns >= progress.window_start_ns:
        _read_clocks(loop)
    if progress.clocks_read == 1 and progress.now_ns >= progress.window_end_ns:
        _read_clocks(loop)


@compiled
def is_out_of_time(loop: Loop) -> bool:
    """Is the drain over, or was the loop told to stop?"""
    progress = loop.progress[0]
    return bool(progress.now_ns >= progress.window_end_ns + loop.lengths_ns[2] or loop.stop[0] != 0)


@compiled
def next_events(loop: Loop, longest_nap_ns: int) -> int:
    """Ask for events; return how many there are. Asking in vain is idle time, and lets it be now;
    else the first event is handled without a look at the clock: somebody may wait for it.

    A loop that does not spin sleeps until there are some, `longest_nap_ns` and NAP_NS at most.
    """
    buffers, progress = loop.buffers, loop.progress[0]
    asked_ns = progress.now_ns
    if not loop.spin:
        nap(buffers, longest_nap_ns)
    count = epoll_wait(buffers.epoll, buffers.events.ctypes.data, EVENTS, 0)
    if count == 0:
        look_at_clock(loop)
        progress.idle_ns += progress.now_ns - asked_ns
    return count


@compiled
def has_room(loop: Loop, capacity: int) -> bool:
    """Can another request be recorded? If not, the window of a closed loop ends now."""
    progress = loop.progress[0]
    if progress.begun < capacity:
        return True
    progress.full = True
    progress.window_end_ns = max(progress.now_ns, progress.window_start_ns)
    return False


@compiled
def finish(loop: Loop) -> None:
    """Read the clocks that a loop that ended early has not read."""
    while loop.progress[0].clocks_read < 2:
        _read_clocks(loop)


@compiled
def _read_clocks(loop: Loop) -> None:
    progress = loop.progress[0]
    busy_since_ns = progress.start_ns + progress.idle_ns
    clocks_ns = loop.clocks_ns[progress.clocks_read]
    let_it_be(loop, read_clocks(loop.buffers, clocks_ns, busy_since_ns, loop.server_clocks))
    progress.clocks_read += 1
