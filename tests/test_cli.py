"""What people type, rightly and wrongly; and what is left of a run that was stopped or killed."""

import functools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import records
from harness import ROOT, settings, wait_until

from loadgen import __main__, analysis, results

LOADGEN = [sys.executable, "-m", "loadgen"]


def loadgen(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LOADGEN, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * settings.deadline_s,
        check=False,
    )


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


# Wrong command lines.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "COMMAND"),
        ("nosuch", "nosuch"),
        ("run", "--server"),
        ("run --server nosuch", "unknown server 'nosuch'; there are: blocking"),
        ("run --server epoll --connect 127.0.0.1:1", "not allowed"),
        ("run --server epoll --connections many", "--connections"),
        ("run --server epoll --connections -1", "connections is -1"),
        ("run --server epoll --connections 1000000000", "connections is 1000000000"),
        ("run --server epoll --idle -1", "idle_connections is -1"),
        ("run --server epoll --message-bytes 1", "message_bytes is 1"),
        ("run --server epoll --duration 0", "duration_s is 0.0"),
        ("run --server epoll --duration -1", "duration_s is -1.0"),
        ("run --server epoll --duration nan", "duration_s is nan"),
        ("run --server epoll --duration 1e99", "duration_s is 1e+99"),
        ("run --server epoll --duration soon", "--duration"),
        ("run --server epoll --warmup -1", "warmup_s is -1.0"),
        ("run --server epoll --rate 0", "offered_per_s is 0.0"),
        ("run --server epoll --rate -5", "offered_per_s is -5.0"),
        ("run --server epoll --rate inf", "offered_per_s is inf"),
        ("run --server epoll --rate fast", "--rate"),
        ("run --server epoll --rate 1e9", "offered_per_s is 1000000000.0"),
        ("run --server epoll --arrivals poisson", "a closed loop has none"),
        ("run --server epoll --rate 5 --arrivals often", "--arrivals"),
        ("run --server epoll --seed -1", "seed is -1"),
        ("run --connect nowhere", "'nowhere' is not HOST:PORT"),
        ("run --connect host:0", "is not HOST:PORT"),
        ("run --connect host:65536", "is not HOST:PORT"),
        ("bench --quick --full", "not allowed"),
        (
            "bench --quick --experiments nosuch",
            "unknown experiment 'nosuch'; there are: throughput",
        ),
        ("bench --quick --servers nosuch", "unknown server 'nosuch'"),
        ("bench --quick --servers ,", "names nothing"),
        ("bench --quick --seed -1", "--seed is -1"),
        ("bench --seed 2147483648", "--seed is 2147483648"),
        ("bench --quick --resume nowhere", "--quick does not go with --resume"),
        ("bench --resume nowhere --servers epoll", "--servers does not go with --resume"),
        ("report", "DIR"),
        ("audit", "DIR"),
        ("compare one", "DIR_B"),
        ("doctor now", "now"),
        ("list --all", "--all"),
    ],
)
def test_a_wrong_command_line_has_status_2(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in expect_error(capsys, 2, *arguments.split())


# Folders.


def spoil(folder: Path, how: str) -> Path:
    """A folder that is no run, in one way or another."""
    if how == "missing":
        return folder / "nowhere"
    if how == "file":
        (folder / "file").touch()
        return folder / "file"
    if how == "empty":
        (folder / "empty").mkdir()
        return folder / "empty"
    run = records.write_run(folder / "run", [records.record(block=block) for block in range(2)])
    if how == "newer":
        (run / "run.json").write_text((run / "run.json").read_text().replace("1", "2", 1))
    if how == "broken":
        lines = (run / "trials.jsonl").read_text().splitlines()
        (run / "trials.jsonl").write_text(f"{lines[0][:50]}\n{lines[1]}\n")
    if how == "no trials":
        (run / "trials.jsonl").unlink()
    return run


SPOILT = {
    "missing": "does not exist",
    "file": "is not a folder",
    "empty": "run.json does not exist",
    "newer": "schema 2 and this lab reads up to 1",
    "broken": "line 1 is not JSON",
    "no trials": "trials.jsonl does not exist",
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("command", ["report", "audit", "compare", "bench --resume"])
def test_a_folder_that_is_no_run_is_named(
    command: str, how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = spoil(tmp_path, how)
    folders = [folder, folder] if command == "compare" else [folder]

    assert SPOILT[how] in expect_error(capsys, 1, *command.split(), *folders)


def test_runs_that_share_no_cell_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = records.write_run(tmp_path / "one", [records.record("epoll")])
    other = records.write_run(tmp_path / "other", [records.record("poll")])

    assert "share no cell" in expect_error(capsys, 1, "compare", one, other)


def test_charts_that_cannot_be_written_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [records.record()])
    (run / "charts").touch()

    assert "cannot write to" in expect_error(capsys, 1, "report", run)


def test_a_run_of_experiments_that_this_lab_does_not_know_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [records.record(experiment="nosuch")])

    assert "another lab" in expect_error(capsys, 1, "report", run)


def test_half_a_run_does_not_pass_an_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [records.record()], blocks=2)
    assert __main__.main(["report", str(run)]) == 0
    capsys.readouterr()

    assert __main__.main(["audit", str(run)]) == 1
    assert "unfinished: 1 of 2 planned trials are missing" in capsys.readouterr().out


# Starting.


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, loadgen.__main__; print(*sys.modules, sep='\\n')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert not {"numba", "numpy", "scipy", "matplotlib", "rich"} & set(result.stdout.split())


def test_help_names_every_command() -> None:
    result = loadgen("--help")

    assert result.returncode == 0
    for command in ["run", "bench", "report", "compare", "audit", "calibrate", "doctor", "list"]:
        assert f"  {command}" in result.stdout


def test_nobody_listening_is_a_trial_that_failed() -> None:
    result = loadgen("run", "--connect", "127.0.0.1:1", "--duration", "0.1")

    assert result.returncode == 1
    assert "refused" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


# Stopping and killing.


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A small run that goes on long enough to be stopped in the middle."""
    command = "bench --quick --experiments throughput --servers poll,epoll --seed 1 --out"
    process = subprocess.Popen(
        [*LOADGEN, *command.split(), tmp_path / "run"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may have had Ctrl-C ignored (POSIX, 2.11).
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    trials = tmp_path / "run" / "trials.jsonl"
    wait_until(
        lambda: process.poll() is not None or (trials.exists() and b"\n" in trials.read_bytes()),
        "a trial is stored",
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on_where_it_was(
    bench: subprocess.Popen[str], by: signal.Signals, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    started = psutil.Process(bench.pid).children(recursive=True)
    bench.send_signal(by)
    _, said = bench.communicate(timeout=settings.deadline_s)
    kept = results.load(run).records

    assert bench.returncode == (-9 if by == signal.SIGKILL else 130), said
    assert "Traceback" not in said
    assert 0 < len(kept) < 4
    for process in started:
        wait_until(lambda p=process: not p.is_running(), "no server outlives the lab")
    if by != signal.SIGKILL:
        assert f"bench --resume {run}" in said
    if by == signal.SIGTERM:
        return  # what it leaves is what Ctrl-C leaves

    resumed = loadgen("bench", "--resume", run)

    assert resumed.returncode == 0, resumed.stderr
    assert results.load(run).records[: len(kept)] == kept
    assert [len(cell.records) for cell in analysis.load(run).cells.values()] == [1] * 4
    audited = loadgen("audit", run)
    assert audited.returncode == 0, audited.stdout


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("os.abort()", "the server ended by itself with status -6"),
        # In the window: "were not answered within the drain"; before: "no request was answered".
        ("time.sleep(1000)", "answered"),
    ],
)
def test_a_server_that_fails_costs_its_trial_and_is_named(
    fault: str, words: str, tmp_path: Path
) -> None:
    """epoll answers a thousand times, and then does something else; poll is measured all the same.

    sitecustomize is imported by every interpreter that starts with it on its path (site).
    """
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
        import os, sys, time
        if "epoll" in sys.orig_argv:
            from servers import common, protocol
            answers = 0
            def respond(line):
                global answers
                answers += 1
                if answers > 1000:
                    {fault}
                return hello(line)
            hello, common.hello, protocol.hello = protocol.hello, respond, respond
        """)
    )
    run = tmp_path / "run"
    command = "bench --quick --experiments throughput --servers poll,epoll --seed 1 --out"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    subprocess.run(
        [*LOADGEN, *command.split(), run],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        timeout=4 * settings.deadline_s,
        check=True,
    )

    blamed: dict[str, list[str]] = {"epoll": [], "poll": []}
    for record in results.load(run).records:
        reasons = record["verdict"]["reasons"]
        blamed[record["server"]["name"]].append("; ".join(reasons))
        assert reasons or record["server"]["name"] == "poll"
    assert len(blamed["epoll"]) == len(blamed["poll"]) == 2
    assert any(words in text for text in blamed["epoll"]), blamed
    assert not any(words in text for text in blamed["poll"]), blamed
