"""The experiment over every transport, from real servers to the finding."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import records

from experiments.making import CPUS, NEVER_NS, STEADY, WILD, drawn, found_in, times
from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.experiments import transports
from loadgen.store.schema import Record
from loadgen.trial import sliced, trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from loadgen.trial.rig import SystemUnderTest
from servers import catalog

pytestmark = pytest.mark.measures

WAYS = ("epoll", "epoll over IPv6", "epoll over a Unix socket", "udp", "udp_batched")


def planned(servers: list[str]) -> list[Cell]:
    return experiments.cells("transports", "standard", [catalog.find(name) for name in servers])


def test_every_way_is_in_one_comparison_for_each_number_of_clients() -> None:
    cells = experiments.cells("transports", "standard", catalog.usual())

    for cell in cells:
        cell.workload.check()
    assert len({cell.id for cell in cells}) == len(cells)
    for clients in transports.CLIENTS:
        ours = [cell for cell in cells if cell.workload.connections == clients]
        assert [cell.workload.transport for cell in ours if cell.replica] == ["ipv4"]
        ways = [(cell.server, cell.workload.transport) for cell in ours if not cell.replica]
        assert ways == [
            ("epoll", "ipv4"),
            ("epoll", "ipv6"),
            ("epoll", "unix"),
            ("udp", "udp"),
            ("udp_batched", "udp"),
        ]


def test_servers_of_datagrams_take_part_where_they_are_named_or_nothing_is() -> None:
    def servers(chosen: list[str]) -> set[str]:
        return {cell.server for cell in planned(chosen)}

    everybody = [model.name for model in catalog.MODELS]
    assert servers(everybody) == {"epoll", "udp", "udp_batched"}
    assert servers(["epoll", "poll"]) == {"epoll"}
    assert servers(["udp", "epoll"]) == {"epoll", "udp"}
    assert servers(["poll"]) == set()


def test_all_ways_are_measured_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliced, "PAUSE_NS", NEVER_NS)  # whoever else works here
    monkeypatch.setattr(sliced, "OTHERS_CPU", math.inf)
    cells = [
        replace(cell, workload=replace(cell.workload, rounds=4))
        for cell in experiments.cells("transports", "quick", catalog.usual())
        if cell.workload.connections == 1
    ]
    found = trial.measure(
        [
            (SystemUnderTest(model=catalog.find(cell.server)), cell, tmp_path / f"{number}.log")
            for number, cell in enumerate(cells)
        ],
        cpus=CPUS,
    )

    for cell, record in zip(cells, found, strict=True):
        assert record["outcome"] == "measured", (cell.id, record["failure"])
        # Where others take the CPU a slice may end before an answer; whoever asked gets one.
        assert record["slices"] is not None
        assert sum(filter(None, record["slices"]["drive_answers"])) > 0
        assert record["counts"]["mismatched"] == 0
        generator, machine = record["generator"], record["machine"]
        assert generator is not None
        assert machine is not None
        is_unix = cell.workload.transport == "unix"
        assert generator["stamps"] == ("generator" if is_unix else "kernel")
        assert (generator["unstamped"] > 0) == is_unix
        assert (generator["send_path_ns"] is None) == is_unix
        connected = cell.workload.transport in ("ipv4", "ipv6")
        assert (machine["listener_drops"] is not None) == connected
        assert (record["datagrams"] is not None) == (cell.workload.transport == "udp")
    folder = records.write_run(tmp_path / "run", found)
    run = analysis.load(folder)
    (figure,) = transports.figures(run)
    assert "Over a Unix socket the kernel stamps nothing" in figure.caption
    marked = [s.label for p in figure.panels for s in p.series if s.label.endswith("*")]
    assert set(marked) <= {"epoll over a Unix socket*"}


def made(way: str, clients: int, rate: float, block: int) -> Record:
    """A record of one way, with a rate."""
    server = way.split(" ")[0]
    changes: dict[str, Any] = {"connections": clients}
    if "IPv6" in way:
        changes["transport"] = "ipv6"
    elif "Unix" in way:
        changes["transport"] = "unix"
    elif server.startswith("udp"):
        changes["transport"] = "udp"
    record = records.record(server, experiment="transports", block=block, throughput_per_s=rate)
    cell = Cell(experiment="transports", server=server, workload=Slices(**changes))
    record["cell"] = cell.as_record()
    assert record["generator"] is not None
    if "Unix" in way:
        record["generator"]["stamps"] = "generator"
    if server.startswith("udp"):
        record["datagrams"] = {
            "sent": 100,
            "answered": 99,
            "lost": 1,
            "late": 0,
            "duplicated": 0,
            "reordered": 0,
            "dropped": 1,
        }
    return record


def run_of(factors: dict[str, float], pattern: tuple[float, ...]) -> list[Record]:
    return [
        made(way, 64, rate, block)
        for way, factor in factors.items()
        for block, rate in enumerate(times(1000 * factor, pattern))
    ]


def test_the_finding_is_relative_to_ipv4_and_tells_what_was_lost(tmp_path: Path) -> None:
    said = found_in(tmp_path, run_of({WAYS[0]: 1.0, WAYS[2]: 2.0, WAYS[3]: 3.0}, STEADY))

    assert "With 64 busy clients, relative to epoll over IPv4:" in said
    assert "epoll over a Unix socket gives 2.00 [2.00, 2.00] times the answers per second" in said
    assert "udp gives 3.00 [3.00, 3.00] times" in said
    assert "Of 600 datagrams 6 were not answered in time." in said


def test_what_the_data_do_not_tell_is_not_told(tmp_path: Path) -> None:
    steady = run_of({WAYS[0]: 1.0}, STEADY)
    wild = run_of({WAYS[1]: 1.0}, WILD)
    assert "(not resolved from 1) times the answers" in found_in(
        tmp_path / "wild", [*steady, *wild]
    )
    few = [record for record in [*steady, *wild] if record["block"] < 2]
    assert "(in 2 blocks only) times the answers" in found_in(tmp_path / "few", few)
    assert "do not decide" in found_in(tmp_path / "alone", steady)


def test_it_is_drawn(tmp_path: Path) -> None:
    made_of = run_of(dict.fromkeys(WAYS, 1.0), STEADY)
    assert drawn(tmp_path, *made_of) == ["transports.svg"]
