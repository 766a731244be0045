"""select, poll, epoll: does it matter which?

A reader learns that the three differ in what idle connections cost, and in nothing else that can be
measured here.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Compared, Verdict

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

OTHERS = ("select", "poll")


def compares() -> Mapping[str, Compared]:
    """epoll against each, with all clients busy, and beside silent ones."""
    from loadgen.claims import cells
    from loadgen.store.metric import throughput

    loads = {"busy": cells.BUSY, "silent": cells.BESIDE_SILENT}
    return {
        f"{other}/{when}": Compared(cells.cell("epoll", load), cells.cell(other, load), throughput)
        for other in OTHERS
        for when, load in loads.items()
    }


def verdict(evidence: "Evidence") -> Verdict:
    """True where epoll is faster under both loads, false under neither; else it depends."""
    from loadgen.claims.cells import BESIDE_SILENT, BUSY_CLIENTS, SILENT_CLIENTS

    def told(when: str) -> str:
        return " and ".join(
            f"{evidence.times(f'{other}/{when}')} times as many as {other}" for other in OTHERS
        )

    sentence = (
        f"With {BUSY_CLIENTS} busy clients epoll answers {told('busy')}; with"
        f" {BESIDE_SILENT.connections} busy ones beside {SILENT_CLIENTS:,} that are silent,"
        f" {told('silent')}."
    )
    busy = {evidence.kind(f"{other}/busy") for other in OTHERS}
    silent = {evidence.kind(f"{other}/silent") for other in OTHERS}
    if "missing" in busy | silent:
        return Verdict("not decided", sentence)
    if busy == silent == {"faster"}:
        return Verdict("true", sentence)
    if silent == {"faster"} and "faster" not in busy:
        return Verdict("it depends", sentence, "on how many connections are silent")
    if busy | silent <= {"equal", "slower"}:
        return Verdict("false", sentence)
    return Verdict("not decided", sentence)


CLAIM = Claim(
    name="readiness",
    says="epoll is slightly more efficient than select and poll.",
    tried=(
        "The three servers answer 64 busy clients; then 8 busy ones beside 900 that are connected"
        " and silent. They take turns within the same tenth of a second."
    ),
    why=(
        "select and poll hand the kernel all sockets at every call, and it looks at each; epoll"
        " keeps the list and returns those that are ready. With no silent ones there is nothing to"
        " save, with many it is not slightly."
    ),
    verdict=verdict,
    compares=compares,
)
