"""The largest rate that a server keeps: found by doubling, then bisecting."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.trial import summary, verdict
from loadgen.trial.errors import TrialError
from loadgen.trial.methods.method import Method, connecting_s
from loadgen.workload.load import Arrivals, Load

if TYPE_CHECKING:
    from loadgen.trial.rig import Measurement, Rig

NS_PER_S = 1_000_000_000
# A rate is kept when this share of it was answered while it was offered, and p99 stays under the
# stated limit.
ACHIEVED = 1 - verdict.RATE_TOLERANCE
FIRST_PER_S = 4_000.0
LAST_PER_S = 300_000.0
# Each step halves the distance between a rate that was kept and one that was not: 4 leave 6 %.
BISECTIONS = 4
# A neighbour on the host may spoil one probe, and luck may save one: two of three decide.
DECIDE = 2
# Rates that are tried, about, those tried twice counted twice.
PROBES = 20

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Search(Method):
    """The largest rate at which p99 of the response time stays below a limit; open loop.

    connections, message_bytes, arrivals  as of `Requests`
    p99_limit_s  the limit
    warmup_s, duration_s, drain_s  of each rate that is tried
    """

    name: ClassVar[str] = "search"
    # Its claim is that p99 of the response time stays below a limit, and that counts a late send
    # against the server: a generator at its own limit makes the knee too low, never too high.
    checks: ClassVar = tuple(
        check
        for check in verdict.CHECKS
        if check not in (verdict.generator_bound, verdict.late_sends)
    )
    limits: ClassVar = {"p99_limit_s": (0.0, 60.0)}

    message_bytes: int = 16
    arrivals: Arrivals = "poisson"
    p99_limit_s: float = 0.005
    warmup_s: float = 0.05
    duration_s: float = 0.2
    drain_s: float = 2.0

    @property
    def clients(self) -> int:
        """All that are connected."""
        return self.connections

    @property
    def seconds(self) -> float:
        """Connecting once, and a drive per probe."""
        return connecting_s(self.clients) + PROBES * (self.warmup_s + self.duration_s)

    @property
    def headline(self) -> Metric:
        """The rate that was found."""
        return metric.knee_per_s

    def load(self, seed: int, rate_per_s: float, connections: int | None = None) -> Load:
        """One probe, as the generator is told."""
        return Load(
            connections=self.connections if connections is None else connections,
            message_bytes=self.message_bytes,
            offered_per_s=rate_per_s,
            arrivals=self.arrivals,
            warmup_s=self.warmup_s,
            duration_s=self.duration_s,
            drain_s=self.drain_s,
            seed=seed,
        )

    def check(self) -> None:
        """As `Method.check`."""
        super().check()
        self.load(0, LAST_PER_S).validate()

    def run(self, rig: "Rig") -> None:
        """Connect once, drive at one rate after the other; the record is that of the knee's."""
        station = rig.only
        station.start()
        station.connect(self.connections)
        if not station.socks:
            return
        before = station.usage()

        def measure(rate_per_s: float) -> Probe["Measurement"]:
            load = self.load(rig.seed, rate_per_s, len(station.socks))
            return probed(rate_per_s, station.drive(load), self.drain_s)

        limit_ns = self.p99_limit_s * NS_PER_S
        best, probes = search(measure, limit_ns)
        if best is None:
            raise TrialError(f"not even {FIRST_PER_S:,.0f} requests per second were kept")
        station.record["knee"] = {
            "rate_per_s": best.offered_per_s,
            "limit_ns": limit_ns,
            "probes": [
                summary.probe(
                    probe.detail.samples, probe.offered_per_s, probe.achieved, probe.p99_ns
                )
                for probe in probes
            ],
        }
        summary.fill_in_drive(station.record, best.detail, self.load(rig.seed, best.offered_per_s))
        summary.fill_in_cost(station.record, before, station.usage(), best.detail.samples)


@dataclass(frozen=True)
class Probe(Generic[T]):
    """One rate that was tried, and whatever the caller wants to keep of it."""

    offered_per_s: float
    achieved: float
    p99_ns: float
    detail: T

    def kept(self, limit_ns: float) -> bool:
        """Was the rate answered, and fast enough?"""
        return self.achieved >= ACHIEVED and self.p99_ns <= limit_ns


def probed(rate_per_s: float, measured: "Measurement", drain_s: float) -> Probe["Measurement"]:
    """A rate that was tried, judged as that of a trial is (`verdict.achieved`)."""
    achieved, p99_ns = summary.kept(measured.samples, drain_s)
    return Probe(rate_per_s, achieved, math.inf if p99_ns is None else p99_ns, measured)


def search(
    measure: Callable[[float], Probe[T]], limit_ns: float
) -> tuple[Probe[T] | None, list[Probe[T]]]:
    """The probe of the largest rate that was kept (None: not even the first), and all probes.

    measure    tries a rate (requests per second) for a short while
    limit_ns   what p99 of the response time must not exceed
    """
    probes: list[Probe[T]] = []

    def attempt(rate_per_s: float) -> Probe[T]:
        """Try a rate until two probes agree; the later of them."""
        outcomes = {True: 0, False: 0}
        while True:
            probe = measure(rate_per_s)
            probes.append(probe)
            outcomes[probe.kept(limit_ns)] += 1
            if outcomes[probe.kept(limit_ns)] == DECIDE:
                return probe

    best: Probe[T] | None = None
    rate_per_s = FIRST_PER_S
    while rate_per_s <= LAST_PER_S:
        probe = attempt(rate_per_s)
        if not probe.kept(limit_ns):
            break
        best = probe
        rate_per_s *= 2
    if best is None or rate_per_s > LAST_PER_S:
        return best, probes
    high_per_s = rate_per_s
    for _ in range(BISECTIONS):
        probe = attempt((best.offered_per_s + high_per_s) / 2)
        if probe.kept(limit_ns):
            best = probe
        else:
            high_per_s = probe.offered_per_s
    return best, probes
