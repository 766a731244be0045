"""One trial: start > verify > connect > warm up > measure > drain > stop  =>  one record."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from loadgen.clients.scripted import ConversationError
from loadgen.engine import churn, datagrams, requests
from loadgen.engine.samples import Samples
from loadgen.machine import hiccup
from loadgen.machine.counters import Snapshot
from loadgen.machine.cpus import Pinning
from loadgen.store.schema import Record
from loadgen.target import interpreter
from loadgen.target.interpreter import InterpreterError
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
    """Measure one server, once: `measure` for one."""
    systems = [(system, cell, log)]
    (record,) = measure(systems, cpus=cpus, seed=seed, block=block, position=position, raw=raw)
    return record


def measure(
    systems: Sequence[tuple[SystemUnderTest, Cell, Path]],
    *,
    cpus: Pinning,
    seed: int = 0,
    block: int = 0,
    position: int = 0,
    raw: Path | None = None,
) -> list[Record]:
    """Measure once: one server, or all servers of a comparison together; a record for each.

    systems   what is measured, with a file for the server's standard error; the cells differ in
              what `plan.order.comparison` leaves out only, and their workloads must be valid
    seed      of the schedule
    position  of the first of them in its block
    raw       file for the stamps of every request of a single server: see `save_stamps`

    A server that fails gives a record too, with the failure as its verdict.
    """
    started_at = datetime.now(UTC)
    entrants = []
    for number, (system, cell, log) in enumerate(systems):
        ours = replace(
            system,
            options=cell.command_options,
            python=cell.python or system.python,
            heap=cell.heap,
        )
        record = empty_record(
            ours, cell, block=block, position=position + number, seed=seed, started_at=started_at
        )
        if ours.model:
            with suppress(InterpreterError):  # it will not start either, and that is said
                under = interpreter.examine(ours.python)
                record["server"] |= {"implementation": under.implementation, "gil": under.gil}
        entrants.append((ours, record, log))
    workload = systems[0][1].workload
    if workload.server_cpus > 1:
        cpus = cpus.wider(workload.server_cpus)
    before = Snapshot.take()
    drops: list[int | None] = [None] * len(systems)
    try:
        with Rig(entrants, cpus=cpus, seed=seed) as rig:
            workload.run(rig)
            for station in rig.stations:
                try:
                    station.expect_alive()
                except TargetError as error:
                    station.fail(error)
                if raw and station.samples:
                    save_stamps(station.samples, raw)
            drops = [station.listener_drops() for station in rig.stations]
    except (TargetError, TrialError, TraceError, ConversationError, OSError) as error:
        for station in rig.stations:
            station.fail(error)
    # From before anybody connected.
    after = Snapshot.take()
    for (_, record, _), dropped in zip(entrants, drops, strict=True):
        if machine := record["machine"]:
            machine["listen_overflows"] = after.listen_overflows - before.listen_overflows
            machine["listener_drops"] = dropped
            drift_ns = after.clock_offset_ns - before.clock_offset_ns
            machine["clock_drift_ns"] = max(drift_ns, machine["clock_drift_ns"] or 0, key=abs)
        record["verdict"] = workload.judge(record)
    return [record for _, record, _ in entrants]


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
    datagrams.compile()
    churn.compile()
    hiccup.compile()
