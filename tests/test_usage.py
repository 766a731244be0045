"""What a server of several processes uses, while its children come and go."""

import functools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from harness import settings, wait_until

from loadgen.machine.cpus import choose_pinning
from loadgen.target import process, usage
from loadgen.target.process import Target, TargetError, running

pytestmark = pytest.mark.measures

CPUS = set(choose_pinning().server)


@contextmanager
def server(folder: Path, program: str) -> Iterator[Target]:
    """A program that pretends to listen, and then sleeps for ever; in it `say` writes a file."""
    code = f"""
import os, pathlib, signal, time
def say(name):
    pathlib.Path({str(folder)!r}, name).touch()
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
print("listening on 127.0.0.1:1", flush=True)
{textwrap.dedent(program)}
while True:
    signal.pause()
"""
    command = [sys.executable, "-c", code]
    with running(command, cpus=CPUS, log=folder / "log") as target:
        yield target


def said(folder: Path, name: str) -> None:
    wait_until(lambda: (folder / name).exists(), f"the server says {name}")


def has_ended(one: psutil.Process) -> bool:
    """Whether whoever inherited it has noticed is not our concern."""
    with suppress(psutil.NoSuchProcess):
        return one.status() == psutil.STATUS_ZOMBIE
    return True


def statuses(target: Target) -> list[str]:
    return [one.status() for one in target.processes()]


def test_a_stall_stops_the_whole_tree_and_ends_for_all_of_it(tmp_path: Path) -> None:
    """A child, and a child of that child."""
    program = """
    for generation in range(2):
        if os.fork():
            break
    else:
        say("forked")
    """
    with server(tmp_path, program) as target:
        said(tmp_path, "forked")
        assert len(target.processes()) == 3
        target.signal(signal.SIGSTOP)
        wait_until(lambda: set(statuses(target)) == {psutil.STATUS_STOPPED}, "all are stopped")
        target.signal(signal.SIGCONT)
        wait_until(lambda: psutil.STATUS_STOPPED not in statuses(target), "all go on")
        everybody = target.processes()
    for one in everybody:
        wait_until(functools.partial(has_ended, one), "nobody outlives the server")


def test_a_server_that_does_not_end_takes_even_those_along_whose_parent_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STOP_S", 0.0)
    program = """
    child = os.fork()
    if child == 0:
        if os.fork():
            os._exit(0)
        pathlib.Path(FOLDER, "new").write_text(str(os.getpid()))
        os.rename(FOLDER + "/new", FOLDER + "/orphan")
    else:
        os.waitpid(child, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say("ready")
    """.replace("FOLDER", repr(str(tmp_path)))
    with server(tmp_path, program) as target:
        said(tmp_path, "ready")
        wait_until(lambda: (tmp_path / "orphan").exists(), "the orphan has come")
        orphan = psutil.Process(int((tmp_path / "orphan").read_text()))
        assert orphan not in target.processes()
    wait_until(functools.partial(has_ended, orphan), "nobody outlives the server")


def test_a_signal_for_a_server_that_has_ended_is_nobodys(tmp_path: Path) -> None:
    with server(tmp_path, "os._exit(3)") as target:
        wait_until(lambda: not target.is_alive(), "the server ends")
        target.signal(signal.SIGSTOP)
        assert target.processes() == []
        with pytest.raises(TargetError, match="ended by itself with status 3"):
            target.usage()


def test_ctrl_c_in_a_terminal_reaches_the_lab_alone_which_ends_the_server(tmp_path: Path) -> None:
    """It goes to the foreground process group; the server's processes have one of their own."""
    with server(tmp_path, "os.fork(); say('forked')") as target:
        said(tmp_path, "forked")
        root, *_ = target.processes()
        for one in target.processes():
            assert os.getpgid(one.pid) == root.pid != os.getpgid(0)


def test_a_child_that_has_ended_has_used_what_it_has_used(tmp_path: Path) -> None:
    """While nobody has waited for it, and after that."""
    program = """
    child = os.fork()
    if child == 0:
        burn(0.2)
        os._exit(0)
    signal.signal(signal.SIGUSR1, lambda *_: (os.waitpid(child, 0), say("waited")))
    say("ready")
    """
    with server(tmp_path, program) as target:
        said(tmp_path, "ready")
        _, child = target.processes()
        wait_until(lambda: child.status() == psutil.STATUS_ZOMBIE, "the child ends")
        unwaited = target.usage()
        root, _ = target.processes()
        root.send_signal(signal.SIGUSR1)
        said(tmp_path, "waited")
        waited = target.usage()

    assert waited.processes == 1
    for found in (unwaited, waited):
        # In ticks of 10 ms, each of user and system time (proc_pid_stat(5)).
        assert found.user_s + found.system_s >= 0.2 - 0.02
    assert waited.user_s >= unwaited.user_s
    assert waited.system_s >= unwaited.system_s


def test_clocks_are_those_of_the_processes_there_are_now(tmp_path: Path) -> None:
    program = """
    signal.signal(signal.SIGUSR1, lambda *_: os.fork() and say("forked"))
    say("ready")
    """
    with server(tmp_path, program) as target:
        said(tmp_path, "ready")
        assert len(target.cpu_clocks()) == 1
        target.signal(signal.SIGUSR1)
        said(tmp_path, "forked")
        assert len(set(target.cpu_clocks())) == 2


def test_a_process_that_ends_between_listing_and_reading_is_left_out() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as gone:
        processes = [psutil.Process(), psutil.Process(gone.pid)]
        gone.communicate(b"\n", timeout=settings.deadline_s)
    found = usage.measure_usage(processes)
    assert found is not None
    assert found.processes == 1
    assert usage.measure_usage(processes[1:]) is None


@pytest.mark.parametrize(
    ("before_ns", "after_ns", "used_ns"),
    [
        ([5], [7], 2),
        ([5, 100], [7, 130], 32),
        # Gone at the end, or not there yet at the beginning: -1 is no time.
        ([5, 100], [7, -1], 2),
        ([5, -1], [7, 100], 2),
        ([-1], [-1], 0),
        ([], [], 0),
    ],
)
def test_cpu_time_is_that_of_processes_whose_clock_could_be_read_twice(
    before_ns: list[int], after_ns: list[int], used_ns: int
) -> None:
    assert usage.cpu_ns_between(np.array([before_ns, after_ns], np.int64)) == used_ns
