"""Runs in which claims were tested, with figures that can be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import records

from loadgen.analysis import run as analysis
from loadgen.claims import cells as shared
from loadgen.claims.claim import Seen
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell

BLOCKS = 4


def observation(claim: str, seen: Mapping[str, object], block: int = 0) -> Record:
    """A trial in which the program of a claim saw this."""
    made = records.record(block=block)
    empty = records.empty_record(
        records.SystemUnderTest(model=records.catalog.find("epoll")),
        shared.demonstration(claim),
        block=block,
        position=0,
        seed=records.SEED + block,
        started_at=records.STARTED_AT,
    )
    empty["started_at"] = made["started_at"]
    empty["observation"] = {
        "claim": claim,
        "seen": {**seen, "took_s": 1.0 + block / 1000},  # type: ignore[dict-item]
    }
    return records.judged(empty)


def shares(**cases: float) -> Seen:
    """So much of a hundred tries of each case held."""
    seen: Seen = {}
    for case, share in cases.items():
        seen |= {f"tries_{case}": 100, f"held_{case}": round(100 * share)}
    return seen


def answering(cell: Cell, per_s: float, block: int, cpu_us: float | None = None) -> Record:
    """A valid trial of a cell with so many answers per second; a block differs by 1 %."""
    made = records.record(
        cell.server,
        throughput_per_s=per_s * (1 + 0.01 * (block % 2)),
        block=block,
        cpu_us=cpu_us or 1e5 / per_s,
    )
    made["cell"] = cell.as_record()
    return made


def idle(cell: Cell, core: float, block: int) -> Record:
    """A trial in which nobody asked, and the server used so much of a core."""
    made = answering(cell, 1_000.0, block)
    assert made["server_cost"] is not None
    made["server_cost"]["cpu_fraction"] = core
    return made


def served(record: Record, clients: int, of: int) -> Record:
    """The same, of a server that serves some of the clients."""
    record["connections"] |= {
        "attempted": of,
        "greeted": clients,
        "due": clients,
        "limit": f"serves {clients} at a time",
        "failed": {"waiting": of - clients},
        "active": clients,
    }
    return record


def run_of(folder: Path, found: Sequence[Record]) -> analysis.Run:
    """These records as a run."""
    records.write_run(folder, found)
    return analysis.load(folder)


def with_speeds(
    folder: Path, speeds: Mapping[Cell, float], more: Sequence[Record] = ()
) -> analysis.Run:
    """Some blocks in which each cell makes its answers per second."""
    found = [
        answering(cell, per_s, block) for block in range(BLOCKS) for cell, per_s in speeds.items()
    ]
    return run_of(folder, [*found, *more])


def again(cell: Cell) -> Cell:
    """The same once more."""
    return replace(cell, replica=1)
