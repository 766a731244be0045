"""What a terminal shows while a run goes on: it fits, it fills itself, and it is drawn by nobody
but the one who has just stored a trial."""

import io
import itertools
import re
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
import records
from harness import ROOT
from rich.console import Console

from loadgen.analysis import run as analysis
from loadgen.plan.plan import Plan
from loadgen.report import console, standing
from loadgen.report.standing import Standing
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from servers import catalog

WIDTH, HEIGHT = 80, 24
SERVERS = ("poll", "epoll")
CELLS = tuple(
    records.cell(server, experiment=name, connections=count)
    for name in ("throughput", "fairness")
    for count in (1, 64)
    for server in SERVERS
)


def plan_of(cells: Sequence[Cell], blocks: int = 2) -> Plan:
    servers = tuple(dict.fromkeys(cell.server for cell in cells))
    return Plan("quick", ("throughput",), servers, blocks, blocks, 0.0, 1, tuple(cells), ())


def terminal(width: int = WIDTH, height: int = HEIGHT) -> Console:
    return Console(
        width=width,
        height=height,
        file=io.StringIO(),
        force_terminal=True,
        record=True,
        highlight=False,
        markup=False,
        emoji=False,
    )


def shown(board: Standing, screen: Console) -> list[str]:
    screen.export_text()  # forgets what was before
    screen.print(board)
    return screen.export_text().splitlines()


def measured(cell: Cell, steal: float = 0.0, per_s: float = 1000.0) -> tuple[Cell, Record]:
    made = records.record(
        cell.server,
        experiment=cell.experiment,
        connections=cell.workload.connections,
        throughput_per_s=per_s,
        steal=steal,
    )
    return cell, made


def test_the_table_fills_itself() -> None:
    screen = terminal()
    board = Standing(plan_of(CELLS), 10.0, screen)
    (bar,) = shown(board, screen)
    assert "0%, about 10 s left" in bar

    board.add([measured(CELLS[0], per_s=1234.0)])
    title, head, poll, epoll, bar = shown(board, screen)
    assert title.rstrip() == "throughput, trial 1 of 2"
    assert head.split() == ["1", "client", "64", "clients"]
    assert (poll.split(), epoll.split()) == (["poll", "1,234", "."], ["epoll", ".", "."])
    assert "throughput poll, 1 client" in bar

    board.add([measured(CELLS[3], per_s=99_000.0)])
    _, _, poll, epoll, _ = shown(board, screen)
    assert (poll.split(), epoll.split()) == (["poll", "1,234", "."], ["epoll", ".", "99.0k"])


def test_what_does_not_count_is_grey_and_says_why() -> None:
    screen = terminal()
    board = Standing(plan_of(CELLS), 10.0, screen)
    board.add([measured(CELLS[0], steal=0.5)])

    screen.print(board)
    styled = screen.export_text(styles=True)
    said = [line for line in styled.splitlines() if "hypervisor" in line]
    assert len(said) == 1
    assert said[0].startswith(
        "\x1b[2minvalid: throughput poll, 1 client: the hypervisor took 50.0%"
    )
    assert re.search(r"\x1b\[2m *void", styled)


def test_a_valid_trial_after_a_void_one_has_its_figure() -> None:
    screen = terminal()
    board = Standing(plan_of(CELLS), 10.0, screen)
    board.add([measured(CELLS[0], steal=0.5, per_s=7.0)])
    board.add([measured(CELLS[0], per_s=55.0)])

    assert shown(board, screen)[2].split() == ["poll", "55", "."]


def test_a_limit_of_the_model_is_said_beside_the_figure() -> None:
    screen = terminal()
    cell = records.cell("blocking", connections=64)
    board = Standing(plan_of([cell]), 10.0, screen)
    board.add([(cell, records.record("blocking", connections=64, greeted=1))])

    assert "(1 of 64)" in "".join(shown(board, screen))


@pytest.mark.parametrize("height", [6, 10, 24, 50])
def test_all_servers_and_many_reasons_fit_into_the_terminal(height: int) -> None:
    cells = [
        records.cell(model.name, connections=count)
        for count in (1, 8, 64, 256, 512, 1000, 1024)
        for model in catalog.MODELS
    ]
    screen = terminal(height=height)
    board = Standing(plan_of(cells), 10.0, screen)
    board.add(
        [measured(cell, steal=0.5 if number % 3 else 0.0) for number, cell in enumerate(cells)]
    )

    lines = shown(board, screen)
    assert len(lines) <= height
    assert max(map(len, lines)) <= WIDTH
    assert "100%" in lines[-1]
    if height < 30:
        assert any(" servers" in line for line in lines)  # and that some are left out is said


@pytest.mark.parametrize("name", ["reference", "reference-models", "reference-trust"])
@pytest.mark.parametrize("width", [80, 120])
def test_every_moment_of_a_real_run_fits_into_the_terminal(name: str, width: int) -> None:
    run = analysis.load(ROOT / "results" / name)
    plan = plan_of([Cell.of(cell) for cell in run.header["plan"]["cells"]], 5)
    screen = terminal(width)
    board = Standing(plan, plan.total_s(), screen)
    together = itertools.groupby(run.records, key=lambda record: record["started_at"])
    for number, (_, group) in enumerate(together):
        board.add([(Cell.of(record["cell"]), record) for record in group])
        if number % 7:
            continue
        lines = shown(board, screen)
        assert len(lines) <= HEIGHT
        assert max(map(len, lines)) <= width
        assert "%, about" in lines[-1]


def test_nothing_draws_but_who_has_stored_a_trial() -> None:
    """A thread that refreshes the screen would run in the middle of slices."""
    screen = terminal()
    assert isinstance(screen.file, io.StringIO)
    with Standing(plan_of(CELLS), 10.0, screen) as board:
        before = screen.file.tell()
        assert threading.active_count() == 1
        board.add([measured(CELLS[0])])
        assert screen.file.tell() > before
        assert threading.active_count() == 1


def test_a_pipe_gets_lines_and_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    piped = Console(file=text, width=WIDTH, highlight=False, markup=False, emoji=False)
    monkeypatch.setattr(console, "CONSOLE", piped)

    console.follow(plan_of(CELLS), 10.0, [measured(CELLS[0], steal=0.5), measured(CELLS[1])])

    said = text.getvalue().splitlines()
    assert len(said) == 1
    assert said[0].startswith("invalid: throughput poll, 1 client: ")


def test_what_a_server_said_is_shown_as_it_was_said() -> None:
    screen = terminal()
    cell = records.cell("poll")
    board = Standing(plan_of([cell]), 10.0, screen)
    made = records.record("poll")
    said = "crashed: [bold]no[/bold] :smile: <script>"
    made["verdict"] |= {"valid": False, "reasons": [said]}
    board.add([(cell, made)])

    assert said in "\n".join(shown(board, screen))


def test_void_rounds_are_one_line_for_all_servers() -> None:
    run = analysis.load(ROOT / "results" / "reference")
    together = itertools.groupby(run.records, key=lambda record: record["started_at"])
    for _, group in together:
        pairs = [(Cell.of(record["cell"]), record) for record in group]
        slices = pairs[0][1]["slices"]
        void = [reason for reason in slices["void"] if reason] if slices else []
        if void:
            found = list(standing.void_lines(pairs))
            assert sum(line.startswith("void: ") for line in found) == 1
            assert f": {len(void)} of {len(slices['void'])} rounds: {void[0]}" in found[0]  # type: ignore[index]
            return
    pytest.fail("the reference run has no void round")


def test_a_replica_has_no_row_of_its_own() -> None:
    screen = terminal()
    cells = [CELLS[0], replace(CELLS[0], replica=1)]
    board = Standing(plan_of(cells), 10.0, screen)
    board.add([measured(CELLS[0]), (cells[1], records.record("poll", connections=1))])

    lines = shown(board, screen)
    assert sum(line.startswith("poll") for line in lines) == 1
