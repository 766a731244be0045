"""Two runs are compared cell by cell, and chance is not called a change."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import records

from loadgen import __main__
from loadgen.analysis import compare
from loadgen.analysis import estimate as estimates
from loadgen.analysis import run as analysis
from loadgen.analysis.estimate import Estimate, Ratio, estimate
from loadgen.store.runs import ResultsError
from loadgen.trial.cell import Cell


def run(
    path: Path, figures: Sequence[float], server: str = "epoll", cpu: str = "one"
) -> analysis.Run:
    rows = [
        records.record(server, block=block, throughput_per_s=figure, latencies_ns=[1_000])
        for block, figure in enumerate(figures)
    ]
    return analysis.load(records.write_run(path, rows, environment={"cpu": cpu}))


SPREAD = (1.0, 1.02, 0.99, 1.01, 0.98, 1.0)


@pytest.mark.parametrize(("factor", "result"), [(1.0, "tie"), (1.3, "differs"), (0.7, "differs")])
def test_a_change_is_told_from_none(tmp_path: Path, factor: float, result: str) -> None:
    first = run(tmp_path / "a", [1000 * x for x in SPREAD])
    second = run(tmp_path / "b", [1000 * factor * x for x in reversed(SPREAD)])

    change = compare.compare(first, second).changes[0]

    assert change.figure == "throughput_per_s"
    assert change.ratio.estimate.value == pytest.approx(factor, rel=1e-3)
    assert change.ratio.result == result


def test_blocks_of_different_runs_are_no_pairs(tmp_path: Path) -> None:
    """Paired, these would differ by exactly a tenth."""
    first = run(tmp_path / "a", [1000.0, 2000.0, 4000.0])
    second = run(tmp_path / "b", [1100.0, 2200.0, 4400.0])

    assert compare.compare(first, second).changes[0].ratio.result == "undecided"


def test_one_block_decides_nothing(tmp_path: Path) -> None:
    found = compare.compare(run(tmp_path / "a", [1000.0]), run(tmp_path / "b", [9000.0]))

    change = found.changes[0]
    assert change.ratio.result == "undecided"
    assert (change.ratio.estimate.low, change.ratio.estimate.high) == (0, math.inf)
    assert found.as_record()["cells"][0]["ratio"]["high"] is None


@pytest.mark.parametrize("blocks", [3, 5, 8])
def test_intervals_of_unpaired_ratios_cover_as_often_as_they_say(blocks: int) -> None:
    rng = np.random.default_rng(6)
    rounds, covered = 1500, 0
    for _ in range(rounds):
        slower = np.where(rng.random((2, blocks)) < 0.1, rng.uniform(2, 5, (2, blocks)), 1)
        one, other = np.exp(rng.normal(0, 0.03, (2, blocks))) / slower
        above, below = estimate(one.tolist()), estimate((1.1 * other).tolist())
        assert above is not None
        assert below is not None
        ratio = compare.unpaired_ratio(above, below)
        covered += ratio.low <= 1 / 1.1 <= ratio.high

    assert covered / rounds >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / rounds)


def test_a_ratio_without_spread_has_no_width() -> None:
    exact = Estimate(2.0, 2.0, 2.0, 5), Estimate(4.0, 4.0, 4.0, 3)

    assert compare.unpaired_ratio(*exact) == Estimate(0.5, 0.5, 0.5, 3)


def test_other_machines_are_named(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a", [1000.0]), run(tmp_path / "b", [1000.0], cpu="another")

    assert list(compare.differences(first, second)) == ["cpu: one and another"]
    assert not list(compare.differences(first, first))


def test_cells_that_one_run_does_not_have_are_listed(tmp_path: Path) -> None:
    rows = [records.record(server, throughput_per_s=100.0) for server in ("epoll", "poll")]
    first = analysis.load(records.write_run(tmp_path / "a", rows))
    second = analysis.load(records.write_run(tmp_path / "b", rows[:1]))

    assert compare.compare(first, second).alone == (Cell.of(rows[1]["cell"]).id,)


def test_nothing_in_common_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = run(tmp_path / "a", [1.0]), run(tmp_path / "b", [1.0], server="poll")

    with pytest.raises(ResultsError, match="share no cell"):
        compare.compare(first, second)
    assert __main__.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_prints_a_table_or_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "a", [1000.0, 1000.0, 1000.0])
    run(tmp_path / "b", [2000.0, 2000.0, 2000.0], cpu="another")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]

    assert __main__.main(["compare", *folders]) == 0
    table = capsys.readouterr().out
    assert "not the same: cpu: one and another" in table
    assert __main__.main(["compare", *folders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cells"][0]["ratio"]["value"] == 2
    assert found["cells"][0]["result"] == "differs"


@pytest.mark.parametrize(
    ("estimate", "result"),
    [
        (Estimate(1.0, 0.97, 1.04, 3), "tie"),
        (Estimate(1.0, 0.97, 1.04, 2), "undecided"),
        (Estimate(1.0, 0.80, 1.04, 9), "undecided"),
        (Estimate(1.0, 0.97, 1.20, 9), "undecided"),
        (Estimate(2.0, 1.50, 2.50, 3), "differs"),
        (Estimate(2.0, 1.50, 2.50, 2), "undecided"),
        (Estimate(1.0, 0.0, math.inf, 1), "undecided"),
    ],
)
def test_a_tie_takes_blocks_enough_and_a_narrow_interval(
    estimate: Estimate, result: estimates.Result
) -> None:
    change = compare.Change("cell", "figure", estimate, estimate, Ratio(estimate))

    assert change.ratio.result == result


def test_the_table_ends_with_how_many_of_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [1000.0, 1000.0, 1000.0]
    for name, figures in (("a", same), ("b", [2000.0, 2000.0, 2000.0])):
        rows = [
            records.record(server, block=block, throughput_per_s=figure, latencies_ns=[1_000])
            for server, values in (("epoll", figures), ("poll", same), ("select", [figures[0]]))
            for block, figure in enumerate(values)
        ]
        if name == "a":
            rows.append(records.record("threaded", throughput_per_s=1.0, latencies_ns=[1_000]))
        records.write_run(tmp_path / name, rows)

    assert __main__.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0

    last = " ".join(capsys.readouterr().out.split("in one of the runs only: ")[1].split())
    # Throughput and CPU of each; what a request costs is the same in all of them.
    assert last.startswith("throughput/threaded/connections=8 1 differ, 3 tie, 2 undecided (")
    assert last.endswith("), 1 only in one")
