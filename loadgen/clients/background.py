"""Background clients: connected and not measured, silent or slow.

They live in processes of their own (background_process.py), so that the descriptor limit of one
process is not the limit of the experiment.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadgen.clients.background_process import Behaviour, ConnectResult
from loadgen.target.address import Address
from loadgen.workload.load import Protocol

PER_PROCESS = 10_000
PATIENCE_S = 5.0  # without any progress
_NOTHING = ConnectResult(greeted=0, failed={}, sent_bytes=0)


class BackgroundClients:
    """Processes that are ready to connect a share of the clients each. Made by `prepare`."""

    def __init__(self) -> None:
        self._shares: list[tuple[subprocess.Popen[str], int]] = []

    def connect(self) -> ConnectResult:
        """Connect all clients, one process after the other; returns when all behave as they should,
        or have given up."""
        greeted, failed, sent_bytes = 0, Counter[str](), 0
        for process, share in self._shares:
            result = _connect(process)
            missing = share - result.greeted - sum(result.failed.values())
            greeted += result.greeted
            sent_bytes += result.sent_bytes
            failed.update(result.failed)
            failed.update({"background process ended": missing} if missing else {})
        return ConnectResult(greeted, dict(failed), sent_bytes)

    def _start(self, arguments: list[str], share: int, cpus: set[int]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "loadgen.clients.background_process", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            # Ctrl-C in a terminal goes to our own group (setpgid(2)). We end them.
            process_group=0,
        )
        self._shares.append((process, share))
        os.sched_setaffinity(process.pid, cpus)

    def _await_ready(self) -> None:
        for process, _ in self._shares:
            assert process.stdout is not None
            process.stdout.readline()

    def _end(self) -> None:
        for process, _ in self._shares:
            process.kill()  # it may be connecting still, and its sockets are the kernel's business
        for process, _ in self._shares:
            process.communicate()


@contextmanager
def prepare(
    address: Address,
    count: int,
    *,
    cpus: set[int],
    behaviour: Behaviour = "silent",
    protocol: Protocol = "hello",
    patience_s: float = PATIENCE_S,
) -> Iterator[BackgroundClients]:
    """Start the processes of `count` clients, which connect when they are told to, and end them
    and their clients when the block is left.

    address      numeric
    cpus         on which the processes may run
    protocol     without a greeting, who is connected counts as greeted
    patience_s   how long they wait for a greeting without progress

    Raises OSError when a process cannot be started.
    """
    clients = BackgroundClients()
    try:
        for first in range(0, count, PER_PROCESS):
            share = min(PER_PROCESS, count - first)
            arguments = [*map(str, (address, share, first, patience_s)), behaviour, protocol]
            clients._start(arguments, share, cpus)
        clients._await_ready()
        yield clients
    finally:
        clients._end()


def _connect(process: subprocess.Popen[str]) -> ConnectResult:
    """Tell a process to connect its clients, and wait for its result; nothing if it has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("\n")
        process.stdin.flush()
    except BrokenPipeError:
        return _NOTHING
    line = process.stdout.readline()
    return ConnectResult(**json.loads(line)) if line else _NOTHING
