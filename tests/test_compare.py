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
from loadgen.analysis import run as analysis
from loadgen.analysis.claim import Kind, unpaired
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


@pytest.mark.parametrize(("factor", "kind"), [(1.0, "equal"), (1.3, "faster"), (0.7, "slower")])
def test_a_change_is_told_from_none(tmp_path: Path, factor: float, kind: str) -> None:
    first = run(tmp_path / "a", [1000 * x for x in SPREAD])
    second = run(tmp_path / "b", [1000 * factor * x for x in reversed(SPREAD)])

    change = compare.compare(first, second).changes[0]

    assert change.figure == "throughput_per_s"
    assert change.claim.ratio == pytest.approx(factor, rel=1e-3)
    assert change.claim.kind == kind


def test_blocks_of_different_runs_are_no_pairs(tmp_path: Path) -> None:
    """Paired, these would differ by exactly a tenth."""
    first = run(tmp_path / "a", [1000.0, 2000.0, 4000.0])
    second = run(tmp_path / "b", [1100.0, 2200.0, 4400.0])

    assert compare.compare(first, second).changes[0].claim.kind == "unresolved"


def test_one_block_decides_nothing(tmp_path: Path) -> None:
    found = compare.compare(run(tmp_path / "a", [1000.0]), run(tmp_path / "b", [9000.0]))

    change = found.changes[0]
    assert change.claim.kind == "unresolved"
    assert (change.claim.low, change.claim.high) == (0, math.inf)
    assert found.as_record()["cells"][0]["ratio"]["high"] is None


@pytest.mark.parametrize("blocks", [3, 5, 8])
@pytest.mark.parametrize("disturbed", [0.0, 0.1])
def test_intervals_of_unpaired_ratios_cover_as_often_as_they_say(
    disturbed: float, blocks: int
) -> None:
    """A trial in ten is several times slower, or none."""
    rng = np.random.default_rng(6)
    rounds, covered = 1500, 0
    for _ in range(rounds):
        slower = np.where(rng.random((2, blocks)) < disturbed, rng.uniform(2, 5, (2, blocks)), 1)
        one, other = np.exp(rng.normal(0, 0.03, (2, blocks))) / slower
        ratio = unpaired(one.tolist(), (1.1 * other).tolist())
        assert ratio is not None
        covered += ratio.low <= 1 / 1.1 <= ratio.high

    assert covered / rounds >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / rounds)


def test_a_ratio_without_spread_has_no_width() -> None:
    found = unpaired([2.0] * 5, [4.0] * 3)

    assert found is not None
    assert (found.ratio, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (found.kind, found.n) == ("slower", 3)


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
    assert found["cells"][0]["ratio"]["value"] == pytest.approx(2)
    assert found["cells"][0]["claim"] == "faster"


STEADY = [1000.0, 1001.0, 1000.0, 999.0]


@pytest.mark.parametrize(
    ("figures", "kind"),
    [
        (STEADY, "equal"),
        ([1.02 * figure for figure in STEADY], "equal"),
        ([1.04 * figure for figure in STEADY], "faster"),
        ([figure / 1.04 for figure in STEADY], "slower"),
        # At the margin, by chance on either side of it.
        ([1.03 * figure for figure in STEADY], "unresolved"),
        ([700.0, 1000.0, 1400.0], "unresolved"),
        (STEADY[:2], "unresolved"),
        ([2000.0] * 2, "unresolved"),
    ],
)
def test_two_runs_are_held_to_the_rule_of_all_claims(figures: list[float], kind: Kind) -> None:
    rate, time = unpaired(figures, STEADY), unpaired(figures, STEADY, more_is_faster=False)

    assert rate is not None
    assert time is not None
    assert rate.kind == kind
    turned: dict[Kind, Kind] = {"faster": "slower", "slower": "faster"}
    assert time.kind == turned.get(kind, kind)


@pytest.mark.parametrize("blocks", [3, 5, 12])
def test_equals_are_called_different_in_one_case_of_twenty_at_most(blocks: int) -> None:
    """The truth lies on the edge of the margin: either claim would be wrong."""
    rng = np.random.default_rng(7)
    rounds, kinds = 1500, []
    for _ in range(rounds):
        one, other = np.exp(rng.normal(0, 0.004, (2, blocks)))
        found = unpaired((1.03 * one).tolist(), other.tolist())
        assert found is not None
        kinds.append(found.kind)

    for kind in ("faster", "equal"):
        assert kinds.count(kind) / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_the_figure_that_takes_less_time_is_the_faster_one(tmp_path: Path) -> None:
    """CPU per request doubles, and the rate stays."""
    for name, cpu_us in (("a", 6.0), ("b", 12.0)):
        rows = [records.record(block=block, cpu_us=cpu_us) for block in range(3)]
        records.write_run(tmp_path / name, rows)

    found = compare.compare(analysis.load(tmp_path / "a"), analysis.load(tmp_path / "b"))

    kinds = {change.figure: change.claim.kind for change in found.changes}
    assert kinds["cpu_us_per_request"] == "slower"
    assert kinds["throughput_per_s"] == "equal"


def test_the_summary_comes_first_and_only_what_differs_follows(
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

    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert __main__.main(["compare", *folders]) == 0
    summary, *rest = capsys.readouterr().out.splitlines()
    # Throughput and CPU of each; what a request costs is the same in all of them.
    assert summary == ("1 faster, 0 slower, 3 equal within 3 %, 2 not resolved; 1 cell only in one")
    assert [line.strip().split("  ")[0] for line in rest] == [
        "throughput/epoll/connections=8",
        "throughput_per_s",
    ]
    assert rest[1].endswith("x 2.00 [2.00, 2.00] faster")

    assert __main__.main(["compare", *folders, "--all"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == summary
    assert sum("connections=8" in line for line in rest) == 4
    assert rest[-1] == "in one of the runs only: throughput/threaded/connections=8"
