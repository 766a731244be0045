"""The generator against the leanest peer there is: what it can measure on this machine.

A server that comes close to what is reached here is measured by a generator that is at its own
limit. Where the peer (calibration_peer.py) was slower than the generator, the generator can do more
than it could show.
"""

import dataclasses
import sys
import tempfile
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
REPEATS = 3
_LOAD = Load(warmup_s=0.05, duration_s=0.2)
CPU_WANTED = verdict.GENERATOR_CPU_SHARE


def measure_ceiling(cpus: Pinning) -> list[Calibration]:
    """For each number of clients what it reached, the median trial of REPEATS.

    connections, throughput_per_s
    busy_fraction   of the window, how much the generator did not spend waiting for the peer
    cpu_fraction    of the window, how much the generator had its CPU; one that has a CPU of its own
                    spins, so less than CPU_WANTED means that others took it: the generator can do
                    more than this
    bottleneck      "generator" or "peer"

    Raises TargetError when the peer fails.
    """
    command = [sys.executable, "-m", "loadgen.trial.calibration_peer", "10" if cpus.shared else "0"]
    with (
        tempfile.TemporaryDirectory(prefix="loadgen-") as folder,
        running(command, cpus=set(cpus.server), log=Path(folder) / "peer.log") as peer,
    ):
        found = []
        for clients in CLIENTS:
            trials = sorted(
                (_once(peer.address, clients, cpus) for _ in range(REPEATS)),
                key=lambda one: one["throughput_per_s"],
            )
            found.append(trials[len(trials) // 2])
        return found


def _once(address: Address, clients: int, cpus: Pinning) -> Calibration:
    load = dataclasses.replace(_LOAD, connections=clients)
    with connected(address, clients) as greeted:
        fds = [sock.fileno() for sock in greeted.socks]
        if len(fds) < clients:
            raise TargetError(
                f"the peer greeted {len(fds)} of {clients} clients: free its CPU, or repeat when"
                " the machine is quieter"
            )
        samples = run_pinned(
            cpus.generator,
            lambda stop: requests.drive(fds, load, spin=not cpus.shared, stop=stop),
            lambda _: None,
        )
    return _figures(clients, samples)


def _figures(clients: int, samples: Samples) -> Calibration:
    ok = samples.in_window & (samples.outcome == Outcome.OK)
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
