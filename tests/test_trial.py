"""Whole trials against real servers: what is recorded, and what happens to servers that fail."""

import itertools
import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import stubs
from stubs import Behaviour, Stub

from loadgen.analysis import audit
from loadgen.engine.samples import Outcome
from loadgen.machine import counters
from loadgen.machine.counters import Snapshot
from loadgen.machine.cpus import choose_pinning
from loadgen.machine.limits import raise_descriptor_limit
from loadgen.store import histogram, schema
from loadgen.store.schema import Record
from loadgen.target import strace
from loadgen.target.address import Address
from loadgen.target.process import started
from loadgen.trial import rig, trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Method, Requests, Search, Trace, search
from loadgen.trial.rig import Station, SystemUnderTest
from servers import catalog

pytestmark = pytest.mark.measures

SHORT: dict[str, Any] = {"warmup_s": 0.05, "duration_s": 0.15}
CPUS = choose_pinning()


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    trial.compile()
    raise_descriptor_limit()


def measure(log: Path, server: str = "epoll", **workload: object) -> Record:
    load = Requests(**{**SHORT, **workload})  # type: ignore[arg-type]
    load.check()
    return of(load, log, server)


def of(
    workload: Method,
    log: Path,
    server: str = "epoll",
    *,
    options: tuple[str, ...] = (),
    address: Address | None = None,
) -> Record:
    """One trial of a server of ours, or of the one that listens at `address`."""
    cell = Cell(experiment="run", server=server, workload=workload, options=options)
    system = SystemUnderTest(model=catalog.find(server), options=cell.command_options)
    if address is not None:
        system = SystemUnderTest(address=address)
        cell = replace(cell, server=system.name)
    return trial.run(system, cell, cpus=CPUS, log=log)


def problems(record: Record) -> list[str]:
    """What an audit would say of it; the run that it belongs to is another matter."""
    schema.record(record)
    return [problem for check in audit.CHECKS for problem in check(record)]


@pytest.mark.parametrize("server", [model.name for model in catalog.MODELS])
def test_a_trial_of_every_server_is_correct_and_conserves_counts(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open loop with a long drain: each request is answered, however long it takes."""
    monkeypatch.setattr(rig, "LIMITED_GREETING_S", stubs.DEADLINE_S)
    clients = catalog.find(server).serves(2)
    record = measure(
        tmp_path / "log",
        server,
        connections=clients,
        arrivals="constant",
        offered_per_s=200.0,
        drain_s=stubs.DEADLINE_S,
    )
    assert record["outcome"] == "measured", record["failure"]
    assert record["counts"] == {
        "scheduled": 30,
        "ok": 30,
        "mismatched": 0,
        "error": 0,
        "timed_out": 0,
    }
    assert record["warmup"] is not None
    assert record["warmup"]["scheduled"] == record["warmup"]["ok"] == 10
    assert record["connections"]["greeted"] == clients
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert problems(record) == []


def test_who_a_server_has_no_place_for_is_counted_with_a_name(tmp_path: Path) -> None:
    """The blocking server greets one; on a busy machine not even that in a moment."""
    record = measure(tmp_path / "log", "blocking", connections=3)
    connections = record["connections"]
    assert connections["greeted"] <= 1
    assert connections["failed"] == {"waiting for the greeting": 3 - connections["greeted"]}
    assert connections["active"] == connections["greeted"]
    assert problems(record) == []


@pytest.mark.parametrize("connections", [1, 8])
def test_a_closed_loop_accounts_for_every_nanosecond(connections: int, tmp_path: Path) -> None:
    """Little's law without a tolerance: it holds while others take the CPUs, too."""
    record = measure(tmp_path / "log", connections=connections)
    assert record["connections"]["active"] == connections
    assert record["generator"] is not None
    assert record["generator"]["overlap_ns"].keys() == {"start_ns", "end_ns"}
    assert problems(record) == []


def test_an_answer_that_is_too_long_is_wrong_and_no_latency(tmp_path: Path) -> None:
    """A real server that refuses the line: what it says instead came before any answer was due."""
    load = Requests(connections=2, max_line_bytes=8, drain_s=stubs.DEADLINE_S, **SHORT)
    record = of(load, tmp_path / "log")
    counts, service = record["counts"], record["latency_ns"]["service"]
    assert record["outcome"] == "measured", record["failure"]
    assert counts["ok"] == 0
    assert service is not None
    assert (service["n"], service["min"], service["mean"]) == (0, None, None)
    assert not record["verdict"]["valid"]
    assert problems(record) == []


@pytest.mark.parametrize("mode", ["closed", "open"])
def test_answers_given_twice_leave_no_latency_below_nothing(mode: str, tmp_path: Path) -> None:
    """The second copy is there before the next request is sent."""

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if line == b"exit":  # of the conversation before the trial
            raise ConnectionAbortedError
        yield stubs.answer(line.removesuffix(b"\r")) * (2 if number > 20 else 1)

    load: dict[str, Any] = {"connections": 2, "warmup_s": 0.0, "duration_s": 0.2}
    if mode == "open":
        load |= {"offered_per_s": 500.0, "arrivals": "constant"}
    with Stub(behave) as stub:
        address = Address("127.0.0.1", stub.port)
        record = of(Requests(**load), tmp_path / "log", address=address)
    for summary in filter(None, record["latency_ns"].values()):
        assert summary["min"] is None or summary["min"] > 0
    assert problems(record) == []


# A server that fails before the window: no request that is due in it says so.


def after_the_first_conversation(misbehave: Callable[[int, bytes], Iterator[bytes]]) -> Behaviour:
    """Correct until a client has said `exit`, which the one does that looks before the trial; then
    `misbehave` is handed the number of each request, from 1 on, and its line."""
    numbers = itertools.count(1)
    looked = []

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if looked:
            yield from misbehave(next(numbers), line)
        elif line.removesuffix(b"\r") == b"exit":
            looked.append(number)
            raise ConnectionAbortedError
        else:
            yield stubs.answer(line.removesuffix(b"\r"))

    return behave


def drops_seven(number: int, line: bytes) -> Iterator[bytes]:
    if number <= 7:
        raise ConnectionAbortedError
    yield stubs.answer(line)


def forgets_seven(number: int, line: bytes) -> Iterator[bytes]:
    if number > 7:
        yield stubs.answer(line)


def errs_at_first(number: int, line: bytes) -> Iterator[bytes]:
    yield stubs.answer(line if number > 20 else line.swapcase())


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        (drops_seven, "7 (7 in the warm-up) requests failed with an error"),
        (forgets_seven, "7 (7 in the warm-up) requests were not answered within the drain"),
        (errs_at_first, "20 (20 in the warm-up) wrong answers"),
    ],
)
def test_what_a_server_does_wrong_in_the_warm_up_is_judged(
    misbehave: Callable[[int, bytes], Iterator[bytes]], reason: str, tmp_path: Path
) -> None:
    """Eight clients of a closed loop, whose first requests are those that fail. The warm-up and
    the drain are long enough for a machine that is busy."""
    load = Requests(connections=8, warmup_s=1.0, duration_s=0.1, drain_s=2.0)
    with Stub(after_the_first_conversation(misbehave)) as stub:
        address = Address("127.0.0.1", stub.port)
        record = of(load, tmp_path / "log", address=address)

    counts = record["counts"]
    assert counts["mismatched"] == counts["error"] == counts["timed_out"] == 0
    assert not record["verdict"]["valid"]
    assert any(said.startswith(reason) for said in record["verdict"]["reasons"])
    assert problems(record) == []


def test_the_clock_is_watched_from_before_anybody_connects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set while clients connect: between the two edges of the window nothing happens."""
    real = Snapshot.take
    apart_ns = iter([0])

    def take() -> Snapshot:
        return replace(real(), clock_offset_ns=next(apart_ns, 5_000_000))

    monkeypatch.setattr(Snapshot, "take", take)
    record = measure(tmp_path / "log")

    assert record["machine"] is not None
    assert record["machine"]["clock_drift_ns"] == 5_000_000
    assert any("clock was set" in said for said in record["verdict"]["reasons"])


def test_only_what_the_servers_own_listener_dropped_is_its_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had dropped 40 before the trial, as somebody else's may have."""
    asked: list[tuple[str, int]] = []
    answers = iter([40, 43])

    def drops(host: str, port: int) -> int:
        asked.append((host, port))
        return next(answers)

    monkeypatch.setattr(counters, "listener_drops", drops)
    with Stub(after_the_first_conversation(stubs.correct)) as stub:
        address = Address("127.0.0.1", stub.port)
        record = of(Requests(**SHORT), tmp_path / "log", address=address)

    assert asked == [address.sockaddr] * 2
    assert record["machine"] is not None
    assert record["machine"]["listener_drops"] == 3
    assert any(
        said.startswith("3 connections were dropped") for said in record["verdict"]["reasons"]
    )


def test_a_server_of_ours_is_asked_for_its_own_listener(tmp_path: Path) -> None:
    record = measure(tmp_path / "log")
    assert record["machine"] is not None
    assert record["machine"]["listener_drops"] == 0


def test_the_percentiles_of_a_record_are_those_of_its_histogram(tmp_path: Path) -> None:
    record = measure(tmp_path / "log", connections=4)
    stored = histogram.decode(str(record["histograms"]["service"]))
    again = histogram.summary(stored, censored=record["counts"]["timed_out"])
    summary = record["latency_ns"]["service"]
    assert summary is not None
    for key in ("n", "p50", "p90", "p99", "p99_9"):
        assert summary[key] == again[key]  # type: ignore[literal-required]


def test_open_loop_offers_what_it_was_told(tmp_path: Path) -> None:
    record = measure(
        tmp_path / "log",
        connections=4,
        arrivals="constant",
        offered_per_s=1000.0,
        duration_s=0.3,
    )
    assert record["counts"]["scheduled"] == 300
    assert record["latency_ns"]["response"] is not None


def test_the_stamps_behind_a_record_can_be_kept(tmp_path: Path) -> None:
    cell = Cell(experiment="run", server="epoll", workload=Requests(connections=3, **SHORT))
    system = SystemUnderTest(model=catalog.find("epoll"))
    raw = tmp_path / "stamps"
    record = trial.run(system, cell, cpus=CPUS, log=tmp_path / "log", raw=raw)

    with np.load(raw) as kept:
        start_ns, end_ns = kept["window_ns"]
        inside = (start_ns <= kept["intended_ns"]) & (kept["intended_ns"] < end_ns)
        ok = inside & (kept["outcome"] == Outcome.OK)
        service = histogram.summary((kept["arrived_ns"] - kept["sent_ns"] - kept["sending_ns"])[ok])
        assert set(kept["connection"].tolist()) == {0, 1, 2}
        assert (kept["arrived_ns"] <= kept["read_ns"])[ok].all()
    assert service == record["latency_ns"]["service"]


def test_idle_clients_are_connected_and_counted(tmp_path: Path) -> None:
    record = measure(tmp_path / "log", idle_connections=300)
    assert record["connections"]["greeted"] == record["connections"]["attempted"] == 301
    assert record["server_cost"] is not None
    assert record["server_cost"]["fds"] >= 301


def test_selects_wall_is_a_result(tmp_path: Path) -> None:
    record = measure(tmp_path / "log", "select", idle_connections=1100)
    connections = record["connections"]
    served = catalog.find("select").serves(1101)
    assert (connections["attempted"], connections["due"]) == (1101, served)
    assert connections["greeted"] in (served, served + 1)
    assert connections["limit"]
    assert record["outcome"] == "measured"
    assert record["verdict"]["bottleneck"] == "model"


def test_a_server_that_dies_at_once_is_named_with_its_log(tmp_path: Path) -> None:
    record = of(Requests(**SHORT), tmp_path / "log", options=("--max-line", "no"))
    assert record["outcome"] == "crashed"
    assert "--max-line" in str(record["failure"])
    assert not record["verdict"]["valid"]


def test_nobody_listening_is_a_failure_and_no_traceback(tmp_path: Path) -> None:
    with started("epoll", cpus=set(CPUS.server), log=tmp_path / "log") as target:
        address = target.address
    record = of(Requests(**SHORT), tmp_path / "unused", address=address)
    assert record["outcome"] == "crashed"
    assert "refused" in str(record["failure"])


# -------------------------------------------------------------------------- knees, stalls, traces


def searched(limit_s: float, log: Path) -> Record:
    """A search that every machine can finish: a few hundred requests per second, and a drain that
    waits for each of them."""
    workload = Search(
        connections=2,
        arrivals="constant",
        p99_limit_s=limit_s,
        drain_s=stubs.DEADLINE_S,
        **SHORT,
    )
    return of(workload, log)


@pytest.fixture
def few_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FIRST_PER_S", 100.0)
    monkeypatch.setattr(search, "LAST_PER_S", 200.0)


def test_a_knee_is_the_largest_rate_tried_and_each_probe_says_who_was_slow(
    few_rates: None, tmp_path: Path
) -> None:
    record = searched(stubs.DEADLINE_S, tmp_path / "log")
    found = record["knee"]
    assert found is not None, record["failure"]
    assert found["rate_per_s"] == 200.0
    assert found["limit_ns"] == stubs.DEADLINE_S * 1e9
    assert [probe["offered_per_s"] for probe in found["probes"]] == [100.0, 100.0, 200.0, 200.0]
    for probe in found["probes"]:
        p99_ns, lag_ns = probe["p99_ns"], probe["send_lag_p99_ns"]
        service_ns = probe["service_p99_ns"]
        assert p99_ns is not None
        assert lag_ns is not None
        assert service_ns is not None
        assert probe["achieved"] == 1.0
        assert 0 < service_ns <= p99_ns
        assert 0 <= lag_ns <= p99_ns
        assert 0 < probe["busy_fraction"] <= 1
    # The rate of the record is that of the drive that it holds.
    assert record["offered_per_s"] == 200.0
    assert record["counts"]["ok"] == 30
    assert problems(record) == []


def test_a_knee_below_the_first_rate_is_none(few_rates: None, tmp_path: Path) -> None:
    record = searched(1e-9, tmp_path / "log")
    assert record["knee"] is None
    assert record["outcome"] == "crashed"
    assert record["failure"] == "not even 100 requests per second were kept"


class Script:
    """Plays the server and the clock of a stall: writes down every wait and every signal."""

    def __init__(self, waits: int) -> None:
        self.steps: list[object] = []
        self._waits = waits

    def wait(self, seconds: float) -> bool:
        self.steps.append(round(seconds, 6))
        self._waits -= 1
        return self._waits < 0

    def signal(self, number: int) -> None:
        self.steps.append(signal.Signals(number).name)


def stalls(waits: int, **workload: float) -> list[object]:
    script = Script(waits)
    load = Requests(warmup_s=0.5, **workload)  # type: ignore[arg-type]
    load.stall(cast(Station, script), cast(threading.Event, script))
    return script.steps


def test_the_server_is_stopped_once_a_period_and_goes_on_in_the_end() -> None:
    """First in the middle of the first period: 0.5 s of warm-up and half of the 0.8 s between."""
    assert stalls(4, stall_s=0.2, stall_every_s=1.0) == [
        *(0.9, "SIGSTOP", 0.2, "SIGCONT"),
        *(0.8, "SIGSTOP", 0.2, "SIGCONT"),
        *(0.8, "SIGCONT"),
    ]


def test_a_stall_ends_with_the_drive() -> None:
    assert stalls(1, stall_s=0.2) == [0.9, "SIGSTOP", 0.2, "SIGCONT", 0.8, "SIGCONT"]


def test_without_a_stall_nothing_is_waited_for() -> None:
    assert stalls(0) == []


def test_a_traced_trial_names_the_servers_own_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its cell can be told from its record, options included."""
    request = [
        strace.Call("epoll_wait", "3", "1"),
        strace.Call("recvfrom", "4", "9"),
        strace.Call("sendto", "4", "17"),
    ]
    monkeypatch.setattr(strace, "trace", lambda *_, **__: [])
    monkeypatch.setattr(strace, "per_request", lambda _: [request] * 20)
    options = ("--host", "127.0.0.1")
    record = of(Trace(idle_connections=3, work="sleep:1ms"), tmp_path / "log", options=options)
    command = record["server"]["command"]
    assert command is not None
    words = ["-m", "servers", "epoll", "--port", "0", "--work", "sleep:1ms", *options]
    assert command[1:] == words
    traced = record["system_calls"]
    assert traced is not None
    assert (traced["requests"], traced["total"]) == (20, 3.0)
    assert (record["connections"]["due"], record["connections"]["greeted"]) == (4, 4)
    assert problems(record) == []


def test_a_server_of_somebody_else_cannot_be_traced(tmp_path: Path) -> None:
    record = of(Trace(), tmp_path / "log", address=Address("127.0.0.1", 1))
    assert record["failure"] == "only a server that we start can be traced"
