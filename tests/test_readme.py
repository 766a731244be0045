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
from loadgen.experiments import claims, headlines
from loadgen.report import page
from loadgen.store import metric, runs
from loadgen.store.schema import Latency
from loadgen.trial.methods import Requests

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "servers" / "README.md",
    ROOT / "results" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.fixture(scope="module")
def run() -> Run:
    return analysis.load(ROOT / "results" / "reference")


def in_one_line(path: Path) -> str:
    """So that a sentence may be broken anywhere."""
    return " ".join(path.read_text().split())


@pytest.fixture(scope="module")
def readme() -> str:
    return in_one_line(ROOT / "README.md")


@pytest.fixture(scope="module")
def on_trust() -> str:
    return in_one_line(ROOT / "docs" / "trust.md")


def test_headlines_and_the_machine_are_those_of_the_reference_run(run: Run, readme: str) -> None:
    said = headlines.sentences(run)
    assert len(said) >= 5
    assert [sentence for sentence in said if f"- {sentence}" not in readme] == []
    assert page.machine(run) in readme


def test_precision_is_that_of_the_reference_run(run: Run, on_trust: str) -> None:
    assert headlines.precision(run) in on_trust


def test_the_verdicts_on_claims_are_counted(readme: str) -> None:
    tested = claims.tested(analysis.load(ROOT / "results" / "reference-claims"))
    said = [each.verdict.split(":")[0] for each in tested]
    assert (
        f"{len(said)} sentences that tutorials repeat were put to the test, too: here"
        f" {said.count('true')} is true, {said.count('false')} are false,"
        f" and {said.count('it depends')} depend on something"
    ) in readme


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
    run: Run, on_trust: str
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
    assert said in on_trust


def test_the_stalled_server_is_told_as_measured(run: Run, on_trust: str) -> None:
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
        assert f"the {mode} loop reports {p95_us / 1000:.3g} and {p99_us / 1000:.3g} ms" in on_trust


def test_the_trust_experiment_is_told_as_measured(on_trust: str) -> None:
    asked = analysis.load(ROOT / "results" / "reference-trust")
    assert experiments.find("trust").finding(asked) in on_trust


@pytest.mark.parametrize(
    "name", ["reference", "reference-trust", "reference-models", "reference-claims"]
)
def test_the_hash_that_a_committed_run_ends_in_is_named(name: str) -> None:
    stored = runs.load(ROOT / "results" / name)
    quotes = quoted.quotes_of(stored, iter([ROOT / "README.md"]))

    assert len(quotes) == 1
    assert list(quoted.differences(stored, quotes)) == []


def test_every_experiment_is_named_with_its_question() -> None:
    listed = in_one_line(ROOT / "docs" / "experiments.md")
    for name in experiments.ALL:
        question = experiments.find(name).QUESTION
        assert f"| [{name}](../loadgen/experiments/{name}.py) | {question} |" in listed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    assert links or path.parent.name == "results"
    assert [link for link in links if not (path.parent / link).exists()] == []


def facts(page: str) -> list[tuple[list[str], ...]]:
    """What a paragraph must say in any language: its heading's depth, commands, code, links, and
    figures, in whatever order its grammar wants."""
    found = []
    for block in re.split(r"\n{2,}", page.strip()):
        text, commands = block, []
        if block.startswith("```"):
            # What stands behind a # is said in the language of the page.
            commands = [re.sub(r" +# .*", "", line) for line in block.splitlines()]
            text = " ".join(re.findall(" # .*", block))
        links = [link for link in re.findall(r"\]\(([^\s()]+)\)", text) if "README." not in link]
        code = re.findall(r"`+[^`]+`+", text)
        bare = re.sub(r"`+[^`]+`+|\]\([^\s()]+\)", " ", text)
        figures = re.findall(r"\d[\d,.]*(?<![,.])", bare)
        depth = re.findall("^#+ ", text)
        found.append((depth, commands, sorted(code), sorted(links), sorted(figures)))
    return found


def test_the_chinese_page_states_the_same_facts() -> None:
    english, chinese = (facts((ROOT / name).read_text()) for name in ("README.md", "README.zh.md"))
    assert len(english) > 40
    for number, (one, other) in enumerate(zip(english, chinese, strict=True)):
        assert other == one, f"paragraph {number}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("43 [33, 57] times", "43 [33, 58] 倍"),
        ("see `idle`", "见 `load`"),
        ("[this](docs/trust.md)", "[这个](docs/claims.md)"),
        ("```console\n$ make bench # all\n```", "```console\n$ make test # 全部\n```"),
        ("one\n\ntwo", "一"),
        ("## Words", "# 术语"),
    ],
)
def test_pages_that_state_different_facts_are_told_apart(one: str, other: str) -> None:
    assert facts(one) != facts(other)


def test_the_drawing_has_the_layers_that_the_linter_holds() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = settings["contracts"][0]["layers"]
    drawing = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]

    drawn = re.findall(r"^ {2}(\w+) {3}", drawing, re.MULTILINE)
    assert drawn == [*layers[1:], "servers"]  # the first is __main__
