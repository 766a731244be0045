"""The page of a run."""

from pathlib import Path

import records

from loadgen import experiments
from loadgen.analysis import run as analysis


def test_the_page_has_question_finding_and_charts_that_are_there(tmp_path: Path) -> None:
    folder = records.sound_run(tmp_path / "run")
    page, *files = records.report(folder)
    text = page.read_text()
    throughput = experiments.find("throughput")
    assert throughput.QUESTION in text
    assert throughput.finding(analysis.load(folder)) in text
    assert {f"charts/{path.name}" for path in files if path.suffix == ".svg"} == {
        line.partition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")
    }
    assert "All of them were valid." in text
    assert "invalid" not in text.lower()


def test_the_page_lists_what_was_not_valid(tmp_path: Path) -> None:
    rows = [
        records.record("epoll", block=block, steal=steal)
        for block, steal in enumerate((0.5, 0.5, 0.0))
    ]
    reason = rows[0]["verdict"]["reasons"][0]
    folder = records.write_run(tmp_path / "run", rows)
    page = records.report(folder)[0].read_text()
    assert "3 trials" in page
    assert "2 of them were invalid; they are listed below and excluded." in page
    assert "## Invalid trials" in page
    assert f"- throughput epoll, 8 clients, 2 times: {reason}" in page
