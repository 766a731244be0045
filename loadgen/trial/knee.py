"""The largest rate a server keeps: found by doubling, then bisecting."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

# A rate is kept when this share of it was answered, and p99 stays under the stated limit.
ACHIEVED = 0.99
FIRST_PER_S = 4_000.0
LAST_PER_S = 300_000.0
# Each step halves the distance between a rate that was kept and one that was not: 4 leave 6 %.
BISECTIONS = 4
# A neighbour on the host may spoil one probe, and luck may save one: two of three decide.
DECIDE = 2

T = TypeVar("T")


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
