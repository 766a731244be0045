"""`duel`: who takes part, what is claimed of them, when it stops, and what of it is stored."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import records
from command_line import LOADGEN, expect_error, loadgen
from experiments.making import STEADY, WILD, times
from harness import ROOT, settings

from loadgen import experiments
from loadgen.analysis import duel
from loadgen.analysis import run as analysis
from loadgen.analysis.duel import contestants, epochs_wanted, scores
from loadgen.analysis.estimate import MOST_EPOCHS, epochs_needed
from loadgen.commands import duel as command
from loadgen.commands import find
from loadgen.experiments.duel import sentence
from loadgen.machine.cpus import choose_pinning
from loadgen.plan import rehearsal
from loadgen.plan.plan import Plan
from loadgen.store import runs
from loadgen.store.schema import Record
from loadgen.target.address import Address
from loadgen.target.process import started
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from loadgen.trial.summary import portable

pytestmark = pytest.mark.measures

PRECISION = 0.02
SERVERS = ("epoll", "poll")


# Who takes part.


def test_contestants_are_servers_of_ours_with_options_commands_and_addresses() -> None:
    named = [
        "epoll",
        "epoll --python /usr/bin/python3.13 --max-line 100",
        "poll --work 'cpu:20us' --python=python3",
        "localhost:8000",
    ]
    first, old, working, elsewhere, mine = command.parse(named, ["./mine --port '0 '"])

    assert first.system.model
    assert first.system.model.name == first.system.name == "epoll"
    assert first.system.python == sys.executable
    assert old.system.model
    assert old.system.model.name == "epoll"
    assert old.system.name == named[1]
    assert (old.system.python, old.options) == ("/usr/bin/python3.13", ("--max-line", "100"))
    assert (working.system.python, working.options) == ("python3", ("--work", "cpu:20us"))
    assert elsewhere.system.address == Address("localhost", 8000)
    assert mine.system.command == ("./mine", "--port", "0 ")
    assert mine.system.name == "./mine --port '0 '"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["epoll"], "a duel takes two contestants or more: 1 named"),
        ([], "0 named"),
        (["epoll", "nosuch"], "unknown server 'nosuch'"),
        (["epoll", "epoll", "epoll"], "epoll is named 3 times"),
        (["epoll", "localhost:http"], "'localhost:http' is not HOST:PORT"),
        (["epoll", "poll 'x"], "is not a command line: No closing quotation"),
        (["epoll", "poll --python"], "--python takes an interpreter"),
        (["epoll", " "], "' ' names nothing"),
        (["epoll", "--server-command", ""], "'' names nothing"),
        (["epoll", "h:1", "--work", "cpu:1us"], "--work does not go with h:1"),
        (["epoll", "poll", "--work", "cpu"], "--work is "),
        (["epoll", "poll", "--connections", "0"], "--connections is 0"),
        (["epoll", "poll", "--rate", "-1"], "--rate is -1.0"),
        (["epoll", "poll", "--message-bytes", "1"], "--message-bytes is 1"),
        (["epoll", "poll", "--time-limit", "0"], "--time-limit is 0: it must be from 1 to 3600"),
        (["epoll", "poll", "--seed", "-1"], "--seed is -1"),
        (["epoll", "poll", "--precision", "2"], "'2' is none: it is from 0.1% to 50%"),
        (["epoll", "poll", "--precision", "x%"], "'x%' is none"),
    ],
)
def test_wrong_command_lines_are_refused_in_a_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in expect_error(capsys, 2, "duel", *arguments)


@pytest.mark.parametrize("text", ["2%", "0.02", "2.0%"])
def test_a_precision_is_a_percentage_or_a_share(text: str) -> None:
    assert command.precision(text) == pytest.approx(0.02)


def test_words_and_options_may_be_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    from loadgen import __main__

    seen: list[Any] = []
    monkeypatch.setattr(command, "run", lambda options: seen.append(options) or 0)

    line = ["--json", "epoll", "--precision", "1%", "poll", "--server-command", "./a", "select"]
    for _ in range(2):  # a parser is made anew, and parses as the first one did
        assert __main__.main(["duel", *line]) == 0
    for options in seen:
        assert options.contestants == ["epoll", "poll", "select"]
        assert (options.json, options.precision) == (True, 0.01)
        assert options.server_command == ["./a"]


# What is claimed, from records with chosen figures.


def epochs(figures: dict[str, Sequence[float]], **more: Any) -> list[Record]:
    return [
        records.record(server, experiment="duel", block=block, throughput_per_s=value, **more)
        for block in range(max(map(len, figures.values())))
        for server, values in figures.items()
        if block < len(values)
        for value in [values[block]]
    ]


def cells(*servers: str) -> list[Cell]:
    return [records.cell(server, experiment="duel") for server in servers or SERVERS]


def scored(figures: dict[str, Sequence[float]], precision: float = PRECISION) -> list[duel.Score]:
    return scores(contestants(cells(*figures), epochs(figures)), precision)


# Whole numbers, halved too: so many answers were counted.
EVEN = [2000.0, 2004.0, 1998.0, 2002.0, 1996.0]


@pytest.mark.parametrize(
    ("figures", "precision", "claim", "said"),
    [
        (
            EVEN,
            0.02,
            "equal",
            "poll answers 1.00 [1.00, 1.00] times as many requests per second as epoll:"
            " equal within 2 %",
        ),
        (
            times(2, EVEN),
            0.02,
            "faster",
            "poll is faster: it answers 2.00 [2.00, 2.00] times as many requests per second as"
            " epoll",
        ),
        (
            times(0.5, EVEN),
            0.005,
            "slower",
            "poll is slower: it answers 0.500 [0.500, 0.500] times as many requests per second as"
            " epoll",
        ),
    ],
)
def test_what_is_decided_is_said_in_a_plain_sentence(
    figures: list[float], precision: float, claim: str, said: str
) -> None:
    throughput, _ = scored({"epoll": EVEN, "poll": figures}, precision)

    assert sentence(throughput) == said
    assert throughput.as_record() == {
        "a": "poll",
        "b": "epoll",
        "metric": "throughput_per_s",
        "ratio": pytest.approx(figures[0] / EVEN[0]),
        "low": pytest.approx(figures[0] / EVEN[0]),
        "high": pytest.approx(figures[0] / EVEN[0]),
        "claim": claim,
    }


def test_less_cpu_time_is_cheaper_and_more_is_dearer() -> None:
    found = [
        *epochs({"epoll": EVEN}, cpu_us=10.0),
        *epochs({"poll": EVEN}, cpu_us=20.0),
        *epochs({"select": EVEN}, cpu_us=5.0),
    ]
    told = [
        sentence(each)
        for each in scores(contestants(cells("epoll", "poll", "select"), found), PRECISION)
    ]

    assert (
        "poll is dearer: it uses 2.00 [2.00, 2.00] times the CPU time per request of epoll" in told
    )
    assert (
        "select is cheaper: it uses 0.50 [0.50, 0.50] times the CPU time per request of epoll"
        in told
    )


def test_what_is_not_decided_says_between_what_it_lies_and_how_long_it_would_take() -> None:
    throughput, _ = scored({"epoll": times(1000, [1.0] * 6), "poll": times(1010, STEADY)})

    told = sentence(throughput)
    assert throughput.as_record()["claim"] == "unresolved"
    assert re.fullmatch(
        r"poll answers 1\.01 times as many requests per second as epoll, not resolved: between"
        r" 1\.00 and 1\.02; about \d+ more seconds would do",
        told,
    )


def test_two_epochs_have_no_interval() -> None:
    throughput, _ = scored({"epoll": EVEN[:2], "poll": EVEN[:2]})

    found = throughput.as_record()
    assert (found["low"], found["high"], found["claim"]) == (None, None, "unresolved")
    assert json.dumps(found, allow_nan=False)
    assert "not resolved: 2 valid epochs, and it takes 3" in sentence(throughput)


def test_who_takes_part_twice_has_two_names() -> None:
    plain = cells("epoll")[0]
    again = replace(plain, replica=1)
    rows = epochs({"epoll": EVEN})
    others = [cast(Record, {**row, "cell": again.as_record()}) for row in rows]

    throughput, _ = scores(contestants([plain, again], [*rows, *others]), PRECISION)
    assert (throughput.one, throughput.other) == ("epoll (again)", "epoll")


def test_at_a_given_rate_response_times_are_compared() -> None:
    named = [each.name for each in duel.metrics(Slices(offered_per_s=1000.0, arrivals="poisson"))]
    assert named == ["response_p50_us", "response_p99_us"]


# When it stops.


def wanted(figures: dict[str, Sequence[float]], precision: float = PRECISION) -> int:
    return epochs_wanted(contestants(cells(*figures), epochs(figures)), precision)


def test_the_first_stage_comes_first() -> None:
    for number in range(1, duel.FIRST_EPOCHS):
        assert wanted({"epoll": times(1000, WILD[:number]), "poll": EVEN[:number]}) == 5


def test_how_many_epochs_there_are_follows_from_the_scatter_and_the_precision() -> None:
    steady = times(1000, [1.0, 1.01, 0.99, 1.0, 1.02])
    even = [1000.0] * 5

    assert wanted({"epoll": EVEN, "poll": EVEN}) == duel.FIRST_EPOCHS
    assert duel.FIRST_EPOCHS < wanted({"epoll": even, "poll": steady}, 0.01) < MOST_EPOCHS
    assert wanted({"epoll": even, "poll": times(1000, WILD[:5])}) == MOST_EPOCHS


def test_a_difference_does_not_end_it_sooner() -> None:
    steady = times(1000, [1.0, 1.01, 0.99, 1.0, 1.02])
    counts = {
        wanted({"epoll": [1000.0] * 5, "poll": times(factor, steady)}, 0.01)
        for factor in (1, 2, 100)
    }
    assert len(counts) == 1


def test_there_is_one_look() -> None:
    """What comes after the first stage changes nothing."""
    calm = {"epoll": EVEN, "poll": EVEN}
    later = {"epoll": [*EVEN, *times(1000, WILD)], "poll": [*EVEN, *([1000.0] * 6)]}

    assert wanted(calm) == wanted(later)


def test_who_fails_all_along_is_not_waited_for() -> None:
    rows = epochs({"epoll": EVEN, "poll": EVEN, "select": EVEN})
    for row in rows:
        if row["server"]["name"] == "select":
            row["outcome"], row["failure"] = "crashed", "it died"
            records.judged(row)
    duellists = contestants(cells("epoll", "poll", "select"), rows)

    found = scores(duellists, PRECISION)
    assert epochs_wanted(duellists, PRECISION) == duel.FIRST_EPOCHS
    assert {each.one for each in found} == {"poll"}
    assert duel.complaints(duellists, found) == [
        "select failed in 5 of 5 epochs, as: it died",
        "select has fewer than 3 valid epochs in common with epoll",
    ]
    assert duel.excluded(rows[:3]) == ["select excluded: it died"]


def test_an_invalid_epoch_comes_on_top() -> None:
    rows = epochs({"epoll": [1000.0] * 5, "poll": times(1000, [1.5, 1.01, 0.99, 1.0, 1.02])})
    rows[0]["verdict"] = {"valid": False, "bottleneck": "unknown", "reasons": ["a clock was set"]}

    needed = epochs_needed([math.log(ratio) for ratio in (1.01, 0.99, 1.0, 1.02)], 0.01)
    assert epochs_wanted(contestants(cells(), rows), 0.01) == 1 + needed < MOST_EPOCHS
    assert duel.excluded(rows[:2]) == ["epoll excluded: a clock was set"]


# The rehearsal.


def rehearsed(settle_ms: int, length_ms: int) -> Record:
    made = records.record("epoll", experiment="duel")
    made["slices"] = {
        "together": 2,
        "settle_ns": settle_ms * 1_000_000,
        "turn": [0],
        "start_ns": [0],
        "length_ns": [length_ms * 1_000_000],
        "answers": [1],
        "drive_answers": [1],
        "cpu_ns": [1],
        "p50_ns": [1],
        "p99_ns": [None],
        "others_cpu_ns": [0],
        "pause_ns": [0],
        "void": [None],
    }
    return made


def test_an_epoch_has_as_many_rounds_as_it_has_time_for() -> None:
    pair = [rehearsed(10, 37)] * 2  # with 3 ms of rest: rounds of 0.1 s
    rounds = [
        rehearsal.rounds_of(Slices(), pair, took_s=1.1, epoch_s=epoch_s)
        for epoch_s in (2.001, 1.2, 3600)
    ]
    assert rounds == [10, *rehearsal.ROUNDS]


def test_at_a_low_rate_an_epoch_has_requests_enough_for_a_p99() -> None:
    workload = Slices(offered_per_s=500.0, arrivals="poisson", duration_s=0.1)
    pair = [rehearsed(10, 100)] * 2

    rounds = rehearsal.rounds_of(workload, pair, took_s=1.0, epoch_s=2.0)
    assert rounds * workload.duration_s * 500 >= 1000 > 10 * workload.duration_s * 500


# What is stored.


def stored(folder: Path, precision: float) -> Path:
    """A duel that is over, with chosen figures."""
    planned = cells()
    plan = Plan("duel", ("duel",), SERVERS, 3, 3, 7.0, records.SEED, tuple(planned), (), precision)
    runs.create(
        "duel",
        plan=plan.as_record(),
        seed=records.SEED,
        environment=records.MACHINE,
        folder=folder,
    )
    with runs.append_to(folder) as trials:
        trials.append(epochs({"epoll": times(1000, [1.0] * 6), "poll": times(1000, STEADY)}))
    return folder


@pytest.mark.parametrize(
    ("precision", "words"), [(0.05, "equal within 5 %"), (0.01, "not resolved")]
)
def test_a_stored_duel_is_told_and_drawn_by_its_own_precision(
    precision: float, words: str, tmp_path: Path
) -> None:
    run = analysis.load(stored(tmp_path / "run", precision))
    experiment = experiments.find("duel")

    assert words in experiment.finding(run)
    [figure] = experiment.figures(run)
    assert [panel.kind for panel in figure.panels] == ["ratios", "ratios"]
    assert [series.label for series in figure.panels[0].series] == ["poll"]
    assert {path.name for path in records.report(run.path)} == {"report.md", "duel.svg"}


def test_a_bench_neither_measures_nor_continues_a_duel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "duel" not in experiments.ALL
    said = expect_error(capsys, 1, "bench", "--resume", stored(tmp_path / "run", 0.02))
    assert "is a duel, which is not continued: start another one" in said


def test_latest_is_the_latest_bench(tmp_path: Path) -> None:
    plan = Plan("duel", ("duel",), SERVERS, 3, 3, 7.0, 1, tuple(cells()), (), 0.02)
    folder = runs.create(
        "duel",
        plan=plan.as_record(),
        seed=1,
        environment=records.MACHINE,
        parent=tmp_path,
        is_latest=False,
    )
    assert folder.name.endswith("-duel")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


# Real duels, as short as they may be. On a busy machine an epoch may be void, and is said to be.


def duelled(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LOADGEN, "duel", *map(str, arguments), "--connections", "4"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=6 * settings.deadline_s,
        check=False,
    )


def test_a_server_against_itself_is_stored_drawn_and_audited(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    done = duelled("epoll", "epoll", "--time-limit", 3, "--json", "--out", folder)

    found = json.loads(done.stdout)["ratios"]
    assert {(each["a"], each["b"]) for each in found} <= {("epoll (again)", "epoll")}
    known = {each["metric"] for each in found if each["low"] is not None}
    assert done.returncode == (0 if "throughput_per_s" in known else 1), done.stderr
    assert f"stored in {folder}" in done.stderr
    run = analysis.load(folder)
    assert len(run.records) >= 6
    assert [data.cell.replica for data in run.cells.values()] == [0, 1]
    assert "epoll (again)" in (folder / "report.md").read_text()
    audited = loadgen("audit", folder)
    assert audited.returncode == 0, audited.stdout


CHANGES_ITS_MIND = """
import sys
from pathlib import Path

sys.path.insert(0, {root!r})
from servers import command_line, common, epoll_server

starts = Path(__file__).with_suffix(".starts")
first = not starts.exists()
starts.touch()
calls = 0

def hello(line, right=command_line.hello):
    global calls
    calls += 1
    if first or calls < 50:
        return right(line)
    {fault}

class Session(common.Session):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **{{**named, "respond": hello}})

common.Session = Session
common.main(epoll_server.serve)
"""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("return right(line).lower()", "wrong answers: "),
        ("import os; os._exit(3)", "the server ended by itself with status 3"),
    ],
)
def test_who_fails_is_named_and_the_others_go_on(fault: str, reason: str, tmp_path: Path) -> None:
    """It does so in the epochs that count, and not at the rehearsal before them."""
    server, folder = tmp_path / "mine.py", tmp_path / "run"
    server.write_text(CHANGES_ITS_MIND.format(root=str(ROOT), fault=fault))
    mine = f"{sys.executable} {server} --port 0"

    done = duelled("epoll", "poll", "--server-command", mine, "--time-limit", 1, "--out", folder)

    assert done.returncode == 1
    assert re.search(
        rf"^{re.escape(mine)} failed in 3 of 3 epochs, as: {reason}", done.stderr, re.M
    )
    assert "Traceback" not in done.stderr
    for record in runs.load(folder).records:
        ours = record["server"]["name"] != mine
        assert record["outcome"] == ("measured" if ours else "crashed")
        if ours:
            assert record["counts"]["ok"] > 0
        else:
            assert record["server"]["command"] == list(map(portable, mine.split()))


def test_who_does_not_start_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    wrong = f"{sys.executable} tests/mutants/keeps_carriage_return.py --port 0"

    done = duelled(
        *("nonblocking --nosuch", "epoll", "poll", "--time-limit", 1, "--out", folder),
        *("--server-command", "/no/such/program", "--server-command", wrong),
    )

    assert done.returncode == 1
    said = done.stderr
    assert "nonblocking --nosuch takes no part: the server did not start: " in said
    assert "/no/such/program takes no part: cannot run /no/such/program: No such file" in said
    assert re.search(rf"^{re.escape(wrong)} takes no part: the server said ", said, re.M)
    run = analysis.load(folder)
    assert [data.server for data in run.cells.values()] == ["epoll", "poll"]
    assert len(run.header["plan"]["skipped"]) == 3


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    log = tmp_path / "elsewhere.log"
    with started("poll", cpus=set(choose_pinning().server), log=log) as server:
        yield str(server.address)


def test_of_somebody_elses_server_only_the_rate_is_known(elsewhere: str, tmp_path: Path) -> None:
    done = duelled("epoll", elsewhere, "--time-limit", 1, "--json", "--out", tmp_path / "run")

    found = json.loads(done.stdout)["ratios"]
    assert {(each["a"], each["metric"]) for each in found} <= {(elsewhere, "throughput_per_s")}
    rows = [
        row for row in runs.load(tmp_path / "run").records if row["server"]["name"] == elsewhere
    ]
    assert len(rows) >= 3
    assert all(row["server"]["command"] is None and row["counts"]["ok"] for row in rows)


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    assert find("duel").HELP
    done = duelled("epoll", "127.0.0.1:1")

    assert done.returncode == 1
    assert done.stderr == (
        "127.0.0.1:1 takes no part: nobody listens at 127.0.0.1:1\n"
        "error: fewer than two servers are left: there is nothing to compare\n"
    )
