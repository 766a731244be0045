"""Whatever a folder holds, every command that reads it says in a line what is wrong, or shows what
is there. Nothing ends in a traceback, and nothing is half done."""

import gzip
import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import records
from harness import ROOT

from loadgen import __main__, commands
from loadgen.store import runs, schema
from loadgen.trial.cell import Cell

HOSTILE = "<script>alert(document.title)</script>" + "x" * 10_000

# Every command that reads a run, as it is typed; {run} is the run, {out} does not exist.
READERS = {
    "report": ["report", "{run}"],
    "report --json": ["report", "{run}", "--json"],
    "audit": ["audit", "{run}"],
    "audit --json": ["audit", "{run}", "--json"],
    "compare": ["compare", "{run}", "{run}", "--out", "{out}"],
    "compare --json": ["compare", "{run}", "{run}", "--json"],
    "export --csv": ["export", "{run}", "--csv"],
    "export --hgrm": ["export", "{run}", "--hgrm", "--out", "{out}"],
    "runs": ["runs", "--in", "{parent}"],
    "claim --run": ["claim", "--run", "{run}"],
    "bench --resume": ["bench", "--resume", "{run}"],
}


def read_by(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Status and output of a command; a traceback fails the test by itself."""
    places = {"run": run, "out": tmp_path / "out", "parent": run.parent}
    status = __main__.main([word.format(**places) for word in READERS[command]])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    # An audit of what can be read has its findings for a result.
    if status and not (command.startswith("audit") and said.out):
        *warnings, last = said.err.splitlines() or [""]
        assert last.startswith("error: "), (command, said)
        assert len(last) < 1000
        assert all(line.startswith("warning: ") for line in warnings)
    return status, said.out


def change_header(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run / "run.json"
    header = json.loads(path.read_text())
    change(header)
    path.write_text(json.dumps(header))


def change_trials(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run / "trials.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        change(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def cut(run: Path, name: str, share: float) -> None:
    path = run / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


# What is done to a run, and whether anybody can read it then.
SPOILT: dict[str, tuple[Callable[[Path], object], bool]] = {
    "a header that is cut off": (lambda run: cut(run, "run.json", 0.5), False),
    "an empty header": (lambda run: cut(run, "run.json", 0), False),
    "a last line that is cut off": (lambda run: cut(run, "trials.jsonl", 0.95), True),
    "all lines but a part of the first cut off": (lambda run: cut(run, "trials.jsonl", 0.01), True),
    "no header": (lambda run: (run / "run.json").unlink(), False),
    "a foreign header": (lambda run: (run / "run.json").write_text('{"name": "chai"}'), False),
    "a header that is a list": (lambda run: (run / "run.json").write_text("[1, 2]"), False),
    "a header that is no text": (lambda run: (run / "run.json").write_bytes(b"\xff\xfe\0"), False),
    "a header that is a folder": (
        lambda run: ((run / "run.json").unlink(), (run / "run.json").mkdir()),
        False,
    ),
    "deep brackets": (lambda run: (run / "run.json").write_text("[" * 100_000), False),
    "an unknown field in the header": (
        lambda run: change_header(run, lambda header: header.update(colour="red")),
        False,
    ),
    "an unknown field in a record": (
        lambda run: change_trials(run, lambda row: row.update(colour="red")),
        False,
    ),
    "an unknown field within a record": (
        lambda run: change_trials(run, lambda row: row["counts"].update(lost=1)),
        False,
    ),
    "a field that is missing": (
        lambda run: change_trials(run, lambda row: row.pop("verdict")),
        False,
    ),
    "a newer schema": (
        lambda run: change_header(run, lambda header: header.update(schema=schema.SCHEMA + 1)),
        False,
    ),
    "a schema that is no number": (
        lambda run: change_header(run, lambda header: header.update(schema="six")),
        False,
    ),
    "a schema that is a list": (
        lambda run: change_trials(run, lambda row: row.update(schema=[6])),
        False,
    ),
    "an unknown method": (
        lambda run: change_trials(
            run, lambda row: row["cell"]["workload"].update(method="telepathy")
        ),
        False,
    ),
    "a histogram that is none": (
        lambda run: change_trials(run, lambda row: row["histograms"].update(service="AAAA")),
        True,
    ),
    "lines that are no text": (
        lambda run: (run / "trials.jsonl").write_bytes(random.Random(1).randbytes(5000) + b"\n"),
        False,
    ),
    "trials of another program": (
        lambda run: (run / "trials.jsonl").write_text('{"latency": 1}\n' * 5),
        False,
    ),
    "a packed file that is cut off": (
        lambda run: (
            (run / "trials.jsonl.gz").write_bytes(
                gzip.compress((run / "trials.jsonl").read_bytes())[:-20]
            ),
            (run / "trials.jsonl").unlink(),
        ),
        False,
    ),
    "trials that are a folder": (
        lambda run: ((run / "trials.jsonl").unlink(), (run / "trials.jsonl").mkdir()),
        False,
    ),
    "a date that is none": (
        lambda run: change_header(run, lambda header: header.update(created_at=HOSTILE)),
        True,
    ),
    "hostile names": (
        lambda run: (
            change_header(run, lambda header: header.update(name=HOSTILE, note=HOSTILE)),
            change_trials(run, lambda row: row["server"].update(name=HOSTILE)),
        ),
        True,
    ),
    "only void trials": (
        lambda run: change_trials(
            run, lambda row: row["verdict"].update(valid=False, reasons=[HOSTILE])
        ),
        True,
    ),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which everything holds, to be copied."""
    return records.sound_run(tmp_path_factory.mktemp("sound") / "run")


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_run_is_a_clear_line_or_a_clear_page(
    how: str, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(sound, tmp_path / "results" / "run"))
    spoil, readable = SPOILT[how]
    spoil(run)
    for command in READERS:
        status, out = read_by(command, run, tmp_path, capsys)
        assert readable or not (tmp_path / "out").exists(), command
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        if command == "runs":  # which lists what cannot be read
            assert status == 0
            assert "run" in out
        elif not readable:
            assert status == 1, command
            # What an audit cannot look into is one of the things it finds.
            assert out == "" or command.startswith("audit"), command
        elif command == "report" and status == 0:
            page = (run / "report.md").read_text()
            assert "<script" not in page
            for chart in (run / "charts").glob("*.svg"):
                assert "<script" not in chart.read_text()


def test_all_commands_that_read_a_run_are_tried() -> None:
    tried = {words[0] for words in READERS.values()}
    others = {"run", "duel", "calibrate", "doctor", "trace", "film", "study", "quiz", "list"}
    assert tried | others >= set(commands.ALL)


# A run in which nothing counts.


@pytest.fixture
def void(tmp_path: Path) -> Path:
    rows = [
        records.record(server, connections=count, block=block, steal=0.5)
        for block in range(3)
        for server in ("poll", "epoll")
        for count in (1, 64)
    ]
    return records.write_run(tmp_path / "void", rows)


def test_a_run_of_void_trials_is_drawn_and_says_why(
    void: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["report", str(void)]) == 0
    page = (void / "report.md").read_text()
    assert "12 of them were invalid; they are listed below and excluded." in page
    assert "the hypervisor took 50.0% of the CPUs" in page

    capsys.readouterr()
    assert __main__.main(["report", str(void), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {cell["valid"] for cell in found["cells"]} == {0}
    assert all(cell["figures"] == {} for cell in found["cells"])


def test_runs_of_which_one_is_void_are_compared_as_far_as_they_go(
    void: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(void), str(void), "--out", str(tmp_path / "out")]
    assert __main__.main([*words, "--fail-on-regression", "5"]) == 0
    assert "of 0 figures 0 are worse" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"compare.md"}


# Folders that cannot be written to. Root may write everywhere, so another user is asked.

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become another user, who may not write"
)


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A run that is drawn, and that everybody may read and nobody may write."""
    run = records.sound_run(tmp_path / "run")
    for path in (run, *run.rglob("*")):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    return run


@needs_root
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "{run}"], "cannot write to "),
        (["bench", "--quick", "--out", "{run}/inside"], "cannot be written to"),
        (["compare", "{run}", "{run}", "--out", "{run}/inside"], "cannot be written to"),
        (["export", "{run}", "--csv", "--out", "{run}/x.csv"], "Permission denied"),
        (["export", "{run}", "--hgrm", "--out", "{run}/x"], "Permission denied"),
        (["runs", "--in", "{run}/..", "--rename", "run", "other"], "Permission denied"),
    ],
)
def test_a_read_only_folder_is_named(
    words: list[str], said: str, read_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.geteuid()
    read_only.parent.chmod(0o555)
    os.seteuid(65534)
    try:
        status = __main__.main([word.format(run=read_only) for word in words])
    finally:
        os.seteuid(before)
        read_only.parent.chmod(0o755)
    err = capsys.readouterr().err
    assert status == 1
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert said in err


@needs_root
def test_what_only_reads_needs_no_right_to_write(
    read_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.geteuid()
    os.seteuid(65534)
    try:
        for words in (["report", "{run}", "--json"], ["export", "{run}", "--csv"]):
            assert __main__.main([word.format(run=read_only) for word in words]) == 0
    finally:
        os.seteuid(before)
    assert capsys.readouterr().err == ""


def test_names_in_cells_are_only_texts(tmp_path: Path) -> None:
    """A cell's server may be called by any command: of a duel."""
    rows = [records.record(HOSTILE[:200], block=block) for block in range(3)]
    run = records.write_run(tmp_path / "run", rows)
    assert __main__.main(["report", str(run)]) == 0

    page = (run / "report.md").read_text()
    assert "<script" not in page
    assert Cell.of(runs.load(run).records[0]["cell"]).server == HOSTILE[:200]
    shutil.rmtree(run)
    assert (ROOT / "results" / "reference").is_dir()
