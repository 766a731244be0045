"""Measuring by slices, without a server and without a clock: the machine here is a script.

A `Server` is station and drive at once. What it does in which of its drives is written down before;
the machine's time and CPU clocks move when a server is driven, and at no other time.
"""

import dataclasses
import errno
import itertools
import math
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import records
from driving import made_drive

from loadgen.engine.churn import Churn
from loadgen.engine.samples import NOT_GREETED, Outcome, Samples
from loadgen.engine.syscalls import Int64s
from loadgen.machine.cpus import Pinning
from loadgen.store import schema
from loadgen.store.metric import cpu_us_of_slices, rate_of_slices
from loadgen.store.schema import Record, Slices
from loadgen.target.process import TargetError
from loadgen.target.usage import Usage
from loadgen.trial import methods, sliced, slicing
from loadgen.trial.cell import Cell
from loadgen.trial.rig import Rig, Station, SystemUnderTest
from loadgen.trial.slicing import Contestant
from loadgen.trial.summary import empty_record
from servers import catalog

MS = 10**6
US = 10**3
CLIENTS = 4
SLICE_MS = 20
GAP_NS = 100 * US
"""between two requests, unless a drive says otherwise"""
LATENCY_NS = 1 * US
DRAIN_NS = 2 * MS
NO_STOP = np.zeros(1, np.int64)
IN_SLICE = "slice"


@dataclasses.dataclass(frozen=True)
class Drive:
    """What is out of the ordinary in one drive of a server.

    gap_ns     between two requests
    fault      what becomes of one request
    where      "settling", IN_SLICE or "drain": where that is
    lost       so many connections are reset
    pause_ns   of the generator
    drift_ns   of CLOCK_REALTIME
    others_ns  CPU of each other server meanwhile
    ends       somebody else's process ends: its CPU clock is no more
    """

    gap_ns: int = GAP_NS
    fault: Outcome | None = None
    where: str = IN_SLICE
    lost: int = 0
    pause_ns: int = 0
    drift_ns: int = 0
    others_ns: int = 0
    ends: "Server | None" = None


class Machine:
    """Time and CPU clocks, in place of the module `time`."""

    def __init__(self) -> None:
        self.now_ns = round(records.STARTED_AT.timestamp()) * 10**9
        self.servers: list[Server] = []
        self.crowds_ns: list[tuple[int, int]] = []
        """from when to when others want the servers' CPU"""

    def clock_gettime_ns(self, clock: int) -> int:
        server = self.servers[clock]
        if server.ended:
            raise ProcessLookupError(errno.ESRCH, "no such process")
        return server.cpu_ns

    def monotonic(self) -> float:
        return self.now_ns / 1e9

    def sleep(self, seconds: float) -> None:
        self.pass_by(round(seconds * 1e9))

    def pass_by(self, time_ns: int, driven: "Server | None" = None) -> None:
        """Who does not rest uses a part of it."""
        self.now_ns += time_ns
        for server in self.servers:
            if server.restless and not server.stopped and server is not driven:
                server.cpu_ns += time_ns // 50


class Server:
    """Station and drive of one server.

    script   drive => what is out of the ordinary in it; 0 is what is driven before the first round
    work_ns  CPU per answer
    sleeps   as the catalog says; None: nobody does
    restless it uses CPU as long as it is not stopped
    """

    fail = Station.fail
    account = None
    by_datagrams = False

    def __init__(
        self,
        machine: Machine,
        name: str = "epoll",
        script: Mapping[int, Drive] | None = None,
        *,
        work_ns: int = 10 * US,
        sleeps: bool | None = True,
        restless: bool = False,
        starts: bool = True,
        active: int = CLIENTS,
    ) -> None:
        cell = Cell(experiment="run", server=name, workload=methods.Slices(connections=CLIENTS))
        self.record = empty_record(
            SystemUnderTest(model=catalog.find(name)),
            cell,
            block=0,
            position=0,
            seed=0,
            started_at=records.STARTED_AT,
        )
        self.machine, self.script, self.work_ns = machine, script or {}, work_ns
        self.sleeps, self.starts, self.active = sleeps, starts, active
        self.restless = restless
        self.cpu_ns, self.drives, self.ended = 0, 0, False
        self.signals: list[signal.Signals] = []
        self.stopped = self.gone = False
        self.driven_while: list[dict[str, bool]] = []
        """per drive: who else was stopped"""
        machine.servers.append(self)

    def start(self) -> None:
        if not self.starts:
            raise TargetError("it said\nno")

    def cpu_clocks(self) -> list[int]:
        return [self.machine.servers.index(self)]

    def usage(self) -> Usage:
        if self.gone:
            raise TargetError("the server is gone")
        return Usage(**records.USAGE)

    def signal(self, number: int) -> None:
        self.signals.append(signal.Signals(number))
        self.stopped = number == signal.SIGSTOP

    def contestant(self, closed_loop: bool) -> Contestant:
        self.record["connections"] |= {
            "attempted": CLIENTS,
            "due": self.active,
            "greeted": self.active,
            "active": self.active,
            "limit": None if self.active else "serves nobody",
        }
        return Contestant(
            cast(Station, self),
            self.drive,
            clients=CLIENTS,
            closed_loop=closed_loop,
            slice_s=SLICE_MS / 1000,
            drain_s=DRAIN_NS / 1e9,
        )

    def drive(self, settle_s: float, slice_s: float, _: int, stop: Int64s) -> Samples:
        machine = self.machine
        assert not self.stopped, "it would not answer"
        self.driven_while.append(
            {other.record["server"]["name"]: other.stopped for other in machine.servers}
        )
        event = self.script.get(self.drives, Drive())
        self.drives += 1
        start_ns = machine.now_ns + round(settle_s * 1e9)
        end_ns = start_ns + round(slice_s * 1e9)
        intended_ns = np.arange(machine.now_ns, end_ns + DRAIN_NS, event.gap_ns)
        outcome = np.zeros(len(intended_ns), np.int64)
        if event.fault is not None:
            moment = {"settling": machine.now_ns, IN_SLICE: start_ns, "drain": end_ns}[event.where]
            outcome[np.searchsorted(intended_ns, moment)] = event.fault
        if event.lost:
            outcome[-event.lost :] = Outcome.ERROR
        arrived_ns = np.where(outcome <= Outcome.MISMATCHED, intended_ns + LATENCY_NS, 0)
        self.cpu_ns += self.work_ns * len(intended_ns)
        for other in machine.servers:
            other.cpu_ns += event.others_ns * (other is not self)
        if event.ends:
            event.ends.ended = True
        machine.pass_by(end_ns + DRAIN_NS - machine.now_ns, driven=self)
        made = made_drive(
            intended_ns=intended_ns.tolist(),
            arrived_ns=arrived_ns.tolist(),
            outcome=outcome.tolist(),
            errors=[errno.ECONNRESET] * event.lost + [0] * (CLIENTS - event.lost),
            window_ns=(start_ns, end_ns),
            cpu_ns=end_ns - start_ns,
            busy_ns=(end_ns - start_ns) // 2,
            longest_gap_ns=event.pause_ns,
        )
        drifted = made.clocks.realtime_ns + np.array([0, event.drift_ns])
        return dataclasses.replace(made, clocks=made.clocks._replace(realtime_ns=drifted))


def always() -> bool:
    return True


class Canary:
    """Finds the CPU free when the machine says so."""

    def __init__(self, cpus: object) -> None:
        pass

    def __enter__(self) -> "Canary":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def is_free(self) -> bool:
        machine = cast(Machine, slicing.time)
        return not any(begin <= machine.now_ns < end for begin, end in machine.crowds_ns)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Nothing of the real one is looked at, waited for or changed."""
    made = Machine()
    monkeypatch.setattr(slicing, "time", made)
    monkeypatch.setattr(slicing, "Canary", Canary)
    monkeypatch.setattr(slicing, "realtime_priority", lambda _: nullcontext(False))
    behaviour = records.record()["machine"]

    def pinned(cpus: Pinning, work: Callable[[Int64s], bool]) -> tuple[bool, object]:
        return work(NO_STOP), dict(cast(Mapping[str, Any], behaviour))

    monkeypatch.setattr(slicing, "pinned", pinned)
    return made


def compare(
    servers: Sequence[Server], rounds: int, offered_per_s: float | None = 10_000.0
) -> list[Record]:
    """Measure them together; their records, judged. In an open loop slices are as long as asked."""
    cpus = SimpleNamespace(shared=False, server={0})
    rig = cast(Rig, SimpleNamespace(stations=servers, cpus=cpus, seed=1))
    slicing.compare(
        rig,
        lambda station: cast(Server, station).contestant(offered_per_s is None),
        rounds,
        offered_per_s,
    )
    for server in servers:
        schema.record(records.judged(server.record))
    return [server.record for server in servers]


def columns(record: Record) -> Slices:
    assert record["slices"] is not None
    return record["slices"]


def total(record: Record, count: str) -> int:
    """In slices, and around them."""
    assert record["warmup"] is not None
    return dict(record["counts"])[count] + dict(record["warmup"])[count]  # type: ignore[operator]


def three(machine: Machine, **scripts: Mapping[int, Drive]) -> list[Server]:
    """epoll, poll and select, each with the script of its name."""
    return [Server(machine, name, scripts.get(name)) for name in ("epoll", "poll", "select")]


# What counts of a drive.


def test_answers_are_those_that_arrived_within_the_slice_whenever_they_were_asked_for() -> None:
    found = sliced.of(
        made_drive(
            # Before it, and arrived before it; before it, and arrived in it, twice; in it, and
            # arrived in it; in it, and arrived after it; after it.
            intended_ns=[4 * MS, 5 * MS, 6 * MS, 15 * MS, 29 * MS, 31 * MS],
            arrived_ns=[9 * MS, 10 * MS, 13 * MS, 16 * MS, 30 * MS, 32 * MS],
            window_ns=(10 * MS, 30 * MS),
        ),
        turn=0,
        cpu_ns=None,
        others_cpu_ns=0,
        drain_s=1.0,
    )
    assert (found.answers, found.drive_answers) == (3, 6)
    # Latencies are those of the requests that were due in it.
    assert found.service_ns.tolist() == [1 * MS, 1 * MS]


@pytest.mark.parametrize("where", ["settling", IN_SLICE, "drain"])
@pytest.mark.parametrize("drive", [0, 1, 7])
@pytest.mark.parametrize(
    ("fault", "count", "reason"),
    [
        (Outcome.MISMATCHED, "mismatched", "wrong answers: fix"),
        (Outcome.ERROR, "error", "requests failed with an error"),
        (Outcome.TIMED_OUT, "timed_out", "requests were not answered within the drain"),
    ],
)
def test_a_fault_counts_wherever_in_whichever_drive_it_was(
    fault: Outcome, count: str, reason: str, drive: int, where: str, machine: Machine
) -> None:
    """Drive 0 is before the first round."""
    servers = three(machine, poll={drive: Drive(fault=fault, where=where)})

    epoll, poll, select = compare(servers, rounds=10)

    assert total(poll, count) == 1
    assert not poll["verdict"]["valid"]
    assert any(reason in said for said in poll["verdict"]["reasons"])
    for other in (epoll, select):
        assert total(other, count) == 0
        assert other["verdict"]["valid"], other["verdict"]["reasons"]


# A server that fails.


def test_a_server_that_dies_in_a_slice_says_why_and_the_others_go_on(machine: Machine) -> None:
    servers = three(machine, poll={5: Drive(lost=CLIENTS)})

    epoll, poll, select = compare(servers, rounds=10)

    assert poll["outcome"] == "crashed"
    assert poll["failure"] == "connections were lost: 4 ECONNRESET"
    assert poll["connections"]["lost"] == {"ECONNRESET": CLIENTS}
    assert not poll["verdict"]["valid"]
    assert servers[1].drives == 6, "it is not driven again"
    driven = [answers is not None for answers in columns(poll)["answers"]]
    assert driven == [True] * 5 + [False] * 5
    for other in (epoll, select):
        assert other["outcome"] == "measured"
        assert other["verdict"]["valid"], other["verdict"]["reasons"]
        assert None not in columns(other)["answers"]
        assert not any(columns(other)["void"])


def test_a_server_that_ends_while_another_is_driven_is_not_driven_again(machine: Machine) -> None:
    epoll, poll = Server(machine), Server(machine, "poll")
    epoll.script = {3: Drive(ends=poll)}

    compare([epoll, poll], rounds=10)

    assert poll.record["failure"] == "the server ended"
    assert poll.record["outcome"] == "crashed"
    assert columns(poll.record)["answers"][-7:] == [None] * 7
    assert epoll.record["verdict"]["valid"], epoll.record["verdict"]["reasons"]
    assert None not in columns(epoll.record)["answers"]


def test_a_server_that_fails_before_the_first_round_has_no_slice(machine: Machine) -> None:
    servers = three(machine, poll={0: Drive(lost=1)})

    epoll, poll, _ = compare(servers, rounds=4)

    assert poll["failure"] == "connections were lost: 1 ECONNRESET"
    assert poll["throughput_per_s"] is None
    assert columns(poll)["answers"] == [None] * 4
    assert epoll["verdict"]["valid"], epoll["verdict"]["reasons"]


def test_a_server_that_does_not_start_costs_nobody_else_anything(machine: Machine) -> None:
    epoll, poll = compare([Server(machine), Server(machine, "poll", starts=False)], rounds=4)

    assert (poll["outcome"], poll["failure"]) == ("crashed", "it said no")
    assert poll["slices"] is None
    assert epoll["verdict"]["valid"], epoll["verdict"]["reasons"]
    assert columns(epoll)["together"] == 1


@pytest.mark.parametrize("when", ["before the first round", "after the last"])
def test_a_server_that_ends_unnoticed_costs_nobody_else_anything(
    when: str, machine: Machine
) -> None:
    """Between slices nobody looks at it."""
    servers = three(machine)
    poll = servers[1]
    if when == "before the first round":
        poll.gone = poll.ended = True
    else:
        drive = poll.drive

        def last(settle_s: float, slice_s: float, seed: int, stop: Int64s) -> Samples:
            poll.gone = poll.drives == 4
            return drive(settle_s, slice_s, seed, stop)

        poll.drive = last  # type: ignore[method-assign]

    compare(servers, rounds=4)

    assert (poll.record["outcome"], poll.record["failure"]) == ("crashed", "the server is gone")
    for other in (servers[0], servers[2]):
        assert other.record["verdict"]["valid"], other.record["verdict"]["reasons"]
        assert None not in columns(other.record)["answers"]
        assert other.record["server_cost"] is not None


def test_where_nobody_can_be_measured_the_records_say_so_and_it_ends(machine: Machine) -> None:
    records_ = compare([Server(machine, starts=False), Server(machine, "poll", active=0)], rounds=4)

    assert [record["outcome"] for record in records_] == ["crashed", "measured"]
    assert [record["slices"] for record in records_] == [None, None]
    assert records_[1]["verdict"]["bottleneck"] == "model", "it serves none by its design"


# Rounds that are void.


def test_wrong_bytes_in_one_slice_of_a_hundred_are_found_and_void_its_round_for_all(
    machine: Machine,
) -> None:
    servers = three(machine, poll={58: Drive(fault=Outcome.MISMATCHED)})

    found = compare(servers, rounds=100)

    for record in found:
        assert [(n, why) for n, why in enumerate(columns(record)["void"]) if why] == [
            (57, "1 wrong answers")
        ]
    # Who answered wrong is not driven again: each time it would void the round for all.
    lacking = [
        [n for n, rate in enumerate(rate_of_slices(columns(record))) if rate is None]
        for record in found
    ]
    assert lacking == [[57], list(range(57, 100)), [57]]
    assert found[1]["verdict"]["reasons"] == [
        "crashed: wrong answers: 1",
        "1 wrong answers: fix the server before timing it",
    ]
    assert [record["verdict"]["valid"] for record in found] == [True, False, True]
    assert found[1]["server"]["name"] == "poll"


def test_what_happens_in_a_void_round_is_in_no_figure_of_any_server(machine: Machine) -> None:
    """epoll answers ten times as often in two rounds, in which poll's slice was disturbed: with
    them the median of four would be another."""
    fast = Drive(gap_ns=GAP_NS // 10)
    disturbed = Drive(pause_ns=sliced.PAUSE_NS + 1)
    epoll = Server(machine, script={1: fast, 2: fast})
    poll = Server(machine, "poll", {1: disturbed, 2: disturbed})

    found, _ = compare([epoll, poll], rounds=4)

    asked_per_slice = SLICE_MS * MS // GAP_NS
    assert columns(found)["answers"] == [
        *[10 * asked_per_slice] * 2,
        *[asked_per_slice] * 2,
    ]
    assert found["throughput_per_s"] == pytest.approx(1e9 / GAP_NS)
    assert found["counts"]["ok"] == 2 * asked_per_slice
    service = found["latency_ns"]["service"]
    assert service is not None
    assert service["n"] == 2 * asked_per_slice
    assert rate_of_slices(columns(found))[:2] == [None, None]


LIMIT_NS = round(sliced.OTHERS_CPU * SLICE_MS * MS)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Drive(), None),
        (Drive(others_ns=LIMIT_NS), None),
        (Drive(others_ns=LIMIT_NS + 1), "servers that were not driven used 0.20 ms of CPU"),
        (Drive(pause_ns=sliced.PAUSE_NS), None),
        (Drive(pause_ns=sliced.PAUSE_NS + 1), "the generator paused for 10 ms"),
        (Drive(drift_ns=sliced.DRIFT_NS), None),
        (Drive(drift_ns=sliced.DRIFT_NS + 1), "a clock was set"),
        (Drive(drift_ns=-sliced.DRIFT_NS - 1), "a clock was set"),
        (Drive(gap_ns=30 * GAP_NS), None),
        (Drive(gap_ns=GAP_NS // 30), None),
    ],
)
def test_a_round_is_void_for_what_disturbs_it_and_never_for_its_speed(
    event: Drive, why: str | None, machine: Machine
) -> None:
    found = compare([Server(machine, script={4: event}), Server(machine, "poll")], rounds=10)

    for record in found:
        assert columns(record)["void"] == [*[None] * 3, why, *[None] * 6]
        assert record["verdict"]["valid"], record["verdict"]["reasons"]


def test_what_the_other_servers_use_is_their_sum(machine: Machine) -> None:
    """Each of two uses 0.6 % of the slice."""
    servers = three(machine, epoll={4: Drive(others_ns=round(0.6 * LIMIT_NS))})

    found = compare(servers, rounds=10)

    assert columns(found[0])["others_cpu_ns"][3] == 2 * round(0.6 * LIMIT_NS)
    assert all(columns(record)["void"][3] for record in found)


@pytest.mark.parametrize("void", [5, 6])
def test_more_than_half_of_void_rounds_make_every_record_invalid(
    void: int, machine: Machine
) -> None:
    script = {drive: Drive(pause_ns=15 * MS) for drive in range(1, 1 + void)}

    found = compare(three(machine, select=script), rounds=10)

    said = "60% of the rounds are void, as the first: the generator paused for 15 ms"
    for record in found:
        assert record["verdict"]["valid"] == (void == 5)
        assert (said in record["verdict"]["reasons"]) == (void == 6)


def test_where_every_round_is_void_there_is_no_figure(machine: Machine) -> None:
    script = {drive: Drive(pause_ns=15 * MS) for drive in range(1, 5)}

    found, _ = compare([Server(machine, script=script), Server(machine, "poll")], rounds=4)

    assert found["throughput_per_s"] is None
    assert found["latency_ns"]["service"] is None
    assert any(reason.startswith("100% of the rounds") for reason in found["verdict"]["reasons"])


# What is stored.


@pytest.mark.parametrize("servers", [1, 2, 3])
@pytest.mark.parametrize("offered_per_s", [None, 10_000.0])
def test_the_columns_of_all_servers_fit_together(
    servers: int, offered_per_s: float | None, machine: Machine
) -> None:
    rounds = 7

    found = [columns(one) for one in compare(three(machine)[:servers], rounds, offered_per_s)]

    drives = []
    for slices in found:
        lists = {name: each for name, each in slices.items() if isinstance(each, list)}
        assert {len(cast(list[Any], each)) for each in lists.values()} == {rounds}
        assert slices["together"] == servers
        assert slices["void"] == found[0]["void"]
        for number, (turn, start_ns, length_ns) in enumerate(
            zip(slices["turn"], slices["start_ns"], slices["length_ns"], strict=True)
        ):
            assert None not in (turn, start_ns, length_ns)
            drives.append((number, turn or 0, start_ns or 0, length_ns or 0))
        for answers, whole in zip(slices["answers"], slices["drive_answers"], strict=True):
            assert 0 < (answers or 0) < (whole or 0)
    # Round by round every turn is taken once, one after the other, each after it has settled.
    drives.sort()
    assert [drive[:2] for drive in drives] == [
        (r, t) for r in range(rounds) for t in range(servers)
    ]
    end_ns = 0
    for _, _, start_ns, length_ns in drives:
        assert start_ns >= end_ns + found[0]["settle_ns"]
        assert length_ns >= SLICE_MS * MS
        end_ns = start_ns + length_ns


def test_figures_are_medians_over_the_slices_that_count(machine: Machine) -> None:
    gaps_ns = [GAP_NS * factor for factor in (1, 2, 4, 5, 8)]
    script = {1 + n: Drive(gap_ns=gap_ns) for n, gap_ns in enumerate(gaps_ns)}
    script[5] = dataclasses.replace(script[5], pause_ns=15 * MS)

    found, _ = compare([Server(machine, script=script), Server(machine, "poll")], rounds=5)

    slices, cost = columns(found), found["server_cost"]
    rates = [rate for rate in rate_of_slices(slices) if rate is not None]
    assert rates == pytest.approx([1e9 / gap_ns for gap_ns in gaps_ns[:4]])
    assert found["throughput_per_s"] == median(rates)
    assert cost is not None
    assert [us for us in cpu_us_of_slices(slices) if us is not None] == pytest.approx([10.0] * 4)
    assert cost["cpu_us_per_request"] == pytest.approx(10.0)
    assert cost["cpu_fraction"] == pytest.approx(median(10 * US / gap for gap in gaps_ns[:4]))
    assert cost["drive_requests"] == sum(filter(None, slices["drive_answers"]))
    assert found["generator"] is not None
    assert found["generator"]["cpu_fraction"] == 1.0
    assert found["generator"]["busy_fraction"] == 0.5


def test_somebody_elses_server_has_no_cost_and_is_measured_all_the_same(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(machine)
    monkeypatch.setattr(server, "cpu_clocks", list)
    monkeypatch.setattr(server, "usage", lambda: None)

    found, _ = compare([server, Server(machine, "poll")], rounds=4)

    assert columns(found)["cpu_ns"] == [None] * 4
    assert found["server_cost"] is None
    assert found["verdict"]["valid"], found["verdict"]["reasons"]


# How a slice is driven.


def test_a_server_that_does_not_sleep_is_stopped_while_the_others_are_driven(
    machine: Machine,
) -> None:
    busy = Server(machine, "nonblocking", sleeps=False)
    epoll, poll = Server(machine), Server(machine, "poll")

    compare([epoll, busy, poll], rounds=6)

    # Its own assertion: it is not stopped while it is driven itself.
    assert busy.drives == 7
    drives = epoll.driven_while + poll.driven_while
    # Before its own first drive, too.
    assert all(each["nonblocking"] for each in drives)
    assert busy.signals[-1] == signal.SIGSTOP
    assert not epoll.signals
    assert not poll.signals


def test_slices_of_a_slow_server_are_longer_but_not_endless(machine: Machine) -> None:
    """A turn of four clients takes 8 ms, of four that wait a second 4 s."""
    slow = {n: Drive(gap_ns=2 * MS) for n in range(9)}
    slower = {n: Drive(gap_ns=1000 * MS) for n in range(9)}

    found = [
        columns(record)
        for record in compare(
            [Server(machine, script=slow), Server(machine, "poll", slower)], 8, None
        )
    ]

    # The warm-up holds what is answered in its drain too.
    answers = math.ceil((round(slicing.WARM_S * 1000) * MS + DRAIN_NS) / (2 * MS))
    turn_s = CLIENTS * slicing.WARM_S / answers
    lengths_ns = [set(slices["length_ns"]) for slices in found]
    assert lengths_ns[0] == {round(slicing.SLICE_TURNS * turn_s * 1e9)}
    assert lengths_ns[1] == {round(slicing.LONGEST_SLICE_S * 1e9)}
    assert found[0]["settle_ns"] == round(slicing.SETTLE_TURNS * turn_s * 1e9)


def test_every_drive_has_a_schedule_of_its_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    servers = three(machine)
    for server in servers:
        drive = server.drive

        def noted(
            settle_s: float, slice_s: float, seed: int, stop: Int64s, drive: Any = drive
        ) -> Samples:
            seeds.append(seed)
            return cast(Samples, drive(settle_s, slice_s, seed, stop))

        monkeypatch.setattr(server, "drive", noted)

    compare(servers, rounds=5)

    assert len(seeds) == 3 * (1 + 5)
    assert len(set(seeds)) == len(seeds)


def test_a_slice_of_a_closed_loop_begins_anywhere_in_a_turn(machine: Machine) -> None:
    server = Server(machine, script={n: Drive(gap_ns=1 * MS) for n in range(41)})
    settled_s: list[float] = []
    drive = server.drive

    def noted(settle_s: float, slice_s: float, seed: int, stop: Int64s) -> Samples:
        settled_s.append(settle_s)
        return drive(settle_s, slice_s, seed, stop)

    server.drive = noted  # type: ignore[method-assign]
    contestant = server.contestant(True)
    slicing.alternate([contestant], 40, 1, always, NO_STOP)

    assert len(set(settled_s[1:])) == 40
    least, turn_s = contestant.settle_s, contestant.turn_s
    assert least <= min(settled_s[1:]) < least + turn_s / 4
    assert least + 3 * turn_s / 4 < max(settled_s[1:]) <= least + turn_s


def test_a_run_that_is_stopped_drives_nobody_any_more(machine: Machine) -> None:
    server = Server(machine)
    contestant = server.contestant(False)
    stop = np.ones(1, np.int64)

    slicing.alternate([contestant], 10, 1, always, stop)

    assert server.drives == 0


# Conversations.


def test_of_a_connection_per_request_those_not_greeted_are_told_from_those_lost() -> None:
    made = made_drive(
        intended_ns=[5, 15, 16, 17],
        outcome=[Outcome.OK, Outcome.OK, Outcome.ERROR, Outcome.ERROR],
        errors=[0, 0, NOT_GREETED, errno.ECONNRESET],
        window_ns=(10, 1000),
    )
    found = sliced.of(Churn(made, np.array([7, 18, 0, 20])), 0, None, 0, 1.0)

    assert found.comings is not None
    assert (found.comings.attempted, found.comings.greeted) == (4, 3)
    assert found.comings.failed == {"wrong greeting": 1}
    assert found.comings.greeting_ns.tolist() == [3, 3]
    assert found.lost == {"ECONNRESET": 1}


# Others who want the servers' CPU.


def test_no_slice_begins_while_others_want_the_cpu(machine: Machine) -> None:
    servers = three(machine)
    epoch_ns = machine.now_ns
    machine.crowds_ns = [(epoch_ns + 200 * MS, epoch_ns + 900 * MS)]

    found = compare(servers, rounds=20)

    driven: list[Any] = [columns(record) for record in found]
    starts_ns = [start for slices in driven for start in slices["start_ns"]]
    settle_ns = max(slices["settle_ns"] for slices in driven)
    assert not [start for start in starts_ns if 200 * MS < start - settle_ns < 900 * MS]
    assert min(starts_ns) < 200 * MS
    assert max(starts_ns) > 900 * MS
    crowded = [flag for slices in driven for flag in slices["crowded"]]
    assert crowded.count(True) == 1, "the one in which they came"
    assert not any(void for slices in driven for void in slices["void"])


def test_a_machine_that_is_never_quiet_is_not_waited_for(machine: Machine) -> None:
    servers = three(machine)
    machine.crowds_ns = [(0, 2**62)]
    began_ns = machine.now_ns

    found = compare(servers, rounds=10)

    assert all(all(columns(record)["crowded"]) for record in found)
    assert not any(columns(found[0])["void"])
    alone_s = 30 * (SLICE_MS + 20) / 1000
    assert slicing.WAIT_S < (machine.now_ns - began_ns) / 1e9 < slicing.WAIT_S + 2 * alone_s


# Who does not come to rest.


def test_a_server_of_which_nothing_is_known_is_stopped_when_it_does_not_rest(
    machine: Machine,
) -> None:
    """Otherwise each round would be void, because it takes the CPU from those that are driven."""
    busy = Server(machine, "nonblocking", sleeps=None, restless=True)
    calm = Server(machine, "poll", sleeps=None)
    epoll = Server(machine)

    compare([epoll, busy, calm], rounds=10)

    assert {signal.SIGSTOP, signal.SIGCONT} == set(busy.signals)
    assert not calm.signals
    for server in (epoll, busy, calm):
        assert server.record["verdict"]["valid"], server.record["verdict"]["reasons"]
        assert not any(columns(server.record)["void"])


def test_a_server_that_should_rest_and_does_not_voids_the_rounds(machine: Machine) -> None:
    """What the catalog says of it is not true, and a stop signal would hide that."""
    busy, epoll = Server(machine, "poll", restless=True), Server(machine)

    compare([epoll, busy], rounds=10)

    assert not busy.signals
    assert all(columns(epoll.record)["void"])


# What the answers of a slice took.


def test_a_server_that_answers_in_bursts_has_its_rate_wherever_a_slice_begins() -> None:
    """8 answers every 3 ms: 10 ms hold 24 of them or 32."""
    bursts = np.arange(0, 60) * 3 * MS
    arrived_ns = (bursts[:, None] + np.arange(8) * US).ravel()
    counts, rates = set(), set()
    for start_ns in range(30 * MS + 10 * US, 33 * MS, 100 * US):
        end_ns = start_ns + 10 * MS
        answers = int(((start_ns <= arrived_ns) & (arrived_ns < end_ns)).sum())
        counts.add(answers)
        rates.add(answers * 3 * MS / sliced.span_ns(arrived_ns, start_ns, end_ns))

    assert counts == {24, 32}
    assert rates == {8.0}


def test_every_pause_between_two_answers_counts_in_one_slice_and_in_no_other() -> None:
    chance = np.random.default_rng(1)
    arrived_ns = chance.integers(5 * MS, 95 * MS, 300)
    edges_ns = np.arange(0, 101, 10) * MS
    spans = [
        sliced.span_ns(arrived_ns, start_ns, end_ns)
        for start_ns, end_ns in itertools.pairwise(edges_ns.tolist())
    ]

    assert sum(spans) == arrived_ns.max(), "from the first slice's begin, before which was none"


def test_a_slice_without_an_answer_took_as_long_as_it_is() -> None:
    assert sliced.span_ns(np.array([3, 99]), 10, 20) == 10
    assert sliced.span_ns(np.array([10]), 10, 20) == 10, "nor does an answer take no time"
