"""The server under test: start it on its CPUs, wait until it is ready, watch it, stop it."""

import ctypes
import functools
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from loadgen.store.schema import Heap
from loadgen.target.account import Account
from loadgen.target.address import Address
from loadgen.target.interpreter import LAB
from loadgen.target.usage import Usage, cpu_clocks, measure_usage, process_tree
from servers import catalog

READY_S = 10.0
STOP_S = 3.0
# glibc gives memory back to the kernel, by brk() at the heap's end or munmap(), and takes it again
# page fault by page fault. Whether it does depends on sizes and on what else happens to lie in the
# heap: with lines of 64 KiB one and the same server spent 105 us of CPU on an answer (2 calls of
# brk(), 34 page faults) or 36 us (0.5 page faults). With thresholds this high it keeps what it has
# (mallopt(3): M_TRIM_THRESHOLD; 32 MiB is the largest M_MMAP_THRESHOLD on 64 bits). Other C
# libraries do not read this. It favours who allocates much, so servers run as the system sets it,
# but for those that are to show the difference.
#
# As the system sets it, luck takes part: glibc begins with a threshold of 128 KiB for mmap(), and
# raises it to the size of whatever block it unmaps (mallopt(3), M_MMAP_THRESHOLD), for example one
# that Python read a large file into while it started. To set it keeps it where it begins.
HEAPS: dict[Heap, dict[str, str]] = {
    "system": {},
    "fixed": {"MALLOC_MMAP_THRESHOLD_": str(128 * 2**10)},
    "kept": {
        "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    },
}
_READY = re.compile(rb"listening on (unix:.+|.+:\d+)\n")
# How a command line asks for a Unix-domain socket before there is one: the path is chosen when the
# server is started, and a record keeps this word.
UNIX_OPTION, UNIX_PATH = "--unix", "PATH"
# A socket's path holds 107 bytes (unix(7)), which a deep temporary folder may use up.
_SHORT_FOLDER, _SHORT_BYTES = "/tmp", 80


class TargetError(Exception):
    """The server did not start, or not go on. The text is one line."""


class Target:
    """A server that runs, with all the processes that it has started. Made by `started`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        address: Address,
        log: Path,
        account: Account | None = None,
    ) -> None:
        self.address, self.account = address, account
        self.command = [str(part) for part in process.args]  # type: ignore[union-attr]
        self._process = process
        self._log = log

    def processes(self) -> list[psutil.Process]:
        """The server and its descendants that are there now."""
        return process_tree(self._process.pid)

    def cpu_clocks(self) -> list[int]:
        """A clock id per process there is now, for clock_gettime(2): its CPU time in ns."""
        return cpu_clocks(self.processes())

    def usage(self) -> Usage:
        """Sum over the process tree. Raises TargetError when the server is gone."""
        found = measure_usage(self.processes())
        if found is None or not self.is_alive():
            raise TargetError(self.failure() or "the server is gone")
        return found

    def workers(self) -> list[tuple[psutil.Process, int]]:
        """The processes that it has started, each with the number of connections that it has; most
        first."""
        found = [
            (
                worker,
                sum(
                    each.status == psutil.CONN_ESTABLISHED for each in worker.net_connections("tcp")
                ),
            )
            for worker in self.processes()[1:]
        ]
        return sorted(found, key=lambda entry: -entry[1])

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the server at once; to none when the server is gone.

        They are a process group of their own (setpgid(2)), unless they leave it; what is being
        forked at this moment gets the signal too (copy_process in the kernel's fork.c).
        """
        if self.is_alive():
            os.killpg(self._process.pid, number)

    def is_alive(self) -> bool:
        """Is the server itself still there?"""
        return self._process.poll() is None

    def failure(self) -> str | None:
        """What is wrong with the server, with the last line of its log; None if nothing is."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        if not self.is_alive():
            return f"the server ended by itself with status {self._process.returncode}{last}"
        if any(line.startswith("Traceback ") for line in lines):
            return f"the server logged a traceback{last}"
        return None


def server_command(
    name: str, options: Sequence[str] = (), python: str = sys.executable
) -> list[str]:
    """The command line of a server of the catalog, on a port that the kernel chooses, unless the
    options ask for a Unix-domain socket."""
    port = () if UNIX_OPTION in options else ("--port", "0")
    return [python, "-m", "servers", name, *port, *options]


@contextmanager
def socket_path(options: Sequence[str]) -> Iterator[list[str]]:
    """The same options, with a path for the Unix-domain socket that they ask for: in a new folder,
    which is removed on leaving."""
    words = list(options)
    if UNIX_OPTION not in words:
        yield words
        return
    usual = tempfile.gettempdir()
    folder = usual if len(os.fsencode(usual)) <= _SHORT_BYTES else _SHORT_FOLDER
    with tempfile.TemporaryDirectory(prefix="lab-", dir=folder) as fresh:
        words[words.index(UNIX_OPTION) + 1] = f"{fresh}/s"
        yield words


@contextmanager
def started(
    name: str,
    *,
    cpus: set[int],
    log: Path,
    python: str = sys.executable,
    options: Sequence[str] = (),
    heap: Heap = "system",
    prefix: Sequence[str] = (),
) -> Iterator[Target]:
    """Run `python -m servers NAME` pinned to `cpus`; its standard error goes to the file `log`.

    `prefix` is the command that runs ours, such as a tracer, which hands SIGTERM on. On leaving,
    the server is ended, by force if need be. Raises TargetError if it does not come up within
    READY_S.
    """
    # A tracer has to take its child along, which it cannot when it is killed.
    last = signal.SIGTERM if prefix else signal.SIGKILL
    single = catalog.find(name).processes == "one" and not prefix
    with socket_path(options) as words:
        command = [*prefix, *server_command(name, words, python)]
        with running(
            command, cpus=cpus, log=log, heap=heap, when_orphaned=last, single=single
        ) as target:
            yield target


@contextmanager
def running(
    command: Sequence[str],
    *,
    cpus: set[int],
    log: Path,
    heap: Heap = "system",
    when_orphaned: signal.Signals = signal.SIGKILL,
    folder: Path = LAB,
    single: bool = False,
) -> Iterator[Target]:
    """Any command that says where it listens as our servers do, run in a folder; otherwise like
    `started`.

    `when_orphaned` is the signal that it gets when we are killed: SIGKILL also ends a process that
    is stopped. `single` says that it starts no other processes: its own clock tells all.
    """
    # Python drops what a signal handler raises around a fork (os.register_at_fork): it waits.
    interrupted: list[int] = []
    handlers = {n: signal.signal(n, lambda n, _: interrupted.append(n)) for n in _INTERRUPTS}
    try:
        process = _start(command, cpus, log, heap, when_orphaned, folder)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    account = None
    try:
        if interrupted:
            raise KeyboardInterrupt
        if not single and (account := Account.opened()):
            account.add(process.pid)
        yield Target(process, _await_address(process, log), log, account)
    finally:
        _end(process)
        if account:
            account.close()


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}


def _start(
    command: Sequence[str],
    cpus: set[int],
    log: Path,
    heap: Heap,
    when_orphaned: signal.Signals,
    folder: Path,
) -> subprocess.Popen[bytes]:
    """Start a process on its CPUs, as the leader of a process group. Raises TargetError."""
    ours = os.sched_getaffinity(0)
    with log.open("wb") as stderr:
        os.sched_setaffinity(0, cpus)  # a child inherits it, with no moment in which it runs free
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=folder,
                env={**os.environ, **HEAPS[heap]},
                # So that a signal reaches its children too, and a Ctrl-C only us: we end it.
                process_group=0,
                preexec_fn=functools.partial(_end_with_parent, os.getpid(), when_orphaned),
            )
        except OSError as error:
            raise TargetError(f"cannot run {command[0]}: {error.strerror}") from error
        finally:
            os.sched_setaffinity(0, ours)


def _end_with_parent(parent: int, number: int) -> None:
    """A server must not outlive a lab that was killed: it would disturb whatever is measured next.

    The parent may be dead by the time we ask to be told (prctl(2), PR_SET_PDEATHSIG).
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def _await_address(process: subprocess.Popen[bytes], log: Path) -> Address:
    """Wait for the ready line; returns where the server listens. Raises TargetError."""
    assert process.stdout is not None
    ready = select.poll()
    ready.register(process.stdout, select.POLLIN)
    said = b""
    deadline = time.monotonic() + READY_S
    while not said.endswith(b"\n"):
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not ready.poll(left_s * 1000):
            raise TargetError(f"the server said nothing within {READY_S:.0f} s")
        piece = os.read(process.stdout.fileno(), 4096)
        if not piece:
            process.wait()
            lines = log.read_text(errors="replace").strip().splitlines() or ["no reason given"]
            raise TargetError(f"the server did not start: {lines[-1]}")
        said += piece
    with suppress(ValueError):
        if match := _READY.fullmatch(said):
            return Address.parse(match[1].decode())
    raise TargetError(f"the server said {said[:80]!r} and not where it listens")


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server, which takes its children along; what is left after STOP_S is killed,
    and children that it has left behind."""
    descendants = process_tree(process.pid)[1:]
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)  # one that is stopped hears nothing else
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for orphan in descendants:
        with suppress(psutil.NoSuchProcess):
            orphan.kill()
    assert process.stdout is not None
    process.stdout.close()
