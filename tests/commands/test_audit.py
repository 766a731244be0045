"""The exit status of an audit, and what it says of the hash under which a run is quoted."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import records
from harness import ROOT

from loadgen import __main__
from loadgen.analysis import audit
from loadgen.analysis.audit import quoted, whole
from loadgen.commands import bench
from loadgen.commands.audit import asked_for, planned_cells
from loadgen.store import chain, runs
from loadgen.store.schema import Header

REFERENCE = ROOT / "results" / "reference"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return records.write_run(tmp_path / "results" / "mine", [records.record()])


@pytest.fixture(scope="module")
def header() -> dict[str, Any]:
    """Of the committed run, in today's form."""
    return dict(runs.load(REFERENCE).header)


def last_hash(run: Path) -> str:
    stored = runs.load(run)
    return chain.last(stored.raw_header, stored.raw_records)


def quote(run: Path, hashed: str) -> Path:
    """A README beside `results` that quotes a run."""
    readme = run.parents[1] / "README.md"
    readme.write_text(
        f"It was\nmeasured: `results/{run.name}` ends in\nhash `{hashed}`, see there."
    )
    return readme


def told_of(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    __main__.main(["audit", str(run)])
    return capsys.readouterr().out


def test_half_a_run_does_not_pass_an_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [records.record()], blocks=2)
    assert __main__.main(["report", str(run)]) == 0
    capsys.readouterr()

    assert __main__.main(["audit", str(run)]) == 1
    assert "unfinished: 1 of 2 planned trials are missing" in capsys.readouterr().out


def test_a_run_that_is_quoted_says_where(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hashed = chain.short(last_hash(run))
    readme = quote(run, hashed)

    assert f"last hash {hashed}: {readme} quotes this run under it\n" in told_of(run, capsys)


def test_a_run_that_nobody_quotes_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hashed = chain.short(last_hash(run))

    assert f"last hash {hashed}: no README quotes this run\n" in told_of(run, capsys)


def test_a_run_that_was_rewritten_is_not_the_one_that_is_quoted(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever was changed in it, with all hashes to match."""
    readme = quote(run, chain.short(last_hash(run)))
    path = run / runs.HEADER_NAME
    raw = json.loads(path.read_text())
    raw["environment"]["cpu"] = "one that is much faster"
    path.write_text(json.dumps(raw))
    rows = [json.loads(line) for line in (run / runs.TRIALS_NAME).read_text().splitlines()]
    previous = chain.start(raw)
    for row in rows:
        previous = row["sha256"] = chain.link(row, previous)
    (run / runs.TRIALS_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))

    told = told_of(run, capsys)

    assert f"{readme} quotes it under" in told
    assert "the one or the other was changed" in told
    assert "not the one under which this run is quoted" in told


def test_a_changed_copy_elsewhere_is_held_against_the_quoted_run(run: Path, tmp_path: Path) -> None:
    readme = quote(run, chain.short(last_hash(run)))
    copied = Path(shutil.copytree(run, tmp_path / "elsewhere" / "copy"))
    trials = copied / runs.TRIALS_NAME
    trials.write_text(
        trials.read_text().replace('"throughput_per_s": 1000.0', '"throughput_per_s": 1001.0')
    )
    stored = runs.load(copied)

    quotes = quoted.quotes_of(stored, iter([readme]))

    assert [quote.folder for quote in quotes] == [run]
    assert len(list(quoted.differences(stored, quotes))) == 1


def test_hashes_are_derived_and_not_read(run: Path) -> None:
    """So the one that stands for the run cannot be kept while a line is changed."""
    before = last_hash(run)
    trials = run / runs.TRIALS_NAME
    trials.write_text(
        trials.read_text().replace('"throughput_per_s": 1000.0', '"throughput_per_s": 1001.0')
    )

    assert runs.load(run).raw_records[-1]["sha256"] == before
    assert last_hash(run) != before


# Lies about the committed run as a whole.


def lied_about(header: dict[str, Any], **plan: Any) -> Header:
    changed = copy.deepcopy(header)
    changed["plan"].update(plan)
    return cast(Header, changed)


def usual(profile: str = "standard") -> dict[str, Any]:
    """What a profile plans, unless it is asked for a number of blocks."""
    return {
        "blocks": bench.BLOCKS[profile],
        "trials": bench.TRIALS[profile],
        "extra_time": bench.EXTRA_TIME[profile],
    }


def test_what_a_profile_plans_is_its_own(header: dict[str, Any]) -> None:
    assert list(asked_for(lied_about(header, **usual()))) == []
    assert planned_cells(lied_about(header))


@pytest.mark.parametrize("name", ["blocks", "trials", "extra_time"])
def test_less_than_the_profile_measures_is_found(header: dict[str, Any], name: str) -> None:
    plan = usual()
    plan[name] /= 2

    assert "are none of standard" in next(asked_for(lied_about(header, **plan)))


def test_who_asks_for_blocks_gets_as_many_trials_and_no_time_for_more(
    header: dict[str, Any],
) -> None:
    assert list(asked_for(lied_about(header, blocks=2, trials=2, extra_time=0.0))) == []
    assert list(asked_for(lied_about(header, blocks=2, trials=1, extra_time=0.0)))
    assert list(asked_for(lied_about(header, blocks=2, trials=2, extra_time=0.1)))


def test_a_profile_or_an_experiment_of_another_lab_is_a_find(header: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="profile"):
        planned_cells(cast(Header, {**header, "profile": "quickest"}))
    with pytest.raises(KeyError, match="unknown experiment"):
        planned_cells(lied_about(header, experiments=["telepathy"]))


def test_cells_cut_from_the_plan_of_an_experiment_are_found(tmp_path: Path) -> None:
    cells = [records.cell(server) for server in ("poll", "epoll")]
    run = records.write_run(tmp_path / "run", [records.record("poll")])

    found = list(whole.derived_plan(runs.load(run), lambda header: cells))

    assert len(found) == 1
    assert "the plan lacks 1 cells" in found[0]


def test_a_further_block_deleted_is_found() -> None:
    """It was due, because its cell was wide, and there was time."""
    stored = runs.load(REFERENCE)
    assert list(whole.replayed(stored)) == []
    further = [
        number
        for number, record in enumerate(stored.records)
        if record["block"] >= stored.header["plan"]["blocks"]
    ]
    assert isinstance(stored.records, list)
    del stored.records[further[len(further) // 2]]

    assert "was due" in next(whole.replayed(stored))


def test_every_problem_of_an_audit_is_one_line() -> None:
    stored = runs.load(REFERENCE)
    stored.records[0]["counts"]["ok"] += 1

    found = audit.examine(stored, planned_cells)

    assert found
    assert all("\n" not in problem for problem in found)
