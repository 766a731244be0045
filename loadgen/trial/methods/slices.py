"""Slices: all servers of a comparison alive at once, driven in turn, round by round.

Requests and conversations are as of `Requests` and `Churn`; only how they are measured differs, so
a workload may be either. What needs time within one process (a stall, a search, a pause that grows)
is for whole trials.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from loadgen.engine.churn import Churn as Conversations
from loadgen.engine.samples import Samples
from loadgen.engine.syscalls import Int64s
from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.trial import slicing, verdict
from loadgen.trial.methods.churn import Churn
from loadgen.trial.methods.method import connecting_s
from loadgen.trial.methods.requests import Requests

if TYPE_CHECKING:
    from loadgen.trial.rig import Rig, Station

# Coming to rest after a slice takes this long, about: for the estimate of a run's length.
REST_S = 0.003
ROUNDS = (1, 10_000)


@dataclass(frozen=True, kw_only=True)
class Slices(Requests):
    """Requests over connections that stay, in slices.

    duration_s  of one slice, at least: see `slicing` for slow servers; `warmup_s` is unused
    rounds      how often every server is driven
    """

    name: ClassVar[str] = "slices"
    together: ClassVar[bool] = True
    checks: ClassVar = verdict.SLICE_CHECKS
    limits: ClassVar = {**Requests.limits, "rounds": ROUNDS}

    warmup_s: float = 0.0
    duration_s: float = 0.01
    rounds: int = 12

    @property
    def target(self) -> Metric:
        """At a given rate what an answer costs: the nearer the rate comes to all that a server can
        do, the more its latency says of what others leave of the machine."""
        return super().target if self.offered_per_s is None else metric.cpu_us

    @property
    def seconds(self) -> float:
        """This server's part: connecting, warming up, its slices."""
        return connecting_s(self.clients) + _slices_s(self.duration_s, self.rounds)

    @property
    def is_back_to_back(self) -> bool:
        """Not across slices."""
        return False

    def check(self) -> None:
        """As `Method.check`."""
        super().check()
        if self.stall_s:
            raise ValueError(f"stall_s is {self.stall_s}: it must be 0 in slices")

    def run(self, rig: "Rig") -> None:
        """Connect the clients of every server, and let the servers take turns."""

        def contestant(station: "Station") -> slicing.Contestant:
            station.connect(
                self.connections,
                idle=self.idle_connections,
                slow=self.slow_connections,
                behaviour=self.slow_behaviour,
            )

            def drive(settle_s: float, slice_s: float, seed: int, stop: Int64s) -> Samples:
                load = self.load(seed, len(station.socks))
                return station.request(
                    replace(load, warmup_s=settle_s, duration_s=slice_s),
                    stop,
                )

            return slicing.Contestant(
                station,
                drive,
                clients=len(station.socks),
                closed_loop=self.offered_per_s is None,
                slice_s=self.duration_s,
                drain_s=self.drain_s,
            )

        slicing.compare(rig, contestant, self.rounds, self.offered_per_s)


@dataclass(frozen=True, kw_only=True)
class ChurnSlices(Churn):
    """A connection per request, in slices.

    duration_s, rounds  as of `Slices`
    """

    name: ClassVar[str] = "churn_slices"
    together: ClassVar[bool] = True
    checks: ClassVar = verdict.SLICE_CHECKS
    limits: ClassVar = {**Churn.limits, "rounds": ROUNDS}

    warmup_s: float = 0.0
    duration_s: float = 0.01
    rounds: int = 12

    @property
    def seconds(self) -> float:
        """As of `Slices`."""
        return connecting_s(0) + _slices_s(self.duration_s, self.rounds)

    def run(self, rig: "Rig") -> None:
        """Let the servers take turns; clients come and go."""

        def contestant(station: "Station") -> slicing.Contestant:
            def drive(settle_s: float, slice_s: float, _: int, stop: Int64s) -> Conversations:
                load = replace(self.load(), warmup_s=settle_s, duration_s=slice_s)
                return station.hold(load, stop)

            return slicing.Contestant(
                station,
                drive,
                clients=self.connections,
                closed_loop=True,
                slice_s=self.duration_s,
                drain_s=self.drain_s,
            )

        slicing.compare(rig, contestant, self.rounds, None)


def _slices_s(slice_s: float, rounds: int) -> float:
    return slicing.WARM_S + rounds * (slicing.SETTLE_S + slice_s + REST_S)
