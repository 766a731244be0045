"""Blocking I/O: is it inefficient?

A reader learns that a blocking server does fewer system calls than any other and answers its one
client as fast; what it cannot do is to serve a second one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Compared, Verdict

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence
    from loadgen.trial.cell import Cell

OTHERS = ("threaded", "epoll")


def compares() -> Mapping[str, Compared]:
    """Against threads and epoll, with one client: answers, and CPU time for each."""
    from loadgen.claims import cells
    from loadgen.store.metric import cpu_us, throughput

    return {
        f"{other}/{figure}": Compared(
            cells.cell("blocking", cells.ALONE), cells.cell(other, cells.ALONE), metric
        )
        for other in OTHERS
        for figure, metric in (("answers", throughput), ("cpu", cpu_us))
    }


def watches() -> "Mapping[str, Cell]":
    """How many of many clients it serves."""
    from loadgen.claims import cells

    return {"busy": cells.cell("blocking", cells.BUSY)}


def verdict(evidence: "Evidence") -> Verdict:
    """With one client it is not the least efficient where an answer costs no more CPU than one of
    the others'; with many it serves one."""
    cpu, answers = (
        " and ".join(f"{evidence.times(f'{other}/{figure}')} of {other}" for other in OTHERS)
        for figure in ("cpu", "answers")
    )
    sentence = (
        f"With one client the CPU time that blocking uses for an answer is, as a multiple, {cpu};"
        f" its answers per second are {answers}"
    )
    busy = evidence.cell("busy")
    served = busy.first["connections"] if busy else None
    if served:
        sentence += f"; of {served['attempted']:,} clients it serves {served['greeted']:,}"
    sentence += "."
    prices = {evidence.kind(f"{other}/cpu") for other in OTHERS}
    if "missing" in prices or not served:
        return Verdict("not decided", sentence)
    alone_worst = prices == {"slower"}
    leaves_out = served["greeted"] < served["attempted"]
    if alone_worst and leaves_out:
        return Verdict("true", sentence)
    if prices & {"equal", "faster"}:
        if leaves_out:
            return Verdict("it depends", sentence, "on whether there is more than one client")
        return Verdict("false", sentence)
    return Verdict("not decided", sentence)


CLAIM = Claim(
    name="blocking",
    says="Blocking I/O is the least efficient.",
    tried=(
        "A blocking server beside one with threads and one with epoll: with one client, who gets"
        " more answers at which price; and how many of 64 clients it serves."
    ),
    why=(
        "A request costs a blocking server one receive and one send, and a loop asks besides who is"
        " ready. It wastes no time of the CPU but that of the other clients, who wait until the"
        " first has left."
    ),
    verdict=verdict,
    compares=compares,
    watches=watches,
)
