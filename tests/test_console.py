"""What the terminal shows: readable at 80 columns, and as it was said."""

import copy
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
import records
from harness import ROOT
from loadgen.plan.runner import Plan, Skip

from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.machine.cpus import choose_pinning
from loadgen.report import console
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from servers import catalog

WIDTH = 80


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns that is not a terminal: what a pipe gets."""
    text = io.StringIO()
    piped = copy.copy(console.CONSOLE)
    piped.file, piped.width = text, WIDTH
    monkeypatch.setattr(console, "CONSOLE", piped)
    return text


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def words(text: str) -> str:
    return " ".join(text.split())


# One trial.

HICCUPS = {"server_cpu": {"max": 1_500_000}, "generator_cpu": {"max": 40_000}, "realtime": True}


def measured(**more: object) -> Record:
    record = records.record()
    record["server_cost"] = None
    assert record["machine"] is not None
    record["machine"] |= more
    return record


def test_what_a_server_said_is_shown_as_it_was_said(screen: io.StringIO) -> None:
    said = "crashed: [/opt/x] [warning] :smile: [bold]no[/bold]"
    record = measured()
    record["verdict"]["reasons"] = [said]

    console.show_trial(record)

    assert said in screen.getvalue()


def test_the_send_lag_is_shown_where_something_was_due(screen: io.StringIO) -> None:
    record = measured()
    console.show_trial(record)
    assert "send lag" not in screen.getvalue()

    record["workload"]["mode"] = "open"
    console.show_trial(record)
    assert "send lag p99" in screen.getvalue()


@pytest.mark.parametrize(
    ("hiccups", "shown"),
    [
        (HICCUPS, "longest pause: server's CPU 1.5 ms, generator's 40 us; steal 2.0%"),
        (
            {**HICCUPS, "realtime": False},
            "pauses at most: server's CPU 1.5 ms, generator's 40 us; steal 2.0%",
        ),
        (None, "machine steal 2.0%"),
    ],
)
def test_what_the_machine_did_stands_next_to_the_tail(
    hiccups: object, shown: str, screen: io.StringIO
) -> None:
    console.show_trial(measured(hiccup_ns=hiccups, steal_fraction=0.02))

    assert shown in words(screen.getvalue())
    assert widest(screen.getvalue()) <= WIDTH


# A run.


def test_progress_stays_on_one_line_and_leaves_room_for_the_bar(screen: io.StringIO) -> None:
    with console.progress() as bar:
        task = bar.add_task("a name that is much too long for any screen" * 4, total=10)
        bar.update(task, advance=5)
        lines = console.CONSOLE.render_lines(bar.get_renderable())
    text = ["".join(segment.text for segment in line) for line in lines]

    assert len(text) == 1
    assert len(text[0]) == WIDTH
    assert " 50 %" in text[0]
    assert "a name that is" in text[0]
    assert text[0].rstrip().endswith("…")


def trial_of(cell: Cell, valid: bool) -> tuple[Cell, Record, float]:
    return cell, records.record(steal=0.0 if valid else 0.5), 1.0


def test_during_a_run_a_trial_that_is_not_valid_is_named_and_no_more(screen: io.StringIO) -> None:
    load = Workload(connections=8, mode="open", offered_per_s=5000.0, arrivals="poisson")
    cell = Cell(experiment="load", server="epoll", workload=load)

    console.follow(2.0, [trial_of(cell, True), trial_of(cell, False)])

    assert screen.getvalue().count("not valid: load epoll, 8 clients, 5,000/s\n") == 1
    assert "hypervisor" not in screen.getvalue()


def test_paths_are_not_broken(screen: io.StringIO) -> None:
    folder = Path("/" + "a-folder/" * 20)
    plan = Plan("quick", ("throughput",), ("epoll",), 1, 0.0, 1, (), ())
    for left_s in (0.0, 100.0):
        console.announce(plan, folder, choose_pinning(), left_s)

    assert screen.getvalue().count(str(folder)) == 2
    assert "nothing left to measure: redrawing" in screen.getvalue()


def test_what_is_skipped_is_counted_not_listed(screen: io.StringIO) -> None:
    console.show_skipped(
        [
            *(
                Skip(f"system_calls/{server}/plain", "strace [is] not installed")
                for server in "abc"
            ),
            Skip("idle/a/plain", "strace [is] not installed"),
            Skip("idle/a/idle_connections=5", "needs more"),
        ]
    )

    assert screen.getvalue().splitlines() == [
        "skipped: system_calls (3 cells), idle (1 cell): strace [is] not installed",
        "skipped: idle (1 cell): needs more",
    ]


# Its summary.


def summary(screen: io.StringIO, folder: Path, found: Sequence[Record]) -> str:
    run = analysis.load(records.write_run(folder, found))
    sections = experiments.sections(run)
    console.summarise(run, [(section.name, section.finding) for section in sections])
    return screen.getvalue()


def test_trials_that_count_not_are_grouped_by_reason(screen: io.StringIO, tmp_path: Path) -> None:
    found = [
        records.record(server, connections=count, steal=0.05 + 0.01 * count)
        for server in ("poll", "epoll")
        for count in (1, 8)
    ]
    found.append(records.record("select"))

    text = words(summary(screen, tmp_path, found))

    assert "4 of 5 trials were not valid and count not: 4 x the hypervisor took 6.0%" in text
    assert text.count("hypervisor") == 1
    assert "throughput poll, 1 client; throughput poll, 8 clients;" in text
    assert "connections=" not in text


def test_columns_say_in_what_they_differ(screen: io.StringIO, tmp_path: Path) -> None:
    found = [records.record(idle=idle, experiment="idle") for idle in (0, 100)]

    head, *_ = summary(screen, tmp_path, found).splitlines()

    assert words(head) == "idle 0 idle 100 idle"


def test_heads_leave_out_what_most_have_in_common() -> None:
    assert console.titles(["plain", "connections=8"]) == ["1 client", "8 clients"]
    assert console.titles(["connections=8", "connections=8,idle_connections=5000"]) == [
        "0 idle",
        "5,000 idle",
    ]
    rated = "connections=16,mode=open,offered_per_s={},arrivals=poisson"
    assert console.titles(
        [
            rated.format("10000.0"),
            rated.format("20000.0"),
            f"{rated.format(2000.0)},knee_limit_s=0.005",
        ]
    ) == ["p99 at\n10.0k/s", "p99 at\n20.0k/s", "p99 < 5 ms"]
    assert console.titles(["connections=4", "connections=4,work=cpu:1ms"]) == ["no work", "cpu:1ms"]


@pytest.mark.parametrize("name", experiments.ALL)
@pytest.mark.parametrize("profile", ["quick", "standard"])
def test_every_column_of_every_experiment_has_a_head_of_its_own(name: str, profile: str) -> None:
    cells = experiments.find(name).cells(profile, catalog.VARIANTS)  # type: ignore[arg-type]
    workloads = list(dict.fromkeys(cell.id.split("/", 2)[2] for cell in cells))

    heads = console.titles(workloads)

    assert len(set(heads)) == len(heads)
    assert all(heads) or len(heads) == 1
    assert not any("=" in head or "_" in head for head in heads)
    assert not any("=" in console.named(cell.id) for cell in cells)


@pytest.mark.parametrize(("host", "words"), [("127.0.0.1", "again"), ("::1", "on ::1")])
def test_only_a_host_that_changes_nothing_is_called_again(host: str, words: str) -> None:
    cell = Cell(experiment="trust", server="epoll", workload=Workload(), options=("--host", host))

    assert console.named(cell.id) == f"trust epoll, {words}"


def cell_of(record: Record) -> analysis.CellData:
    return analysis.CellData([record])


def test_a_cell_shows_what_it_is_about() -> None:
    record = records.record(throughput_per_s=12_000.0)
    assert console.outcome(cell_of(record)) == "12.0k"

    limited = records.record("blocking", throughput_per_s=12_000.0, greeted=1)
    assert console.outcome(cell_of(limited)) == "12.0k\n1 of 8"

    assert console.outcome(cell_of(records.record(steal=0.5))) == "not valid"
    assert console.outcome(None) == ""

    idle = records.record()
    idle["workload"]["connections"] = 0
    idle["server_cost"] = {"cpu_fraction": 0.985}
    assert console.outcome(cell_of(idle)) == "98.5 % CPU"

    untimed = records.record(experiment="timeline")
    untimed["throughput_per_s"] = None
    assert console.outcome(cell_of(untimed)) == ""

    opened = records.record()
    opened["workload"] |= dataclasses.asdict(
        Workload(mode="open", offered_per_s=1000.0, arrivals="poisson")
    )
    opened["latency_ns"]["response"] = opened["latency_ns"]["service"]
    assert console.outcome(cell_of(opened)).endswith(("ms", "us"))
    opened["workload"]["knee_limit_s"] = 0.005
    opened["knee"] = {"rate_per_s": 45_000.0}
    assert console.outcome(cell_of(opened)) == "45.0k"


def test_an_experiment_without_figures_has_no_table(screen: io.StringIO, tmp_path: Path) -> None:
    untimed = records.record(experiment="trust")
    untimed["throughput_per_s"] = None

    assert not summary(screen, tmp_path, [untimed]).startswith("trust  ")


def test_the_reference_run_fits_into_a_terminal(screen: io.StringIO) -> None:
    run = analysis.load(ROOT / "results" / "reference")
    console.summarise(run, [])

    assert "…" not in screen.getvalue()
    assert widest(screen.getvalue()) <= WIDTH
