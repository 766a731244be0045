"""A sound run passes, and whatever was changed in it afterwards is found."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
from harness import ROOT

from loadgen import __main__, experiments
from loadgen.analysis import audit
from loadgen.analysis import run as analysis
from loadgen.analysis.audit import record as derivations
from loadgen.commands import audit as command
from loadgen.commands.audit import planned_cells
from loadgen.report import redraw
from loadgen.store import chain, histogram, runs
from loadgen.trial.cell import Cell

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return records.sound_run(tmp_path_factory.mktemp("sound") / "run")


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "run"))


def spoil(run: Path, change: Callable[[Rows], object], *, hashed: bool) -> None:
    """Change the stored trials; `hashed`: and forge the hashes to go with it."""
    path = run / "trials.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    if hashed:
        previous = chain.start(json.loads((run / "run.json").read_text()))
        for row in rows:
            previous = row["sha256"] = chain.link(row, previous)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def examined(run: Path) -> list[str]:
    return audit.examine(runs.load(run))


def redrawn(run: Path) -> list[str]:
    return list(redraw.differences(analysis.load(run), experiments.report))


def test_a_sound_run_passes(sound: Path) -> None:
    assert examined(sound) == []
    assert redrawn(sound) == []


def faster(rows: Rows) -> None:
    rows[3]["throughput_per_s"] *= 1.01


def stamped_by_ourselves(rows: Rows) -> None:
    """So it is not known that the server was the limit."""
    rows[3]["generator"]["stamps"] = "generator"
    rows[3]["verdict"]["bottleneck"] = "unknown"


def datagrams_of_a_stream(rows: Rows) -> None:
    """None of which was answered, says the account, while the counts say that all were."""
    sent = rows[3]["counts"]["ok"]
    account = dict.fromkeys(("answered", "late", "duplicated", "reordered", "dropped"), 0)
    rows[3]["datagrams"] = {"sent": sent, "lost": sent, **account}


def flipped(rows: Rows) -> None:
    rows[3]["verdict"] |= {"valid": False, "bottleneck": "server", "reasons": ["bad luck"]}


def excused(rows: Rows) -> None:
    """A disturbed trial whose verdict still says valid."""
    rows[3]["machine"]["steal_fraction"] = 0.2


def limited_by_somebody_else(rows: Rows) -> None:
    rows[3]["verdict"]["bottleneck"] = "generator"


def removed(rows: Rows) -> None:
    del rows[3]


def last_removed(rows: Rows) -> None:
    del rows[-1]


def duplicated(rows: Rows) -> None:
    rows.append(copy.deepcopy(rows[3]))


def swapped(rows: Rows) -> None:
    rows[3], rows[4] = rows[4], rows[3]


def swapped_and_numbered(rows: Rows) -> None:
    for name in ("position", "started_at"):
        rows[4][name], rows[5][name] = rows[5][name], rows[4][name]
    rows[4], rows[5] = rows[5], rows[4]


def other_histogram(rows: Rows) -> None:
    rows[3]["histograms"]["service"] = rows[4]["histograms"]["service"]


def no_histogram(rows: Rows) -> None:
    rows[3]["histograms"]["service"] = None


def garbled_histogram(rows: Rows) -> None:
    rows[3]["histograms"]["service"] = "HISTnonsense"


def other_histogram_and_figures(rows: Rows) -> None:
    """A whole distribution from another trial with as many answers, but other clients."""
    count = rows[3]["counts"]["ok"]
    quick = np.full(count, 1_000, np.int64)
    rows[3]["histograms"]["service"] = histogram.encode(quick)
    rows[3]["latency_ns"]["service"] = histogram.summary(quick)


def better_percentile(rows: Rows) -> None:
    rows[3]["latency_ns"]["service"]["p99"] //= 2


def better_mean(rows: Rows) -> None:
    rows[3]["latency_ns"]["service"]["mean"] *= 0.98


def more_clients(rows: Rows) -> None:
    """A better-looking number of clients, with the workload left as it was."""
    rows[3]["connections"]["active"] += 1


def quicker_reading(rows: Rows) -> None:
    """A generator that was faster than it was: that time has to be somewhere."""
    rows[3]["generator"]["read_delay_ns"]["mean"] /= 2


def hidden_time(rows: Rows) -> None:
    """Half of the window is said to have gone to requests from before it."""
    rows[3]["generator"]["overlap_ns"]["start_ns"] += 500_000_000


def impossible_overlap(rows: Rows) -> None:
    """The sum is right, and its parts cannot be."""
    overlap = rows[3]["generator"]["overlap_ns"]
    overlap["start_ns"] -= 500_000_000
    overlap["end_ns"] -= 500_000_000


def better_knee(rows: Rows) -> None:
    """A rate at which too little was answered, as the largest that was kept."""
    tried = 2 * ((2_000.0, 1.0), (4_000.0, 0.5))
    rows[3]["knee"] = {
        "rate_per_s": 4_000.0,
        "limit_ns": 1e7,
        "probes": [
            {
                "offered_per_s": rate_per_s,
                "achieved": share,
                "p99_ns": 1e6,
                "send_lag_p99_ns": 1e3,
                "service_p99_ns": 1e6,
                "busy_fraction": 0.5,
            }
            for rate_per_s, share in tried
        ],
    }


def lost_request(rows: Rows) -> None:
    rows[3]["counts"]["scheduled"] += 1


def more_failures_than_clients(rows: Rows) -> None:
    rows[3]["connections"]["failed"] = {"refused": 2}


def more_answers(rows: Rows) -> None:
    """Counts and throughput that agree with each other, and with nothing else."""
    rows[3]["counts"]["ok"] *= 2
    rows[3]["counts"]["scheduled"] *= 2
    rows[3]["window"]["answered"] *= 2
    rows[3]["throughput_per_s"] *= 2


def a_backlog_that_was_answered(rows: Rows) -> None:
    rows[3]["window"]["open_at_end"] -= 1


def a_backlog_that_grew_more_slowly(rows: Rows) -> None:
    rows[3]["window"]["backlog_growth_per_s"] -= 1.0


def cheaper(rows: Rows) -> None:
    rows[3]["server_cost"]["cpu_us_per_request"] *= 0.9


def lost_connection(rows: Rows) -> None:
    rows[3]["connections"]["attempted"] += 1
    rows[3]["connections"]["due"] += 1


def other_server(rows: Rows) -> None:
    rows[3]["server"]["name"] = "select"


def other_options(rows: Rows) -> None:
    """A server that was told to work less than its cell says."""
    rows[3]["server"]["command"] += ["--work", "cpu:1us"]


def other_workload(rows: Rows) -> None:
    rows[3]["cell"]["workload"]["message_bytes"] = 2


def other_seed(rows: Rows) -> None:
    rows[3]["seed"] = 99


def earlier(rows: Rows) -> None:
    rows[3]["started_at"] = "2000-01-01T00:00:00.000+00:00"


def judged_anew(rows: Rows) -> None:
    """A wrong answer that was counted as a right one, with the verdict to match."""
    rows[3]["counts"]["ok"] -= 1
    rows[3]["counts"]["mismatched"] += 1
    records.judged(rows[3])  # type: ignore[arg-type]


# What finds each forgery once its hashes were forged too.
FORGERIES: list[tuple[Callable[[Rows], object], set[str]]] = [
    (faster, {"throughput"}),
    (flipped, {"judged"}),
    (excused, {"judged"}),
    (limited_by_somebody_else, {"judged"}),
    (removed, {"plan"}),
    (duplicated, {"plan"}),
    (swapped, {"plan"}),
    (swapped_and_numbered, {"position"}),
    (other_histogram, {"latencies"}),
    (no_histogram, {"latencies"}),
    (garbled_histogram, {"latencies"}),
    (other_histogram_and_figures, {"judged", "little"}),
    (better_percentile, {"latencies", "shapes"}),
    (better_mean, {"latencies", "little"}),
    (more_clients, {"clients", "little"}),
    (quicker_reading, {"little", "shapes"}),
    (hidden_time, {"little"}),
    (impossible_overlap, {"little"}),
    (better_knee, {"largest_rate"}),
    (lost_request, {"conservation", "edges"}),
    (more_failures_than_clients, {"conservation"}),
    (a_backlog_that_was_answered, {"edges"}),
    (a_backlog_that_grew_more_slowly, {"growth"}),
    (more_answers, {"counted", "cpu", "latencies"}),
    (cheaper, {"cpu"}),
    (lost_connection, {"clients", "conservation", "judged"}),
    (other_server, {"identity"}),
    (stamped_by_ourselves, {"stamped"}),
    (datagrams_of_a_stream, {"datagrams"}),
    (other_options, {"identity"}),
    (other_workload, {"plan", "position"}),
    (other_seed, {"seed"}),
    (earlier, {"plan"}),
    (judged_anew, {"counted", "latencies"}),
]


def fired(run: Path) -> set[str]:
    """The names of the checks that find something."""
    stored = runs.load(run)
    orders = audit.Orders(stored)
    found = {"plan"} if list(audit.plan(stored)) else set()
    for record in stored.records:
        for check in audit.CHECKS:
            found |= {check.__name__} if list(audit.found_by(check, record)) else set()
        found |= {"position"} if list(audit.position(record, orders)) else set()
        found |= {"seed"} if list(audit.seed(record, stored)) else set()
    return found


@pytest.mark.parametrize(("change", "checks"), FORGERIES)
def test_a_changed_trial_is_found_by_its_hash(
    run: Path, change: Callable[[Rows], object], checks: set[str]
) -> None:
    spoil(run, change, hashed=False)

    problems = examined(run)

    wrong_hashes = list(audit.hashes(runs.load(run)))
    assert wrong_hashes
    assert set(wrong_hashes) <= set(problems)
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize(("change", "checks"), FORGERIES)
def test_where_the_hashes_were_forged_too_the_figures_contradict_each_other(
    run: Path, change: Callable[[Rows], object], checks: set[str]
) -> None:
    spoil(run, change, hashed=True)

    problems = examined(run)

    assert problems
    assert all("\n" not in problem for problem in problems)
    assert not list(audit.hashes(runs.load(run)))
    assert fired(run) == checks


def test_every_derivation_finds_a_forgery_that_no_other_check_finds() -> None:
    """So none of them can be left out. The bounds have their lies in test_lies.py."""
    alone = {next(iter(checks)) for _, checks in FORGERIES if len(checks) == 1}
    derived = {check.__name__ for check in derivations.CHECKS}
    assert alone == derived | {"largest_rate", "plan", "position", "seed"}


# Remade whenever the lab changes what it records, judges or draws.
@pytest.mark.timeout(400)  # half a minute, ten times as long beside others
@pytest.mark.parametrize(
    "name", ["reference", "reference-trust", "reference-models", "reference-claims"]
)
def test_the_committed_runs_hold(name: str) -> None:
    assert audit.examine(runs.load(ROOT / "results" / name), planned_cells) == []
    assert redrawn(ROOT / "results" / name) == []


def test_a_trial_missing_at_the_end_is_an_unfinished_run(run: Path) -> None:
    spoil(run, last_removed, hashed=False)

    assert "unfinished: 1 of 8 planned trials are missing" in examined(run)[0]


def test_half_a_line_is_found(run: Path) -> None:
    path = run / "trials.jsonl"
    path.write_bytes(path.read_bytes()[:-100])

    assert "cut off" in examined(run)[0]


@pytest.mark.parametrize(
    ("field", "value"), [("seed", 2), ("created_at", "2024-01-01T00:00:00+00:00"), ("profile", "x")]
)
def test_a_changed_header_is_found(run: Path, field: str, value: object) -> None:
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))

    assert any("run.json was changed" in problem for problem in examined(run))


def test_a_changed_plan_is_found(run: Path) -> None:
    path = run / "run.json"
    header = json.loads(path.read_text())
    header["plan"]["blocks"] = 1
    path.write_text(json.dumps(header))

    assert any("run.json was changed" in problem for problem in examined(run))


def test_a_replaced_chart_is_found(run: Path) -> None:
    charts = run / "charts"
    shutil.copy(charts / "throughput-cost.svg", charts / "throughput.svg")

    assert [problem.split()[0] for problem in redrawn(run)] == ["charts/throughput.svg"]


def test_missing_and_foreign_charts_are_found(run: Path) -> None:
    (run / "charts" / "throughput.svg").rename(run / "charts" / "mine.svg")

    assert redrawn(run) == [
        f"charts/throughput.svg is missing: draw it with report {run}",
        "charts/mine.svg is not drawn from this run",
    ]


def test_what_holds_in_the_figures_but_not_in_the_charts_is_found(run: Path) -> None:
    """A trial forged throughout, Little's law included, and hashed: the charts still know."""

    def slower(rows: Rows) -> None:
        row = rows[3]
        forged = records.record(
            row["server"]["name"],
            connections=row["cell"]["workload"]["connections"],
            block=row["block"],
            position=row["position"],
            throughput_per_s=1_000.0,
        )
        rows[3] = dict(forged)

    spoil(run, slower, hashed=True)

    assert examined(run) == []
    told = {problem.split()[0].split("/")[0] for problem in redrawn(run)}
    assert told == {"charts", "report.md"}


def test_a_changed_page_is_found(run: Path) -> None:
    page = run / "report.md"
    page.write_text(page.read_text().replace("throughput", "triumph"))

    assert redrawn(run) == ["report.md is not what this lab writes of the trials"]


def test_sources_that_are_not_those_that_were_measured_are_found(run: Path) -> None:
    source = run / "servers" / "epoll_server.py"
    source.write_text(source.read_text() + "# faster\n")
    (run / "servers" / "common.py").unlink()

    assert examined(run) == [
        "servers/common.py is not the source that was measured",
        "servers/epoll_server.py is not the source that was measured",
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[3]["cell"]["workload"].update(method="telepathy"),
        lambda rows: rows[3]["cell"]["workload"].update(duration_s=0.0),
        lambda rows: rows[3].update(started_at="yesterday"),
    ],
    ids=["another method", "no window", "no date"],
)
def test_what_no_lab_wrote_is_a_find_and_no_traceback(
    run: Path, change: Callable[[Rows], object], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(run, change, hashed=True)

    assert __main__.main(["audit", str(run)]) == 1
    assert "cannot be checked" in capsys.readouterr().out


def test_an_unreadable_run_is_an_error_and_no_traceback(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "run.json").write_text("{")

    assert __main__.main(["audit", str(run)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_exit_status_says_whether_everything_holds(
    run: Path,
    sound: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = [Cell.of(cell) for cell in runs.load(sound).header["plan"]["cells"]]
    monkeypatch.setattr(command, "planned_cells", lambda header: cells)
    monkeypatch.setattr(command, "asked_for", lambda header: iter(()))

    assert __main__.main(["audit", str(sound)]) == 0
    assert capsys.readouterr().out.endswith("no README quotes this run\neverything holds\n")
    spoil(run, faster, hashed=False)
    assert __main__.main(["audit", str(run)]) == 1
    assert "things do not hold" in capsys.readouterr().out
