"""What people type, rightly and wrongly; and what is left of a run that was stopped or killed."""

import functools
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import records
from harness import ROOT, settings, wait_until

from loadgen import __main__, commands, experiments
from loadgen.analysis import analysis
from loadgen.machine import doctor, environment
from loadgen.plan import runner
from loadgen.store import results
from loadgen.target import target, trace
from loadgen.trial import calibrate, trial
from loadgen.trial.trial import Subject
from servers import catalog

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
    modules = modules_after("--help")

    assert set(modules) > {f"loadgen.commands.{name}" for name in commands.ALL}
    assert not {"numba", "numpy", "scipy", "matplotlib", "rich"} & modules


def test_help_names_every_command() -> None:
    result = loadgen("--help")

    assert result.returncode == 0
    there_are = {path.stem for path in (ROOT / "loadgen" / "commands").glob("*.py")}
    assert set(commands.ALL) == there_are - {"__init__", "arguments"}
    for command in commands.ALL:
        assert f"  {command}" in result.stdout


def test_outside_of_its_environment_the_lab_says_how_to_get_in() -> None:
    result = subprocess.run(
        [sys.executable, "-S", "-m", "loadgen", "list"],  # -S: without installed libraries
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "run `make setup`, then .venv/bin/python -m loadgen" in result.stderr


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


# One trial.


class MeasuredError(Exception):
    """A trial would have begun."""


@pytest.fixture
def subjects(monkeypatch: pytest.MonkeyPatch) -> list[Subject]:
    """Whom trials would have measured; each of them ends in that error."""
    found: list[Subject] = []

    def run(subject: Subject, *_: object, **__: object) -> None:
        found.append(subject)
        raise MeasuredError

    monkeypatch.setattr(trial, "run", run)
    return found


def begin(*arguments: object) -> None:
    with pytest.raises(MeasuredError):
        __main__.main(["run", *map(str, arguments)])


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_nobody_listening_is_said_in_a_line(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = expect_error(capsys, 1, "run", "--connect", f"{host}:1")

    assert said == f"error: nobody listens at {host}:1"


@pytest.mark.parametrize("name", ["nosuch.invalid", "a..b"])
def test_a_name_that_nobody_has_is_said_in_a_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = expect_error(capsys, 1, "run", "--connect", f"{name}:80")

    assert said == f"error: cannot resolve {name!r}"


@pytest.mark.parametrize(("host", "address"), [("localhost", "127.0.0.1"), ("[::1]", "::1")])
def test_a_name_is_resolved_once_to_where_somebody_listens(
    host: str, address: str, subjects: list[Subject]
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port = listener.getsockname()[1]
        begin("--connect", f"{host}:{port}")

    assert subjects == [Subject(address=(address, port))]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("", ()),
        ("--message-bytes 65536", ()),
        ("--message-bytes 100000", ("--max-line", "100000")),
        ("--work cpu:100us", ("--work", "cpu:100us")),
    ],
)
def test_our_server_is_told_what_the_load_needs_and_no_more(
    arguments: str, options: tuple[str, ...], subjects: list[Subject]
) -> None:
    begin("--server", "epoll", *arguments.split())

    assert [subject.options for subject in subjects] == [options]


def test_more_clients_than_descriptors_are_refused_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    subjects: list[Subject],
) -> None:
    own = environment.OWN_DESCRIPTORS
    monkeypatch.setattr(environment, "raise_descriptor_limit", lambda: 1000 + own)
    ours = "run --server epoll --connections 1"

    said = expect_error(capsys, 1, *ours.split(), "--idle", 1000)
    assert f"1,001 clients needs {1001 + own:,} descriptors and the limit is {1000 + own:,}" in said
    assert not subjects
    begin(*ours.split()[1:], "--idle", 999)
    # Silent clients of somebody else's server have processes of their own.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = "--connect", f"127.0.0.1:{listener.getsockname()[1]}"
        begin(*theirs, "--connections", 1000, "--idle", 1000)
        assert "1,001 clients" in expect_error(capsys, 1, "run", *theirs, "--connections", 1001)


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
    assert how or ("NOT VALID" in capsys.readouterr().out) == bool(steal)


# Output.


def test_a_run_without_a_whole_trial_has_nothing_to_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [])

    assert "holds no whole trial" in expect_error(capsys, 1, "report", run)
    assert not (run / "report.md").exists()


@pytest.mark.parametrize("command", ["list", "report"])
def test_output_that_cannot_be_written_is_said_in_a_line(command: str, tmp_path: Path) -> None:
    folders = [records.sound_run(tmp_path / "run")] if command == "report" else []
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*LOADGEN, command, *folders],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=2 * settings.deadline_s,
            check=False,
        )

    assert (result.returncode, result.stderr) == (1, "error: [Errno 28] No space left on device\n")


# Runs that are begun and resumed.


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run of this lab on this machine that is finished."""
    plan = runner.plan(
        "quick",
        [experiments.find("throughput")],
        [catalog.find("poll"), catalog.find("epoll")],
        blocks=1,
        spare=0.0,
        seed=records.SEED,
        descriptors=environment.raise_descriptor_limit(),
    )
    folder = results.create(
        plan.profile,
        plan=plan.as_record(),
        seed=plan.seed,
        environment={**environment.describe(), **environment.pinning().as_record()},
        folder=tmp_path / "run",
    )
    with results.append_to(folder) as trials:
        for block, place, cell in plan.trials():
            count = cell.workload.connections
            trials.append(records.record(cell.server, connections=count, block=block, order=place))
    return folder


def test_a_finished_run_is_only_drawn_again(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (stored / "trials.jsonl").read_bytes()
    monkeypatch.setattr(doctor, "watch_load", lambda: pytest.fail("nothing would be disturbed"))

    assert __main__.main(["bench", "--resume", str(stored)]) == 0

    assert "nothing left to measure: redrawing" in capsys.readouterr().out
    assert (stored / "trials.jsonl").read_bytes() == before
    assert (stored / "report.md").exists()


def test_the_process_that_measures_does_not_load_what_draws(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = "bench --quick --experiments throughput --servers epoll --seed 1 --out"
    modules = modules_after(*command.split(), run)

    assert {"loadgen.engine.engine", "rich"} < modules
    assert not {name for name in modules if name.partition(".")[0] in ("matplotlib", "PIL")}
    assert (run / "report.md").exists()


def test_a_report_that_cannot_be_drawn_is_said_in_a_line(
    stored: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (stored / "charts").touch()

    assert __main__.main(["bench", "--resume", str(stored)]) == 1

    said = capfd.readouterr()
    assert said.out == f"nothing left to measure: redrawing {stored}\n"
    assert said.err == (
        f"error: the report of {stored} could not be drawn: cannot write to {stored}: File exists\n"
    )


def test_a_packed_run_that_was_stopped_has_to_be_unpacked(
    stored: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "watch_load", lambda: doctor.other_load({}))
    trials = stored / "trials.jsonl"
    first = trials.read_bytes().splitlines(keepends=True)[0]
    trials.with_name("trials.jsonl.gz").write_bytes(gzip.compress(first))
    trials.unlink()

    assert __main__.main(["bench", "--resume", str(stored)]) == 1
    said = capsys.readouterr().err
    assert said == f"error: {stored} is packed: `gunzip {trials}.gz` to continue it\n"


def test_a_run_goes_on_with_the_libraries_it_was_begun_with(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {**results.versions(), "numba": "0", "numpy": "0"}
    monkeypatch.setattr(results, "versions", lambda: others)

    said = expect_error(capsys, 1, "bench", "--resume", stored)
    assert "other versions of numba, numpy: start a new run" in said


@pytest.mark.parametrize(
    ("begun", "now", "refused"),
    [("a", "b", True), ("a", "a", False), ("a", None, False), (None, "b", False)],
)
def test_a_run_goes_on_with_the_lab_it_was_begun_with_where_that_is_known(
    begun: str | None,
    now: str | None,
    refused: bool,
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    header = json.loads((stored / "run.json").read_text())
    (stored / "run.json").write_text(json.dumps({**header, "git_commit": begun}))
    monkeypatch.setattr(results, "git_commit", lambda: now)

    if refused:
        said = expect_error(capsys, 1, "bench", "--resume", stored)
        assert "begun with the lab at a and this is b: check that out, or start a new run" in said
    else:
        assert __main__.main(["bench", "--resume", str(stored)]) == 0


def test_a_plan_without_a_cell_is_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "bench --quick --experiments trust --servers poll --out"

    said = expect_error(capsys, 1, *command.split(), tmp_path / "run")
    assert "nothing to measure: every cell is skipped, see `list`" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("busy", [0.02, 0.71])
def test_a_run_on_a_busy_machine_begins_with_a_warning(
    busy: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor, "watch_load", lambda: doctor.other_load({0: busy}))
    monkeypatch.setattr(calibrate, "reach", lambda _: [])
    monkeypatch.setattr(runner, "execute", lambda *_: iter(()))
    command = "bench --quick --experiments throughput --servers epoll --out"

    assert __main__.main([*command.split(), str(tmp_path / "run")]) == 1  # nothing was measured

    warning = "warning: other programs use 71 % of CPU 0: figures will be disturbed\n"
    assert capsys.readouterr().err == (warning if busy > 0.5 else "")
    header = results.load(tmp_path / "run").header
    assert header["environment"]["server_environment"] == target.SERVER_ENVIRONMENT


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


def children(pid: int, *words: str) -> list[psutil.Process]:
    """What a lab has started, once there is a process of each of these modules or programs."""
    found: list[psutil.Process] = []

    def all_there() -> bool:
        found[:] = psutil.Process(pid).children(recursive=True)
        return set(words) <= {word for each in found for word in command_line(each)}

    wait_until(all_there, f"processes of {', '.join(words)}")
    return found


def command_line(process: psutil.Process) -> list[str]:
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


def end(how: str, command: str, *words: str) -> None:
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
                if "server" in how and "servers" in command_line(process):
                    process.send_signal(signal.SIGSTOP)
            lab.kill()
        _, said = lab.communicate(timeout=settings.deadline_s)
        assert said == ("stopped\n" if how == "Ctrl-C" else "")
        assert lab.returncode == (130 if how == "Ctrl-C" else -signal.SIGKILL)
        expect_gone(started)
    finally:
        lab.kill()
        lab.communicate()


@pytest.mark.parametrize("how", ["Ctrl-C", "killed", "killed while its server is stopped"])
def test_neither_server_nor_crowd_outlives_the_lab(how: str) -> None:
    end(how, "run --server epoll --idle 50 --warmup 600", "servers", "loadgen.clients.crowd")


@pytest.mark.skipif(trace.missing() is not None, reason=trace.missing() or "")
@pytest.mark.parametrize("how", ["Ctrl-C", "killed"])
def test_neither_tracer_nor_server_outlives_the_lab(how: str) -> None:
    end(how, "trace epoll --requests 10000", "strace", "servers")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on_where_it_was(
    bench: subprocess.Popen[str], by: signal.Signals, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    started = children(bench.pid, "servers")
    bench.send_signal(by)
    _, said = bench.communicate(timeout=settings.deadline_s)
    kept = results.load(run).records

    assert bench.returncode == (-9 if by == signal.SIGKILL else 130), said
    assert "Traceback" not in said
    assert 0 < len(kept) < 4
    expect_gone(started)
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
    """epoll answers twenty times, and then does something else; poll is measured all the same.

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
                if answers > 20:
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
