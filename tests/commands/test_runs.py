"""Runs are listed, deleted and renamed; and none goes that somebody may still need."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import records
from command_line import expect_error
from harness import ROOT

from loadgen import __main__
from loadgen.store import runs, shelf

NOW = datetime.now(UTC)


def put(parent: Path, folder_name: str, age_days: float, **called: str) -> Path:
    """A run that was begun so many days ago."""
    folder = records.write_run(
        parent / folder_name,
        [records.record(block=block, steal=0.5 if block else 0.0) for block in range(2)],
    )
    header = json.loads((folder / "run.json").read_text())
    begun = NOW - timedelta(days=age_days)
    header |= {"created_at": begun.isoformat(timespec="seconds"), **called}
    (folder / "run.json").write_text(json.dumps(header))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Five runs: the newest one is the latest, and one is a reference."""
    parent = tmp_path / "results"
    for age, name in enumerate(("new", "second", "third", "old", "reference-old")):
        put(parent, name, age)
    runs.point_at(parent / "new")
    (parent / "README.md").write_text("no run")
    (parent / "notes").mkdir()
    return parent


def left(parent: Path) -> set[str]:
    return {each.name for each in parent.iterdir()} - {"README.md", "notes"}


ALL = {"new", "second", "third", "old", "reference-old", "latest"}


def typed(capsys: pytest.CaptureFixture[str], parent: Path, *words: str, status: int = 0) -> str:
    assert __main__.main(["runs", "--in", str(parent), *words]) == status
    return capsys.readouterr().out


# Listing.


def test_the_list_says_what_each_run_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "a", 1, name="before the change", note="why")
    put(tmp_path, "b", 0)
    said = typed(capsys, tmp_path).splitlines()

    assert " ".join(said[0].split()) == "run measured profile servers trials void size name"
    assert said[1].startswith("b ")  # the newest first
    words = said[2].split()
    assert words[0] == "a"
    assert words[1] == f"{NOW - timedelta(days=1):%Y-%m-%d}"
    assert words[3:7] == ["test", "epoll", "2", "1"]
    assert said[2].rstrip().endswith("before the change")


def test_the_list_as_json_has_all_of_it(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(typed(capsys, results, "--json"))

    assert [Path(each["path"]).name for each in found] == [
        *("new", "second", "third", "old", "reference-old")
    ]
    kept = {Path(each["path"]).name: each["kept"] for each in found if each["kept"]}
    assert kept == {"new": "latest", "reference-old": "a reference"}
    assert found[0]["servers"] == ["epoll"]
    assert (found[0]["trials"], found[0]["void"]) == (2, 1)
    sizes = sum(each.stat().st_size for each in (results / "new").rglob("*") if each.is_file())
    assert found[0]["size_bytes"] == sizes


def test_what_cannot_be_read_is_in_the_list_with_its_reason(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "third" / "run.json").write_text('{"schema": 2')
    said = typed(capsys, results)

    assert f"unreadable: {results / 'third' / 'run.json'} is not JSON" in said
    assert sum(line.startswith("third") for line in said.splitlines()) == 1


def test_hostile_names_are_shown_as_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a", 0, name="<script>[red]" + "x" * 10_000)
    said = typed(capsys, tmp_path)

    assert "<script>[red]xxxxxxxxxx…" in said
    assert len(said) < 1000


def test_no_runs_and_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(capsys, tmp_path) == f"no runs in {tmp_path}\n"
    said = expect_error(capsys, 1, "runs", "--in", tmp_path / "nowhere")
    assert "cannot read" in said


def test_the_committed_runs_are_known_as_such() -> None:
    found = {each.path.name: each.kept for each in shelf.stored(ROOT / "results")}

    if (ROOT / ".git").exists():
        assert found["reference"] == found["reference-trust"] == "committed"
    assert all(found[name] for name in found if name.startswith("reference"))


# Pruning.


def test_the_newest_stay(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = typed(capsys, results, "--prune", "1", "--yes")

    assert left(results) == {"new", "second", "reference-old", "latest"}
    assert said.splitlines()[-1].startswith("deleted 2 runs, ")
    assert (results / "notes").is_dir()


def test_neither_latest_nor_references_go_and_the_former_is_said(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.point_at(results / "old")
    said = typed(capsys, results, "--prune", "0", "--yes")

    assert left(results) == {"old", "reference-old", "latest"}
    assert f"kept: {results / 'old'}, because `latest` points at it" in said


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["--older-than", "60h"], {"old"}),
        (["--older-than", "1d"], {"second", "third", "old"}),
        (["--older-than", "12h", "--prune", "2"], {"old"}),
        (["--older-than", "30d"], set()),
    ],
)
def test_by_age(
    words: list[str], gone: set[str], results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(capsys, results, *words, "--yes")
    assert ALL - left(results) == gone


def test_a_committed_run_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    put(results, "mine", 10)
    put(results, "theirs", 11)
    for words in (["init", "-q"], ["add", "results/theirs/run.json"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)

    typed(capsys, results, "--prune", "0", "--yes")
    assert left(results) == {"theirs"}
    said = expect_error(capsys, 1, "runs", "--in", results, "--rename", "theirs", "ours")
    assert "is committed: rename it by `git mv`" in said


def test_what_cannot_be_read_is_left_alone(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "old" / "run.json").write_text("{}")
    (results / "third" / "run.json").unlink()

    said = typed(capsys, results, "--prune", "0", "--yes")
    assert {"old", "third"} <= left(results)
    assert f"kept: {results / 'third'}, because it cannot be read: look at it yourself" in said


def test_a_run_that_is_being_written_is_left_alone(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(results / "old" / "trials.jsonl", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for words in (["--prune", "0", "--yes"], ["--rename", "old", "older"]):
            assert __main__.main(["runs", "--in", str(results), *words]) == 1
            assert "old is being written by another process" in capsys.readouterr().err
    assert "old" in left(results)


def test_without_a_terminal_nothing_goes_unless_it_is_said(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert __main__.main(["runs", "--in", str(results), "--prune", "0"]) == 1
    assert "nobody is here to be asked: say --yes" in capsys.readouterr().err
    assert left(results) == ALL


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal whose standard input is ours; gives what is to be typed into."""
    try:
        keys, screen = os.openpty()
    except OSError as error:
        pytest.skip(f"no terminal can be made here: {error.strerror}")
    with open(screen) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        yield keys
    os.close(keys)


@pytest.mark.parametrize(
    ("answer", "goes"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False)]
)
def test_at_a_terminal_it_is_asked(
    answer: str,
    goes: bool,
    terminal: int,
    results: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    os.write(terminal, answer.encode())
    said = typed(capsys, results, "--prune", "2", status=0 if goes else 1)

    assert "delete 1 run, " in said
    assert ("old" in left(results)) is not goes


def test_nothing_to_delete(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(capsys, results, "--prune", "9").splitlines()[-1] == "nothing to delete"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--prune -1", "--prune is -1"),
        ("--older-than -3", "--older-than is -3.0"),
        ("--older-than nan", "--older-than is nan"),
        ("--json --prune 1", "go one at a time"),
        ("--rename a b --prune 1", "go one at a time"),
    ],
)
def test_a_wrong_command_line(
    words: str, said: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in expect_error(capsys, 2, "runs", "--in", results, *words.split())
    assert left(results) == ALL


# Renaming.


def test_a_run_is_renamed_and_says_of_itself_what_it_said(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p.name: p.read_bytes() for p in (results / "new").iterdir() if p.is_file()}
    typed(capsys, results, "--rename", "new", "nineteen threads")

    folder = results / "nineteen threads"
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    assert (results / "latest").resolve() == folder.resolve()
    assert left(results) == ALL - {"new"} | {"nineteen threads"}
    # By its path, too; and latest stays where it was.
    typed(capsys, results, "--rename", str(results / "old"), "older")
    assert (results / "latest").resolve() == folder.resolve()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("second", "exists: choose another name"),
        ("latest", "cannot be the name of a run"),
        ("", "cannot be the name of a run"),
        (".hidden", "cannot be the name of a run"),
        ("../outside", "cannot be the name of a run"),
        ("a\nb", "cannot be the name of a run"),
        ("x" * 10_000, "cannot be the name of a run"),
    ],
)
def test_a_name_that_is_none(
    name: str, said: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in expect_error(capsys, 1, "runs", "--in", results, "--rename", "old", name)
    assert left(results) == ALL


def test_what_is_no_run_is_not_renamed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = expect_error(capsys, 1, "runs", "--in", results, "--rename", "notes", "other")
    assert "run.json does not exist" in said
    shutil.rmtree(results / "notes")
    said = expect_error(capsys, 1, "runs", "--in", results, "--rename", results / "odl", "other")
    assert "odl does not exist (did you mean 'old'?)" in said
