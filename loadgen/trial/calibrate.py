"""The generator against the leanest peer there is: what it can measure on this machine.

A server that comes close to what is reached here is measured by a generator that is at its own
limit. Where the peer (calibration_peer.py) was slower than the generator, the generator can do more
than it could show.

A ceiling must not be lower than what is measured under it. Whatever disturbs a drive makes it
slower, so there are many short ones, in turns, and of those in which the generator had its CPU a
high quantile counts: it is right as long as one in ten was left alone.
"""

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from loadgen.clients.connect import connected
from loadgen.engine import requests
from loadgen.engine.samples import Outcome, Samples
from loadgen.engine.syscalls import NS_PER_S
from loadgen.machine.cpus import Pinning, run_pinned
from loadgen.store.schema import Calibration
from loadgen.target.address import Address
from loadgen.target.process import TargetError, running
from loadgen.trial import verdict
from loadgen.workload.load import Load

CLIENTS = (1, 8, 64, 512)
ROUNDS = 25
# Of the drives that count, the share that is slower than the one that is told.
QUANTILE = 0.9
_LOAD = Load(warmup_s=0.005, duration_s=0.02)
# The share of its CPU that the generator has when nobody disturbs it: of a drive that counts, and
# of one that is stored.
UNDISTURBED = 0.95
CPU_WANTED = verdict.GENERATOR_CPU_SHARE


def measure_ceiling(cpus: Pinning) -> list[Calibration]:
    """For each number of clients what it reached.

    connections, throughput_per_s
    busy_fraction   of the window, how much the generator did not spend waiting for the peer
    cpu_fraction    of the window, how much the generator had its CPU; one that has a CPU of its own
                    spins, so less than CPU_WANTED means that others took it, in every drive: the
                    generator can do more than this
    bottleneck      "generator" or "peer"

    Raises TargetError when the peer fails.
    """
    command = [sys.executable, "-m", "loadgen.trial.calibration_peer", "10" if cpus.shared else "0"]
    with (
        tempfile.TemporaryDirectory(prefix="loadgen-") as folder,
        running(command, cpus=set(cpus.server), log=Path(folder) / "peer.log") as peer,
        ExitStack() as clients,
    ):
        fds = {count: _connected(peer.address, count, clients) for count in CLIENTS}
        drives: dict[int, list[Calibration]] = {count: [] for count in CLIENTS}
        for _ in range(ROUNDS):
            for count in CLIENTS:
                drives[count].append(_once(fds[count], cpus))
    return [ceiling(drives[count]) for count in CLIENTS]


def ceiling(drives: Sequence[Calibration]) -> Calibration:
    """The drive that is faster than QUANTILE of those in which the generator had its CPU; of all,
    if it had it in none."""
    undisturbed = [one for one in drives if one["cpu_fraction"] >= UNDISTURBED]
    ranked = sorted(undisturbed or drives, key=lambda one: one["throughput_per_s"])
    return ranked[round(QUANTILE * (len(ranked) - 1))]


def _connected(address: Address, count: int, around: ExitStack) -> list[int]:
    """Descriptors of so many clients, which stay until `around` ends. Raises TargetError."""
    greeted = around.enter_context(connected(address, count))
    if len(greeted.socks) < count:
        raise TargetError(
            f"the peer greeted {len(greeted.socks)} of {count} clients: free its CPU, or repeat"
            " when the machine is quieter"
        )
    return [sock.fileno() for sock in greeted.socks]


def _once(fds: list[int], cpus: Pinning) -> Calibration:
    load = dataclasses.replace(_LOAD, connections=len(fds))
    samples = run_pinned(
        cpus.generator,
        lambda stop: requests.drive(fds, load, spin=not cpus.shared, stop=stop),
        lambda _: None,
    )
    return _figures(len(fds), samples)


def _figures(clients: int, samples: Samples) -> Calibration:
    ok = samples.outcome == Outcome.OK
    ok &= (samples.window_start_ns <= samples.arrived_ns) & (
        samples.arrived_ns < samples.window_end_ns
    )
    if not ok.any() or (samples.outcome == Outcome.MISMATCHED).any():
        raise TargetError(
            "the peer did not answer within the window, or answered something else: free its CPU,"
            " or repeat when the machine is quieter"
        )
    window_ns = samples.window_end_ns - samples.window_start_ns
    service_ns = samples.service_ns[ok]
    read_delay_ns = (samples.read_ns - samples.arrived_ns)[ok]
    return {
        "connections": clients,
        "throughput_per_s": int(ok.sum()) * NS_PER_S / window_ns,
        "busy_fraction": samples.clocks.busy_fraction,
        "cpu_fraction": samples.clocks.cpu_fraction,
        "bottleneck": "generator" if read_delay_ns.mean() > service_ns.mean() else "peer",
    }
