"""The server under test: start it, wait until it is ready, watch what it costs, stop it."""

import ctypes
import functools
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadgen.engine.syscalls import process_cpu_clock

READY_S = 10.0
STOP_S = 3.0
# glibc gives memory back to the kernel, by brk() at the heap's end or munmap(), and takes it again
# page fault by page fault. Whether it does depends on sizes and on what else happens to lie in the
# heap: with lines of 64 KiB one and the same server spent 105 us of CPU on an answer (2 calls of
# brk(), 34 page faults) or 36 us (0.5 page faults). With thresholds this high it keeps what it has
# (mallopt(3): M_TRIM_THRESHOLD; 32 MiB is the largest M_MMAP_THRESHOLD on 64 bits). Other C
# libraries do not read this.
SERVER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
}
_READY = re.compile(rb"listening on (.+):(\d+)\n")


class TargetError(Exception):
    """The server did not start, or not go on. The text is one line."""


@dataclass(frozen=True)
class Usage:
    """What a process tree has used so far, and what it holds now."""

    user_s: float
    system_s: float
    processes: int
    threads: int
    rss_bytes: int
    pss_bytes: int | None
    fds: int
    voluntary_switches: int
    involuntary_switches: int


class Target:
    """A server that runs. Made by `started`."""

    def __init__(
        self, process: subprocess.Popen[bytes], address: tuple[str, int], log: Path
    ) -> None:
        self.address = address
        self.command = [str(part) for part in process.args]  # type: ignore[union-attr]
        self._process = process
        self._log = log

    def processes(self) -> list[psutil.Process]:
        """The server and its descendants that are alive."""
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_clocks(self) -> list[int]:
        """A clock id per process, for clock_gettime(): its CPU time in nanoseconds."""
        return [process_cpu_clock(process.pid) for process in self.processes()]

    def usage(self) -> Usage:
        """Sum over the process tree. Raises TargetError when the server is gone."""
        processes = self.processes()
        try:
            usages = [_usage(process) for process in processes]
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            usages = []
        if not usages or not self.is_alive():
            raise TargetError(self.epitaph() or "the server is gone")
        pss = [usage.pss_bytes for usage in usages]
        return Usage(
            user_s=sum(usage.user_s for usage in usages),
            system_s=sum(usage.system_s for usage in usages),
            processes=len(usages),
            threads=sum(usage.threads for usage in usages),
            rss_bytes=sum(usage.rss_bytes for usage in usages),
            pss_bytes=None if None in pss else sum(filter(None, pss)),
            fds=sum(usage.fds for usage in usages),
            voluntary_switches=sum(usage.voluntary_switches for usage in usages),
            involuntary_switches=sum(usage.involuntary_switches for usage in usages),
        )

    def signal(self, number: int) -> None:
        """Send a signal to the server itself."""
        self._process.send_signal(number)

    def is_alive(self) -> bool:
        """Is the process still there?"""
        return self._process.poll() is None

    def epitaph(self) -> str | None:
        """What is wrong with the server, with the last line of its log; None if nothing is."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        if not self.is_alive():
            return f"the server ended by itself with status {self._process.returncode}{last}"
        if any(line.startswith("Traceback ") for line in lines):
            return f"the server logged a traceback{last}"
        return None


@contextmanager
def started(
    name: str,
    *,
    cpus: set[int],
    log: Path,
    python: str = sys.executable,
    options: Sequence[str] = (),
    prefix: Sequence[str] = (),
) -> Iterator[Target]:
    """Run `python -m servers NAME` pinned to `cpus`; its standard error goes to the file `log`.

    `prefix` is the command that runs ours, such as a tracer, which hands SIGTERM on. On leaving,
    the server is ended, by force if need be. Raises TargetError if it does not come up within
    READY_S.
    """
    command = [*prefix, python, "-m", "servers", name, "--port", "0", *options]
    # A tracer has to take its child along, which it cannot when it is killed.
    last = signal.SIGTERM if prefix else signal.SIGKILL
    with running(command, cpus=cpus, log=log, when_orphaned=last) as target:
        yield target


@contextmanager
def running(
    command: Sequence[str],
    *,
    cpus: set[int],
    log: Path,
    when_orphaned: signal.Signals = signal.SIGKILL,
) -> Iterator[Target]:
    """Any command that says where it listens as our servers do; otherwise like `started`.

    `when_orphaned` is what it gets when we are killed: SIGKILL also ends who is stopped.
    """
    ours = os.sched_getaffinity(0)
    with log.open("wb") as stderr:
        os.sched_setaffinity(0, cpus)  # a child inherits it, with no moment in which it runs free
        # Python drops what a signal handler raises around a fork (os.register_at_fork): it waits.
        stopped: list[int] = []
        handlers = {n: signal.signal(n, lambda n, _: stopped.append(n)) for n in _STOPPING}
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=Path(__file__).parents[2],
                env={**os.environ, **SERVER_ENVIRONMENT},
                preexec_fn=functools.partial(_end_with_parent, os.getpid(), when_orphaned),
            )
        except OSError as error:
            raise TargetError(f"cannot run {command[0]}: {error.strerror}") from error
        finally:
            os.sched_setaffinity(0, ours)
            for number, handler in handlers.items():
                signal.signal(number, handler)
    try:
        if stopped:
            raise KeyboardInterrupt
        yield Target(process, _address(process, log), log)
    finally:
        _end(process)


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_STOPPING = {signal.SIGINT, signal.SIGTERM}


def _end_with_parent(parent: int, number: int) -> None:
    """A server must not outlive a lab that was killed: it would disturb whatever is measured next.

    The parent may be dead by the time we ask to be told (prctl(2), PR_SET_PDEATHSIG).
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def _address(process: subprocess.Popen[bytes], log: Path) -> tuple[str, int]:
    """Where it listens, as its ready line says."""
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
    match = _READY.fullmatch(said)
    if match is None:
        raise TargetError(f"the server said {said[:80]!r} and not where it listens")
    return match[1].decode().strip("[]"), int(match[2])


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and what is left after STOP_S is killed, descendants included."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for orphan in descendants:
        with suppress(psutil.NoSuchProcess):
            orphan.kill()
    assert process.stdout is not None
    process.stdout.close()


def _usage(process: psutil.Process) -> Usage:
    with process.oneshot():
        times = process.cpu_times()
        memory = process.memory_info()
    try:
        pss = _pss_bytes(process.pid)
    except PermissionError:
        pss = None
    voluntary = involuntary = threads = 0
    # psutil counts the switches of the main thread only.
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended meanwhile
        threads += 1
        voluntary += _field(status, "voluntary_ctxt_switches")
        involuntary += _field(status, "nonvoluntary_ctxt_switches")
    return Usage(
        user_s=times.user,
        system_s=times.system,
        processes=1,
        threads=threads,
        rss_bytes=memory.rss,
        pss_bytes=pss,
        fds=process.num_fds(),
        voluntary_switches=voluntary,
        involuntary_switches=involuntary,
    )


def _pss_bytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return _field(rollup, "Pss") * 1024


def _field(text: str, name: str) -> int:
    """The number behind `name:` at the beginning of a line, as /proc writes them."""
    match = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(match[1]) if match else 0
