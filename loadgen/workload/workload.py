"""What the clients say: how many, how long the messages, how often, for how long."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Mode = Literal["closed", "open"]
Arrivals = Literal["poisson", "constant"]
SlowBehaviour = Literal["half_line", "never_reads"]
Driver = Literal["requests", "churn", "timeline", "trace"]

# Stamps of one request take 48 bytes: this many take 1 GB. A closed loop that gets here ends early
# and says so.
MAX_REQUESTS = 20_000_000
# Churn sends a line at once or not at all: no send buffer is smaller (tcp(7), tcp_wmem).
MAX_CHURN_BYTES = 4_096

_LIMITS: dict[str, tuple[float, float]] = {
    "connections": (0, 100_000),
    "idle_connections": (0, 1_000_000),
    "slow_connections": (0, 1_000),
    "message_bytes": (2, 1 << 20),
    "warmup_s": (0, 600),
    "duration_s": (0.001, 3600),
    "drain_s": (0, 600),
    "seed": (0, 2**63 - 1),
    "greedy_pipeline": (0, 10_000),
    "knee_limit_s": (0, 60),
    "stall_s": (0, 60),
    "stall_every_s": (0.001, 600),
}
_WHOLE = frozenset(
    {
        "connections",
        "idle_connections",
        "slow_connections",
        "message_bytes",
        "seed",
        "greedy_pipeline",
    }
)
# Done by the driver "requests" alone; but "trace" has idle clients too.
_ONLY_REQUESTS = (
    "idle_connections",
    "slow_connections",
    "greedy_pipeline",
    "knee_limit_s",
    "stall_s",
)
_RATE_PER_S = (0.01, 1_000_000.0)


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
    driver             who plays the clients: "requests", connections that stay (engine.py);
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
    def is_back_to_back(self) -> bool:
        """Does a client send its next request at the very stamp at which it read the last answer?

        A greedy one has several requests outstanding, and churn has to connect in between.
        """
        return self.mode == "closed" and self.driver == "requests" and not self.greedy_pipeline

    def validate(self) -> None:
        """Raise ValueError, in one line, unless this can be run."""
        for name, limits in _LIMITS.items():
            _check(name, getattr(self, name), limits, whole=name in _WHOLE)
        if self.mode not in ("closed", "open"):
            raise ValueError(f"mode is {self.mode!r}: it must be 'closed' or 'open'")
        if self.driver not in get_args(Driver):
            raise ValueError(f"driver is {self.driver!r}: it must be one of {get_args(Driver)}")
        if self.driver == "churn" and self.message_bytes > MAX_CHURN_BYTES:
            raise ValueError(
                f"message_bytes is {self.message_bytes}: with churn at most {MAX_CHURN_BYTES:,}"
            )
        if self.driver != "requests":
            self._refuse_what_only_requests_know()
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
        if self.mode == "open" and not self.connections:
            raise ValueError("connections is 0: it must be at least 1 in an open loop")
        if self.mode == "closed":
            for name in ("offered_per_s", "arrivals"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is {getattr(self, name)!r}: a closed loop has none")
            if self.knee_limit_s:
                raise ValueError(
                    f"knee_limit_s is {self.knee_limit_s}: a closed loop offers no rate to search"
                )
            return
        _check("offered_per_s", self.offered_per_s, _RATE_PER_S, whole=False)
        if self.arrivals not in ("poisson", "constant"):
            raise ValueError(
                f"arrivals is {self.arrivals!r}: it must be 'poisson' or 'constant' in an open loop"
            )
        if self.greedy_pipeline:
            raise ValueError(
                f"greedy_pipeline is {self.greedy_pipeline}: it must be 0 in an open loop"
            )
        length_s = self.warmup_s + self.duration_s
        scheduled = (self.offered_per_s or 0.0) * length_s
        if scheduled > MAX_REQUESTS:
            raise ValueError(
                f"offered_per_s is {self.offered_per_s}: {scheduled:,.0f} requests in {length_s} s,"
                f" and at most {MAX_REQUESTS:,} can be recorded"
            )

    def _refuse_what_only_requests_know(self) -> None:
        """A record must not claim of its workload what nobody did."""
        if self.mode == "open":
            raise ValueError(f"mode is 'open': the driver {self.driver} knows no schedule")
        if self.driver == "churn" and not self.connections:
            raise ValueError("connections is 0: it must be at least 1 with the driver churn")
        for name in _ONLY_REQUESTS:
            if getattr(self, name) and (self.driver, name) != ("trace", "idle_connections"):
                raise ValueError(
                    f"{name} is {getattr(self, name)}: the driver {self.driver} knows none"
                )


def _check(name: str, value: object, limits: tuple[float, float], *, whole: bool) -> None:
    low, high = limits
    kind = "a whole number" if whole else "a number"
    right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not (
        right_type
        and isinstance(value, (int, float))
        and math.isfinite(value)
        and low <= value <= high
    ):
        raise ValueError(f"{name} is {value!r}: it must be {kind} from {low:,} to {high:,}")
