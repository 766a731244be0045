"""Drawing a stored run: what cannot be drawn, or not be written."""

from pathlib import Path

import pytest
import records
from command_line import expect_error


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


def test_a_run_without_a_whole_trial_has_nothing_to_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [])

    assert "holds no whole trial" in expect_error(capsys, 1, "report", run)
    assert not (run / "report.md").exists()
