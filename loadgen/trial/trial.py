"""One trial: start > verify > connect > warm up > measure > drain > stop  =>  one record."""

from datetime import UTC, datetime
from pathlib import Path

from loadgen.clients.scripted import ConversationError
from loadgen.engine import churn, requests
from loadgen.machine import hiccup
from loadgen.machine.counters import Snapshot
from loadgen.machine.cpus import Pinning
from loadgen.store.schema import Record
from loadgen.target.process import TargetError
from loadgen.target.strace import TraceError
from loadgen.trial.cell import Cell
from loadgen.trial.errors import TrialError
from loadgen.trial.rig import Rig, SystemUnderTest
from loadgen.trial.summary import empty_record


def run(
    system: SystemUnderTest,
    cell: Cell,
    *,
    cpus: Pinning,
    log: Path,
    seed: int = 0,
    block: int = 0,
    position: int = 0,
) -> Record:
    """Measure once. A server that fails gives a record too, with the failure as its verdict.

    cell   its workload must be valid
    log    file for the standard error of the server
    seed   of the schedule
    """
    record = empty_record(
        system, cell, block=block, position=position, seed=seed, started_at=datetime.now(UTC)
    )
    before = Snapshot.take()
    try:
        with Rig([(system, record)], cpus=cpus, log=log, seed=seed) as rig:
            cell.workload.run(rig)
            for station in rig.stations:
                station.expect_alive()
    except (TargetError, TrialError, TraceError, ConversationError, OSError) as error:
        record["outcome"] = "crashed"
        record["failure"] = " ".join(str(error).split())
    if record["machine"]:
        # From before anybody connected.
        overflows = Snapshot.take().listen_overflows - before.listen_overflows
        record["machine"]["listen_overflows"] = overflows
    record["verdict"] = cell.workload.judge(record)
    return record


def compile() -> None:
    """Compile all that measures, or load it from the cache: once, before the first trial."""
    requests.compile()
    churn.compile()
    hiccup.compile()
