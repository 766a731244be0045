"""The exit status of an audit."""

from pathlib import Path

import pytest
import records

from loadgen import __main__


def test_half_a_run_does_not_pass_an_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [records.record()], blocks=2)
    assert __main__.main(["report", str(run)]) == 0
    capsys.readouterr()

    assert __main__.main(["audit", str(run)]) == 1
    assert "unfinished: 1 of 2 planned trials are missing" in capsys.readouterr().out
