"""Findings that compare threads with epoll: a clear win, equality, and what cannot be told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import records

from experiments.making import STEADY, WILD, made
from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.experiments import fairness
from loadgen.report import svg

LOADS: dict[str, tuple[dict[str, Any], ...]] = {
    "handler": ({},),
    "payload": ({"message_bytes": 16}, {"message_bytes": 1 << 20}),
    "footprint": ({"idle_connections": 96},),
    "fairness": ({}, {"pipeline_depth": fairness.PIPELINE_DEPTH}),
}


def told(name: str, factors: Sequence[float], times: float, folder: Path) -> str:
    """The finding when threads have `times` as much as epoll, block by block times a factor."""
    run = analysis.load(
        records.write_run(
            folder,
            [
                made(name, server, block, 1000.0 * share, **load)
                for load in LOADS[name]
                for block, factor in enumerate(factors)
                for server, share in (("epoll", 1.0), ("threaded", times * factor))
            ],
        )
    )
    experiment = experiments.find(name)
    for figure in experiment.figures(run):
        svg.draw(figure, run.catalog)
    return experiment.finding(run)


@pytest.mark.parametrize("name", sorted(LOADS))
def test_findings_tell_a_clear_win_from_equality_and_from_doubt(name: str, tmp_path: Path) -> None:
    win = told(name, STEADY, 4.0, tmp_path / "win")
    assert "4.00 [" in win or "0.25 [" in win
    assert "equal within 3 % to" in told(name, STEADY, 1.0, tmp_path / "equal")
    assert "is not resolved from" in told(name, WILD, 1.0, tmp_path / "doubt")
