"""Figures are plain values, and whoever makes them needs nothing that draws."""

import dataclasses
import json
import subprocess
import sys

import pytest
from harness import ROOT

from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.report.figure import Section


@pytest.fixture(scope="module")
def sections() -> tuple[Section, ...]:
    return experiments.report(analysis.load(ROOT / "results" / "reference")).sections


def test_every_experiment_has_a_section_with_figures(sections: tuple[Section, ...]) -> None:
    # Interpreters are compared where several are named.
    named = ("interpreters", *experiments.BY_NAME)
    asked = [name for name in experiments.ALL if name not in named]
    assert [section.name for section in sections] == asked
    for section in sections:
        experiment = experiments.find(section.name)
        assert (section.question, section.hypothesis) == (
            experiment.QUESTION,
            experiment.HYPOTHESIS,
        )
        assert section.figures


def test_findings_are_those_of_the_sections(sections: tuple[Section, ...]) -> None:
    run = analysis.load(ROOT / "results" / "reference")
    found = [(section.name, section.finding) for section in sections]
    assert experiments.findings(run) == found
    assert all(finding for _, finding in found)


def test_figures_can_be_written_as_json(sections: tuple[Section, ...]) -> None:
    for section in sections:
        for figure in section.figures:
            plain = json.loads(json.dumps(dataclasses.asdict(figure), allow_nan=False))
            assert [panel["kind"] for panel in plain["panels"]] == [
                panel.kind for panel in figure.panels
            ]


def test_neither_measuring_nor_making_figures_loads_what_draws() -> None:
    code = (
        "from loadgen.plan import execute; from loadgen.report import console;"
        "import sys; from loadgen import experiments; from loadgen.analysis import run;"
        "from pathlib import Path;"
        "assert experiments.report(run.load(Path('results/reference'))).sections;"
        "[experiments.find(name) for name in experiments.ALL];"
        "print(*sys.modules, sep='\\n')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "loadgen.experiments.trust" in loaded
    assert not {"matplotlib", "loadgen.report.svg"} & loaded
