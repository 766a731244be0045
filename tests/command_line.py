"""`python -m loadgen` as people call it, stop it and kill it."""

import functools
import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest
from harness import ROOT, settings, wait_until

from loadgen import __main__

LOADGEN = [sys.executable, "-m", "loadgen"]


def loadgen(*arguments: object) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        [*LOADGEN, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * settings.deadline_s,
        check=False,
    )


def modules_after(*arguments: object) -> set[str]:
    """The modules that a process has loaded when it is done with a command."""
    code = (
        "import sys\n"
        "from loadgen.__main__ import main\n"
        "try:\n"
        "    sys.exit(main(sys.argv[1:]))\n"
        "finally:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * settings.deadline_s,
        check=True,
    )
    return set(result.stderr.splitlines()[-1].split())


def expect_error(capsys: pytest.CaptureFixture[str], status: int, *arguments: object) -> str:
    """One clear line and the right status; returns the line. A traceback would fail the test."""
    try:
        returned = __main__.main([str(argument) for argument in arguments])
    except SystemExit as exit:
        returned = exit.code
    said = capsys.readouterr()
    assert returned == status, said.err
    assert said.out == ""
    *usage, line = said.err.splitlines()
    assert not usage or usage[0].startswith("usage: ")
    assert "error: " in line
    return line


def children(pid: int, *words: str) -> list[psutil.Process]:
    """All that a lab has started, once each of these modules or programs is among it."""
    found: list[psutil.Process] = []

    def all_there() -> bool:
        found[:] = psutil.Process(pid).children(recursive=True)
        return set(words) <= {word for each in found for word in words_of(each)}

    wait_until(all_there, f"processes of {', '.join(words)}")
    return found


def words_of(process: psutil.Process) -> list[str]:
    """The command line of a process; nothing when it is gone."""
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def expect_gone(started: list[psutil.Process]) -> None:
    """Ended; whether whoever inherited them has noticed is not our concern."""

    def gone(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        return True

    assert started
    for process in started:
        wait_until(functools.partial(gone, process), f"{process} does not outlive the lab")


def expect_nothing_left(how: str, command: str, *words: str) -> None:
    """Start a command, end it once it has started processes of these modules or programs, and
    expect that none of them outlives it.

    how   "Ctrl-C", "killed" or "killed while its server is stopped"
    """
    lab = subprocess.Popen(
        [*LOADGEN, *command.split()],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A group of its own gets a Ctrl-C of its own. But when its leader is killed, the kernel
        # wakes those in it who are stopped, and hangs up on them (setpgid(2)).
        process_group=0 if how == "Ctrl-C" else None,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        started = children(lab.pid, *words)
        if how == "Ctrl-C":
            os.killpg(lab.pid, signal.SIGINT)  # as a terminal does
        else:
            for process in started:
                if "server" in how and "servers" in words_of(process):
                    process.send_signal(signal.SIGSTOP)
            lab.kill()
        _, said = lab.communicate(timeout=settings.deadline_s)
        assert said == ("stopped\n" if how == "Ctrl-C" else "")
        assert lab.returncode == (130 if how == "Ctrl-C" else -signal.SIGKILL)
        expect_gone(started)
    finally:
        lab.kill()
        lab.communicate()
