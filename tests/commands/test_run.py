"""One trial: what people type, rightly and wrongly; and what is left of one that was stopped."""

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import records
from command_line import expect_error, expect_nothing_left
from harness import ROOT

from loadgen import __main__
from loadgen.machine import limits
from loadgen.target.address import Address
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.rig import SystemUnderTest

pytestmark = pytest.mark.measures


class MeasuredError(Exception):
    """A trial would have begun."""


@pytest.fixture
def systems(monkeypatch: pytest.MonkeyPatch) -> list[SystemUnderTest]:
    """What trials would have measured; each of them ends in that error."""
    found: list[SystemUnderTest] = []

    def run(system: SystemUnderTest, cell: Cell, **_: object) -> None:
        found.append(replace(system, options=cell.command_options))
        raise MeasuredError

    monkeypatch.setattr(trial, "run", run)
    return found


def begin(*arguments: object) -> None:
    with pytest.raises(MeasuredError):
        __main__.main(["run", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run", "--server"),
        ("run --server nosuch", "unknown server 'nosuch'; there are: blocking"),
        ("run --server epoll --connect 127.0.0.1:1", "not allowed"),
        ("run --server epoll --connections many", "--connections"),
        ("run --server epoll --connections -1", "--connections is -1"),
        ("run --server epoll --connections 1000000000", "--connections is 1000000000"),
        ("run --server epoll --idle -1", "--idle is -1"),
        ("run --server epoll --message-bytes 1", "--message-bytes is 1"),
        ("run --server epoll --duration 0", "--duration is 0.0"),
        ("run --server epoll --duration -1", "--duration is -1.0"),
        ("run --server epoll --duration nan", "--duration is nan"),
        ("run --server epoll --duration 1e99", "--duration is 1e+99"),
        ("run --server epoll --duration soon", "--duration"),
        ("run --server epoll --warmup -1", "--warmup is -1.0"),
        ("run --server epoll --rate 0", "--rate is 0.0"),
        ("run --server epoll --rate -5", "--rate is -5.0"),
        ("run --server epoll --rate inf", "--rate is inf"),
        ("run --server epoll --rate fast", "--rate"),
        ("run --server epoll --rate 1e9", "--rate is 1000000000.0"),
        (
            "run --server epoll --arrivals poisson",
            "--arrivals is 'poisson': a closed loop has none",
        ),
        ("run --server epoll --rate 5 --arrivals often", "--arrivals"),
        ("run --server epoll --seed -1", "--seed is -1"),
        ("run --server epoll --work hard", "'hard' is not like cpu:100us"),
        ("run --connect 127.0.0.1:1 --work cpu:1us", "--work does not go with --connect"),
        ("run --connect nowhere", "'nowhere' is not HOST:PORT"),
        ("run --connect unix:", "'unix:' is not HOST:PORT"),
        ("run --connect 127.0.0.1:1 --transport ipv6", "--transport does not go with --connect"),
        ("run --connect unix:/x --idle-timeout 1", "--idle-timeout does not go with --connect"),
        ("run --server epoll --transport udp", "--transport"),
        ("run --server udp --udp --transport unix", "--transport does not go with --udp"),
        ("run --server udp --udp --protocol http", "--protocol is 'http'"),
        ("run --server epoll --idle-timeout 0", "--idle-timeout is 0.0"),
        ("run --server epoll --protocol gopher", "--protocol"),
        ("run --connect host:0", "is not HOST:PORT"),
        ("run --connect host:65536", "is not HOST:PORT"),
    ],
)
def test_a_wrong_command_line_has_status_2(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in expect_error(capsys, 2, *arguments.split())


def test_one_trial_imports_nothing_that_only_many_need() -> None:
    code = (
        "import sys; from loadgen.report import console; from loadgen.trial import trial;"
        " print(*sys.modules, sep='\\n')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    # Numba imports scipy itself, but not the slow part.
    assert not {"scipy.stats", "matplotlib"} & set(result.stdout.split())


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_nobody_listening_is_said_in_a_line(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = expect_error(capsys, 1, "run", "--connect", f"{host}:1")

    assert said == f"error: nobody listens at {host}:1"


def test_a_path_that_nobody_listens_at_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = expect_error(capsys, 1, "run", "--connect", f"unix:{tmp_path}/none")
    assert said == f"error: nobody listens at unix:{tmp_path}/none"

    said = expect_error(capsys, 1, "run", "--connect", f"unix:/{'x' * 200}")
    assert "AF_UNIX path too long" in said


@pytest.mark.parametrize("name", ["nosuch.invalid", "a..b"])
def test_a_name_that_nobody_has_is_said_in_a_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = expect_error(capsys, 1, "run", "--connect", f"{name}:80")

    assert said == f"error: cannot resolve {name!r}"


@pytest.mark.parametrize(("host", "address"), [("localhost", "127.0.0.1"), ("[::1]", "::1")])
def test_a_name_is_resolved_once_to_where_somebody_listens(
    host: str, address: str, systems: list[SystemUnderTest]
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port = listener.getsockname()[1]
        begin("--connect", f"{host}:{port}")

    assert [system.address for system in systems] == [Address(address, port)]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("", ()),
        ("--message-bytes 65536", ()),
        ("--message-bytes 100000", ("--max-line", "100000")),
        ("--work cpu:100us", ("--work", "cpu:100us")),
        ("--transport ipv6", ("--host", "::1")),
        ("--transport unix --protocol http", ("--unix", "PATH", "--protocol", "http")),
        ("--idle-timeout 5", ("--idle-timeout", "5")),
    ],
)
def test_our_server_is_told_what_the_load_needs_and_no_more(
    arguments: str, options: tuple[str, ...], systems: list[SystemUnderTest]
) -> None:
    begin("--server", "epoll", *arguments.split())

    assert [system.options for system in systems] == [options]


def test_more_clients_than_descriptors_are_refused_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    systems: list[SystemUnderTest],
) -> None:
    own = limits.OWN_DESCRIPTORS
    monkeypatch.setattr(limits, "raise_descriptor_limit", lambda: 1000 + own)
    ours = "run --server epoll --connections 1"

    said = expect_error(capsys, 1, *ours.split(), "--idle", 1000)
    assert f"1,001 clients needs {1001 + own:,} descriptors and the limit is {1000 + own:,}" in said
    assert not systems
    begin(*ours.split()[1:], "--idle", 999)
    # Silent clients of somebody else's server have processes of their own.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = "--connect", f"127.0.0.1:{listener.getsockname()[1]}"
        begin(*theirs, "--connections", 1000, "--idle", 1000)
        assert "1,001 clients" in expect_error(capsys, 1, "run", *theirs, "--connections", 1001)


def test_stamps_that_could_not_be_kept_are_refused_before_anything_is_started(
    tmp_path: Path, systems: list[SystemUnderTest], capsys: pytest.CaptureFixture[str]
) -> None:
    said = expect_error(capsys, 1, "run", "--server", "epoll", "--raw", tmp_path / "no" / "file")
    assert said == f"error: {tmp_path / 'no'} is not a folder: make it first"
    assert not systems


@pytest.mark.parametrize("steal", [0.0, 0.5])
@pytest.mark.parametrize("how", [[], ["--json"]])
def test_the_exit_status_says_whether_the_trial_is_valid(
    how: list[str],
    steal: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = records.record(steal=steal)
    record["server_cost"] = None
    monkeypatch.setattr(trial, "run", lambda *_, **__: record)

    assert __main__.main(["run", "--server", "epoll", *how]) == (1 if steal else 0)
    assert how or ("INVALID" in capsys.readouterr().out) == bool(steal)


@pytest.mark.parametrize("how", ["Ctrl-C", "killed", "killed while its server is stopped"])
def test_neither_server_nor_background_clients_outlive_the_lab(how: str) -> None:
    command = "run --server epoll --idle 50 --warmup 600"
    expect_nothing_left(how, command, "servers", "loadgen.clients.background_process")


def test_an_interpreter_is_for_our_servers_and_has_to_be_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = expect_error(capsys, 2, "run", "--server", "epoll", "--python", "/nowhere/python")
    assert "cannot run /nowhere/python: No such file or directory" in said
    said = expect_error(capsys, 2, "run", "--connect", "127.0.0.1:1", "--python", sys.executable)
    assert "--python does not go with --connect" in said
