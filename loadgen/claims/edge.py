"""Edge-triggered epoll: is it faster?

A reader learns that an edge saves nothing to a server that answers at once, and costs a receive in
vain for every client that was ready.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Compared, Verdict

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

WHEN = ("alone", "busy")


def compares() -> Mapping[str, Compared]:
    """Edge-triggered against level-triggered, with one client and with many."""
    from loadgen.claims import cells
    from loadgen.store.metric import cpu_us, throughput

    loads = {"alone": cells.ALONE, "busy": cells.BUSY}
    return {
        f"{figure}/{when}": Compared(
            cells.cell("epoll_et", loads[when]), cells.cell("epoll", loads[when]), metric
        )
        for when in WHEN
        for figure, metric in (("answers", throughput), ("cpu", cpu_us))
    }


def verdict(evidence: "Evidence") -> Verdict:
    """By answers per second."""
    from loadgen.claims.cells import BUSY_CLIENTS

    sentence = (
        f"Edge-triggered epoll answers {evidence.times('answers/busy')} times as many requests per"
        f" second as level-triggered epoll with {BUSY_CLIENTS} busy clients, at"
        f" {evidence.times('cpu/busy')} times the CPU time per answer; with one client"
        f" {evidence.times('answers/alone')} and {evidence.times('cpu/alone')}."
    )
    kinds = {evidence.kind(f"answers/{when}") for when in WHEN}
    if "missing" in kinds:
        return Verdict("not decided", sentence)
    if kinds == {"faster"}:
        return Verdict("true", sentence)
    if "faster" in kinds:
        return Verdict("it depends", sentence, "on how many clients are busy")
    # Slower somewhere and faster nowhere is enough to refute it.
    if "slower" in kinds or kinds == {"equal"}:
        return Verdict("false", sentence)
    return Verdict("not decided", sentence)


CLAIM = Claim(
    name="edge",
    says="Edge-triggered epoll is faster than level-triggered epoll.",
    tried="Both servers with 1 and with 64 busy clients, by turns.",
    why=(
        "With edges a server has to receive until nothing is left, and only a receive that fails"
        " proves that: one system call more per request. What an edge saves, changing the interest"
        " in a socket, a server that can answer at once never does."
    ),
    verdict=verdict,
    compares=compares,
)
