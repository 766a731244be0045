"""Clients that fall silent, and a server that lets them go: who notices, how late, at what cost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.trial import summary
from loadgen.trial.methods.requests import Requests
from servers.catalog import Model

if TYPE_CHECKING:
    from loadgen.trial.rig import Rig

# How long those that were not let go during the drive are awaited after it.
PATIENCE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Reaping(Requests):
    """Requests over connections that stay, while silent clients are let go.

    connections       clients that send, one after the other's answer
    idle_connections  clients that read their greeting, and nothing is heard of them any more
    idle_timeout_s    after so much silence the server lets a client go; None: never
    duration_s        the measured window, in which it should do so
    """

    name: ClassVar[str] = "reaping"
    protocols: ClassVar = ("hello",)
    transports: ClassVar = ("ipv4", "ipv6")
    limits: ClassVar = {**Requests.limits, "idle_connections": (0, 10_000)}

    connections: int = 64
    idle_connections: int = 1_000
    idle_timeout_s: float | None = 1.0
    warmup_s: float = 0.1
    duration_s: float = 1.5

    @property
    def lets_go(self) -> bool:
        """Are there silent clients, and a time-out?"""
        return self.idle_connections > 0 and self.idle_timeout_s is not None

    @property
    def headline(self) -> Metric:
        """How late the silent are told; where there are none, what an answer costs."""
        if self.lets_go:
            return metric.lateness_p50_us
        return metric.cpu_us

    @property
    def target(self) -> Metric:
        """What an answer costs: how late one is told is up to a server's clock, and steady."""
        return metric.cpu_us

    def missing(self, model: Model) -> str | None:
        """It takes a server that waits for several clients at once."""
        if model.clients_at_once is None:
            return None
        served = f"{model.clients_at_once} at a time" if model.clients_at_once > 1 else "one"
        return f"serves {served}: the others wait for it, and are not silent"

    def check(self) -> None:
        """As `Method.check`."""
        super().check()
        for name in ("slow_connections", "pipeline_depth", "stall_s", "offered_per_s"):
            if getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name)}: {self.name} knows none")

    def run(self, rig: "Rig") -> None:
        """Connect the silent, then the others, and drive those at once."""
        station = rig.only
        station.start()
        station.fall_silent(self.idle_connections)
        # Before those that are to be driven come: until then they are silent, too, and a server of
        # many processes has much to be asked.
        before = station.usage()
        station.connect(self.connections)
        load = self.load(rig.seed, len(station.socks))
        measured = station.drive(load)
        summary.fill_in_drive(station.record, measured, load)
        summary.fill_in_cost(station.record, before, station.usage(), measured.samples)
        if self.idle_connections and self.idle_timeout_s is not None:
            station.record["reaping"] = station.reap(self.idle_timeout_s, PATIENCE_S)
