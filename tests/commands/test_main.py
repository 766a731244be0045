"""What all commands share: help, wrong command lines, output that cannot be written."""

import subprocess
import sys
from pathlib import Path

import pytest
import records
from command_line import LOADGEN, expect_error, loadgen, modules_after
from harness import ROOT, settings

from loadgen import commands


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "COMMAND"),
        ("nosuch", "nosuch"),
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


def test_help_imports_nothing_heavy() -> None:
    modules = modules_after("--help")

    assert set(modules) > {f"loadgen.commands.{name}" for name in commands.ALL}
    assert not {"numba", "numpy", "scipy", "matplotlib", "rich"} & modules


def test_help_names_every_command() -> None:
    result = loadgen("--help")

    assert result.returncode == 0
    there_are = {path.stem for path in (ROOT / "loadgen" / "commands").glob("*.py")}
    assert set(commands.ALL) == there_are - {"__init__", "arguments", "keeping"}
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
