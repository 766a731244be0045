"""A run: what is begun and what is refused; and what is left of one that was stopped or killed."""

import argparse
import functools
import gzip
import json
import os
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import records
from command_line import LOADGEN, children, expect_error, expect_gone, loadgen, modules_after
from harness import ROOT, settings, wait_until

from loadgen import __main__, experiments
from loadgen.commands import bench, keeping
from loadgen.machine import doctor, limits
from loadgen.machine.cpus import choose_pinning
from loadgen.machine.describe import describe_machine
from loadgen.machine.limits import raise_descriptor_limit
from loadgen.plan import execute
from loadgen.plan.plan import Profile, plan
from loadgen.plan.plan import stored as stored_plan
from loadgen.store import provenance, runs
from loadgen.store.schema import Environment, Record
from loadgen.trial import calibrate
from servers import catalog

pytestmark = pytest.mark.measures


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
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
        ("bench --resume nowhere --seed 0", "--seed does not go with --resume"),
    ],
)
def test_a_wrong_command_line_has_status_2(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in expect_error(capsys, 2, *arguments.split())


# Beginning and resuming.


@pytest.mark.parametrize("words", ["bench", "duel epoll poll"])
def test_a_folder_that_is_used_is_refused_before_anything_is_measured(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To measure first would disturb whoever is measuring in it."""
    used = records.write_run(tmp_path / "run", [records.record()])

    def started(*_: object, **__: object) -> None:
        pytest.fail("a server was started")

    monkeypatch.setattr("loadgen.target.process.running", started)
    monkeypatch.setattr("loadgen.trial.calibrate.measure_ceiling", started)
    error = expect_error(capsys, 1, *words.split(), "--out", used)
    assert f"{used} is not empty" in error


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run of this lab on this machine that is finished."""
    servers = [catalog.find("poll"), catalog.find("epoll")]
    planned = plan(
        "quick",
        ["throughput"],
        [model.name for model in servers],
        experiments.find("throughput").cells("quick", servers),
        blocks=1,
        trials=1,
        extra_time=0.0,
        seed=records.SEED,
        descriptors=raise_descriptor_limit(),
    )
    machine = {**describe_machine(), **choose_pinning().as_record()}
    folder = runs.create(
        planned.profile,
        plan=planned.as_record(),
        seed=planned.seed,
        environment=cast(Environment, machine),
        folder=tmp_path / "run",
    )
    with runs.append_to(folder) as trials:
        for block, position, group in planned.groups():
            made = [
                {
                    **records.record(
                        cell.server,
                        connections=cell.workload.connections,
                        block=block,
                        position=position + number,
                    ),
                    "cell": cell.as_record(),
                }
                for number, cell in enumerate(group)
            ]
            trials.append(cast(list[Record], made))
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

    assert {"numba", "rich"} < modules
    draws = {"matplotlib", "plotly", "jinja2"}
    assert not {name for name in modules if name.partition(".")[0] in draws}
    assert (run / "report.md").exists()
    assert (run / "report.html").exists()


def test_a_report_that_cannot_be_drawn_is_said_in_a_line(
    stored: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (stored / "charts").touch()

    assert __main__.main(["bench", "--resume", str(stored)]) == 1

    said = capfd.readouterr()
    assert said.out == (
        f"nothing left to measure: redrawing {stored}\nfilming 2 servers, a few seconds each\n"
    )
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
    others = {**provenance.versions(), "numba": "0", "numpy": "0"}
    monkeypatch.setattr(provenance, "versions", lambda: others)

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
    monkeypatch.setattr(provenance, "git_commit", lambda: now)

    if refused:
        said = expect_error(capsys, 1, "bench", "--resume", stored)
        assert "begun with the lab at a and this is b: check that out, or start a new run" in said
    else:
        assert __main__.main(["bench", "--resume", str(stored)]) == 0


def test_a_run_of_a_server_that_is_gone_is_refused(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        catalog, "MODELS", tuple(model for model in catalog.MODELS if model.name != "epoll")
    )

    said = expect_error(capsys, 1, "bench", "--resume", stored)
    assert "was planned by another lab: there is no server 'epoll' here" in said


def test_a_run_that_fits_no_more_is_refused(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "raise_descriptor_limit", lambda: 100)

    said = expect_error(capsys, 1, "bench", "--resume", stored)
    assert "cannot be measured any more" in said
    assert "needs 128 descriptors and the limit is 100" in said


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
    monkeypatch.setattr(calibrate, "measure_ceiling", lambda _: [])
    monkeypatch.setattr(execute, "execute", lambda *_, **__: iter(()))
    monkeypatch.setattr("loadgen.commands.bench._film", lambda *_: None)
    monkeypatch.setattr(keeping, "draw", lambda _: None)  # of nothing
    command = "bench --quick --experiments throughput --servers epoll --out"

    assert __main__.main([*command.split(), str(tmp_path / "run")]) == 1  # nothing was measured

    warning = "warning: other programs use 71 % of CPU 0: figures will be disturbed\n"
    assert capsys.readouterr().err == (warning if busy > 0.5 else "")


# Stopping and killing.

# poll, epoll, and epoll again.
GROUP, BLOCKS = 3, bench.BLOCKS["quick"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A small run, of GROUP servers that are measured together in BLOCKS blocks, that goes on long
    enough to be stopped in the middle."""
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
    running: subprocess.Popen[str], by: signal.Signals, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    started = children(running.pid, "servers")
    running.send_signal(by)
    _, said = running.communicate(timeout=settings.deadline_s)
    stopped = runs.load(run)
    kept = stopped.records

    assert running.returncode == (-9 if by == signal.SIGKILL else 130), said
    assert "Traceback" not in said
    assert 0 < len(kept) < GROUP * BLOCKS
    # All of an epoch is stored in one piece: the one in flight is lost as a whole.
    assert len(kept) % GROUP == 0
    expect_gone(started)
    if by != signal.SIGKILL:
        assert f"bench --resume {run}" in said
    if by == signal.SIGTERM:
        return  # what it leaves is what Ctrl-C leaves

    resumed = loadgen("bench", "--resume", run)

    assert resumed.returncode == 0, resumed.stderr
    finished = runs.load(run)
    assert finished.records[: len(kept)] == kept
    assert finished.raw_header == stopped.raw_header
    planned = [
        (block, position + number, cell.as_record())
        for block, position, group in stored_plan(finished.header).groups()
        for number, cell in enumerate(group)
    ]
    assert len(planned) == GROUP * BLOCKS
    measured = [(each["block"], each["position"], each["cell"]) for each in finished.records]
    assert measured == planned
    # Who is measured together is measured at once.
    begun = {(each["block"], each["started_at"]) for each in finished.records}
    assert len(begun) == BLOCKS
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
            from servers import command_line, protocol
            answers = 0
            def respond(line):
                global answers
                answers += 1
                if answers > 20:
                    {fault}
                return hello(line)
            hello, command_line.hello, protocol.hello = protocol.hello, respond, respond
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
    for record in runs.load(run).records:
        reasons = record["verdict"]["reasons"]
        blamed[record["server"]["name"]].append("; ".join(reasons))
        assert reasons or record["server"]["name"] == "poll"
    assert len(blamed["epoll"]) == 2 * len(blamed["poll"]) == 2 * BLOCKS  # it takes part twice
    assert any(words in text for text in blamed["epoll"]), blamed
    assert not any(words in text for text in blamed["poll"]), blamed


@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
def test_experiments_that_a_run_has_to_name_are_in_no_other(profile: Profile) -> None:
    def chosen(names: list[str] | None) -> list[str]:
        options = argparse.Namespace(experiments=names, python=None)
        return [experiment.NAME for experiment in bench._experiments(options, profile)]

    assert set(experiments.BY_NAME) <= set(experiments.ALL)
    assert not set(chosen(None)) & set(experiments.BY_NAME)
    assert chosen(["transports", "http"]) == ["transports", "http"]
