"""The experiment with HTTP, from real servers to the finding."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import records

from experiments.making import CPUS, NEVER_NS, STEADY, drawn, found_in, times
from loadgen import experiments
from loadgen.experiments import http
from loadgen.plan.order import planned_order
from loadgen.plan.plan import Profile
from loadgen.store.schema import Record
from loadgen.trial import sliced, trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import ChurnSlices, Slices
from loadgen.trial.rig import SystemUnderTest
from servers import catalog

pytestmark = pytest.mark.measures


@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
def test_both_protocols_of_all_servers_are_in_one_comparison(profile: Profile) -> None:
    cells = experiments.cells("http", profile, catalog.usual())

    for cell in cells:
        cell.workload.check()
    assert len({cell.id for cell in cells}) == len(cells)
    groups = planned_order(cells, 1, 0)
    assert len(groups) == 2
    for group in groups:
        speaks = {(cell.server, cell.workload.protocol) for cell in group}
        names = {cell.server for cell in group}
        assert {"epoll", "threaded", "asyncio"} <= names <= set(http.SERVERS)
        assert speaks == {(name, protocol) for name in names for protocol in ("hello", "http")}
        assert [cell.server for cell in group if cell.replica] == ["epoll"]


@pytest.mark.parametrize("method", [Slices, ChurnSlices])
def test_both_protocols_are_measured_together(
    method: type[Slices] | type[ChurnSlices], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliced, "PAUSE_NS", NEVER_NS)  # whoever else works here
    monkeypatch.setattr(sliced, "OTHERS_CPU", math.inf)
    cells = [
        replace(cell, workload=replace(cell.workload, connections=2, rounds=4))
        for cell in experiments.cells("http", "quick", [catalog.find("epoll")])
        if isinstance(cell.workload, method)
    ]
    assert len(cells) == 3
    found = trial.measure(
        [
            (SystemUnderTest(model=catalog.find(cell.server)), cell, tmp_path / f"{number}.log")
            for number, cell in enumerate(cells)
        ],
        cpus=CPUS,
    )

    for cell, record in zip(cells, found, strict=True):
        assert record["outcome"] == "measured", (cell.id, record["failure"])
        counts = record["counts"]
        assert counts["ok"] == counts["scheduled"]
        # Where others take the CPU a slice may end before an answer; whoever asked gets one.
        assert record["slices"] is not None
        assert sum(filter(None, record["slices"]["drive_answers"])) > 0
        command = record["server"]["command"]
        assert command is not None
        assert ("http" in command) == (cell.workload.protocol == "http")
    assert drawn(tmp_path / "run", *found) == ["http.svg"]


def made(server: str, protocol: str, rate: float, block: int) -> Record:
    record = records.record(server, experiment="http", block=block, throughput_per_s=rate)
    workload: Any = replace(http.STAYING, protocol=protocol)
    record["cell"] = Cell(experiment="http", server=server, workload=workload).as_record()
    return record


def test_the_finding_is_about_each_server_with_and_without(tmp_path: Path) -> None:
    found = [
        made(server, protocol, rate, block)
        for server, protocol, factor in (
            ("epoll", "hello", 1.0),
            ("epoll", "http", 0.5),
            ("asyncio", "hello", 0.8),
            ("asyncio", "http", 0.6),
            ("poll", "http", 0.6),
        )
        for block, rate in enumerate(times(1000 * factor, STEADY))
    ]
    said = found_in(tmp_path, found)

    assert "epoll gives 0.50 [0.50, 0.50] times the answers per second" in said
    assert "asyncio gives 0.75 [0.75, 0.75] times the answers per second" in said
    assert "poll gives" not in said.replace("epoll gives", "")


def test_one_protocol_alone_decides_nothing(tmp_path: Path) -> None:
    found = [made("epoll", "http", 1000.0, block) for block in range(3)]
    assert "do not decide" in found_in(tmp_path, found)
