"""Crowds leave at once, and quietly, whatever happens to those who called them."""

import os
import socket
import subprocess
import sys
import threading

from harness import ROOT, settings

from loadgen.clients import crowd
from loadgen.machine import environment

CPUS = set(environment.pinning().generator)
FOR_EVER_S = 10_000.0


def test_leaving_does_not_wait_for_those_who_are_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(settings.deadline_s)
        with crowd.standing_by(
            silent.getsockname(), 1, cpus=CPUS, patience_s=FOR_EVER_S
        ) as waiting:
            told: list[crowd.Gathered] = []
            connect = threading.Thread(target=lambda: told.append(waiting.connect()))
            connect.start()
            client, _ = silent.accept()  # and never greeted
        client.close()
        connect.join(settings.deadline_s)

    assert told == [crowd.Gathered(0, {"crowd process ended": 1}, 0)]


def test_ctrl_c_in_a_terminal_does_not_reach_them() -> None:
    """It goes to the foreground process group; they have one of their own."""
    with crowd.standing_by(("127.0.0.1", 1), 1, cpus=CPUS) as waiting:
        (process, _), *_ = waiting._shares
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)


def alone(port: int) -> subprocess.Popen[str]:
    """A process of a crowd that is ready, and whose output nobody reads any more."""
    process = subprocess.Popen(
        [
            sys.executable,
            *f"-m loadgen.clients.crowd 127.0.0.1 {port} 1 0 {FOR_EVER_S} silent".split(),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    return process


def test_they_end_without_a_word_when_the_lab_was_killed_before_they_connected() -> None:
    process = alone(port=1)
    _, said = process.communicate(timeout=settings.deadline_s)
    assert said == ""
    assert process.returncode == 0


def test_they_end_without_a_word_when_the_lab_was_killed_while_they_connected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(settings.deadline_s)
        process = alone(silent.getsockname()[1])
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.close()
        with silent.accept()[0] as client:
            client.sendall(crowd.GREETING)
            assert process.stderr is not None
            assert process.stderr.read() == ""
            assert process.wait(settings.deadline_s) == 0
        process.stderr.close()
