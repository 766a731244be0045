"""The page of claims says what its run says, wherever it stands."""

from pathlib import Path

import records
from claims_data import BLOCKS, observation, shares
from harness import ROOT

from loadgen import claims, experiments
from loadgen.analysis import run as analysis
from loadgen.experiments import claims as experiment
from loadgen.report import claims as pages
from loadgen.report import page, redraw, svg

REFERENCE = ROOT / "results" / "reference-claims"
COMMITTED = ROOT / "docs" / "claims.md"


def run_of(folder: Path) -> analysis.Run:
    """A run in which messages stuck."""
    cases = dict.fromkeys(("no_pause", "1ms", "10ms", "100ms", "delimiter", "length"), 1.0)
    seen = {
        **shares(**cases, **{"100ms_busy": 0.05}),
        "messages_per_s_100ms": 10.0,
        "messages_per_s_delimiter": 100_000.0,
        "messages_per_s_length": 100_000.0,
    }
    found = [observation("sticking", seen, block) for block in range(BLOCKS)]
    records.write_run(folder, found)
    return analysis.load(folder)


def test_a_report_has_the_page_and_names_it(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    written = page.write(run, experiments.report(run))

    assert [path.name for path in written[:2]] == [page.PAGE_NAME, pages.PAGE_NAME]
    assert f"({pages.PAGE_NAME})" in written[0].read_text()
    text = written[1].read_text()
    assert "**It depends: on what the receiver does meanwhile.** With 0.1 s between" in text
    assert "380 of 400 (95 %" in text
    assert f"({page.CHARTS_NAME}/{pages.FIGURE_NAME}.svg)" in text
    assert (tmp_path / "run" / page.CHARTS_NAME / f"{pages.FIGURE_NAME}.svg").stat().st_size
    assert "](../" not in text, "a run may stand anywhere"
    assert list(redraw.differences(run, experiments.report)) == []


def test_a_page_that_was_changed_by_hand_is_found(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    page.write(run, experiments.report(run))
    written = run.path / pages.PAGE_NAME
    written.write_text(written.read_text().replace("It depends", "True", 1))

    assert list(redraw.differences(run, experiments.report)) == [
        f"{pages.PAGE_NAME} is not what this lab writes of the trials"
    ]


def test_a_run_without_claims_has_no_page(tmp_path: Path) -> None:
    run = analysis.load(records.write_run(tmp_path / "run", [records.record()]))

    written = page.write(run, experiments.report(run))
    assert pages.PAGE_NAME not in {path.name for path in written}


def test_the_chart_shows_how_often_messages_stuck(tmp_path: Path) -> None:
    (figure,) = experiment.figures(run_of(tmp_path / "run"))

    rows = {series.label: series for series in figure.panels[0].series}
    assert rows["0.1 s"].points[0].y == 0
    assert rows["0.1 s, busy receiver"].points[0].y == 95
    assert len(rows) == len(experiment.STICKING)
    assert svg.save(figure, tmp_path, analysis_catalog()).stat().st_size


def analysis_catalog() -> object:
    from loadgen.analysis.catalog import of_lines
    from loadgen.store import provenance

    return of_lines(provenance.catalog())


def test_the_finding_counts_verdicts(tmp_path: Path) -> None:
    told = experiment.finding(run_of(tmp_path / "run"))
    assert told.startswith(f"Of {len(claims.ALL)} claims 1 true or false depending on something,")
    assert "sticking: it depends: on what the receiver does meanwhile" in told


def test_the_committed_page_is_that_of_the_committed_run() -> None:
    run = analysis.load(REFERENCE)
    tested = experiment.tested(run)

    assert COMMITTED.read_text() == pages.beside(
        tested,
        page.machine(run),
        page_path=COMMITTED,
        run=REFERENCE,
        lab=ROOT,
        has_chart=True,
    )
