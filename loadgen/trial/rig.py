"""What a method measures with: servers that run, clients that are connected, clocks that are known.

A rig has a station for each server under test. A method drives a station once, or several times, or
several stations in turn; everything that was started or connected ends with the rig.
"""

import shlex
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar, cast

import numpy as np

from loadgen.clients import background, onlookers, scripted, timeline
from loadgen.clients.background_process import Behaviour
from loadgen.clients.connect import (
    GREETING_S,
    ConnectedClients,
    connected,
    connected_datagrams,
    kernel_stamps,
)
from loadgen.engine import churn, datagrams, requests
from loadgen.engine.samples import Samples
from loadgen.engine.syscalls import NS_PER_S, Int64s
from loadgen.machine import counters, hiccup
from loadgen.machine.counters import Snapshot
from loadgen.machine.cpus import REALTIME_MOST_S, Pinning, realtime_priority, run_pinned
from loadgen.store.schema import Death, Heap, Hiccups, Machine, Reaping, Record
from loadgen.target import strace
from loadgen.target.account import Account
from loadgen.target.address import Address
from loadgen.target.process import (
    UNIX_PATH,
    Target,
    TargetError,
    running,
    server_command,
    started,
)
from loadgen.target.usage import Usage
from loadgen.trial import summary
from loadgen.trial.errors import TrialError
from loadgen.workload.load import Load, Protocol
from servers.catalog import Model

# Where clients wait because of the model, not of the machine, nobody waits long for a greeting.
LIMITED_GREETING_S = 0.2
# Per answer: a traced server is slow, one that asks a hundred sockets per sweep slower.
TRACED_PATIENCE_S = 10.0
# After each answer: by then a traced server waits again.
TRACED_PAUSE_S = 0.005

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SystemUnderTest:
    """What is measured: a server of the catalog that we start, any other that we start, or one that
    somebody else did.

    model    its line in the catalog; None for another server
    python   the interpreter of a server of the catalog
    options  its command line, behind the port
    heap     as of `Cell`
    command  how to start another server, which says where it listens as ours do; in the folder
             that we were started in
    address  where somebody else's server listens; numeric, because nothing looks it up
    label    what records call it, unless it is as below
    """

    model: Model | None = None
    python: str = sys.executable
    options: tuple[str, ...] = ()
    heap: Heap = "system"
    command: tuple[str, ...] = ()
    address: Address | None = None
    label: str | None = None

    @property
    def name(self) -> str:
        """As records name it."""
        if self.label is not None:
            return self.label
        if self.model:
            return self.model.name
        return shlex.join(self.command) if self.command else str(self.address)

    def started(self, cpus: set[int], log: Path) -> AbstractContextManager[Target]:
        """The server, running, if it is one that we start. Raises TargetError."""
        if self.model is None:
            return running(self.command, cpus=cpus, log=log, heap=self.heap, folder=Path.cwd())
        return started(
            self.model.name,
            cpus=cpus,
            log=log,
            python=self.python,
            options=self.options,
            heap=self.heap,
        )


class Measurement(NamedTuple):
    """A drive, and how the machine behaved meanwhile."""

    samples: Samples
    machine: Machine
    realtime: bool = False
    """the generator's thread had a real-time priority"""


class Station:
    """One server under test: started, connected to, driven; `record` is filled in on the way."""

    def __init__(
        self, system: SystemUnderTest, record: Record, cpus: Pinning, log: Path, around: ExitStack
    ) -> None:
        self.system, self.record = system, record
        self.socks: Sequence[socket.socket] = ()
        self.silent: ConnectedClients | None = None
        """clients that read nothing but their greeting, and are watched"""
        self.samples: Samples | None = None
        """of the last drive"""
        self.sleeps = system.model.sleeps if system.model else None
        """does the server leave its CPU to others while it has nothing to do? None: not known"""
        self.protocol = cast(Protocol, record["cell"]["workload"]["protocol"])
        """what it speaks; servers that take turns may differ in it"""
        self._cpus, self._log, self._around = cpus, log, around
        self._target: Target | None = None
        self._address: Address | None = None
        self._drops_before: int | None = None
        self.by_datagrams = record["cell"]["workload"].get("transport") == "udp"
        """are there no connections?"""

    def start(self) -> None:
        """Start the server, or go to where it is, and hold one whole conversation with it: no
        figure without a correct server.

        Raises TargetError or ConversationError.
        """
        if self.system.address is not None:
            self._address = self.system.address
            self._drops_before = _listener_drops(self._address)
        else:
            self._target = self._around.enter_context(
                self.system.started(set(self._cpus.server), self._log)
            )
            self._address = self._target.address
            command = [
                UNIX_PATH if word == self._address.path else summary.portable(word)
                for word in self._target.command
            ]
            self.record["server"]["command"] = command
        if self.by_datagrams:
            self._drops_before = counters.datagram_drops(self.address.host, self.address.port)
            scripted.verify_datagrams(self.address)
        else:
            scripted.verify(self.address, self.protocol)

    def fall_silent(self, count: int) -> None:
        """Connect clients of which nothing is heard once they were greeted: `silent`. They are of
        this process, which sees what they are told."""
        self.silent = self._around.enter_context(
            connected(self.address, count, protocol=self.protocol)
        )

    def connect(
        self, active: int, *, idle: int = 0, slow: int = 0, behaviour: Behaviour | None = None
    ) -> None:
        """Connect clients that only wait, then those that will send: `socks`.

        idle, slow   clients that are silent, and clients that behave badly, as `behaviour` says

        With those of `fall_silent` before them no time is lost on what the server holds for them.
        """
        model, quiet = self.system.model, self.silent
        clients = active + idle + slow + (quiet.attempted if quiet else 0)
        due = model.serves(clients) if model else clients
        waits = model is not None and model.leaves_waiting
        patience_s = LIMITED_GREETING_S if waits else background.PATIENCE_S
        kinds: tuple[tuple[int, Behaviour], ...] = (
            (idle, "silent"),
            (slow, behaviour or "silent"),
        )
        prepared = [
            self._around.enter_context(
                background.prepare(
                    self.address,
                    count,
                    cpus=set(self._cpus.generator),
                    behaviour=how,
                    protocol=self.protocol,
                    patience_s=patience_s,
                )
            )
            for count, how in kinds
        ]
        # Only now: a library that more processes share weighs less in each of them.
        empty = None if quiet else self.usage()
        kernel_empty = counters.kernel_memory()
        silent, harmful = (each.connect() for each in prepared)
        # Of who waits in the backlog nobody is greeted meanwhile.
        enough = due - silent.greeted - harmful.greeted if waits else None
        asking = self._around.enter_context(
            connected_datagrams(self.address, active)
            if self.by_datagrams
            else connected(
                self.address,
                active,
                LIMITED_GREETING_S if waits else GREETING_S,
                enough,
                self.protocol,
            )
        )
        self.socks = asking.socks
        self.record["connections"] |= {
            "attempted": clients,
            "due": due,
            "limit": model.why_not_all(clients) if model else None,
            "greeted": silent.greeted
            + harmful.greeted
            + len(asking.socks)
            + (len(quiet.socks) if quiet else 0),
            "failed": dict(
                Counter(silent.failed)
                + Counter(harmful.failed)
                + Counter(asking.failed)
                + Counter(quiet.failed if quiet else {})
            ),
            "active": len(asking.socks),
            "slow_sent_bytes": harmful.sent_bytes,
        }
        if not self.by_datagrams:
            summary.fill_in_latency(self.record, "greeting", asking.greeting_ns)
        if not quiet and (asking.socks or not active):
            summary.fill_in_footprint(
                self.record, empty, self.usage(), kernel_empty, counters.kernel_memory()
            )

    def drive(
        self, load: Load, meanwhile: Callable[[threading.Event], object] = lambda _: None
    ) -> Measurement:
        """Drive the connected clients once; `meanwhile` runs beside it until it is told to end."""
        load = replace(load, protocol=self.protocol)
        fds = [sock.fileno() for sock in self.socks]
        # A meter wakes its CPUs again and again, which who only watches must not do.
        watched = {"server_cpu": self._cpus.server, "generator_cpu": self._cpus.generator}
        clocks = self.cpu_clocks()
        # Who only watches must not warm the CPU next to the server's either.
        spin = bool(fds) and not self._cpus.shared
        # A schedule is to be kept; who is as fast as the server does not need to be first.
        urgent = spin and load.is_open and load.warmup_s + load.duration_s < REALTIME_MOST_S

        drive = datagrams.drive if self.by_datagrams else requests.drive

        def work(stop: Int64s) -> tuple[Samples, bool]:
            with realtime_priority(urgent) as realtime:
                return drive(fds, load, None, clocks, spin, stop), realtime

        with hiccup.noted(watched if fds else {}) as hiccups:
            (samples, realtime), machine = self._pinned(work, meanwhile)
        self.samples = samples
        if fds:
            machine["hiccup_ns"] = cast(Hiccups, hiccups)
        return Measurement(samples, machine, realtime)

    def converse(self, load: Load) -> tuple[Measurement, Int64s]:
        """Hold a conversation per request; with the stamps of their greetings (int64[n], ns)."""
        clocks, address = self.cpu_clocks(), self.address.sockaddr
        load = replace(load, protocol=self.protocol)
        held, machine = self._pinned(
            lambda stop: churn.drive(
                address, load, server_clocks=clocks, spin=not self._cpus.shared, stop=stop
            )
        )
        self.samples = held.samples
        return Measurement(held.samples, machine), held.greeted_ns

    def request(self, load: Load, stop: Int64s) -> Samples:
        """Drive the connected clients once, on the CPU of the calling thread, and nothing else."""
        fds = [sock.fileno() for sock in self.socks]
        load, spin = replace(load, protocol=self.protocol), not self._cpus.shared
        if self.by_datagrams:
            # Nobody waits for what is lost any longer than its client would.
            brief = replace(load, drain_s=min(load.drain_s, datagrams.GIVE_UP_S))
            return datagrams.drive(fds, brief, spin=spin, stop=stop)
        return requests.drive(fds, load, spin=spin, stop=stop)

    def hold(self, load: Load, stop: Int64s) -> churn.Churn:
        """Hold a conversation per request, on the CPU of the calling thread, and nothing else."""
        address, load = self.address.sockaddr, replace(load, protocol=self.protocol)
        return churn.drive(address, load, spin=not self._cpus.shared, stop=stop)

    def watch(self, clients: int, requests: int) -> list[timeline.ClientTimeline]:
        """Let clients come one after the other and keep each of their steps; there is no rate."""
        apart_ns = counters.clock_offset_ns()
        timelines, machine = self._pinned(
            lambda _: timeline.converse(self.address, clients, requests)
        )
        machine["clock_drift_ns"] = counters.clock_offset_ns() - apart_ns
        self.record["machine"] = machine
        return timelines

    def trace(self, idle: int, requests: int) -> None:
        """Count the system calls of a server of its own, which strace makes too slow for all else.

        Raises TrialError, TraceError, TargetError or ConversationError.
        """
        if self.system.model is None:
            raise TrialError("only a server that we start can be traced")
        system = self.system
        command = server_command(self.system.model.name, system.options, system.python)
        self.record["server"]["command"] = list(map(summary.portable, command))
        model = self.system.model
        # The first request is not counted: there is no answer before it.
        lines = [strace.request_line(number) for number in range(requests + 1)]

        def traced(lines: Sequence[bytes]) -> list[strace.Call]:
            return strace.trace(
                model.name,
                lambda address: scripted.ask_in_turn(
                    address,
                    lines,
                    idle=idle,
                    patience_s=TRACED_PATIENCE_S,
                    # A request that is there before the server waits for it would save it a call.
                    pause_s=TRACED_PAUSE_S if model.sleeps else 0.0,
                ),
                log=self._log,
                cpus=set(self._cpus.server),
                python=system.python,
                options=system.options,
                heap=system.heap,
            )

        if model.rings:
            found = strace.difference(traced(lines[:1]), traced(lines), requests)
        else:
            found = strace.summarise(strace.per_request(traced(lines)))
        summary.fill_in_trace(self.record, found, clients=1 + idle)

    def kill_worker(self, newcomers: int, patience_s: float) -> Death:
        """Stop the worker with the most clients, let newcomers come, kill it.

        patience_s   how long newcomers are watched before it is killed, and after (s)

        Raises TrialError where there is none.
        """
        workers = self._target.workers() if self._target else []
        if not workers:
            raise TrialError("it has no process that could be killed")
        victim = workers[0][0]
        victim.suspend()
        with onlookers.coming(self.address, newcomers) as socks:
            before = onlookers.states(socks, patience_s)
            victim.kill()
            after = onlookers.states(socks, patience_s)
        # What a process leaves behind is closed before it is gone.
        victim.wait(patience_s)
        clients = onlookers.states(self.socks, 0.0)
        return {
            "clients": [count for _, count in workers],
            "lost": clients["broken"],
            "newcomers": newcomers,
            "greeted": before["greeted"],
            "greeted_later": after["greeted"] - before["greeted"],
            "broken": after["broken"],
        }

    def reap(self, timeout_s: float, patience_s: float) -> Reaping:
        """What became of the silent clients, when a server had so much patience with them.

        patience_s   how long those that were not told yet are awaited (s)

        They were told while others were driven, and nobody looked: the kernel has noted when.
        """
        assert self.silent is not None
        told = onlookers.told(self.silent.socks, patience_s)
        late_ns = [
            stamp_ns - greeted_ns - round(timeout_s * NS_PER_S)
            for stamp_ns, greeted_ns in zip(told, self.silent.greeted_ns.tolist(), strict=True)
            if stamp_ns is not None
        ]
        return {
            "silent": len(told),
            "told": len(late_ns),
            "lateness_ns": summary.lateness(np.array(late_ns, np.int64)),
        }

    def _pinned(
        self,
        work: Callable[[Int64s], T],
        meanwhile: Callable[[threading.Event], object] = lambda _: None,
    ) -> tuple[T, Machine]:
        return pinned(self._cpus, work, meanwhile)

    def cpu_clocks(self) -> list[int]:
        """A clock id per process of the server, for clock_gettime(2); none of somebody else's."""
        return self._target.cpu_clocks() if self._target else []

    @property
    def account(self) -> Account | None:
        """Of a server that may start processes, where there can be one."""
        return self._target.account if self._target else None

    @property
    def address(self) -> Address:
        """Where the server listens; it has to be started."""
        assert self._address is not None
        return self._address

    def listener_drops(self) -> int | None:
        """Connections that the server's own listener has dropped meanwhile; None: not known."""
        if self._address is None or self.by_datagrams:
            return None  # it was traced, or did not start; or it has no listener
        drops = _listener_drops(self._address)
        return None if drops is None else drops - (self._drops_before or 0)

    def datagram_drops(self) -> int | None:
        """Datagrams that the kernel has dropped before the server meanwhile; None: not known."""
        drops = counters.datagram_drops(self.address.host, self.address.port)
        return None if drops is None else drops - (self._drops_before or 0)

    def usage(self) -> Usage | None:
        """What the server has used so far, and holds; None of somebody else's."""
        return self._target.usage() if self._target else None

    def signal(self, number: int) -> None:
        """Send a signal to the server, if it is ours."""
        if self._target:
            self._target.signal(number)

    def fail(self, error: Exception) -> None:
        """Note in the record why this server could not be measured."""
        self.record["outcome"] = "crashed"
        self.record["failure"] = " ".join(str(error).split())

    def expect_alive(self) -> None:
        """Raise TargetError when our server has ended, or logged a traceback."""
        if self._target and (failure := self._target.failure()):
            raise TargetError(failure)


def _listener_drops(address: Address) -> int | None:
    """As of `counters`. At a Unix-domain socket the kernel drops nobody: who finds the backlog full
    is told so, or waits (unix(7), connect(2): EAGAIN)."""
    return None if address.path else counters.listener_drops(address.host, address.port)


def pinned(
    cpus: Pinning,
    work: Callable[[Int64s], T],
    meanwhile: Callable[[threading.Event], object] = lambda _: None,
) -> tuple[T, Machine]:
    """Call `work` on the generator's CPU; and how the machine behaved meanwhile."""
    before = Snapshot.take()
    done = run_pinned(cpus.generator, work, meanwhile)
    return done, counters.behaviour(before, Snapshot.take(), cpus)


class Rig:
    """One station per server under test; ends what was started when it is left.

    systems  each with the record to fill in, and a file for its standard error
    cpus     which CPUs server and generator have
    seed     of schedules
    """

    def __init__(
        self,
        systems: Sequence[tuple[SystemUnderTest, Record, Path]],
        *,
        cpus: Pinning,
        seed: int,
    ) -> None:
        self.seed, self.cpus = seed, cpus
        self._around = ExitStack()
        self.stations = [
            Station(system, record, cpus, log, self._around) for system, record, log in systems
        ]

    @property
    def only(self) -> Station:
        """The station of a method that measures one server."""
        (station,) = self.stations
        return station

    def __enter__(self) -> Self:
        self._around.enter_context(kernel_stamps())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._around.__exit__(kind, error, trace)
