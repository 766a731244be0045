"""README quotes the committed run as it is, and its links lead somewhere; ARCHITECTURE draws the
layers that are held."""

import re
import tomllib
from pathlib import Path

import pytest

from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.analysis.audit import quoted
from loadgen.analysis.estimate import ratio
from loadgen.analysis.run import Run
from loadgen.experiments import headlines, standings
from loadgen.report import page
from loadgen.store import metric, runs
from loadgen.store.schema import Latency
from loadgen.trial.methods import Requests
from servers import catalog

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "servers" / "README.md",
    ROOT / "results" / "README.md",
]


@pytest.fixture(scope="module")
def run() -> Run:
    return analysis.load(ROOT / "results" / "reference")


@pytest.fixture(scope="module")
def readme() -> str:
    """In one line, so that a sentence may be broken anywhere."""
    return " ".join((ROOT / "README.md").read_text().split())


def test_headlines_and_precision_are_those_of_the_reference_run(run: Run, readme: str) -> None:
    said = headlines.sentences(run)
    assert len(said) >= 5
    assert [sentence for sentence in said if f"- {sentence}" not in readme] == []
    assert headlines.precision(run) in readme


def test_findings_are_those_of_the_reference_run(run: Run, readme: str) -> None:
    found = dict(experiments.findings(run))
    quoted = re.findall(r"- \*\*(\w+)\*\*: (.*?)(?= - \*\*|  | These sentences)", readme)
    assert len(quoted) >= 5
    for name, sentence in quoted:
        assert sentence.strip() == found[name]


def test_the_machine_and_the_number_of_records_are_said(run: Run, readme: str) -> None:
    invalid = sum(not record["verdict"]["valid"] for record in run.records)
    assert (
        f"{len(run.records):,} records of the committed run ({invalid} of them were invalid"
        in readme
    )
    assert page.machine(run) in readme


def test_what_poll_and_select_lose_to_epoll_is_that_of_the_reference_run(
    run: Run, readme: str
) -> None:
    rows = run.along("idle", "idle_connections")
    ratios = [
        ratio(rows["epoll"][1000].compared, rows[other][1000].compared, metric.throughput)
        for other in ("poll", "select")
    ]
    said = [
        f"{found.estimate.value:.1f}"
        for found in ratios
        if found and not found.estimate.low <= 1 <= found.estimate.high
    ]
    assert f"beside 1,000 idle ones epoll was {' and '.join(said)} times as fast here" in readme


def test_the_ceiling_and_the_fastest_server_are_those_of_the_reference_run(
    run: Run, readme: str
) -> None:
    medians = {
        name: found.value
        for name, row in run.along("throughput", "connections").items()
        if 64 in row and (found := row[64].over_blocks(metric.throughput))
    }
    fastest = max(medians, key=lambda name: medians[name])
    said = f"the fastest server, {fastest}, made {medians[fastest]:,.0f} with 64 clients (median)."
    if run.ceiling_per_s is not None:
        said = f"here {run.ceiling_per_s:,.0f} answers per second at most, where {said}"
    else:
        reached = max(point["throughput_per_s"] for point in run.header["calibration"])
        disturbed = f"{reached:,.0f} is less than a server made, and no ceiling"
        said = f"here it was disturbed: {disturbed}; {said}"
    assert said in readme


def test_the_stalled_server_is_told_as_measured(run: Run, readme: str) -> None:
    loops = {
        "closed" if data.cell.workload.offered_per_s is None else "open": data
        for data in run.of("load").values()
        if isinstance(data.cell.workload, Requests) and data.cell.workload.stall_s
    }
    kinds: dict[str, Latency] = {"open": "response", "closed": "service"}
    for mode, kind in kinds.items():
        p95_us, p99_us = (loops[mode].merged_us(kind, percent) for percent in (95, 99))
        assert p95_us is not None
        assert p99_us is not None
        assert f"the {mode} loop reports {p95_us / 1000:.3g} and {p99_us / 1000:.3g} ms" in readme


def test_the_trust_experiment_is_told_as_measured(readme: str) -> None:
    asked = analysis.load(ROOT / "results" / "reference-trust")
    assert experiments.find("trust").finding(asked) in readme


def test_the_table_of_all_servers_is_that_of_its_run() -> None:
    asked = analysis.load(ROOT / "results" / "reference-models")
    head, *rows = standings.table(asked)
    known = {model.name for model in catalog.MODELS}
    assert {row[1] for row in rows} == known
    lines = page.markdown([row[1:] for row in (head, *rows)])
    assert "\n".join(lines) in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["reference", "reference-trust", "reference-models"])
def test_the_hash_that_a_committed_run_ends_in_is_named(name: str) -> None:
    stored = runs.load(ROOT / "results" / name)
    quotes = quoted.quotes_of(stored, iter([ROOT / "README.md"]))

    assert len(quotes) == 1
    assert list(quoted.differences(stored, quotes)) == []


def test_every_experiment_is_named_with_its_question(readme: str) -> None:
    for name in experiments.ALL:
        question = experiments.find(name).QUESTION
        assert f"| [{name}](loadgen/experiments/{name}.py) | {question} |" in readme


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    assert links or path.parent.name == "results"
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_drawing_has_the_layers_that_the_linter_holds() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = settings["contracts"][0]["layers"]
    drawing = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]

    drawn = re.findall(r"^ {2}(\w+) {3}", drawing, re.MULTILINE)
    assert drawn == [*layers[1:], "servers"]  # the first is __main__
