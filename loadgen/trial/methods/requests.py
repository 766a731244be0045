"""Requests over connections that stay, in a closed or an open loop."""

import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from loadgen.engine.datagrams import DatagramSamples
from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.trial import summary
from loadgen.trial.methods.method import Method, connecting_s
from loadgen.workload.load import Arrivals, Load

if TYPE_CHECKING:
    from loadgen.trial.rig import Rig, Station

SlowBehaviour = Literal["half_line", "never_reads"]


@dataclass(frozen=True, kw_only=True)
class Requests(Method):
    """Requests over connections that stay.

    connections       clients that send; 0: watch the server for the length of the window
    idle_connections  clients that only stay connected
    slow_connections  clients that keep the server waiting
    slow_behaviour    how: "half_line" without ever ending it, or "never_reads" what it asked for
    message_bytes     one request on the wire, its newline included; over HTTP what is asked for
                      and one byte more: see `dialogue.of`
    offered_per_s     open loop: requests per second over all connections, by a schedule; None is a
                      closed loop: a client sends again when it was answered
    arrivals          open loop: the distribution of the gaps
    pipeline_depth    closed loop: requests that connection 0 keeps outstanding while the others
                      keep one; 0: nobody is greedy
    stall_s           the server is stopped this long, once per `stall_every_s`; 0: it is not
    warmup_s          sent and answered, but before the measured window
    duration_s        the measured window
    drain_s           how long answers are awaited after the window
    """

    name: ClassVar[str] = "requests"
    by_datagrams: ClassVar[bool] = True
    limits: ClassVar = {
        "idle_connections": (0, 1_000_000),
        "slow_connections": (0, 1_000),
        "stall_s": (0.0, 60.0),
        "stall_every_s": (0.001, 600.0),
    }

    idle_connections: int = 0
    slow_connections: int = 0
    slow_behaviour: SlowBehaviour | None = None
    message_bytes: int = 16
    offered_per_s: float | None = None
    arrivals: Arrivals | None = None
    pipeline_depth: int = 0
    stall_s: float = 0.0
    stall_every_s: float = 1.0
    warmup_s: float = 0.3
    duration_s: float = 1.0
    drain_s: float = 1.0

    @property
    def clients(self) -> int:
        """All that are connected."""
        return self.connections + self.idle_connections + self.slow_connections

    @property
    def seconds(self) -> float:
        """Connecting, and one drive."""
        return connecting_s(self.clients) + self.warmup_s + self.duration_s

    @property
    def headline(self) -> Metric:
        """Answers per second; at a given rate the tail; of a server that is watched, its CPU."""
        if self.offered_per_s is not None:
            return metric.latency_us("response", "p99")
        return metric.throughput if self.connections else metric.cpu_fraction

    @property
    def target(self) -> Metric:
        """At a given rate the median: a tail is never narrow."""
        if self.offered_per_s is not None:
            return metric.latency_us("response", "p50")
        return self.headline

    @property
    def is_back_to_back(self) -> bool:
        """In a closed loop, unless somebody is greedy, or gives requests up."""
        return self.load(seed=0).is_back_to_back and self.transport != "udp"

    def load(self, seed: int, connections: int | None = None) -> Load:
        """What the generator is told; `connections`, if not all of them were greeted."""
        return Load(
            connections=self.connections if connections is None else connections,
            message_bytes=self.message_bytes,
            offered_per_s=self.offered_per_s,
            arrivals=self.arrivals,
            pipeline_depth=self.pipeline_depth,
            warmup_s=self.warmup_s,
            duration_s=self.duration_s,
            drain_s=self.drain_s,
            seed=seed,
        )

    def check(self) -> None:
        """As `Method.check`."""
        super().check()
        self.load(seed=0).validate()
        if self.stall_s >= self.stall_every_s:
            raise ValueError(
                f"stall_s is {self.stall_s}: it must be less than stall_every_s,"
                f" {self.stall_every_s}"
            )
        if self.slow_behaviour is not None and self.protocol != "hello":
            raise ValueError(
                f"slow_behaviour is {self.slow_behaviour!r}: such clients speak hello, not"
                f" {self.protocol}"
            )
        if (self.slow_behaviour is None) == bool(self.slow_connections) or (
            self.slow_behaviour not in (None, "half_line", "never_reads")
        ):
            raise ValueError(
                f"slow_behaviour is {self.slow_behaviour!r}: it must be 'half_line' or"
                " 'never_reads' with slow_connections, and None without"
            )

    def _check_datagrams(self) -> None:
        """As `Method._check_datagrams`: nobody can be silent, or slow, without a connection."""
        super()._check_datagrams()
        self.load(seed=0).validate_for_datagrams()
        for name in ("idle_connections", "slow_connections"):
            if getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 0 with datagrams")

    def run(self, rig: "Rig") -> None:
        """Connect everybody, drive once."""
        station = rig.only
        station.start()
        station.connect(
            self.connections,
            idle=self.idle_connections,
            slow=self.slow_connections,
            behaviour=self.slow_behaviour,
        )
        if self.connections and not station.socks:
            return  # none of those who ask is served
        before = station.usage()
        load = self.load(rig.seed, len(station.socks))
        measured = station.drive(load, meanwhile=lambda ended: self.stall(station, ended))
        summary.fill_in_drive(station.record, measured, load)
        summary.fill_in_cost(station.record, before, station.usage(), measured.samples)
        if isinstance(measured.samples, DatagramSamples):
            account = measured.samples.account
            summary.fill_in_datagrams(station.record, account, station.datagram_drops())

    def stall(self, station: "Station", ended: threading.Event) -> None:
        """Stop the whole server again and again, if asked to: a fault with a known answer.

        The first stall comes in the middle of the first period after the warm-up.
        """
        if not self.stall_s:
            return
        pause_s = self.stall_every_s - self.stall_s
        wait_s = self.warmup_s + pause_s / 2
        try:
            while not ended.wait(wait_s):
                station.signal(signal.SIGSTOP)
                ended.wait(self.stall_s)
                station.signal(signal.SIGCONT)
                wait_s = pause_s
        finally:
            station.signal(signal.SIGCONT)
