"""Two runs are compared cell by cell, and chance is not called a change."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import records
from command_line import expect_error

from loadgen import __main__
from loadgen.analysis import compare
from loadgen.analysis import run as analysis
from loadgen.analysis.claim import Kind, unpaired
from loadgen.analysis.estimate import Estimate
from loadgen.report import comparing, console, page
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
    assert found["first"] == folders[0]
    [other] = found["others"]
    assert other["run"] == folders[1]
    assert other["cells"][0]["ratio"]["value"] == pytest.approx(2)
    assert other["cells"][0]["claim"] == "faster"
    assert "regression" not in other["cells"][0]


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


@pytest.fixture
def several(tmp_path: Path) -> list[str]:
    """Three runs: in the second epoll is twice as fast, and poll a tenth slower in the third, whose
    select was measured once. One server is in the first run only."""
    same = [1000.0, 1000.0, 1000.0]
    figures = {
        "a": {"epoll": same, "poll": same, "select": [1000.0], "threaded": [1.0]},
        "b": {"epoll": [2000.0, 2000.0, 2000.0], "poll": same, "select": [2000.0]},
        "c": {"epoll": same, "poll": [900.0, 900.0, 900.0], "select": [1000.0]},
    }
    folders = []
    for name, of in figures.items():
        rows = [
            records.record(server, block=block, throughput_per_s=figure, latencies_ns=[1_000])
            for server, values in of.items()
            for block, figure in enumerate(values)
        ]
        folders.append(str(records.write_run(tmp_path / name, rows)))
    return folders


def compared(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[str]:
    assert __main__.main(["compare", *words]) == status
    return capsys.readouterr().out.splitlines()


def test_the_summary_comes_first_and_the_largest_changes_follow(
    several: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    summary, *rest = compared(capsys, *several[:2])
    # Throughput and CPU of each; what a request costs is the same in all of them.
    assert summary == ("1 faster, 0 slower, 3 equal within 3 %, 2 not resolved; 1 cell only in one")
    assert rest[0] == (
        "x 2.00 [2.00, 2.00] faster: throughput_per_s 1,000 => 2,000,"
        " throughput/epoll/connections=8"
    )
    assert "select" in rest[1]  # twice as fast as well, and not resolved
    assert len(rest) == 6

    assert compared(capsys, *several[:2], "--only-differs") == [summary, rest[0]]
    everything = compared(capsys, *several[:2], "--all")
    assert everything[:-1] == [summary, *rest]
    assert everything[-1] == "in one of the runs only: throughput/threaded/connections=8"


def test_what_is_decided_comes_before_what_is_larger(several: list[str]) -> None:
    found = compare.compare(*map(analysis.load, map(Path, several[:2])))

    kinds = [change.claim.kind for change in found.changes]
    assert kinds[0] == "faster"
    assert found.differing == found.changes[:1]
    sizes = [change.magnitude for change in found.changes[1:]]
    assert sizes == sorted(sizes, reverse=True)


def test_more_changes_than_a_screen_has_are_counted(
    several: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "MOST_CHANGES", 2)

    said = compared(capsys, *several[:2])
    assert len(said) == 4
    assert said[-1] == "and 4 smaller changes: --all shows them"


def test_all_are_compared_with_the_first(
    several: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = compared(capsys, *several, "--only-differs")

    assert said[0] == f"{several[1]}, compared with {several[0]}:"
    assert said[3] == f"{several[2]}, compared with {several[0]}:"
    assert said[5].startswith("x 0.90 [0.90, 0.90] slower: throughput_per_s 1,000 => 900")
    found = json.loads(compared(capsys, *several, "--json")[0])
    assert [other["run"] for other in found["others"]] == several[1:]


# A limit that must not be passed.


@pytest.mark.parametrize(
    ("figures", "worse"),
    [
        ([900.0, 901.0, 899.0], "yes"),
        ([949.9, 950.0, 950.1], "unknown"),  # at the limit
        ([960.0, 961.0, 959.0], "no"),
        (STEADY, "no"),
        ([2000.0, 2001.0, 1999.0], "no"),
        ([700.0, 900.0, 1200.0], "unknown"),  # worse on average, and nobody knows
        ([100.0], "unknown"),
    ],
)
def test_a_regression_is_one_whose_whole_interval_is_worse(
    tmp_path: Path, figures: list[float], worse: str
) -> None:
    found = compare.compare(run(tmp_path / "a", STEADY), run(tmp_path / "b", figures))

    assert found.changes[0].figure == "throughput_per_s"
    assert found.changes[0].worse_than(0.05) == worse


@pytest.mark.parametrize(("cpu_us", "worse"), [(6.0, "no"), (3.0, "no"), (6.6, "yes")])
def test_of_times_more_is_worse(tmp_path: Path, cpu_us: float, worse: str) -> None:
    for name, each in (("a", 6.0), ("b", cpu_us)):
        rows = [records.record(block=block, cpu_us=each) for block in range(3)]
        records.write_run(tmp_path / name, rows)

    found = compare.compare(*(analysis.load(tmp_path / name) for name in "ab"))
    (cost,) = [each for each in found.changes if each.figure == "cpu_us_per_request"]
    assert cost.worse_than(0.05) == worse


def test_a_regression_has_status_3_and_is_told_in_words(
    several: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = several
    told = compared(capsys, first, third, "--fail-on-regression", "5", status=3)
    assert (
        "regression: throughput/poll/connections=8: throughput_per_s is 0.90 [0.90, 0.90] times"
        " that of the first run: at least 10 % less, where 5 % are allowed"
    ) in told
    assert told[-1].startswith(
        f"{third}: of 6 figures 1 are worse by more than 5 %, 3 are not, and of 2 the interval"
        " contains that limit or is not known"
    )
    compared(capsys, first, third, "--fail-on-regression", "15%")
    compared(capsys, first, second, "--fail-on-regression", "5")
    # One of several runs is enough.
    (line,) = compared(capsys, *several, "--fail-on-regression", "5", "--json", status=3)
    cells = json.loads(line)["others"][1]["cells"]
    assert [each["cell"] for each in cells if each["regression"] == "yes"] == [
        "throughput/poll/connections=8"
    ]


def test_between_runs_of_equals_few_limits_are_said_to_be_passed() -> None:
    """At the limit itself, which is the worst case: one in forty."""
    rng = np.random.default_rng(8)
    rounds, passed = 1500, 0
    for _ in range(rounds):
        one, other = np.exp(rng.normal(0, 0.02, (2, 5)))
        claim = unpaired((0.95 * one).tolist(), other.tolist())
        assert claim is not None
        figures = Estimate(1.0, 1.0, 1.0, 5)
        passed += compare.Change("", "", figures, figures, claim).worse_than(0.05) == "yes"

    assert passed / rounds <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / rounds)


@pytest.mark.parametrize("text", ["-1", "100", "nan", "much", ""])
def test_a_limit_is_a_percentage(
    text: str, several: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = expect_error(capsys, 2, "compare", *several[:2], f"--fail-on-regression={text}")
    assert "is not from 0 to 100 per cent" in said


# The page.


def test_the_page_has_a_chart_of_what_differs(
    several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page"
    said = compared(capsys, *several, "--out", str(out))

    assert said[-1] == f"written: {out / 'compare.md'}"
    names = {"compare.md", "compare.svg", "compare-2.svg"}
    assert {path.name for path in out.iterdir()} == names
    text = (out / "compare.md").read_text()
    assert "![b](compare.svg)" in text
    assert "| throughput epoll, 8 clients | requests per second | 1,000 | 2,000 | 2.00" in text
    title = ElementTree.parse(out / "compare.svg").find(".//{*}title")
    assert title is not None
    assert title.text == ("Of 6 figures 1 became better and 0 worse; 2 are not resolved")
    # The same again, byte by byte; but nothing is overwritten.
    compared(capsys, *several, "--out", str(tmp_path / "again"))
    assert (tmp_path / "again" / "compare.svg").read_bytes() == (out / "compare.svg").read_bytes()
    expect_error(capsys, 1, "compare", *several, "--out", out)


def test_where_nothing_is_decided_the_chart_says_so(several: list[str]) -> None:
    runs = [analysis.load(Path(each)) for each in (several[0], several[0])]
    found = compare.compare(*runs)

    drawn = comparing.figure(*runs, found)
    assert drawn.title.startswith("Of 8 figures 0 became better and 0 worse")
    assert drawn.panels[0].x_range == comparing.UNDECIDED_RANGE
    assert {series.tone for series in drawn.panels[0].series} <= {"#555555", "#999999"}


def test_names_and_notes_are_texts_and_nothing_more_on_the_page() -> None:
    told = page.harmless([page.plain("<script>alert(1)</script> & more"), "2"])
    assert told == "&lt;script>alert(1)&lt;/script> &amp; more\n2"
    assert page.plain("a|b\n# c [d](e) *f*") == r"a\|b \# c \[d\](e) \*f\*"
