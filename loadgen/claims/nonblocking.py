"""A nonblocking loop that never waits.

A reader learns what is bought with a core that is always busy: nobody has to be woken, which is
much where there is one client and nothing where there is always another one to serve.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Compared, Verdict

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence
    from loadgen.store.schema import Record
    from loadgen.trial.cell import Cell

# As much of a core is a price; a server that sleeps uses less than a hundredth of that.
DEAR_PERCENT = 50.0


def compares() -> Mapping[str, Compared]:
    """Against epoll, with one client and with many."""
    from loadgen.claims import cells
    from loadgen.store.metric import throughput

    return {
        when: Compared(cells.cell("nonblocking", load), cells.cell("epoll", load), throughput)
        for when, load in (("alone", cells.ALONE), ("busy", cells.BUSY))
    }


def watches() -> "Mapping[str, Cell]":
    """What both use while nobody asks."""
    from loadgen.claims import cells

    return {name: cells.cell(name, cells.ASLEEP) for name in ("nonblocking", "epoll")}


def core_percent(record: "Record") -> float | None:
    """CPU time of the server, in per cent of a core."""
    cost = record["server_cost"]
    return 100 * cost["cpu_fraction"] if cost else None


def verdict(evidence: "Evidence") -> Verdict:
    """The price is a core; what it buys may differ from one client to many."""
    from loadgen.claims.cells import BUSY_CLIENTS
    from loadgen.report.words import interval

    used = {name: evidence.figure_of(name, core_percent) for name in ("nonblocking", "epoll")}
    loop, sleeper = used["nonblocking"], used["epoll"]
    sentence = (
        f"A loop that never waits answers {evidence.times('alone')} times as many requests per"
        f" second as epoll with one client, and {evidence.times('busy')} with {BUSY_CLIENTS}"
    )
    if loop and sleeper:
        sentence += (
            f"; while nobody asks it uses {interval(loop)} % of a core and epoll"
            f" {sleeper.value:.2g} %"
        )
    sentence += "."
    kinds = evidence.kind("alone"), evidence.kind("busy")
    if "missing" in kinds or not loop or not sleeper:
        return Verdict("not decided", sentence)
    if loop.value < DEAR_PERCENT:
        return Verdict("false", sentence)
    if kinds == ("faster", "faster"):
        return Verdict("true", sentence)
    if kinds[0] == "faster":
        return Verdict("it depends", sentence, "on whether there is often nothing to do")
    if "faster" not in kinds and "unresolved" not in kinds:
        return Verdict("false", sentence)
    return Verdict("not decided", sentence)


CLAIM = Claim(
    name="nonblocking",
    says="A nonblocking loop raises efficiency at the price of CPU time.",
    tried=(
        "A server that asks every socket in turn and never waits, beside epoll: with one client,"
        " with 64, and while nobody asks."
    ),
    why=(
        "Who never sleeps need not be woken, which takes longer than an answer where a client comes"
        " alone. Where many come, epoll does not sleep either, and asking sockets that have nothing"
        " to say is wasted."
    ),
    verdict=verdict,
    compares=compares,
    watches=watches,
)
