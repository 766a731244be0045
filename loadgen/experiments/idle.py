"""A few busy clients among many that are only connected.

A reader learns what select, poll and epoll are about: work per wake-up grows with all clients, or
with the ready ones only. This axis tells the models apart; throughput with all clients busy does
not. And that select has a wall at descriptor 1,024 which no limit of the system can move.
"""

from collections.abc import Sequence

from loadgen.experiments import Cell, Profile
from loadgen.workload import Workload
from servers.catalog import Variant

NAME = "idle"
QUESTION = "What do clients cost that are connected and say nothing?"
HYPOTHESIS = (
    "epoll's work per wake-up depends on ready clients alone, poll's and select's on all of them,"
    " the busy loop's too, with a system call each. A thread that sleeps costs memory, not time."
    " select ends at descriptor 1,024."
)
HOW_TO_READ = (
    "Eight clients are busy in closed loop; to the right more and more others are connected and"
    " silent. A flat line does not care about them. A line that falls tenfold over tenfold more"
    " clients does its work for all of them at every wake-up."
)

ACTIVE = 8
IDLE: dict[Profile, tuple[int, ...]] = {
    "quick": (0, 1000),
    "standard": (0, 100, 500, 1000, 5000),
    "full": (0, 10, 100, 300, 500, 1000, 2000, 5000, 10_000, 15_000),
}
SECONDS: dict[Profile, tuple[float, float]] = {
    "quick": (0.1, 0.3),
    "standard": (0.2, 0.6),
    "full": (0.3, 1.0),
}


def cells(profile: Profile, servers: Sequence[Variant]) -> list[Cell]:
    """Every server at every number of idle clients; who serves one at a time, at none only."""
    warmup_s, duration_s = SECONDS[profile]
    return [
        Cell(
            experiment=NAME,
            server=variant.name,
            workload=Workload(
                connections=ACTIVE,
                idle_connections=idle,
                warmup_s=warmup_s,
                duration_s=duration_s,
            ),
        )
        for variant in servers
        for idle in IDLE[profile]
        if idle == 0 or variant.clients_at_once is None
    ]
