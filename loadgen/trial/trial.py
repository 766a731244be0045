"""One trial: start > verify > connect > warm up > measure > drain > stop  =>  one record."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from loadgen.clients.scripted import ConversationError
from loadgen.engine import churn, requests
from loadgen.engine.samples import Samples
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
    raw: Path | None = None,
) -> Record:
    """Measure once. A server that fails gives a record too, with the failure as its verdict.

    cell   its workload must be valid
    log    file for the standard error of the server
    seed   of the schedule
    raw    file for the stamps of every request: a NumPy archive, see `save_stamps`
    """
    system = replace(system, options=cell.command_options)
    record = empty_record(
        system, cell, block=block, position=position, seed=seed, started_at=datetime.now(UTC)
    )
    before = Snapshot.take()
    try:
        with Rig([(system, record, log)], cpus=cpus, seed=seed) as rig:
            cell.workload.run(rig)
            for station in rig.stations:
                station.expect_alive()
                if raw and station.samples:
                    save_stamps(station.samples, raw)
    except (TargetError, TrialError, TraceError, ConversationError, OSError) as error:
        record["outcome"] = "crashed"
        record["failure"] = " ".join(str(error).split())
    if record["machine"]:
        # From before anybody connected.
        overflows = Snapshot.take().listen_overflows - before.listen_overflows
        record["machine"]["listen_overflows"] = overflows
    record["verdict"] = cell.workload.judge(record)
    return record


def save_stamps(samples: Samples, path: Path) -> None:
    """Keep what a record only sums up, for whoever wants to see latency over time (numpy.load).

    An array per stamp (`intended_ns`, `sent_ns`, `arrived_ns`, `read_ns`: CLOCK_REALTIME, 0 for
    never), `sending_ns` (how long after `sent` it left: see `Samples`), `connection` and `outcome`
    (an `Outcome` each), with one element per request, warm-up included; and `window_ns`, the two
    ends of the measured window. Raises OSError.
    """
    with path.open("wb") as file:  # savez() would append a suffix to a name
        np.savez_compressed(
            file,
            intended_ns=samples.intended_ns,
            sent_ns=samples.sent_ns,
            arrived_ns=samples.arrived_ns,
            read_ns=samples.read_ns,
            sending_ns=samples.sending_ns,
            connection=samples.connection,
            outcome=samples.outcome,
            window_ns=np.array([samples.window_start_ns, samples.window_end_ns]),
        )


def compile() -> None:
    """Compile all that measures, or load it from the cache: once, before the first trial."""
    requests.compile()
    churn.compile()
    hiccup.compile()
