"""A kernel, a network and a server that exist only in numbers: the hot loop against injected time.

The very loop that is compiled for measuring runs here as plain Python, with the libc calls
replaced. Nothing passes time but what is told to, so what it does is exact to the nanosecond and
the same on a busy machine.
"""

import ctypes
import errno
import select
import struct
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from loadgen.engine import buffers, loop, requests
from loadgen.engine.samples import Samples
from loadgen.engine.syscalls import EPOLL_DATA_WORD, EPOLL_EVENT_WORDS, NS_PER_S, SO_TIMESTAMPNS
from loadgen.workload.load import Load

START_NS = 1_700_000_000 * NS_PER_S
FIRST_FD = 1000

# From the moment at which the server is free for a request to the one at which it has answered.
Server = Callable[[int], int]


def busy_for(service_ns: int) -> Server:
    """Every request takes this long."""
    return lambda begun_ns: begun_ns + service_ns


def stalling(service_ns: int, stall_ns: int, every_ns: int) -> Server:
    """The same, but at the beginning of each period nothing is begun for `stall_ns`.

    Time counts from the start of the drive; the first period is half over by then.
    """

    def serve(begun_ns: int) -> int:
        phase_ns = (begun_ns - START_NS + every_ns // 2) % every_ns
        return begun_ns + max(0, stall_ns - phase_ns) + service_ns

    return serve


def lindley(arrivals_ns: Sequence[int], serve: Server) -> np.ndarray:
    """When a server that takes one request after the other has answered each; int64[n]."""
    free_ns = 0
    departures = []
    for arrival_ns in arrivals_ns:
        free_ns = serve(max(int(arrival_ns), free_ns))
        departures.append(free_ns)
    return np.array(departures)


def _of_integers(call: Callable[..., int]) -> Callable[..., int]:
    """Arithmetic with addresses made NumPy's integers of them, which ctypes does not take."""
    return lambda *arguments: call(*map(int, arguments))


class Simulation:
    """Plays libc for `requests.drive`.

    serve         how long the server, one for all connections, takes
    send_cost_ns  what a send takes of the generator's time
    forgets       each so many-th request is not answered; 0: none is forgotten
    most_per_s    how many requests a second a closed loop has room for
    paused_at_ns  from the start: whoever reads a clock then goes on only `pause_ns` later
    """

    def __init__(
        self,
        serve: Server,
        send_cost_ns: int = 0,
        forgets: int = 0,
        most_per_s: int = 10_000,
        paused_at_ns: int = 0,
        pause_ns: int = 0,
    ) -> None:
        self.now_ns = START_NS
        self._serve = serve
        self._send_cost_ns = send_cost_ns
        self._forgets = forgets
        self._most_per_s = most_per_s
        self._sent = 0
        self._paused_at_ns = START_NS + paused_at_ns
        self._pause_ns = pause_ns
        self._free_ns = 0
        self._answers: dict[int, deque[tuple[int, bytes]]] = {}
        self._index: dict[int, int] = {}
        self._alarms_ns: deque[int] = deque()
        self._errno = ctypes.c_int(0)

    def drive(
        self, patch: pytest.MonkeyPatch, load: Load, offsets_ns: np.ndarray | None = None
    ) -> Samples:
        """Run `requests.drive` in this world."""
        ends_s = np.cumsum([load.warmup_s, load.duration_s, load.drain_s])
        due_ns = [] if offsets_ns is None else offsets_ns.tolist()
        self._alarms_ns = deque(
            START_NS + offset for offset in sorted([*due_ns, *(ends_s * NS_PER_S).astype(int)])
        )
        fds = range(FIRST_FD, FIRST_FD + load.connections)
        self._answers = {fd: deque() for fd in fds}
        libc = {
            call.__name__: _of_integers(call)
            for call in (
                self.clock_gettime,
                self.epoll_ctl,
                self.epoll_wait,
                self.errno_location,
                self.memcmp,
                self.memcpy,
                self.recvmsg,
                self.send,
            )
        }
        for module in (buffers, loop, requests):
            for name, function in list(vars(module).items()):
                if name in libc:
                    patch.setattr(module, name, libc[name])
                elif hasattr(function, "py_func"):
                    patch.setattr(module, name, function.py_func)
        patch.setattr(requests, "_CLOSED_LOOP_MAX_PER_S", self._most_per_s)
        return requests.drive(list(fds), load, offsets_ns)

    def clock_gettime(self, clock: int, address: int) -> int:
        ctypes.memmove(address, struct.pack("qq", *divmod(self.now_ns, NS_PER_S)), 16)
        if self.now_ns >= self._paused_at_ns:
            self.now_ns += self._pause_ns
            self._pause_ns = 0
        return 0

    def epoll_ctl(self, epoll: int, operation: int, fd: int, address: int) -> int:
        words = np.frombuffer(ctypes.string_at(address, 4 * EPOLL_EVENT_WORDS), np.int32)
        self._index[fd] = int(words[EPOLL_DATA_WORD])
        return 0

    def epoll_wait(self, epoll: int, address: int, most: int, timeout_ms: int) -> int:
        """What is there; if nothing is, the time until something is due or arrives passes."""
        ready = [fd for fd, queue in self._answers.items() if queue and queue[0][0] <= self.now_ns]
        if not ready:
            coming = [queue[0][0] for queue in self._answers.values() if queue]
            next_ns = min([*coming, *list(self._alarms_ns)[:1]])
            if self._alarms_ns and self._alarms_ns[0] == next_ns:
                self._alarms_ns.popleft()
            self.now_ns = max(self.now_ns, next_ns)
            return 0
        events = np.zeros((most, EPOLL_EVENT_WORDS), np.int32)
        for event, fd in zip(events, ready, strict=False):
            event[0], event[EPOLL_DATA_WORD] = select.EPOLLIN, self._index[fd]
        ctypes.memmove(address, events.tobytes(), events.nbytes)
        return min(most, len(ready))

    def send(self, fd: int, address: int, count: int, flags: int) -> int:
        line = ctypes.string_at(address, count - 1)
        self._sent += 1
        if not self._forgets or self._sent % self._forgets:
            self._free_ns = self._serve(max(self.now_ns, self._free_ns))
            self._answers[fd].append((self._free_ns, b"Hello, " + line + b"!\n"))
        self.now_ns += self._send_cost_ns
        return count

    def recvmsg(self, fd: int, address: int, flags: int) -> int:
        queue = self._answers[fd]
        if not queue or queue[0][0] > self.now_ns:
            self._errno.value = errno.EAGAIN
            return -1
        header = struct.unpack("7q", ctypes.string_at(address, 56))
        buffer, most = struct.unpack("2q", ctypes.string_at(header[2], 16))
        arrived_ns, data = queue.popleft()
        if data[most:]:
            queue.appendleft((arrived_ns, data[most:]))
        ctypes.memmove(buffer, data, min(most, len(data)))
        level_and_type = SO_TIMESTAMPNS << 32 | 1
        control = struct.pack("4q", 32, level_and_type, *divmod(arrived_ns, NS_PER_S))
        ctypes.memmove(header[4], control, 32)
        ctypes.memmove(address + 40, struct.pack("q", 32), 8)
        return min(most, len(data))

    def memcmp(self, one: int, other: int, count: int) -> int:
        return int(ctypes.string_at(one, count) != ctypes.string_at(other, count))

    def memcpy(self, target: int, source: int, count: int) -> int:
        ctypes.memmove(target, source, count)
        return target

    def errno_location(self) -> int:
        return ctypes.addressof(self._errno)
