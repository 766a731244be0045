"""A few clients whose every step is kept, to be drawn: for a picture, not for a figure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.trial import summary
from loadgen.trial.methods.method import Method, connecting_s

if TYPE_CHECKING:
    from loadgen.trial.rig import Rig

# What one of them takes, about, for the estimate of a run's length.
SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Timeline(Method):
    """Clients that come one after the other, ask, and leave; one of them pauses in a line.

    connections  clients
    requests     that each of them asks
    """

    name: ClassVar[str] = "timeline"
    protocols: ClassVar = ("hello",)
    limits: ClassVar = {"connections": (1, 100), "requests": (1, 1_000)}

    connections: int = 5
    requests: int = 4

    @property
    def clients(self) -> int:
        """All of them."""
        return self.connections

    @property
    def seconds(self) -> float:
        """About."""
        return connecting_s(self.clients) + SECONDS

    @property
    def headline(self) -> Metric:
        """Until the last client has left."""
        return metric.done_ms

    def run(self, rig: "Rig") -> None:
        """Let them come, once."""
        station = rig.only
        station.start()
        timeline = station.watch(self.connections, self.requests)
        summary.fill_in_timeline(station.record, timeline, self.requests)
