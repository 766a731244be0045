"""Datagrams and a stream.

A reader learns what a datagram costs beside a line over a connection that stays: the same system
calls, and another path through the kernel.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Compared, Verdict

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

# Of the experiment `transports`, which has the cells.
EXPERIMENT = "transports"
LOADS = {"alone": 1, "busy": 64}


def compares() -> Mapping[str, Compared]:
    """Datagrams against lines over TCP on IPv4, with one client and with many."""
    from loadgen.store.metric import throughput
    from loadgen.trial.cell import Cell
    from loadgen.trial.methods import Slices

    return {
        when: Compared(
            Cell(
                experiment=EXPERIMENT,
                server="udp",
                workload=Slices(connections=clients, transport="udp"),
            ),
            Cell(experiment=EXPERIMENT, server="epoll", workload=Slices(connections=clients)),
            throughput,
        )
        for when, clients in LOADS.items()
    }


def verdict(evidence: "Evidence") -> Verdict:
    """By requests per second that were answered."""
    found = {when: evidence.kind(when) for when in LOADS}
    measured = [when for when in LOADS if found[when] != "missing"]
    if not measured:
        return Verdict("not decided", "The run has no datagrams.")
    told = "; with ".join(
        f"{LOADS[when]} client{'s' if LOADS[when] > 1 else ''}"
        f" {evidence.times(when)} times as many requests per second as TCP"
        for when in measured
    )
    sentence = f"Over UDP, a request and its answer in a datagram each, one gets with {told}."
    kinds = {found[when] for when in measured}
    if kinds == {"faster"}:
        return Verdict("true", sentence)
    if "faster" in kinds and kinds & {"equal", "slower"}:
        return Verdict("it depends", sentence, "on how many clients are busy")
    if kinds <= {"equal", "slower"}:
        return Verdict("false", sentence)
    return Verdict("not decided", sentence)


CLAIM = Claim(
    name="udp",
    says="UDP is faster than TCP.",
    tried=(
        "The server for datagrams and the epoll server over TCP on loopback, by turns, with the"
        " same requests."
    ),
    why=(
        "Over a connection that stays, TCP sends a short line as one segment and has its"
        " acknowledgement carried by the answer, so both take a send and a receive on each side."
        " What UDP leaves out, setting up, order, repeats, is not paid for by each request."
    ),
    verdict=verdict,
    compares=compares,
)
