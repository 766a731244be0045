"""Experiments in their smallest form: against real servers, and on records made for the purpose."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records

from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.clients import background, background_process
from loadgen.engine import requests
from loadgen.engine.samples import Samples, WindowClocks
from loadgen.experiments import Cell, fairness, footprint, idle_cost
from loadgen.machine.cpus import choose_pinning
from loadgen.report import svg
from loadgen.store.schema import Record
from loadgen.target.address import Address
from loadgen.trial import trial
from loadgen.workload.dialogue import GREETING
from loadgen.workload.load import Load
from servers import catalog

NAMES = (
    "throughput",
    "idle",
    "load",
    "handler",
    "payload",
    "footprint",
    "idle_cost",
    "fairness",
    "slow_clients",
)
CPUS = choose_pinning()
DEADLINE_S = 20.0


def measured(cell: Cell, log: Path, block: int = 0) -> Record:
    """One trial of a cell, with a window of 0.1 s."""
    load = cell.workload
    short = {**vars(load), "warmup_s": 0.02, "duration_s": 0.1}
    return trial.run(
        SystemUnderTest(variant=catalog.find(cell.server), options=cell.options),
        Workload(**short),
        cpus=CPUS,
        log=log,
        experiment=cell.experiment,
        cell=cell.id,
        block=block,
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_measures_draws_and_finds(name: str, tmp_path: Path) -> None:
    experiment = experiments.find(name)
    planned = experiment.cells("quick", [catalog.find("epoll")])
    assert len({cell.id for cell in planned}) == len(planned)
    for cell in planned:
        cell.workload.validate()
    record = measured(planned[-1], tmp_path / "log")
    assert record["outcome"] == "measured", record["failure"]
    assert record["counts"]["wrong"] == record["counts"]["error"] == 0
    assert record["footprint"]["connected"]["fds"] > 0
    asked = record["workload"]["connections"] > 0
    assert bool(record["counts"]["ok"]) == asked
    assert bool(record["fairness"]) == asked

    folder = records.write_run(tmp_path / "run", [record])
    run = analysis.load(folder)
    drawn = [
        svg.save(figure, tmp_path / "charts", run.catalog) for figure in experiment.figures(run)
    ]
    assert all(path.stat().st_size for paths in drawn for path in paths)
    assert drawn
    assert re.search("do not decide|took no part|did not search", experiment.finding(run))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
def test_every_profile_is_planned_with_cells_of_its_own(
    name: str, profile: experiments.Profile
) -> None:
    planned = experiments.find(name).cells(profile, catalog.VARIANTS)
    for cell in planned:
        cell.workload.validate()
    assert {cell.server for cell in planned} == {variant.name for variant in catalog.VARIANTS}
    assert len({cell.id for cell in planned}) == len(planned)


@pytest.mark.parametrize("behaviour", ["half_line", "never_reads"])
def test_slow_clients_stop_the_blocking_server_dead(
    behaviour: background_process.Behaviour, tmp_path: Path
) -> None:
    cell = Cell(
        experiment="slow_clients",
        server="blocking",
        workload=Workload(connections=8, slow_connections=8, slow_behaviour=behaviour),
    )
    record = measured(cell, tmp_path / "log")
    assert record["connections"]["active"] == 0
    assert record["connections"]["slow_sent_bytes"] > 0
    assert record["verdict"]["valid"], record["verdict"]["reasons"]
    run = analysis.load(records.write_run(tmp_path / "run", [record]))
    (main, _) = experiments.find("slow_clients").figures(run)
    assert "0 of 8 served" in main.panels[0].series[0].note


@contextmanager
def listening(converse: Callable[[socket.socket], None]) -> Iterator[Address]:
    """A stub that converses with one client, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(DEADLINE_S)
                sock.sendall(GREETING)
                converse(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Address(*listener.getsockname())
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_a_half_line_has_no_end() -> None:
    heard = bytearray()

    def count(sock: socket.socket) -> None:
        while piece := sock.recv(4096):
            heard.extend(piece)

    with (
        listening(count) as address,
        background.prepare(address, 1, cpus=set(CPUS.generator), behaviour="half_line") as clients,
    ):
        result = clients.connect()
        assert result == (1, {}, len(background_process.HALF_LINE))
    assert bytes(heard) == background_process.HALF_LINE
    assert b"\n" not in heard


def test_who_never_reads_takes_no_more_than_its_buffer_and_sends_whole_lines() -> None:
    """The stub answers until nothing more is taken, and counts what it could send."""
    answered, heard = 0, bytearray()
    stuck, over = threading.Event(), threading.Event()

    def answer(sock: socket.socket) -> None:
        nonlocal answered
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        heard.extend(sock.recv(4096))
        sock.settimeout(0.2)
        try:
            while answered < 1 << 24:
                answered += sock.send(b"x" * 4096)
        except TimeoutError:
            stuck.set()
        assert over.wait(DEADLINE_S)

    with (
        listening(answer) as address,
        background.prepare(
            address, 1, cpus=set(CPUS.generator), behaviour="never_reads"
        ) as clients,
    ):
        result = clients.connect()
        assert stuck.wait(DEADLINE_S)
        over.set()
        assert result.greeted == 1
        assert result.sent_bytes > 100 * len(heard) > 0
    assert answered < 1 << 20
    assert set(heard) <= set(background_process.UNREAD)


def test_a_silent_client_says_nothing() -> None:
    heard = bytearray()

    def listen(sock: socket.socket) -> None:
        while piece := sock.recv(4096):
            heard.extend(piece)

    with (
        listening(listen) as address,
        background.prepare(address, 1, cpus=set(CPUS.generator)) as clients,
    ):
        result = clients.connect()
        assert result == (1, {}, 0)
    assert not heard


def test_nobody_asking_is_watched_for_the_whole_window() -> None:
    """The clock of this very process stands for a server's."""
    drive = requests.drive(
        [],
        Load(connections=0, warmup_s=0.02, duration_s=0.05),
        server_clocks=[time.CLOCK_PROCESS_CPUTIME_ID],
        spin=False,
    )
    assert drive.window_end_ns - drive.window_start_ns == 50_000_000
    assert drive.clocks.realtime_ns[0] >= drive.window_start_ns
    assert drive.clocks.realtime_ns[1] >= drive.window_end_ns
    assert not len(drive.outcome)
    assert drive.clocks.server_cpu_ns.shape == (2, 1)


def share_out(answers: Sequence[int], pipeline_depth: int = 0) -> dict[str, float | None] | None:
    """`trial.fairness` of a drive in which each connection got so many answers."""
    total = sum(answers)
    inside = np.full(total, 5, np.int64)
    drive = Samples(
        intended_ns=inside,
        sent_ns=inside,
        arrived_ns=inside,
        read_ns=inside,
        connection=np.repeat(np.arange(len(answers)), answers).astype(np.int32),
        outcome=np.zeros(total, np.uint8),
        window_start_ns=0,
        window_end_ns=10,
        clocks=WindowClocks(*[np.zeros(2, np.int64)] * 5),
        errors=np.zeros(len(answers), np.int32),
        unstamped=0,
        full=False,
    )
    load = Workload(connections=len(answers), pipeline_depth=pipeline_depth)
    return trial.fairness(drive, load)


def test_jains_index_and_shares_are_those_of_the_paper() -> None:
    assert share_out([5, 5, 5, 5]) == {
        "jain": 1.0,
        "slowest_share": 0.25,
        "fastest_share": 0.25,
        "greedy_share": None,
    }
    starved = share_out([0, 0, 0, 8])
    assert starved is not None
    assert (starved["jain"], starved["slowest_share"]) == (0.25, 0.0)
    greedy = share_out([60, 20, 20], pipeline_depth=8)
    assert greedy == {
        "jain": pytest.approx(1.0),
        "slowest_share": 0.2,
        "fastest_share": 0.2,
        "greedy_share": 0.6,
    }
    assert share_out([0, 0]) is None


def made(name: str, server: str, block: int, value: float, **load: Any) -> Record:
    """A record of an experiment whose figure, whichever it reads, is `value`."""
    extra = {"slow_connections": 0, "slow_behaviour": None, "pipeline_depth": 0, **load}
    record = records.record(
        server, experiment=name, block=block, throughput_per_s=value, connections=4
    )
    record["workload"].update(extra)
    record["connections"]["active"] = 4
    words = "-".join(f"{key}{given}" for key, given in load.items())
    record["cell"] = f"{name}/{server}/{words or 'plain'}"
    record["server_cost"] = {**(record["server_cost"] or {}), "cpu_fraction": value / 1e4}
    held = {"rss_bytes": 1000.0 * value, "pss_bytes": 1000.0 * value, "threads": 2, "fds": 9}
    record["server_cost"] |= {
        "drive_requests": 100,
        "voluntary_switches": 50,
        "involuntary_switches": 5,
    }
    record["footprint"] = {
        "empty": {**held, "rss_bytes": 0, "pss_bytes": 0},
        "connected": held,
        "slab_bytes": 10_000,
        "socket_buffer_bytes": 0,
    }
    record["fairness"] = {
        "jain": 0.9,
        "slowest_share": 0.1,
        "fastest_share": 0.3,
        "greedy_share": value / 1e5,
    }
    return record


LOADS: dict[str, tuple[dict[str, Any], ...]] = {
    "handler": ({},),
    "payload": ({"message_bytes": 16}, {"message_bytes": 1 << 20}),
    "footprint": ({"idle_connections": 96},),
    "fairness": ({}, {"pipeline_depth": fairness.GREEDY_PIPELINE}),
}
STEADY = (1.0, 1.01, 0.99, 1.0, 1.02, 0.98)
WILD = (0.4, 2.5, 0.7, 1.6, 3.0, 0.5)


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
def test_findings_tell_a_clear_win_from_a_tie_and_from_doubt(name: str, tmp_path: Path) -> None:
    win = told(name, STEADY, 4.0, tmp_path / "win")
    assert "4.00 [" in win or "0.25 [" in win
    assert "tie" in told(name, STEADY, 1.0, tmp_path / "tie")
    assert "cannot be told from" in told(name, WILD, 1.0, tmp_path / "doubt")


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
    assert nothing.endswith("; servers that block in the kernel use none.")
    assert "do not decide" in idle_cost.finding(idle_run(tmp_path / "tie", 0.001, STEADY))
    assert "do not decide" in idle_cost.finding(idle_run(tmp_path / "doubt", 0.001, WILD))


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
    assert "ties with itself when undisturbed" in finding("unharmed", STEADY, 1.0)
    assert "cannot be told from" in finding("doubt", WILD, 1.0)


def test_memory_per_connection_is_what_came_with_them() -> None:
    record = made("footprint", "epoll", 0, 100.0)
    assert footprint.per_connection("rss_bytes")(record) == 100_000 / 4
    assert footprint.switches(record) == 0.55
