"""The experiment with slow clients: who stops serving, and who does not notice."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import records

from experiments.making import STEADY, WILD, made, measured
from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests
from loadgen.trial.methods.requests import SlowBehaviour

pytestmark = pytest.mark.measures


@pytest.mark.parametrize("behaviour", ["half_line", "never_reads"])
def test_slow_clients_stop_the_blocking_server_dead(
    behaviour: SlowBehaviour, tmp_path: Path
) -> None:
    cell = Cell(
        experiment="slow_clients",
        server="blocking",
        workload=Requests(connections=8, slow_connections=8, slow_behaviour=behaviour),
    )
    record = measured(cell, tmp_path / "log")
    assert record["connections"]["active"] == 0
    assert record["connections"]["slow_sent_bytes"]
    assert record["verdict"]["valid"], record["verdict"]["reasons"]
    run = analysis.load(records.write_run(tmp_path / "run", [record]))
    (main, _) = experiments.find("slow_clients").figures(run)
    assert "0 of 8 served" in main.panels[0].series[0].note


def test_slow_clients_are_noticed_or_not(tmp_path: Path) -> None:
    def finding(folder: str, factors: Sequence[float], times: float) -> str:
        found = [
            made("slow_clients", "epoll", block, 1000.0 * share, **load)
            for block, factor in enumerate(factors)
            for share, load in (
                (1.0, {}),
                (
                    times * factor,
                    {"slow_connections": 8, "slow_behaviour": "half_line"},
                ),
            )
        ]
        run = analysis.load(records.write_run(tmp_path / folder, found))
        return experiments.find("slow_clients").finding(run)

    assert "0.25 [" in finding("harmed", STEADY, 0.25)
    assert "is equal within 3 % to epoll without them" in finding("unharmed", STEADY, 1.0)
    assert "is not resolved from" in finding("doubt", WILD, 1.0)
