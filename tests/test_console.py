"""What the terminal shows: readable at 80 columns, and as it was said."""

import copy
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import records
from harness import ROOT

from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.machine.cpus import choose_pinning
from loadgen.plan.plan import Plan, Skip
from loadgen.report import console
from loadgen.report.naming import named, titles
from loadgen.store.schema import ClientTimeline, Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Search, Timeline, Trace
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

    record["offered_per_s"] = 1000.0
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


def test_one_client_waits_for_the_wake_up(screen: io.StringIO) -> None:
    record = records.record()
    record["verdict"]["bottleneck"] = "wake-up"
    assert record["server_cost"] is not None
    record["server_cost"]["cpu_fraction"] = 0.43
    console.show_trial(record)

    shown = words(screen.getvalue())
    assert "limited by wake-up: neither side is busy, each waits until the other" in shown
    assert "(busy: server 43%, generator 50%)" in shown


def test_an_overload_is_shown_as_one(screen: io.StringIO) -> None:
    record = measured()
    record |= {"offered_per_s": 60_000.0, "throughput_per_s": 44_000.0}
    record["latency_ns"]["response"] = record["latency_ns"]["service"]
    record["verdict"] |= {"overloaded": True, "bottleneck": "server"}
    console.show_trial(record)

    shown = words(screen.getvalue())
    assert "throughput 44.0k requests/s of 60.0k/s offered" in shown
    assert "(arrived - intended; grows with the length of the run)" in shown
    assert "(arrived - left; grows with the length of the run)" in shown
    assert shown.endswith("limited by server verdict valid, as a measurement of an overload")


def test_where_nobody_asks_nothing_is_limited(screen: io.StringIO) -> None:
    record = records.record(connections=0, idle=8, throughput_per_s=0.0, latencies_ns=[])
    console.show_trial(record)

    assert "limited by nothing: no client sends requests" in words(screen.getvalue())


# A run.


def trial_of(cell: Cell, valid: bool) -> tuple[Cell, Record]:
    return cell, records.record(steal=0.0 if valid else 0.5)


def plan_of(*cells: Cell) -> Plan:
    return Plan("quick", ("load",), ("epoll",), 1, 1, 0.0, 1, cells, ())


def test_during_a_run_an_invalid_trial_is_named_with_its_reason(screen: io.StringIO) -> None:
    cell = records.cell(experiment="load", offered_per_s=5000.0, arrivals="poisson")

    console.follow(plan_of(cell), 2.0, [trial_of(cell, True), trial_of(cell, False)])

    said = words(screen.getvalue())
    assert said.count("invalid: load epoll, 8 clients, 5,000/s: ") == 1
    assert said.count("the hypervisor took 50.0% of the CPUs") == 1


def test_paths_are_not_broken(screen: io.StringIO) -> None:
    folder = Path("/" + "a-folder/" * 20)
    plan = plan_of()
    for left_s in (0.0, 100.0):
        console.announce(plan, folder, choose_pinning(), left_s)

    assert screen.getvalue().count(str(folder)) == 2
    assert "nothing left to measure: redrawing" in screen.getvalue()


def test_what_is_skipped_is_counted_not_listed(screen: io.StringIO) -> None:
    console.show_skipped(
        [
            *(
                Skip(records.cell(server, experiment="system_calls"), "strace [is] not installed")
                for server in "abc"
            ),
            Skip(records.cell(experiment="idle"), "strace [is] not installed"),
            Skip(records.cell(experiment="idle", idle=5), "needs more"),
        ]
    )

    assert screen.getvalue().splitlines() == [
        "skipped: system_calls (3 cells), idle (1 cell): strace [is] not installed",
        "skipped: idle (1 cell): needs more",
    ]


# Its summary.


def summary(screen: io.StringIO, folder: Path, found: Sequence[Record]) -> str:
    run = analysis.load(records.write_run(folder, found))
    console.summarise(run, [], experiments.findings(run))
    return screen.getvalue()


def test_invalid_trials_are_grouped_by_reason(screen: io.StringIO, tmp_path: Path) -> None:
    found = [
        records.record(server, connections=count, steal=0.05 + 0.01 * count)
        for server in ("poll", "epoll")
        for count in (1, 8)
    ]
    found.append(records.record("select"))

    text = words(summary(screen, tmp_path, found))

    assert "4 of 5 trials were invalid and are excluded: 4 x the hypervisor took 6.0%" in text
    assert text.count("hypervisor") == 1
    assert "throughput poll, 1 client; throughput poll, 8 clients;" in text
    assert "connections=" not in text


def test_columns_say_in_what_they_differ(screen: io.StringIO, tmp_path: Path) -> None:
    found = [records.record(idle=idle, experiment="idle") for idle in (0, 100)]

    head, *_ = summary(screen, tmp_path, found).splitlines()

    assert words(head) == "idle 0 idle 100 idle"


def test_heads_leave_out_what_most_have_in_common() -> None:
    cell = records.cell
    assert titles([cell(connections=1), cell()]) == ["1 client", "8 clients"]
    assert titles([cell(), cell(idle=5000)]) == ["0 idle", "5,000 idle"]
    rated = [cell(offered_per_s=rate, arrivals="poisson") for rate in (10_000.0, 20_000.0)]
    search = Cell(experiment="load", server="epoll", workload=Search(connections=8))
    assert titles([*rated, search]) == ["p99 at\n10.0k/s", "p99 at\n20.0k/s", "p99 < 5 ms"]
    assert titles([*rated, cell(stall_s=0.1)])[-1] == "closed loop\nstalled"
    assert titles([cell(), cell(work="cpu:1ms")]) == ["no work", "cpu:1ms"]


@pytest.mark.parametrize("name", experiments.ALL)
@pytest.mark.parametrize("profile", ["quick", "standard"])
def test_every_column_of_every_experiment_has_a_head_of_its_own(name: str, profile: str) -> None:
    planned = experiments.find(name).cells(profile, catalog.MODELS)  # type: ignore[arg-type]
    cells = [cell for cell in planned if not cell.replica]  # which is not shown
    heads = titles(list(dict.fromkeys(replace(cell, server="") for cell in cells)))

    assert len(set(heads)) == len(heads)
    assert all(heads) or len(heads) == 1
    assert not any("=" in head or "_" in head for head in heads)
    assert not any("=" in named(cell) for cell in cells)


def test_only_a_replica_is_called_again() -> None:
    """An address is none."""
    cell = records.cell(experiment="trust", connections=1)

    assert named(replace(cell, replica=1)) == "trust epoll, again"
    assert named(replace(cell, options=("--host", "::1"))) == "trust epoll, --host ::1"


def cell_of(record: Record) -> analysis.CellData:
    return analysis.CellData(Cell.of(record["cell"]), [record])


def test_a_cell_shows_what_it_is_about() -> None:
    record = records.record(throughput_per_s=12_000.0)
    assert console.outcome(cell_of(record)) == "12.0k"

    limited = records.record("blocking", throughput_per_s=12_000.0, greeted=1)
    assert console.outcome(cell_of(limited)) == "12.0k\n1 of 8"

    assert console.outcome(cell_of(records.record(steal=0.5))) == "invalid"
    assert console.outcome(None) == ""

    idle = records.record()
    idle["cell"]["workload"]["connections"] = 0
    assert idle["server_cost"] is not None
    idle["server_cost"]["cpu_fraction"] = 0.985
    assert console.outcome(cell_of(idle)) == "98.5 % CPU"

    opened = records.record(offered_per_s=1000.0, arrivals="poisson")
    opened["latency_ns"]["response"] = opened["latency_ns"]["service"]
    assert console.outcome(cell_of(opened)).endswith(("ms", "us"))
    opened["latency_ns"]["response"] = None
    assert console.outcome(cell_of(opened)) == "few samples"

    searched = records.record()
    searched["cell"]["workload"] = Search(connections=8).as_record()
    searched["knee"] = {"rate_per_s": 45_000.0, "limit_ns": 5e6, "probes": []}
    assert console.outcome(cell_of(searched)) == "45.0k"

    traced = records.record()
    traced["cell"]["workload"] = Trace().as_record()
    traced["system_calls"] = {"requests": 20, "per_request": {}, "total": 3.0, "sequence": []}
    assert console.outcome(cell_of(traced)) == "3 calls"

    drawn = records.record()
    drawn["cell"]["workload"] = Timeline().as_record()
    client: ClientTimeline = {
        "connect_ns": 0,
        "greeted_ns": 1,
        "left_ns": 86_000_000,
        "requests": [],
        "mismatched": 0,
        "failure": None,
    }
    drawn["timeline"] = {"clients": [client]}
    assert console.outcome(cell_of(drawn)) == "86 ms"


def test_a_limit_of_the_model_is_not_shown_as_a_figure(screen: io.StringIO) -> None:
    """Idle clients have taken all the places: nothing was measured of those who ask."""
    record = records.record("select", idle=5000, greeted=1020)
    record["connections"]["active"] = 0
    record["counts"] = {"scheduled": 0, "ok": 0, "mismatched": 0, "error": 0, "timed_out": 0}
    record["generator"] = record["server_cost"] = None
    console.show_trial(records.judged(record))

    shown = words(screen.getvalue())
    assert "requests none: the idle clients came first, and took all the places" in shown
    assert "limited by model: it serves none of the clients that send" in shown
    assert "verdict valid, as a limit of the model: no request was answered" in shown


def test_an_experiment_without_figures_has_no_table(screen: io.StringIO, tmp_path: Path) -> None:
    untimed = records.record(experiment="trust")
    untimed["throughput_per_s"] = None

    assert not summary(screen, tmp_path, [untimed]).startswith("trust  ")


def test_the_end_of_a_run_is_what_it_was_made_for(screen: io.StringIO) -> None:
    """On a terminal of 24 lines, the last of which has the prompt."""
    run = analysis.load(ROOT / "results" / "reference")
    headlines = experiments.headlines_of(run)
    console.summarise(run, headlines, experiments.findings(run))

    last = words("\n".join(screen.getvalue().splitlines()[-23:]))
    assert all(words(sentence) in last for sentence in headlines)
    assert last.endswith("charts, films and findings: " + str(run.path / "report.html"))


def test_the_reference_run_fits_into_a_terminal(screen: io.StringIO) -> None:
    run = analysis.load(ROOT / "results" / "reference")
    console.summarise(run, [], [])

    shown, _, page = screen.getvalue().rstrip().rpartition("\n")
    assert "…" not in shown
    assert widest(shown) <= WIDTH
    assert page.endswith(str(run.path / "report.html"))  # whole, to be copied, however long
