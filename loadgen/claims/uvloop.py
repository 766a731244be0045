"""asyncio and uvloop.

A reader learns that most of what is said of the two is about how much asyncio receives at once, and
whether the C library maps memory for it; with the heap set to keep what was freed, or with a
BufferedProtocol, little is left of it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Compared, Verdict

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence
    from loadgen.store.schema import Heap

HEAPS: "tuple[Heap, ...]" = ("system", "fixed", "kept")
# "2 to 4 times"
LEAST, MOST = 2.0, 4.0


def compares() -> Mapping[str, Compared]:
    """uvloop against asyncio, under each heap; and against asyncio with a buffer of its own."""
    from loadgen.claims import cells
    from loadgen.store.metric import throughput

    def pair(one: str, other: str, heap: "Heap") -> Compared:
        return Compared(
            cells.cell(one, cells.BUSY, heap), cells.cell(other, cells.BUSY, heap), throughput
        )

    return {
        **{heap: pair("uvloop", "asyncio", heap) for heap in HEAPS},
        "buffered": pair("uvloop", "asyncio_buffered", "fixed"),
        "epoll": pair("asyncio", "epoll", "system"),
    }


def verdict(evidence: "Evidence") -> Verdict:
    """By whether the whole interval lies between 2 and 4, under each heap."""
    from loadgen.claims.cells import BUSY_CLIENTS

    sentence = (
        f"With {BUSY_CLIENTS} busy clients uvloop answers {evidence.times('system')} times as many"
        f" requests per second as asyncio with the heap as the system sets it,"
        f" {evidence.times('fixed')} where glibc's first threshold for mmap() is fixed,"
        f" {evidence.times('kept')} where the heap keeps what was freed, and"
        f" {evidence.times('buffered')} as asyncio with a buffer of its own; asyncio answers"
        f" {evidence.times('epoll')} times as many as epoll."
    )
    fixed, kept = evidence.ratio("fixed"), evidence.ratio("kept")
    if fixed is None or kept is None or not fixed.differs:
        return Verdict("not decided", sentence)
    within = [each.low >= LEAST and each.high <= MOST for each in (fixed, kept)]
    outside = [each.high < LEAST or each.low > MOST for each in (fixed, kept)]
    if all(within):
        return Verdict("true", sentence)
    if all(outside):
        return Verdict("false", sentence)
    # Far apart, whether or not one of them lies between 2 and 4 as a whole.
    if fixed.low > kept.high and kept.high < LEAST:
        return Verdict("it depends", sentence, "on how the C library's heap is set")
    return Verdict("not decided", sentence)


CLAIM = Claim(
    name="uvloop",
    says="asyncio is slow, and uvloop is 2 to 4 times faster.",
    tried=(
        "The same program on both loops with 64 busy clients, by turns, under three settings of the"
        " C library's heap; and asyncio with a BufferedProtocol."
    ),
    why=(
        "asyncio's Protocol receives 256 KiB at a time. Where glibc's threshold for mmap() lies"
        " below that, each receive maps and unmaps as much, page faults included; where it lies"
        " above, it does not, and it is chance which (mallopt(3)). uvloop receives into a buffer"
        " that stays."
    ),
    verdict=verdict,
    compares=compares,
)
