"""A connection per request: come, be greeted, say one line, leave."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.trial import summary, verdict
from loadgen.trial.methods.method import Method, connecting_s
from loadgen.workload.load import Load

if TYPE_CHECKING:
    from loadgen.trial.rig import Rig


@dataclass(frozen=True, kw_only=True)
class Churn(Method):
    """A connection per request, in a closed loop of slots.

    connections    conversations at a time
    message_bytes  the one line of each, its newline included
    warmup_s, duration_s, drain_s  as of `Requests`
    """

    name: ClassVar[str] = "churn"
    # A server that polls is always busy, and the handshakes are the generator's own work: that the
    # server's CPU was busy too is no excuse for the generator.
    checks: ClassVar = tuple(
        verdict.generator_busy if check is verdict.generator_bound else check
        for check in verdict.CHECKS
    )
    message_bytes: int = 16
    warmup_s: float = 0.3
    duration_s: float = 1.0
    drain_s: float = 1.0

    @property
    def clients(self) -> int:
        """At a time."""
        return self.connections

    @property
    def seconds(self) -> float:
        """One drive."""
        return connecting_s(self.clients) + self.warmup_s + self.duration_s

    @property
    def headline(self) -> Metric:
        """Conversations per second."""
        return metric.throughput

    def load(self) -> Load:
        """What the generator is told."""
        return Load(
            connections=self.connections,
            message_bytes=self.message_bytes,
            warmup_s=self.warmup_s,
            duration_s=self.duration_s,
            drain_s=self.drain_s,
        )

    def check(self) -> None:
        """As `Method.check`."""
        super().check()
        self.load().validate_for_churn()

    def run(self, rig: "Rig") -> None:
        """Hold conversation after conversation; a request is one of them."""
        station = rig.only
        station.start()
        before = station.usage()
        load = self.load()
        measured, greeted_ns = station.converse(load)
        summary.fill_in_churn(station.record, measured, greeted_ns, load)
        summary.fill_in_cost(station.record, before, station.usage(), measured.samples)
