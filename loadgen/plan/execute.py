"""Do what is due: experiments x servers x repeats, in a run that can be stopped and resumed.

The unit of replication is the trial. Every block runs every cell once, in an order of its own, so
that whatever disturbs the machine for a while disturbs all that is compared alike (randomised
complete blocks).
"""

from collections.abc import Iterator
from pathlib import Path

from loadgen.machine.cpus import Pinning
from loadgen.plan.due import NeedsMore, due
from loadgen.plan.plan import Plan
from loadgen.store import runs
from loadgen.store.schema import Record
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.rig import SystemUnderTest
from servers import catalog


def execute(
    plan: Plan, path: Path, cpus: Pinning, needs_more: NeedsMore
) -> Iterator[tuple[Cell, Record]]:
    """Run the trials that are due, storing each before it is yielded.

    Raises runs.ResultsError.
    """
    with runs.append_to(path) as trials:
        logs = path / "server-logs"
        logs.mkdir(exist_ok=True)
        records = list(trials.folder.records)
        for block, position, cell in due(plan, records, needs_more):
            log = logs / f"{block:03}-{position:03}-{cell.server}.log"
            record = trial.run(
                SystemUnderTest(model=catalog.find(cell.server)),
                cell,
                cpus=cpus,
                log=log,
                seed=plan.seed + block,
                block=block,
                position=position,
            )
            if log.exists() and not log.stat().st_size:
                log.unlink()
            records.append(trials.append(record))
            yield cell, records[-1]
