"""Two runs that cannot be compared."""

from pathlib import Path

import pytest
import records
from command_line import expect_error


def test_runs_that_share_no_cell_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = records.write_run(tmp_path / "one", [records.record("epoll")])
    other = records.write_run(tmp_path / "other", [records.record("poll")])

    assert "share no cell" in expect_error(capsys, 1, "compare", one, other)
