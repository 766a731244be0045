"""The experiment on idle servers: the busy loop's core, and what the others use."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import records

from experiments.making import STEADY, WILD, made
from loadgen.analysis import run as analysis
from loadgen.experiments import idle_cost

pytestmark = pytest.mark.measures


def idle_run(
    folder: Path, busy: float, factors: Sequence[float], asleep: float = 0.001
) -> analysis.Run:
    return analysis.load(
        records.write_run(
            folder,
            [
                made(idle_cost.NAME, server, block, 1e4 * share, idle_connections=5000)
                for block, factor in enumerate(factors)
                for server, share in (("nonblocking", busy * factor), ("epoll", asleep))
            ],
        )
    )


def test_the_busy_loops_core_is_the_headline(tmp_path: Path) -> None:
    told = idle_cost.finding(idle_run(tmp_path / "busy", 0.98, STEADY))
    assert "98 % [" in told
    assert "of the servers that block in the kernel epoll uses most, 0.1 %" in told
    nothing = idle_cost.finding(idle_run(tmp_path / "none", 0.98, STEADY, asleep=1e-4))
    assert nothing.startswith("While nothing happens servers that block in the kernel use no CPU; ")
    assert "do not decide" in idle_cost.finding(idle_run(tmp_path / "tie", 0.001, STEADY))
    assert "do not decide" in idle_cost.finding(idle_run(tmp_path / "doubt", 0.001, WILD))
