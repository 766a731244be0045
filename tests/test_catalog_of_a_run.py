"""A stored run is drawn with the catalog of its day, whatever the lab's catalog says by now."""

import dataclasses
import json
from pathlib import Path

import pytest
import records
from harness import ROOT

from loadgen import experiments
from loadgen.analysis import catalog as run_catalog
from loadgen.analysis import run as analysis
from loadgen.store import provenance
from servers import catalog


def with_catalog(folder: Path, lines: list[dict[str, object]]) -> Path:
    """Give a run another catalog than that of today."""
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "catalog": lines}))
    return folder


def line(name: str, **changed: object) -> dict[str, object]:
    """As a run stores it."""
    (found,) = (each for each in provenance.catalog() if each["name"] == name)
    return {**found, **changed}


def drawn(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in records.report(folder)}


@pytest.fixture
def another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab has a new server in the middle of its catalog, and its first one looks different."""
    first, second, *others = catalog.MODELS
    changed = dataclasses.replace(first, colour="#FF0000", idea="Something else.")
    new = dataclasses.replace(second, name="forking", colour="#123456")
    monkeypatch.setattr(catalog, "MODELS", (changed, second, new, *others))
    assert catalog.find("forking") is new


def test_a_run_of_schema_1_has_the_six_servers_of_its_time() -> None:
    run = analysis.load(ROOT / "tests" / "data" / "schema-1")
    assert "catalog" not in json.loads((run.path / "run.json").read_text())
    names = ["blocking", "threaded", "nonblocking", "select", "poll", "epoll"]
    assert [line.name for line in run.catalog] == names
    assert [line.marker for line in run.catalog] == list("osD^vP")
    assert [line.name for line in run.catalog if not line.sleeps] == ["nonblocking"]


def test_a_model_more_changes_no_figure_and_no_byte_of_a_stored_run(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = records.sound_run(tmp_path / "run")
    before = drawn(folder)
    reference = ROOT / "results" / "reference"
    figures = experiments.report(analysis.load(reference))

    request.getfixturevalue("another_model")

    assert drawn(folder) == before
    assert experiments.report(analysis.load(reference)) == figures


def test_a_run_looks_as_its_own_catalog_says(tmp_path: Path) -> None:
    folder = records.sound_run(tmp_path / "run")
    before = drawn(folder)
    lines = [line("poll", marker="v"), line("epoll", marker="P")]

    assert drawn(with_catalog(folder, lines)) == before
    lines[0]["colour"] = "#ABCDEF"
    red = drawn(with_catalog(folder, lines))
    assert b"#abcdef" in red["throughput.svg"]
    lines[0]["marker"] = "*"
    assert drawn(with_catalog(folder, lines))["throughput.svg"] != red["throughput.svg"]


def test_servers_come_in_the_order_of_the_runs_catalog(tmp_path: Path) -> None:
    rows = [
        records.record(server, connections=count)
        for server in ("else", "epoll", "poll")
        for count in (8, 1)
    ]
    folder = records.write_run(tmp_path / "run", rows)

    def servers() -> list[str]:
        return list(analysis.load(folder).along("throughput", "connections"))

    assert servers() == ["poll", "epoll", "else"]
    with_catalog(folder, [line("epoll"), line("poll")])
    assert servers() == ["epoll", "poll", "else"]


def test_more_words_may_follow_the_name_of_a_server() -> None:
    today = run_catalog.of_lines(provenance.catalog())
    assert today.find("epoll with 4 workers") == today.find("epoll") is not None
    assert today.find("epollish") is None
