"""Every command that reads a run says what is wrong with its folder."""

import json
from pathlib import Path

import pytest
import records
from command_line import expect_error

from loadgen.store import schema


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
        header = json.loads((run / "run.json").read_text())
        newer = {**header, "schema": schema.SCHEMA + 1}
        (run / "run.json").write_text(json.dumps(newer))
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
    "newer": f"schema {schema.SCHEMA + 1} and this lab reads up to {schema.SCHEMA}",
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
