"""What the clients say: how many, how long the messages, how often, for how long."""

from dataclasses import dataclass
from typing import Literal, get_args

from loadgen.workload.load import Arrivals, Load, check_number, check_rate

Mode = Literal["closed", "open"]
SlowBehaviour = Literal["half_line", "never_reads"]
Driver = Literal["requests", "churn", "timeline", "trace"]

_LIMITS: dict[str, tuple[float, float]] = {
    "idle_connections": (0, 1_000_000),
    "slow_connections": (0, 1_000),
    "greedy_pipeline": (0, 10_000),
    "knee_limit_s": (0, 60),
    "stall_s": (0, 60),
    "stall_every_s": (0.001, 600),
}
_WHOLE = frozenset({"idle_connections", "slow_connections", "greedy_pipeline"})
# Done by the driver "requests" alone; but "trace" has idle clients too.
_ONLY_REQUESTS = (
    "idle_connections",
    "slow_connections",
    "greedy_pipeline",
    "knee_limit_s",
    "stall_s",
)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One way of loading a server.

    connections        clients that send requests; 0: watch the server for the length of the window
    idle_connections   clients that only stay connected
    message_bytes      one request on the wire, its newline included
    mode               "closed": a client sends again when it was answered; "open": by a schedule
    offered_per_s      open loop: requests per second over all connections
    arrivals           open loop: the distribution of the gaps
    warmup_s           sent and answered, but before the measured window
    duration_s         the measured window
    drain_s            how long answers are awaited after the window
    seed               of the schedule
    greedy_pipeline    closed loop: requests that connection 0 keeps outstanding while the others
                       keep one; 0: nobody is greedy
    slow_connections   clients that keep the server waiting, besides the others
    slow_behaviour     how: "half_line" without ever ending it, or "never_reads" what it asked for
    knee_limit_s       open loop: search the largest rate at which p99 of the response time stays
                       below this; 0: do not search
    stall_s            the server is stopped this long; 0: it is not
    stall_every_s      once per period of this length
    driver             who plays the clients: "requests", connections that stay (requests.py);
                       "churn", a connection per request (churn.py); "timeline", a few that are
                       drawn one by one (timeline_clients.py); "trace", one whose system calls in
                       the server are counted (trace.py)
    """

    connections: int = 1
    idle_connections: int = 0
    message_bytes: int = 16
    mode: Mode = "closed"
    offered_per_s: float | None = None
    arrivals: Arrivals | None = None
    warmup_s: float = 0.3
    duration_s: float = 1.0
    drain_s: float = 1.0
    seed: int = 0
    greedy_pipeline: int = 0
    slow_connections: int = 0
    slow_behaviour: SlowBehaviour | None = None
    knee_limit_s: float = 0.0
    stall_s: float = 0.0
    stall_every_s: float = 1.0
    driver: Driver = "requests"

    @property
    def load(self) -> Load:
        """What the generator is told."""
        return Load(
            connections=self.connections,
            message_bytes=self.message_bytes,
            warmup_s=self.warmup_s,
            duration_s=self.duration_s,
            drain_s=self.drain_s,
            offered_per_s=self.offered_per_s,
            arrivals=self.arrivals,
            seed=self.seed,
            pipeline_depth=self.greedy_pipeline,
        )

    @property
    def is_back_to_back(self) -> bool:
        """Does a client send its next request at the very stamp at which it read the last answer?

        Churn has to connect in between.
        """
        return self.driver == "requests" and self.load.is_back_to_back

    def validate(self) -> None:
        """Raise ValueError, in one line, unless this can be run."""
        for name, limits in _LIMITS.items():
            check_number(name, getattr(self, name), limits, whole=name in _WHOLE)
        if self.mode not in ("closed", "open"):
            raise ValueError(f"mode is {self.mode!r}: it must be 'closed' or 'open'")
        if self.driver not in get_args(Driver):
            raise ValueError(f"driver is {self.driver!r}: it must be one of {get_args(Driver)}")
        if self.mode == "closed":
            self._refuse_what_only_an_open_loop_knows()
        else:
            check_rate(self.offered_per_s)
            if self.greedy_pipeline:
                raise ValueError(
                    f"greedy_pipeline is {self.greedy_pipeline}: it must be 0 in an open loop"
                )
        self.load.validate()
        if self.driver != "requests":
            self._refuse_what_only_requests_know()
        if self.driver == "churn":
            self.load.validate_for_churn()
        if self.stall_s >= self.stall_every_s:
            raise ValueError(
                f"stall_s is {self.stall_s}: it must be less than stall_every_s,"
                f" {self.stall_every_s}"
            )
        if (self.slow_behaviour is None) == bool(self.slow_connections) or (
            self.slow_behaviour not in (None, "half_line", "never_reads")
        ):
            raise ValueError(
                f"slow_behaviour is {self.slow_behaviour!r}: it must be 'half_line' or"
                " 'never_reads' with slow_connections, and None without"
            )

    def _refuse_what_only_an_open_loop_knows(self) -> None:
        for name in ("offered_per_s", "arrivals"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is {getattr(self, name)!r}: a closed loop has none")
        if self.knee_limit_s:
            raise ValueError(
                f"knee_limit_s is {self.knee_limit_s}: a closed loop offers no rate to search"
            )

    def _refuse_what_only_requests_know(self) -> None:
        """A record must not claim of its workload what nobody did."""
        if self.mode == "open":
            raise ValueError(f"mode is 'open': the driver {self.driver} knows no schedule")
        for name in _ONLY_REQUESTS:
            if getattr(self, name) and (self.driver, name) != ("trace", "idle_connections"):
                raise ValueError(
                    f"{name} is {getattr(self, name)}: the driver {self.driver} knows none"
                )
