"""Measuring by slices with real servers: who takes part, and what becomes of those that fail.

Nothing here says how fast anybody is, and whoever else uses the machine voids no round.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import stubs
from stubs import Stub

from loadgen.engine.samples import Samples
from loadgen.engine.syscalls import Int64s
from loadgen.machine.cpus import choose_pinning
from loadgen.machine.limits import raise_descriptor_limit
from loadgen.store import schema
from loadgen.store.schema import Record, Slices
from loadgen.target.address import Address
from loadgen.trial import methods, sliced, trial
from loadgen.trial.cell import Cell
from loadgen.trial.rig import Station, SystemUnderTest
from loadgen.workload.load import Load
from servers import catalog

pytestmark = pytest.mark.measures

CPUS = choose_pinning()
ROUNDS = 4
CLIENTS = 3
# No pause is this long, and no step of a clock.
NEVER_NS = 10**15
OTHERS_CPU = sliced.OTHERS_CPU

Entrant = tuple[SystemUnderTest, Cell]


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    trial.compile()
    raise_descriptor_limit()


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only wrong answers void a round here."""
    monkeypatch.setattr(sliced, "PAUSE_NS", NEVER_NS)
    monkeypatch.setattr(sliced, "DRIFT_NS", NEVER_NS)
    monkeypatch.setattr(sliced, "OTHERS_CPU", NEVER_NS)


def workload(**fields: Any) -> methods.Slices:
    patient = {"connections": CLIENTS, "rounds": ROUNDS, "drain_s": stubs.DEADLINE_S}
    return methods.Slices(**{**patient, **fields})


def ours(server: str, replica: int = 0, **fields: Any) -> Entrant:
    cell = Cell(experiment="run", server=server, workload=workload(**fields), replica=replica)
    return SystemUnderTest(model=catalog.find(server)), cell


def somebody_elses(stub: Stub, **fields: Any) -> Entrant:
    system = SystemUnderTest(address=Address("127.0.0.1", stub.port))
    return system, Cell(experiment="run", server=system.name, workload=workload(**fields))


def measure(folder: Path, *entrants: Entrant) -> list[Record]:
    systems = [
        (system, cell, folder / f"{number}.log") for number, (system, cell) in enumerate(entrants)
    ]
    found = trial.measure(systems, cpus=CPUS, seed=1)
    for record in found:
        schema.record(record)
    return found


def columns(record: Record) -> Slices:
    assert record["slices"] is not None, record["failure"]
    return record["slices"]


def expect_undisturbed(record: Record) -> None:
    """It was driven to the end, and every answer was right; within a slice there may be none where
    others have the CPU, but each client asked and was answered in each drive."""
    assert record["outcome"] == "measured", record["failure"]
    asking = record["cell"]["workload"]["connections"]
    assert isinstance(asking, int)
    assert all((answers or 0) >= asking for answers in columns(record)["drive_answers"])
    counts, around = record["counts"], record["warmup"]
    assert around is not None
    assert counts["ok"] == counts["scheduled"]
    assert around["ok"] == around["scheduled"]


Before = Callable[[Station, int], None]


@pytest.fixture
def before_drives(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Before], None]:
    """Have something done before each drive of a server: called with its station and how many
    drives there were before; 0 is that before the first round."""
    todo: dict[str, Before] = {}
    driven: dict[str, int] = {}
    request = Station.request

    def noted(station: Station, load: Load, stop: Int64s) -> Samples:
        name = station.system.name
        if name in todo:
            todo[name](station, driven.get(name, 0))
        driven[name] = driven.get(name, 0) + 1
        return request(station, load, stop)

    monkeypatch.setattr(Station, "request", noted)
    return todo.__setitem__


def test_a_second_epoll_takes_part_as_a_server_of_its_own(tmp_path: Path) -> None:
    found = measure(tmp_path, ours("epoll"), ours("poll"), ours("epoll", replica=1))

    assert [record["cell"]["replica"] for record in found] == [0, 0, 1]
    assert len({record["started_at"] for record in found}) == 1
    for record in found:
        expect_undisturbed(record)
        assert columns(record)["together"] == 3
        assert record["connections"]["active"] == CLIENTS
        assert all((ns or 0) > 0 for ns in columns(record)["cpu_ns"]), "each has clocks of its own"
    turns = zip(*(columns(record)["turn"] for record in found), strict=True)
    assert [sorted(map(int, filter(lambda turn: turn is not None, each))) for each in turns] == [
        [0, 1, 2]
    ] * ROUNDS


def test_conversations_are_measured_by_slices_too(tmp_path: Path) -> None:
    entrants = []
    for server in ("epoll", "threaded"):
        churn = methods.ChurnSlices(connections=2, rounds=2, drain_s=stubs.DEADLINE_S)
        cell = Cell(experiment="run", server=server, workload=churn)
        entrants.append((SystemUnderTest(model=catalog.find(server)), cell))

    for record in measure(tmp_path, *entrants):
        expect_undisturbed(record)
        connections, greeting = record["connections"], record["latency_ns"]["greeting"]
        assert connections["greeted"] == connections["attempted"] >= record["counts"]["ok"]
        assert greeting is not None
        assert greeting["n"] == record["counts"]["ok"]


def test_a_busy_loop_does_not_run_while_the_others_are_driven(tmp_path: Path) -> None:
    epoll, busy, poll = measure(tmp_path, ours("epoll"), ours("nonblocking"), ours("poll"))

    for record in (epoll, busy, poll):
        expect_undisturbed(record)
    for record in (epoll, poll):
        slices = columns(record)
        for others_ns, length_ns in zip(slices["others_cpu_ns"], slices["length_ns"], strict=True):
            assert others_ns is not None
            assert length_ns is not None
            assert others_ns <= OTHERS_CPU * length_ns
    assert all((ns or 0) > 0 for ns in columns(busy)["cpu_ns"]), "it goes on when it is its turn"


def test_a_server_that_is_killed_in_a_slice_costs_itself_only(
    before_drives: Callable[[str, Before], None], tmp_path: Path
) -> None:
    def kill(station: Station, drives: int) -> None:
        if drives == 3:
            station.signal(signal.SIGKILL)

    before_drives("poll", kill)
    epoll, poll, select = measure(tmp_path, ours("epoll"), ours("poll"), ours("select"))

    assert poll["outcome"] == "crashed"
    assert poll["failure"] == "the server ended by itself with status -9"
    assert not poll["verdict"]["valid"]
    assert columns(poll)["answers"][3:] == [None]
    assert all(columns(poll)["drive_answers"][:2])
    for record in (epoll, select):
        expect_undisturbed(record)


class Faulty:
    """A server that answers right until it is told to do something else, once."""

    def __init__(self, fault: Callable[[bytes], bytes]) -> None:
        self.due = False
        self._fault = fault

    def __call__(self, number: int, line: bytes) -> Iterator[bytes]:
        if line == b"exit":  # of the conversation before
            raise ConnectionAbortedError
        answer = stubs.answer(line.removesuffix(b"\r"))
        if self.due:
            self.due = False
            answer = self._fault(answer)
        yield answer

    def at(self, drive: int) -> Before:
        """Tell it before this drive."""

        def tell(_: Station, drives: int) -> None:
            self.due = drives == drive

        return tell


def hang_up(answer: bytes) -> bytes:
    raise ConnectionResetError


def misspell(answer: bytes) -> bytes:
    return answer.replace(b"Hello", b"Hallo")


def beside_epoll(
    faulty: Faulty,
    drive: int,
    before_drives: Callable[[str, Before], None],
    folder: Path,
    rounds: int,
) -> Sequence[Record]:
    """Records of epoll and of a server with a fault in one drive."""
    with Stub(faulty) as stub:
        short = {"rounds": rounds, "duration_s": 0.005}
        entrant = somebody_elses(stub, **short)
        before_drives(entrant[0].name, faulty.at(drive))
        return measure(folder, ours("epoll", **short), entrant)


def test_somebody_elses_server_that_hangs_up_in_a_slice_is_not_driven_again(
    before_drives: Callable[[str, Before], None], tmp_path: Path
) -> None:
    epoll, stub = beside_epoll(Faulty(hang_up), 2, before_drives, tmp_path, ROUNDS)

    assert stub["outcome"] == "crashed"
    assert str(stub["failure"]).startswith("connections were lost: 1 ")
    assert not stub["verdict"]["valid"]
    answers = columns(stub)["answers"]
    assert [count is None for count in answers] == [False, False, True, True]
    expect_undisturbed(epoll)


def test_one_wrong_answer_in_one_slice_of_a_hundred_is_found_and_named(
    before_drives: Callable[[str, Before], None], tmp_path: Path
) -> None:
    epoll, stub = beside_epoll(Faulty(misspell), 70, before_drives, tmp_path, 100)

    assert stub["warmup"] is not None
    assert stub["counts"]["mismatched"] + stub["warmup"]["mismatched"] == 1
    assert not stub["verdict"]["valid"]
    assert any("wrong answers: fix the server" in said for said in stub["verdict"]["reasons"])
    expect_undisturbed(epoll)
    for record in (epoll, stub):
        voids = [number for number, why in enumerate(columns(record)["void"]) if why]
        assert voids == [69]
        assert columns(record)["void"][69] == "1 wrong answers"


SILENT = 1000


def test_a_thousand_silent_clients_on_each_of_six_servers(tmp_path: Path) -> None:
    """As many as select takes. Who serves one client after the other would serve none of those
    that ask."""
    fields = {"idle_connections": SILENT, "rounds": 2}
    classic = [model for model in catalog.MODELS if model.standing == "classic"]
    servers = [model.name for model in classic if not model.leaves_waiting]
    entrants = [ours(server, **fields) for server in servers]
    entrants += [ours("epoll", 1, **fields)] * (6 - len(entrants))

    found = measure(tmp_path, *entrants)

    assert len(found) == 6
    for record in found:
        expect_undisturbed(record)
        connections, cost = record["connections"], record["server_cost"]
        assert connections["greeted"] == connections["due"] == SILENT + CLIENTS
        assert connections["active"] == CLIENTS
        assert cost is not None
        assert cost["fds"] >= SILENT + CLIENTS
        assert columns(record)["together"] == 6
