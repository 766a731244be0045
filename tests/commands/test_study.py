"""`study` names the page of a run and opens it at the tour; without a browser it says so."""

import webbrowser
from pathlib import Path

import pytest
from command_line import expect_error

from loadgen import __main__
from loadgen.report.html import HTML_NAME


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser was asked to open."""
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or True)
    return asked


def test_the_page_is_named_and_opened_at_its_tour(
    opened: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / HTML_NAME
    page.touch()

    assert __main__.main(["study", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert opened == [f"{page.as_uri()}#tour"]


def test_a_run_without_a_page_is_told_how_to_get_one(
    opened: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = expect_error(capsys, 1, "study", tmp_path)
    assert line.endswith(f"has no {HTML_NAME}: python -m loadgen report {tmp_path}")
    assert opened == []


def test_where_there_is_no_browser_the_page_is_named_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(url: str) -> bool:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "open", nothing)
    page = tmp_path / HTML_NAME
    page.touch()

    assert __main__.main(["study", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{page}\n"
    assert said.err == f"no browser was found here: open {page} in one\n"
