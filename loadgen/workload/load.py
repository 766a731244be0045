"""What the generator is told for one drive."""

import math
from dataclasses import dataclass
from typing import Literal

Arrivals = Literal["poisson", "constant"]
Transport = Literal["ipv4", "ipv6", "unix", "udp"]
Protocol = Literal["hello", "http"]

# Stamps of one request take 48 bytes: this many take 1 GB. A closed loop that gets here ends early
# and says so.
MAX_REQUESTS = 20_000_000
# Churn sends a line at once or not at all: no send buffer is smaller (tcp(7), tcp_wmem).
MAX_CHURN_BYTES = 4_096

# A datagram needs a whole tag, because answers come in any order; and its answer, which is nine
# bytes longer without the newline of the request, has to fit into one (RFC 768, RFC 791).
DATAGRAM_BYTES = (9, 65_499)

SEEDS = (0, 2**63 - 1)
_LIMITS: dict[str, tuple[float, float]] = {
    "connections": (0, 100_000),
    "message_bytes": (2, 1 << 20),
    "warmup_s": (0, 600),
    "duration_s": (0.001, 3600),
    "drain_s": (0, 600),
    "seed": SEEDS,
    "pipeline_depth": (0, 10_000),
}
_WHOLE = frozenset({"connections", "message_bytes", "seed", "pipeline_depth"})
_RATE_PER_S = (0.01, 1_000_000.0)


@dataclass(frozen=True, kw_only=True)
class Load:
    """One drive: who asks how much, how often and for how long.

    connections     clients that send requests; 0: watch the server for the length of the window
    protocol        what is spoken: see `dialogue.of`, also for the sizes of requests
    message_bytes   one request on the wire, its newline included
    warmup_s        sent and answered, but before the measured window
    duration_s      the measured window
    drain_s         how long answers are awaited after the window
    offered_per_s   open loop: requests per second over all connections, sent by a schedule; None
                    is a closed loop: a client sends again when it was answered
    arrivals        open loop: the distribution of the gaps
    seed            of the schedule
    pipeline_depth  closed loop: requests that connection 0 keeps outstanding while the others keep
                    one; 0: connection 0 is like the others
    """

    connections: int = 1
    protocol: Protocol = "hello"
    message_bytes: int = 16
    warmup_s: float = 0.3
    duration_s: float = 1.0
    drain_s: float = 1.0
    offered_per_s: float | None = None
    arrivals: Arrivals | None = None
    seed: int = 0
    pipeline_depth: int = 0

    @property
    def is_open(self) -> bool:
        """Is there a schedule?"""
        return self.offered_per_s is not None

    @property
    def is_back_to_back(self) -> bool:
        """Does a client send its next request at the very stamp at which it read the last answer?

        Of connections that stay; one that keeps several requests outstanding does not.
        """
        return not self.is_open and not self.pipeline_depth

    def validate(self) -> None:
        """Raise ValueError, in one line, unless this can be driven."""
        for name, limits in _LIMITS.items():
            check_number(name, getattr(self, name), limits, whole=name in _WHOLE)
        if self.protocol not in ("hello", "http"):
            raise ValueError(f"protocol is {self.protocol!r}: it must be 'hello' or 'http'")
        if self.offered_per_s is None:
            if self.arrivals is not None:
                raise ValueError(f"arrivals is {self.arrivals!r}: a closed loop has none")
            return
        if not self.connections:
            raise ValueError("connections is 0: it must be at least 1 in an open loop")
        check_rate(self.offered_per_s)
        if self.arrivals not in ("poisson", "constant"):
            raise ValueError(
                f"arrivals is {self.arrivals!r}: it must be 'poisson' or 'constant' in an open loop"
            )
        if self.pipeline_depth:
            raise ValueError(
                f"pipeline_depth is {self.pipeline_depth}: it must be 0 in an open loop"
            )
        length_s = self.warmup_s + self.duration_s
        scheduled = self.offered_per_s * length_s
        if scheduled > MAX_REQUESTS:
            raise ValueError(
                f"offered_per_s is {self.offered_per_s}: {scheduled:,.0f} requests in {length_s} s,"
                f" and at most {MAX_REQUESTS:,} can be recorded"
            )

    def validate_for_churn(self) -> None:
        """Raise ValueError, in one line, unless this can be driven with a connection per request.

        That is a closed loop in which every client sends one short request at a time.
        """
        self.validate()
        if self.message_bytes > MAX_CHURN_BYTES:
            raise ValueError(
                f"message_bytes is {self.message_bytes}: with churn at most {MAX_CHURN_BYTES:,}"
            )
        if not self.connections:
            raise ValueError("connections is 0: it must be at least 1 with churn")
        for name in ("offered_per_s", "pipeline_depth"):
            if getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name)}: churn knows none")

    def validate_for_datagrams(self) -> None:
        """Raise ValueError, in one line, unless this can be driven by datagrams."""
        self.validate()
        check_number("message_bytes", self.message_bytes, DATAGRAM_BYTES, whole=True)
        if self.pipeline_depth:
            raise ValueError(
                f"pipeline_depth is {self.pipeline_depth}: it must be 0 with datagrams"
            )


def check_rate(value: object) -> None:
    """Raise ValueError, in one line, unless this can be the `offered_per_s` of an open loop."""
    check_number("offered_per_s", value, _RATE_PER_S, whole=False)


def check_number(name: str, value: object, limits: tuple[float, float], *, whole: bool) -> None:
    """Raise ValueError, in one line, unless `value` is a number within `limits`, both included."""
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
