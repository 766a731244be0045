"""The experiment on silent clients: who was told, when, and what the busy ones paid for it."""

import select
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import records
from stubs import DEADLINE_S, Stub

from experiments.making import CPUS, STEADY, as_planned
from loadgen import experiments
from loadgen.analysis import audit
from loadgen.analysis import run as analysis
from loadgen.clients.onlookers import TIMED_OUT
from loadgen.experiments import reaping
from loadgen.report import svg
from loadgen.store import histogram
from loadgen.store.schema import Record
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Reaping
from loadgen.trial.rig import SystemUnderTest
from servers import catalog
from servers.protocol import Session

pytestmark = pytest.mark.measures

# Short, so that tests are.
SHORT = Reaping(
    connections=4, idle_connections=20, idle_timeout_s=0.2, warmup_s=0.02, duration_s=0.5
)
NEVER_S = 3600.0
MS = 1_000_000


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    """A greeting that waits for a compiler until its client is let go is stamped with the end."""
    trial.compile()


class LettingGo(Stub):
    """Speaks the whole protocol, and lets clients go of which nothing was heard for a while.

    timeout_s  so long
    tells      how many of them; the others are kept
    """

    def __init__(self, timeout_s: float, tells: int = 10**6) -> None:
        super().__init__()
        self._timeout_s, self._tells = timeout_s, tells

    def _serve(self) -> None:
        heard_s: dict[socket.socket, float] = {}
        sessions: dict[socket.socket, Session] = {}
        poller = select.poll()
        poller.register(self._stopped, select.POLLIN)
        poller.register(self._listener, select.POLLIN)
        by_fd: dict[int, socket.socket] = {}

        def leave(sock: socket.socket) -> None:
            poller.unregister(sock)
            del heard_s[sock], sessions[sock], by_fd[sock.fileno()]
            sock.close()

        try:
            while True:
                for fd, _ in poller.poll(1):
                    if fd == self._stopped.fileno():
                        return
                    if fd == self._listener.fileno():
                        sock, _ = self._listener.accept()
                        sessions[sock], by_fd[sock.fileno()] = Session(), sock
                        poller.register(sock, select.POLLIN)
                    else:
                        sock = by_fd[fd]
                        sessions[sock].receive(sock.recv(65_536))
                    sock.sendall(sessions[sock].outgoing)
                    sessions[sock].sent(len(sessions[sock].outgoing))
                    heard_s[sock] = time.monotonic()
                    if not sessions[sock].wants_read:
                        leave(sock)
                due_s = time.monotonic() - self._timeout_s
                for sock in [sock for sock, at_s in heard_s.items() if at_s < due_s]:
                    if self._tells:
                        self._tells -= 1
                        sock.sendall(TIMED_OUT)
                        leave(sock)
        except BaseException as error:
            self._failure = error
        finally:
            for sock in sessions:
                sock.close()


def tried(stub: Stub, workload: Reaping, log: Path) -> Record:
    """One trial of a stub."""
    system = SystemUnderTest(address=stub.address)
    cell = Cell(experiment="run", server=system.name, workload=workload)
    return trial.run(system, cell, cpus=CPUS, log=log)


def test_all_are_told_and_none_too_early(tmp_path: Path) -> None:
    with LettingGo(0.2) as stub:
        record = tried(stub, SHORT, tmp_path / "log")

    assert record["outcome"] == "measured", record["failure"]
    found = record["reaping"]
    assert found is not None
    assert (found["silent"], found["told"]) == (20, 20)
    assert found["lateness_ns"] is not None
    assert found["lateness_ns"]["n"] == 20
    assert -20 * MS < found["lateness_ns"]["min"] <= found["lateness_ns"]["max"]  # type: ignore[operator]
    connections = record["connections"]
    assert (connections["attempted"], connections["greeted"], connections["active"]) == (24, 24, 4)
    assert record["counts"]["ok"] > 0
    assert record["connections"]["lost"] == {}, "who is busy is kept"
    assert [p for check in audit.CHECKS for p in audit.found_by(check, record)] == []


def test_lateness_is_what_the_server_adds(tmp_path: Path) -> None:
    """A server that lets clients go 0.1 s later than it says."""
    with LettingGo(0.3) as stub:
        record = tried(stub, SHORT, tmp_path / "log")

    found = record["reaping"]
    assert found is not None
    assert found["lateness_ns"] is not None
    least_ns = found["lateness_ns"]["min"]
    assert least_ns is not None
    assert 80 * MS < least_ns < DEADLINE_S * 1e9


def test_who_is_not_told_is_counted(tmp_path: Path) -> None:
    with LettingGo(0.2, tells=5) as stub:
        record = tried(stub, SHORT, tmp_path / "log")

    found = record["reaping"]
    assert found is not None
    assert (found["silent"], found["told"]) == (20, 5)


def test_a_server_that_lets_clients_go_too_early_is_found_out(tmp_path: Path) -> None:
    with LettingGo(0.1) as stub:
        record = tried(stub, SHORT, tmp_path / "log")

    (problem,) = audit.found_by({c.__name__: c for c in audit.CHECKS}["reaped"], record)
    assert "before it was due" in problem


@pytest.mark.parametrize("change", [{"idle_connections": 0}, {"idle_timeout_s": None}])
def test_without_silent_clients_or_time_out_nobody_is_told(
    change: dict[str, None], tmp_path: Path
) -> None:
    with LettingGo(NEVER_S) as stub:
        record = tried(stub, replace(SHORT, **change), tmp_path / "log")  # type: ignore[arg-type]

    assert record["outcome"] == "measured", record["failure"]
    assert record["reaping"] is None
    assert record["counts"]["ok"] > 0


@pytest.mark.parametrize("model", catalog.usual(), ids=lambda model: model.name)
def test_servers_let_silent_clients_go(model: catalog.Model, tmp_path: Path) -> None:
    cell = Cell(experiment="reaping", server=model.name, workload=SHORT)
    if reason := cell.workload.missing(model) or model.missing():
        pytest.skip(reason)
    record = as_planned(cell, tmp_path / "log")

    assert record["outcome"] == "measured", record["failure"]
    found = record["reaping"]
    assert found is not None
    assert (found["silent"], found["told"]) == (20, 20)
    assert [p for check in audit.CHECKS for p in audit.found_by(check, record)] == []


def test_who_serves_some_at_a_time_is_left_out_in_words() -> None:
    for model in catalog.MODELS:
        reason = Reaping().missing(model)
        assert (reason is None) == (model.clients_at_once is None), model.name
    assert Reaping().missing(catalog.find("blocking")) == (
        "serves one: the others wait for it, and are not silent"
    )


@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
def test_nobody_gets_more_clients_than_it_serves(profile: str) -> None:
    planned = experiments.cells("reaping", profile, catalog.MODELS)  # type: ignore[arg-type]
    assert len({cell.id for cell in planned}) == len(planned) == 3 * len(catalog.MODELS)
    for cell in planned:
        cell.workload.check()
        model = catalog.find(cell.server)
        if cell.workload.missing(model) is None:
            assert model.why_not_all(cell.workload.clients) is None


def trial_of(server: str, block: int, late_ns: list[int], cpu_us: float, told: int = 20) -> Record:
    """A trial in which silent clients were let go; none of them, if there is no lateness."""
    made = records.record(
        server, experiment="reaping", block=block, throughput_per_s=20_000.0, cpu_us=cpu_us
    )
    workload = Reaping(idle_connections=20 if late_ns else 0)
    made["cell"] = Cell(experiment="reaping", server=server, workload=workload).as_record()
    if late_ns:
        made["reaping"] = {
            "silent": 20,
            "told": told,
            "lateness_ns": histogram.summary(np.array(late_ns[:told], np.int64)),  # type: ignore[typeddict-item]
        }
    return records.judged(made)


def test_the_finding_says_who_told_how_many_how_late_and_at_what_price(tmp_path: Path) -> None:
    late_ns = [number * MS for number in range(1, 21)]
    found = [
        record
        for block, factor in enumerate(STEADY)
        for record in (
            trial_of("epoll", block, late_ns, 6.6 * factor),
            trial_of("epoll", block, [], 6.0 * factor),
            trial_of("threaded", block, [2 * ns for ns in late_ns], 9.0, told=18),
        )
    ]
    run = analysis.load(records.write_run(tmp_path / "run", found))

    said = reaping.finding(run)
    assert said.startswith("With a time-out of 1 s, threaded told 108 of 120 silent clients, the")
    assert "; epoll told all 120 silent clients, half of them within 10 ms, the last after" in said
    assert "epoll uses 1.10 [1.10, 1.10] times the CPU per answer of itself when nobody" in said
    for figure in reaping.figures(run):
        assert svg.save(figure, tmp_path, run.catalog).stat().st_size


def test_without_data_nothing_is_found(tmp_path: Path) -> None:
    run = analysis.load(records.write_run(tmp_path / "run", [trial_of("epoll", 0, [], 6.0)]))
    assert "do not decide" in reaping.finding(run)
    assert [figure.name for figure in reaping.figures(run)] == ["reaping-cost", "reaping-answers"]
