"""Do what is due: experiments x servers x repeats, in a run that can be stopped and resumed.

The unit of replication is the block: fresh processes, fresh connections. Every block measures every
cell once, in an order of its own, so that whatever disturbs the machine for a while disturbs all
that is compared alike (randomised complete blocks). Servers that are measured by slices are alive
together, and such a block is what the literature calls an epoch.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from loadgen.machine.cpus import Pinning
from loadgen.plan.due import NeedsMore, due, retries, whole
from loadgen.plan.plan import Plan
from loadgen.store import runs
from loadgen.store.schema import Record
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.rig import SystemUnderTest
from servers import catalog


def of_catalog(cell: Cell) -> SystemUnderTest:
    """The server of a cell, as the catalog has it."""
    return SystemUnderTest(model=catalog.find(cell.server))


def execute(
    plan: Plan,
    path: Path,
    cpus: Pinning,
    needs_more: NeedsMore,
    system_of: Callable[[Cell], SystemUnderTest] = of_catalog,
    *,
    again: bool = False,
) -> Iterator[tuple[Cell, Record]]:
    """Measure what is due, storing all that belongs together before any of it is yielded.

    system_of   what is started, or gone to, for a cell
    again       measure what did not count once more, behind all that is due

    Raises runs.ResultsError.
    """
    with runs.append_to(path, functools.partial(whole, plan)) as trials:
        logs = path / "server-logs"
        logs.mkdir(exist_ok=True)
        records = list(trials.folder.records)
        planned = ((*each, None) for each in due(plan, records, needs_more))
        once_more = retries(plan, records) if again else ()
        for block, position, group, retried in itertools.chain(planned, once_more):
            systems = [
                (
                    system_of(cell),
                    cell,
                    logs / f"{block:03}-{position + number:03}-{_file_name(cell.server)}.log",
                )
                for number, cell in enumerate(group)
            ]
            measured = trial.measure(
                systems, cpus=cpus, seed=plan.seed + block, block=block, position=position
            )
            for record in measured:
                record["retries"] = retried
            for _, _, log in systems:
                if log.exists() and not log.stat().st_size:
                    log.unlink()
            stored = trials.append(measured)
            records += stored
            yield from zip(group, stored, strict=True)


def _file_name(server: str) -> str:
    """A part of a file's name; a server may be called by a whole command."""
    return re.sub(r"[^\w.-]+", "_", server)[:60]
