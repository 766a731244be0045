"""What makes every command easier: versions, guesses, units, figures for other programs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import records
from command_line import expect_error, loadgen
from harness import ROOT, settings

from loadgen import __main__
from loadgen.commands import arguments
from loadgen.store.schema import SCHEMA


def test_the_version_is_one_line_with_all_that_a_figure_depends_on() -> None:
    said = loadgen("--version")

    assert said.returncode == 0
    assert said.stderr == ""
    assert re.fullmatch(
        rf"io-lab \d[\w.]*( at [0-9a-f]{{12}}(, changed since)?)?; runs of schema {SCHEMA},"
        r" \w+ 3\.\d+\.\d+\w*\n",
        said.stdout,
    )


# Guesses.


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        ("bnech", "unknown command 'bnech' (did you mean 'bench'?); there are: run, "),
        ("run --server epol", "unknown server 'epol' (did you mean 'epoll'?); there are: blocking"),
        ("bench --servers selekt", "(did you mean 'select'?)"),
        ("bench --experiments idlecost", "(did you mean 'idle_cost'?)"),
        ("duel epoll pol", "(did you mean 'poll'?)"),
        ("trace uvlop", "(did you mean 'uvloop'?)"),
        ("run --server xyzzy", "unknown server 'xyzzy'; there are: "),
    ],
)
def test_a_name_that_there_is_not_is_guessed(
    words: str, guess: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guess in expect_error(capsys, 2, *words.split())


def test_servers_are_guessed_without_the_lab() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "servers", "epol"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
        check=False,
    )
    assert done.returncode == 2
    assert "error: unknown server 'epol' (did you mean 'epoll'?); there are: " in done.stderr


def test_a_run_is_guessed_from_those_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records.write_run(tmp_path / "before-the-change", [records.record()])
    (tmp_path / "before-the-chaos").mkdir()  # no run

    said = expect_error(capsys, 1, "report", tmp_path / "before-the-chnage")
    assert "before-the-chnage does not exist (did you mean 'before-the-change'?): name a" in said


@pytest.mark.parametrize("words", ["{}", "run --server {}", "bench --experiments {}", "report {}"])
def test_a_very_long_name_is_no_very_long_error(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is in it."""
    name = "<script>alert(1)</script>" * 400
    said = expect_error(capsys, 1 if "report" in words else 2, *words.format(name).split())
    assert len(said) < 1000


# Lengths of time.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("10s", 10),
        ("10 s", 10),
        ("500ms", 0.5),
        ("1m", 60),
        ("1.5min", 90),
        ("2h", 7200),
        ("30d", 30 * 86_400),
        ("250us", 0.00025),
        (".5s", 0.5),
        ("1e-3", 0.001),
    ],
)
def test_a_length_of_time_may_have_a_unit(text: str, value: float) -> None:
    assert arguments.seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "s", "soon", "10x", "10ss", "1m30", "1:30", "10 10s"])
@pytest.mark.parametrize(
    "option", ["run --server epoll --duration", "run --server epoll --warmup", "runs --older-than"]
)
def test_what_is_no_length_of_time_is_said(
    option: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = expect_error(capsys, 2, *option.split(), text)
    assert "is no length of time, such as 10, 10s, 500ms or 1m" in said


def test_units_are_checked_by_the_same_limits(capsys: pytest.CaptureFixture[str]) -> None:
    said = expect_error(capsys, 2, "run", "--server", "epoll", "--duration", "2h")
    assert "--duration is 7200.0" in said
    said = expect_error(capsys, 2, "duel", "epoll", "poll", "--time-limit", "10ms")
    assert "--time-limit is 0.01" in said


# Figures for other programs.


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return records.sound_run(tmp_path / "run")


def as_json(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> object:
    assert __main__.main(list(map(str, words))) == status
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def test_report_prints_figures_and_draws_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "report.md").unlink()
    found = as_json(capsys, "report", run, "--json")

    assert isinstance(found, dict)
    assert not (run / "report.md").exists()
    assert (found["trials"], found["invalid"], found["name"]) == (8, 0, None)
    assert set(found["findings"]) == {"throughput"}
    one = found["cells"][0]
    assert one["cell"] == "throughput/poll/plain"
    assert one["workload"]["connections"] == 1
    assert 2000 <= one["figures"]["throughput_per_s"]["value"] <= 2100
    assert one["figures"]["throughput_per_s"]["n"] == one["valid"] == 2
    # Two blocks have no interval.
    assert one["figures"]["throughput_per_s"]["high"] is None


def test_audit_prints_what_does_not_hold(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, "audit", run, "--json", status=1)
    assert isinstance(found, dict)
    assert found["records"] == 8
    assert [problem[:37] for problem in found["problems"]] == [
        "the plan cannot be derived again: the"
    ]
    assert re.fullmatch(r"[0-9a-f]{64}", found["last_hash"])

    trials = run / "trials.jsonl"
    trials.write_text(trials.read_text().replace('"ok": 2000', '"ok": 2001', 1))
    found = as_json(capsys, "audit", run, "--json", status=1)
    assert isinstance(found, dict)
    assert any("does not hash" in problem for problem in found["problems"])


def test_doctor_prints_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from loadgen.machine import doctor

    found = [doctor.Finding("CPUs", "1", False, "use two"), doctor.Finding("clock", "tsc", True)]
    monkeypatch.setattr(doctor, "examine", lambda: found)

    told = as_json(capsys, "doctor", "--json", status=1)
    assert told == [
        {"subject": "CPUs", "state": "1", "fine": False, "advice": "use two", "serious": True},
        {"subject": "clock", "state": "tsc", "fine": True, "advice": "", "serious": True},
    ]
