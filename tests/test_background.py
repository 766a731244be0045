"""Background clients are counted, and leave at once and quietly whatever happens to the lab."""

import os
import socket
import subprocess
import sys
import threading

import pytest
from harness import ROOT, settings
from stubs import Stub

from loadgen.clients import background, background_process
from loadgen.clients.background_process import ConnectResult
from loadgen.machine.cpus import choose_pinning
from loadgen.target.address import Address
from loadgen.workload import dialogue

CPUS = set(choose_pinning().generator)
FOR_EVER_S = 10_000.0


def test_leaving_does_not_wait_for_those_who_are_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(settings.deadline_s)
        with background.prepare(
            Address(*silent.getsockname()), 1, cpus=CPUS, patience_s=FOR_EVER_S
        ) as clients:
            told: list[ConnectResult] = []
            connect = threading.Thread(target=lambda: told.append(clients.connect()))
            connect.start()
            client, _ = silent.accept()  # and never greeted
        client.close()
        connect.join(settings.deadline_s)

    assert told == [ConnectResult(0, {"background process ended": 1}, 0)]


def test_ctrl_c_in_a_terminal_does_not_reach_them() -> None:
    """It goes to the foreground process group; they have one of their own."""
    with background.prepare(Address("127.0.0.1", 1), 1, cpus=CPUS) as clients:
        (process, _), *_ = clients._shares
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)


def alone(port: int) -> subprocess.Popen[str]:
    """A process of background clients that is ready, and whose output nobody reads any more."""
    process = subprocess.Popen(
        [
            sys.executable,
            *["-m", "loadgen.clients.background_process"],
            *f"127.0.0.1:{port} 1 0 {FOR_EVER_S} silent hello".split(),
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
            client.sendall(background_process.GREETING)
            assert process.stderr is not None
            assert process.stderr.read() == ""
            assert process.wait(settings.deadline_s) == 0
        process.stderr.close()


def test_who_was_in_a_process_that_ended_is_counted_as_such() -> None:
    with background.prepare(Address("127.0.0.1", 1), 3, cpus=CPUS) as clients:
        ((process, _),) = clients._shares
        process.kill()
        process.wait()
        assert clients.connect() == (0, {"background process ended": 3}, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_they_are_greeted_whatever_the_family_of_the_address(host: str) -> None:
    with (
        Stub(host=host) as stub,
        background.prepare(Address(host, stub.port), 3, cpus=CPUS) as clients,
    ):
        assert clients.connect() == (3, {}, 0)


def test_who_is_refused_is_counted_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with background.prepare(Address(*address), 3, cpus=CPUS) as clients:
        assert clients.connect() == (0, {"ECONNREFUSED": 3}, 0)


def test_no_clients_are_no_process() -> None:
    with background.prepare(Address("127.0.0.1", 1), 0, cpus=CPUS) as clients:
        assert clients.connect() == (0, {}, 0)


def test_its_program_awaits_the_greeting_that_servers_send() -> None:
    """It has the text for itself, because it must not load what the generator does."""
    assert background_process.GREETING == dialogue.GREETING
