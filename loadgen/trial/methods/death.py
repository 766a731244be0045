"""One of several workers dies: what becomes of its clients, and of those that come meanwhile."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.trial import verdict
from loadgen.trial.methods.method import Method, connecting_s
from servers.catalog import Model

if TYPE_CHECKING:
    from loadgen.trial.rig import Rig

# How long newcomers are watched before the worker is killed, and after.
WATCHED_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Death(Method):
    """A worker that has clients is stopped, as one is that is busy; as many clients come again;
    then it is killed.

    connections  clients of all workers, and newcomers
    """

    name: ClassVar[str] = "death"
    protocols: ClassVar = ("hello",)
    transports: ClassVar = ("ipv4", "ipv6")
    checks: ClassVar = (verdict.not_measured, verdict.not_greeted)
    limits: ClassVar = {"connections": (1, 1_000)}

    connections: int = 64

    @property
    def clients(self) -> int:
        """Those of before; newcomers are as many again."""
        return self.connections

    @property
    def seconds(self) -> float:
        """About."""
        return connecting_s(2 * self.connections) + 2 * WATCHED_S

    @property
    def headline(self) -> Metric:
        """The share of clients that it takes along."""
        return metric.lost_fraction

    def missing(self, model: Model) -> str | None:
        """It takes processes that share the clients."""
        return None if model.processes == "one per worker" else "no worker of it can be killed"

    def run(self, rig: "Rig") -> None:
        """Once."""
        station = rig.only
        station.start()
        station.connect(self.connections)
        station.record["death"] = station.kill_worker(self.connections, WATCHED_S)
