"""The system calls of a server per request, counted by strace(1); nothing of it is timed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.target import strace
from loadgen.trial.methods.method import Method, connecting_s
from servers.catalog import Model

if TYPE_CHECKING:
    from loadgen.trial.rig import Rig

# What one of them takes, about, for the estimate of a run's length.
SECONDS = 0.1
# Of requests and of silent clients: enough to see anything, and over in minutes.
MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class Trace(Method):
    """One client asks, others are silent, and every system call of the server is written down.

    connections       1
    idle_connections  the silent ones
    requests          that are counted, besides the first
    """

    name: ClassVar[str] = "trace"
    protocols: ClassVar = ("hello",)
    limits: ClassVar = {"connections": (1, 1), "idle_connections": (0, MOST), "requests": (1, MOST)}

    idle_connections: int = 0
    requests: int = 20

    @property
    def clients(self) -> int:
        """All that are connected."""
        return self.connections + self.idle_connections

    @property
    def seconds(self) -> float:
        """About."""
        return connecting_s(self.clients) + SECONDS

    @property
    def headline(self) -> Metric:
        """Calls per request."""
        return metric.system_calls

    def missing(self, model: Model) -> str | None:
        """It needs strace, and a model that serves all of the clients, because a trace waits for
        each of them."""
        return strace.missing() or model.why_not_all(self.clients)

    def run(self, rig: "Rig") -> None:
        """Trace a server of its own, which strace makes too slow for anything else."""
        rig.only.trace(self.idle_connections, self.requests)
