"""What did not count is measured again, and everybody can see it: it gets blocks of its own, says
which block it stands for, and replaces nothing. No server is started."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import records
from command_line import expect_error

from loadgen import __main__
from loadgen.analysis import run as analysis
from loadgen.analysis.audit import examine, found_by, whole
from loadgen.machine.cpus import choose_pinning
from loadgen.machine.describe import describe_machine
from loadgen.plan import due
from loadgen.plan.execute import execute
from loadgen.plan.plan import Plan
from loadgen.store import chain, runs
from loadgen.store.schema import Environment, Record
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices

CPUS = choose_pinning()
BLOCKS = 3
CELLS = tuple(
    records.cell(server, connections=count) for count in (1, 8) for server in ("poll", "epoll")
)
TOGETHER = tuple(
    Cell(experiment="throughput", server=server, workload=Slices(connections=count))
    for count in (1, 8)
    for server in ("poll", "epoll")
)

# Is the trial of this cell in this block void?
Void = Callable[[Cell, int], bool]


def planned(cells: Sequence[Cell], blocks: int = BLOCKS) -> Plan:
    servers = tuple(dict.fromkeys(cell.server for cell in cells))
    seed = records.SEED
    return Plan("quick", ("throughput",), servers, blocks, blocks, 0.0, seed, tuple(cells), ())


def measuring(monkeypatch: pytest.MonkeyPatch, void: Void) -> None:
    """From now on these are void, and trials take no time."""

    def measure(systems: Sequence[tuple[Any, Cell, Path]], **names: Any) -> list[Record]:
        made = []
        for number, (_, cell, _) in enumerate(systems):
            block, position = names["block"], names["position"] + number
            record = records.record(
                cell.server,
                connections=cell.workload.connections,
                block=block,
                position=position,
                throughput_per_s=1000.0 + 10 * block + position,
                steal=0.5 if void(cell, block) else 0.0,
            )
            made.append(cast(Record, {**record, "cell": cell.as_record()}))
        return made

    monkeypatch.setattr(trial, "measure", measure)


def begun(plan: Plan, folder: Path, environment: Environment = records.MACHINE) -> Path:
    return runs.create(
        plan.profile,
        plan=plan.as_record(),
        seed=plan.seed,
        environment=environment,
        folder=folder,
    )


def enough(*_: object) -> bool:
    return False


def measured(plan: Plan, folder: Path, again: bool) -> Sequence[Record]:
    list(execute(plan, folder, CPUS, enough, again=again))
    return runs.load(folder).records


def never(cell: Cell, block: int) -> bool:
    return False


def poll_of_block_1(cell: Cell, block: int) -> bool:
    return cell.server == "poll" and cell.workload.connections == 8 and block == 1


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, Path]:
    """A run that is over, with one void trial, on a machine that is quiet by now."""
    plan = planned(CELLS)
    folder = begun(plan, tmp_path / "run")
    measuring(monkeypatch, poll_of_block_1)
    measured(plan, folder, again=False)
    measuring(monkeypatch, never)
    return plan, folder


def test_what_was_void_is_measured_again_and_stays(stopped: tuple[Plan, Path]) -> None:
    plan, folder = stopped
    before = runs.load(folder).records

    after = measured(plan, folder, again=True)

    assert after[: len(before)] == before
    (again,) = after[len(before) :]
    assert Cell.of(again["cell"]) == CELLS[2]
    assert again["retries"] == 1
    assert again["block"] == due.first_retry(plan)
    assert again["seed"] == plan.seed + again["block"]
    assert again["verdict"]["valid"]
    assert {record["retries"] for record in before} == {None}


def test_only_who_asks_gets_it(stopped: tuple[Plan, Path]) -> None:
    plan, folder = stopped
    before = runs.load(folder).records

    assert measured(plan, folder, again=False) == before


def test_success_is_enough(stopped: tuple[Plan, Path]) -> None:
    plan, folder = stopped
    once = measured(plan, folder, again=True)

    assert measured(plan, folder, again=True) == once
    assert not list(due.retries(plan, once))


def test_what_is_void_once_more_is_tried_once_more(
    stopped: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each time that somebody asks, and all of it stays."""
    plan, folder = stopped
    first = due.first_retry(plan)
    measuring(monkeypatch, lambda cell, block: block < first + 2)
    for _ in range(2):
        measured(plan, folder, again=True)
    after = measured(plan, folder, again=True)

    again = [record for record in after if record["retries"] is not None]
    assert [record["block"] for record in again] == [first, first + 1, first + 2]
    assert [record["verdict"]["valid"] for record in again] == [False, False, True]
    assert {record["retries"] for record in again} == {1}
    assert measured(plan, folder, again=True) == after


def test_servers_that_are_compared_are_measured_again_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round compares them: one of them alone says nothing."""
    plan = planned(TOGETHER)
    folder = begun(plan, tmp_path / "run")
    measuring(monkeypatch, lambda cell, block: poll_of_block_1(cell, block) or block == 2)
    before = measured(plan, folder, again=False)
    measuring(monkeypatch, never)
    after = measured(plan, folder, again=True)

    again = after[len(before) :]
    told = [(record["block"], record["retries"]) for record in again]
    first = due.first_retry(plan)
    # Block 2 was void for both comparisons, block 1 for one of them.
    assert sorted(told) == [
        *[(first, 1)] * 2,
        *[(first, 2)] * 2,
        *[(first + 1, 2)] * 2,
    ]
    for block in (first, first + 1):
        group = {record["server"]["name"] for record in again if record["block"] == block}
        assert group == {"poll", "epoll"}


def test_half_of_a_comparison_is_measured_again_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill in the middle of writing."""
    plan = planned(TOGETHER)
    folder = begun(plan, tmp_path / "run")
    measuring(monkeypatch, poll_of_block_1)
    measured(plan, folder, again=False)
    measuring(monkeypatch, never)
    whole = measured(plan, folder, again=True)
    trials = folder / "trials.jsonl"
    lines = trials.read_bytes().splitlines(keepends=True)
    trials.write_bytes(b"".join(lines[:-1]) + lines[-1][:100])

    assert measured(plan, folder, again=True) == whole


def test_the_time_for_wide_intervals_is_not_spent_by_it(
    stopped: tuple[Plan, Path],
) -> None:
    plan, folder = stopped
    before, after = runs.load(folder).records, measured(plan, folder, again=True)
    wider = Plan(*plan.__dict__.values())
    object.__setattr__(wider, "extra_time", 0.5)

    def asked(group: object, records: Sequence[Record], _: int) -> bool:
        assert all(record["retries"] is None for record in records)
        return True

    assert list(due.due(wider, list(after), asked)) == list(due.due(wider, list(before), asked))


def test_blocks_that_were_asked_for_are_never_those_of_retries() -> None:
    assert due.first_retry(planned(CELLS, 3)) == due.MAX_BLOCKS
    assert due.first_retry(planned(CELLS, 500)) == 500


def test_a_retry_counts_as_one_more_block(stopped: tuple[Plan, Path]) -> None:
    plan, folder = stopped
    before = analysis.load(folder).cells[CELLS[2].id]
    measured(plan, folder, again=True)
    after = analysis.load(folder).cells[CELLS[2].id]

    assert (len(before.valid), len(after.valid)) == (BLOCKS - 1, BLOCKS)
    assert len(after.records) == BLOCKS + 1


# The audit.


def problems(folder: Path) -> list[str]:
    """Of the run as a whole; figures are made up here."""
    stored = runs.load(folder)
    return [problem for check in whole.CHECKS for problem in found_by(check, stored)]


def rewritten(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Lie, with all hashes to match."""
    path = folder / "trials.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    previous = chain.start(json.loads((folder / "run.json").read_text()))
    for row in rows:
        previous = row["sha256"] = chain.link(row, previous)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_run_with_retries_passes_the_audit(stopped: tuple[Plan, Path]) -> None:
    plan, folder = stopped
    measured(plan, folder, again=True)

    assert problems(folder) == []
    assert not [p for p in examine(runs.load(folder)) if "block" in p and "retr" in p]


def test_whoever_tries_again_what_did_count_is_found(stopped: tuple[Plan, Path]) -> None:
    """Or else one could measure until one likes what comes out."""
    plan, folder = stopped
    measured(plan, folder, again=True)

    def lie(rows: list[dict[str, Any]]) -> None:
        rows[-1]["retries"] = 0  # in which all of them counted

    rewritten(folder, lie)
    assert any("was void in block 0" in problem for problem in problems(folder))


def test_a_retry_that_says_it_was_planned_is_found(stopped: tuple[Plan, Path]) -> None:
    plan, folder = stopped
    measured(plan, folder, again=True)
    rewritten(folder, lambda rows: rows[-1].update(retries=None))

    assert any("cannot be one that retries None" in problem for problem in problems(folder))


def test_a_planned_block_that_says_it_is_a_retry_is_found(stopped: tuple[Plan, Path]) -> None:
    _, folder = stopped
    rewritten(folder, lambda rows: rows[-1].update(retries=1))

    assert any("block 2 cannot be one that retries 1" in problem for problem in problems(folder))


# The command.


def test_it_goes_with_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = expect_error(capsys, 2, "bench", "--retry-void")
    assert "--retry-void goes with --resume DIR" in said


def test_the_command_measures_again_says_so_and_prints_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(CELLS)
    machine = cast(Environment, {**describe_machine(), **choose_pinning().as_record()})
    folder = begun(plan, tmp_path / "run", machine)
    measuring(monkeypatch, poll_of_block_1)
    measured(plan, folder, again=False)
    measuring(monkeypatch, never)

    command = ["bench", "--resume", str(folder), "--retry-void"]
    assert __main__.main([*command, "--json"]) == 0
    said = capsys.readouterr()
    assert (
        "measured again, because not all of it counted: 1 block of throughput; the void ones stay"
        in said.err
    )
    (line,) = said.out.splitlines()
    found = json.loads(line)
    assert (found["trials"], found["invalid"]) == (len(CELLS) * BLOCKS + 1, 1)
    (cell,) = [each for each in found["cells"] if each["cell"] == CELLS[2].id]
    assert (cell["trials"], cell["valid"]) == (BLOCKS + 1, BLOCKS)

    assert __main__.main(command) == 0
    said = capsys.readouterr()
    assert "nothing was void, or it was measured again already" in said.out
    assert len(runs.load(folder).records) == found["trials"]


@pytest.mark.parametrize("option", ["--name=x", "--note=x"])
def test_a_run_keeps_its_name(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = expect_error(capsys, 2, "bench", "--resume", "nowhere", option)
    assert f"{option.partition('=')[0]} does not go with --resume" in said


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--name", "", "a name has 1 to 60 characters, not 0"),
        ("--name", "x" * 10_000, "a name has 1 to 60 characters, not 10,000"),
        ("--note", "y" * 10_000, "a note has 1 to 1000 characters, not 10,000"),
        ("--name", "a\x1b[2Jb", "one line of characters that can be seen"),
        ("--note", "a\nb", "one line of characters that can be seen"),
    ],
)
def test_names_that_a_screen_cannot_show_are_refused(
    option: str, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in expect_error(capsys, 2, "bench", f"{option}={text}")


def test_name_and_note_are_stored_and_stand_on_the_page(tmp_path: Path) -> None:
    plan = planned(CELLS)
    folder = runs.create(
        plan.profile,
        plan=plan.as_record(),
        seed=1,
        environment=records.MACHINE,
        folder=tmp_path / "run",
        name="<script>alert(1)</script>",
        note="with *stars* and [a link](x)",
    )
    with runs.append_to(folder) as trials:
        trials.append([records.record()])

    assert runs.load(folder).header["name"] == "<script>alert(1)</script>"
    assert __main__.main(["report", str(folder)]) == 0
    page = (folder / "report.md").read_text()
    assert "> &lt;script>alert(1)&lt;/script>\n" in page
    assert r"> with \*stars\* and \[a link\](x)" in page
