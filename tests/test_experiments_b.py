"""Churn, timeline and system calls: each in its smallest form, from a real server to the figure."""

import itertools
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
import records
from harness import settings

from loadgen import __main__ as command_line
from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.engine import churn, samples
from loadgen.engine.samples import Outcome
from loadgen.machine.cpus import choose_pinning
from loadgen.machine.limits import SERVER_DESCRIPTORS
from loadgen.plan import runner
from loadgen.store.schema import Record
from loadgen.target import strace
from loadgen.target.address import Address
from loadgen.trial import trace, trial, verdict
from loadgen.trial.rig import SystemUnderTest
from loadgen.workload.load import Load
from servers import catalog

CPUS = choose_pinning()
MODELS = [variant.name for variant in catalog.VARIANTS]
WHY_NO_TRACE = strace.missing()
traced = pytest.mark.skipif(WHY_NO_TRACE is not None, reason=WHY_NO_TRACE or "")


def measure(log: Path, experiment: str, server: str) -> Record:
    """The first cell of an experiment in its quick form, once."""
    cell = experiments.find(experiment).cells("quick", [catalog.find(server)])[0]
    return trial.run(
        SystemUnderTest(variant=catalog.find(server), options=cell.options),
        cell.workload,
        cpus=CPUS,
        log=log,
        experiment=experiment,
        cell=cell.id,
    )


def drawn(folder: Path, *found: Record) -> list[str]:
    """The charts of a run that holds these records and nothing else."""
    records.write_run(folder, found)
    return sorted(path.name for path in records.report(folder) if path.suffix == ".png")


def found_in(folder: Path, found: list[Record]) -> str:
    """What the experiment of these records says of them."""
    records.write_run(folder, found)
    return experiments.find(found[0]["experiment"]).finding(analysis.load(folder))


def blocks(
    make: Callable[..., Record], figures: dict[str, list[float]], **more: object
) -> list[Record]:
    """A record for each server and each of its figures, block by block."""
    return [
        make(server, value, block=block, **more)
        for server, values in figures.items()
        for block, value in enumerate(values)
    ]


STEADY = [1.0, 1.01, 0.99, 1.0, 1.02]
WILD = [0.2, 3.0, 1.0, 0.5, 2.5]


def times(factor: float, pattern: list[float]) -> list[float]:
    return [factor * value for value in pattern]


# ---- churn ---------------------------------------------------------------------------------------


class Visitors:
    """A server that takes one client after the other, and counts what each did.

    behave   from the number of the client (the first is 0) and its line to what it is told after
             the greeting; None: closed without a greeting
    """

    def __init__(self, behave: Callable[[int, bytes], bytes] | None) -> None:
        self.lines: list[bytes] = []
        self.addresses: list[str] = []
        self.closed_first = 0
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # accept() ends with an error
        self._thread.join(settings.deadline_s)
        self._listener.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        for number in itertools.count():
            try:
                client, (host, _) = self._listener.accept()
            except OSError:
                return
            with client, suppress(ConnectionError):
                client.settimeout(settings.deadline_s)
                self.addresses.append(host)
                if self._behave is None:
                    continue
                client.sendall(b"Welcome!\n")
                said = b""
                while not said.endswith(b"exit\n") and (piece := client.recv(4096)):
                    said += piece
                if not said:
                    continue
                line, _, rest = said.partition(b"\n")
                assert rest == b"exit\n"
                self.lines.append(line)
                client.sendall(self._behave(number, line))
                client.shutdown(socket.SHUT_WR)
                self.closed_first += client.recv(1) == b""


def greet_and_answer(_: int, line: bytes) -> bytes:
    return b"Hello, " + line + b"!\n"


def churned(
    behave: Callable[[int, bytes], bytes] | None, **workload: Any
) -> tuple[Visitors, churn.Churn]:
    load = {"warmup_s": 0.0, "duration_s": 0.15, "drain_s": settings.deadline_s, **workload}
    churn.compile()
    with Visitors(behave) as server:
        held = churn.drive(server.address, Load(**load), spin=False)
    return server, held


@pytest.mark.parametrize("slots", [1, 7])
def test_churn_holds_whole_conversations_and_the_server_counts_the_same(slots: int) -> None:
    server, held = churned(greet_and_answer, connections=slots)

    drive = held.samples
    assert len(drive.outcome) == len(server.lines) == server.closed_first > slots
    assert (drive.outcome == Outcome.OK).all()
    assert len(set(server.lines)) == len(server.lines), "every line is another one"
    assert {len(line) for line in server.lines} == {Workload().message_bytes - 1}
    # The kernel begins to stamp a moment after it was asked to.
    assert drive.unstamped < len(drive.outcome)
    assert (drive.sent_ns < held.greeted_ns).all()
    assert (held.greeted_ns < drive.arrived_ns).all()
    assert (drive.arrived_ns <= drive.read_ns).all()
    at_once = np.unique(drive.connection)
    assert at_once.tolist() == list(range(slots))


def test_churn_comes_from_many_addresses_so_that_ports_are_not_the_limit() -> None:
    server, held = churned(greet_and_answer, connections=4)

    counts = Counter(server.addresses)
    assert len(counts) == min(250, len(held.samples.outcome))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(address.startswith("127.2.0.") for address in counts)


def test_a_wrong_answer_is_counted_as_such_and_no_other() -> None:
    def third_is_wrong(number: int, line: bytes) -> bytes:
        answer = greet_and_answer(number, line)
        return answer.replace(b"Hello", b"Hallo") if number % 3 == 2 else answer

    server, held = churned(third_is_wrong)

    expected = [Outcome.MISMATCHED if n % 3 == 2 else Outcome.OK for n in range(len(server.lines))]
    assert held.samples.outcome.tolist() == expected
    assert Outcome.MISMATCHED in expected


@pytest.mark.parametrize(
    ("behave", "outcome", "error"),
    [
        (lambda n, line: greet_and_answer(n, line) + b"x", Outcome.MISMATCHED, 0),
        (lambda n, line: greet_and_answer(n, line)[:-1], Outcome.ERROR, samples.CLOSED),
        (None, Outcome.ERROR, samples.CLOSED),
    ],
    ids=["too much", "too little", "no greeting"],
)
def test_what_ends_otherwise_is_not_ok(
    behave: Callable[[int, bytes], bytes] | None, outcome: Outcome, error: int
) -> None:
    _, held = churned(behave)

    assert len(held.samples.outcome) > 0
    assert set(held.samples.outcome.tolist()) == {outcome}
    assert set(held.samples.errors.tolist()) == {error}


def test_where_nobody_listens_every_conversation_is_an_error_and_it_ends_in_time() -> None:
    churn.compile()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        load = Load(connections=3, warmup_s=0, duration_s=0.02)
        held = churn.drive(silent.getsockname(), load)

    assert {samples.error_name(code) for code in held.samples.errors.tolist()} == {"ECONNREFUSED"}
    assert set(held.samples.outcome.tolist()) == {Outcome.ERROR}


def test_a_server_that_never_greets_leaves_everything_unfinished_and_is_left_in_time() -> None:
    churn.compile()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        load = Load(connections=3, warmup_s=0, duration_s=0.02, drain_s=0.02)
        held = churn.drive(silent.getsockname(), load)

    assert held.samples.outcome.tolist() == [Outcome.TIMED_OUT] * 3


def test_churn_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="IPv4"):
        churn.drive(("::1", 1), Load())
    with pytest.raises(ValueError, match="message_bytes is 5000"):
        churn.drive(("127.0.0.1", 1), Load(message_bytes=5000))


@pytest.mark.parametrize("server", MODELS)
def test_churn_end_to_end(server: str, tmp_path: Path) -> None:
    record = measure(tmp_path / "log", "churn", server)

    counts = record["counts"]
    assert record["outcome"] == "measured", record.get("failure")
    assert counts["ok"] == counts["scheduled"] > 0
    assert record["connections"]["greeted"] == counts["ok"]
    assert record["throughput_per_s"] == pytest.approx(
        counts["ok"] / record["workload"]["duration_s"], rel=0.01
    )
    greeting, whole = (record["latency_ns"][kind] for kind in ("greeting", "service"))
    assert greeting is not None
    assert whole is not None
    assert 0 < (greeting["p50"] or 0) < (whole["p50"] or 0)
    assert record["server_cost"] is not None
    assert record["verdict"] == verdict.judge(dict(record))


def test_churn_is_drawn_from_what_was_stored(tmp_path: Path) -> None:
    found = [measure(tmp_path / "log", "churn", server) for server in ("blocking", "epoll")]
    assert drawn(tmp_path / "run", *found) == ["churn-cost.png", "churn.png"]


def churn_record(server: str, throughput_per_s: float, block: int) -> Record:
    return records.record(
        server,
        experiment="churn",
        connections=2,
        throughput_per_s=throughput_per_s,
        block=block,
    )


def test_the_finding_of_churn_names_a_clear_win_a_tie_and_what_cannot_be_told(
    tmp_path: Path,
) -> None:
    said = found_in(
        tmp_path,
        blocks(
            churn_record,
            {
                "blocking": times(2000, STEADY),
                "threaded": times(1000, STEADY),
                "epoll": times(2000, STEADY[::-1]),
            },
        ),
    )
    assert "2 at a time" in said
    assert "times as many conversations per second as threaded" in said
    assert "2.00 [" in said
    assert "ties with epoll" in said


def test_the_finding_of_churn_decides_nothing_on_wild_or_missing_data(tmp_path: Path) -> None:
    wild = {"blocking": times(1000, WILD), "epoll": times(1000, STEADY)}
    assert "cannot be told from epoll" in found_in(tmp_path / "wild", blocks(churn_record, wild))
    alone = {"epoll": times(1000, STEADY)}
    assert "took no part" in found_in(tmp_path / "alone", blocks(churn_record, alone))


# ---- timeline ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """A timeline of every server."""
    log = tmp_path_factory.mktemp("timeline") / "log"
    return {server: measure(log, "timeline", server) for server in MODELS}


def lives(record: Record) -> list[dict[str, Any]]:
    timeline = record.get("timeline")
    assert timeline is not None
    return list(timeline["clients"])


def overlaps(record: Record) -> int:
    """Pairs of requests of different clients that were completely sent and not yet answered."""
    asked = [
        (number, request["complete_ns"], request["arrived_ns"])
        for number, life in enumerate(lives(record))
        for request in life["requests"]
    ]
    return sum(
        a != b and start < other_end and other_start < end
        for (a, start, end), (b, other_start, other_end) in itertools.combinations(asked, 2)
    )


@pytest.mark.parametrize("server", MODELS)
def test_timeline_end_to_end(server: str, pictures: dict[str, Record]) -> None:
    record = pictures[server]

    assert record["outcome"] == "measured", record.get("failure")
    everybody = timeline_clients.CLIENTS * timeline_clients.REQUESTS
    assert record["counts"]["ok"] == record["counts"]["scheduled"] == everybody
    for number, life in enumerate(lives(record)):
        assert life["failure"] is None
        stamps = [life["connect_ns"], life["greeted_ns"]]
        stamps += [stamp for request in life["requests"] for stamp in request.values()]
        stamps.append(life["left_ns"])
        assert stamps == sorted(stamps)
        assert life["connect_ns"] >= number * timeline_clients.APART_NS
        work_ns = experiments_timeline().WORK_MS * 10**6
        for request in life["requests"]:
            assert request["arrived_ns"] - request["complete_ns"] > 0.9 * work_ns


def test_the_timeline_is_drawn_from_what_was_stored(
    pictures: dict[str, Record], tmp_path: Path
) -> None:
    assert drawn(tmp_path / "run", *pictures.values()) == ["timeline.png"]
    figure = experiments.find("timeline").figures(analysis.load(tmp_path / "run"))[0]
    assert [panel.title.split(":")[0] for panel in figure.panels[1:]] == MODELS
    waiting = {
        panel.title.split(":")[0]: max(bar.end - bar.start for bar in panel.bars if bar.lane == 4)
        for panel in figure.panels[1:]
    }
    assert max(waiting, key=lambda server: waiting[server]) == "blocking"


def experiments_timeline() -> Any:
    return experiments.find("timeline")


def test_only_the_slow_client_pauses_and_only_once(pictures: dict[str, Record]) -> None:
    for record in pictures.values():
        pauses = [
            (number, turn)
            for number, life in enumerate(lives(record))
            for turn, request in enumerate(life["requests"])
            if request["complete_ns"] > request["sent_ns"]
        ]
        assert pauses == [(timeline_clients.SLOW_CLIENT, timeline_clients.SLOW_REQUEST)]


def test_blocking_is_a_staircase(pictures: dict[str, Record]) -> None:
    served = sorted(
        (life["requests"][0]["sent_ns"], life["requests"][-1]["arrived_ns"])
        for life in lives(pictures["blocking"])
    )
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(served))
    assert overlaps(pictures["blocking"]) == 0


def test_everybody_else_serves_them_side_by_side(pictures: dict[str, Record]) -> None:
    for server, record in pictures.items():
        assert server == "blocking" or overlaps(record) > 0


def test_a_client_that_is_turned_away_is_an_error_of_the_trial(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        timeline = timeline_clients.converse(Address(*silent.getsockname()))

    assert all("refused" in life["failure"] for life in timeline["clients"])
    assert all(life["greeted_ns"] == 0 for life in timeline["clients"])


def timeline_record(server: str, done_ms: float, block: int) -> Record:
    made = records.record(server, experiment="timeline", connections=5, block=block)
    clients = [
        {
            "connect_ns": number * 5_000_000,
            "greeted_ns": number * 5_000_000 + 1_000_000,
            "left_ns": round(done_ms * 1e6),
            "requests": [],
            "wrong": 0,
            "failure": None,
        }
        for number in range(5)
    ]
    made["timeline"] = {"clients": clients}
    return made


def test_the_finding_of_the_timeline_names_a_clear_win_a_tie_and_what_cannot_be_told(
    tmp_path: Path,
) -> None:
    said = found_in(
        tmp_path / "decided",
        blocks(
            timeline_record,
            {
                "blocking": times(120, STEADY),
                "threaded": times(60, STEADY),
                "epoll": times(120, STEADY[::-1]),
            },
        ),
    )
    assert "2.00 [" in said
    assert "times as long as threaded" in said
    assert "ties with epoll" in said
    assert "1.0 ms with threaded" in said
    wild = {"blocking": times(100, WILD), "epoll": times(100, STEADY)}
    said = found_in(tmp_path / "wild", blocks(timeline_record, wild))
    assert "cannot be told from epoll" in said
    alone = {"epoll": times(100, STEADY)}
    assert "took no part" in found_in(tmp_path / "alone", blocks(timeline_record, alone))


# ---- system calls --------------------------------------------------------------------------------

CANNED = """\
101 epoll_wait(4, [{events=EPOLLIN, data={u32=5, u64=5}}], 1, -1) = 1
101 recvfrom(5, "trace 0\\n", 65536, 0, NULL, NULL) = 8
101 sendto(5, "Hello, trace 0!\\n", 16, 0, NULL, 0) = 16
101 epoll_wait(4,  <unfinished ...>
102 futex(0x7f, FUTEX_WAKE_PRIVATE, 1)       = 0
101 <... epoll_wait resumed>[{events=EPOLLIN, data={u32=5, u64=5}}], 1, -1) = 1
101 recvfrom(6, 0x55, 65536, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
101 recvfrom(7, 0x55, 65536, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
101 recvfrom(5, "trace 1\\n", 65536, 0, NULL, NULL) = 8
101 sendto(5, "Hello, trace 1!\\n", 16, 0, NULL, 0) = 16
101 --- SIGTERM {si_signo=SIGTERM} ---
101 epoll_wait(4,  <unfinished ...>
101 +++ exited with 0 +++
"""


def test_the_parser_joins_what_was_interrupted_and_skips_what_is_no_call() -> None:
    calls = strace.parse(CANNED.splitlines(keepends=True))

    assert [call.label for call in calls] == [
        "epoll_wait",
        "recvfrom",
        "sendto",
        "epoll_wait",
        "futex",
        "recvfrom (nothing)",
        "recvfrom (nothing)",
        "recvfrom",
        "sendto",
        "epoll_wait",
    ]
    assert calls[3].result == "1"
    assert calls[-1].result == ""


def test_a_request_reaches_from_one_answer_to_the_next() -> None:
    requests = strace.per_request(strace.parse(CANNED.splitlines()))

    assert len(requests) == 1
    assert strace.summarise(requests) == {
        "requests": 1,
        "per_request": {
            "recvfrom (nothing)": 2.0,
            "epoll_wait": 1.0,
            "futex": 1.0,
            "recvfrom": 1.0,
            "sendto": 1.0,
        },
        "total": 6.0,
        "sequence": [
            {"call": "epoll_wait", "times": 1},
            {"call": "futex", "times": 1},
            {"call": "recvfrom (nothing)", "times": 2},
            {"call": "recvfrom", "times": 1},
            {"call": "sendto", "times": 1},
        ],
    }


@pytest.mark.parametrize("lines", ["", CANNED.replace("trace 0!", "trace 3!")])
def test_a_trace_without_all_answers_is_refused(lines: str) -> None:
    with pytest.raises(strace.TraceError, match="the trace shows answers"):
        strace.per_request(strace.parse(lines.splitlines()))


@traced
@pytest.mark.parametrize("server", MODELS)
def test_system_calls_end_to_end(server: str, tmp_path: Path) -> None:
    record = measure(tmp_path / "log", "system_calls", server)

    assert record["outcome"] == "measured", record.get("failure")
    assert record["verdict"]["valid"], record["verdict"]["reasons"]
    assert record["throughput_per_s"] is None, "a trace is never timed"
    found = record.get("system_calls")
    assert found is not None
    assert found["requests"] == trace.REQUESTS
    assert found["per_request"]["recvfrom"] >= 1
    assert found["per_request"]["sendto"] == 1
    assert found["sequence"][-1] == {"call": "sendto", "times": 1}
    assert found["total"] == pytest.approx(sum(found["per_request"].values()))


@traced
def test_system_calls_are_drawn_from_what_was_stored(tmp_path: Path) -> None:
    found = [measure(tmp_path / "log", "system_calls", server) for server in ("poll", "epoll")]
    assert drawn(tmp_path / "run", *found) == ["system_calls.png"]


@traced
def test_silent_clients_cost_the_busy_loop_a_call_each_and_epoll_none(tmp_path: Path) -> None:
    totals = {
        (server, idle): trace.run(
            server, log=tmp_path / "log", cpus=set(CPUS.server), requests=5, idle=idle
        )["per_request"]
        for server in ("nonblocking", "epoll")
        for idle in (0, 10)
    }
    assert totals["epoll", 10] == totals["epoll", 0]
    assert totals["nonblocking", 10]["recvfrom (nothing)"] >= 10


def test_a_trace_needs_descriptors_as_a_trial_does() -> None:
    select = catalog.find("select")
    most = 1024 - SERVER_DESCRIPTORS - 1  # one client asks

    assert strace.why_not(select, most) is None
    assert strace.why_not(select, most + 1) == "has no descriptor beyond 1023"
    assert strace.why_not(catalog.find("epoll"), most + 1) is None


@traced
def test_the_command_prints_a_table_or_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["trace", "epoll", "--requests", "3", "--idle", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["server"], shown["idle"], shown["requests"]) == ("epoll", 2, 3)

    assert command_line.main(["trace", "blocking", "--requests", "3"]) == 0
    assert "recvfrom, sendto" in capsys.readouterr().out

    assert command_line.main(["trace", "blocking", "--idle", "3"]) == 1
    assert "1 at a time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch"], "unknown server 'nosuch'"),
        (["epoll", "--requests", "0"], "--requests is 0"),
        (["epoll", "--idle", "-1"], "--idle is -1"),
    ],
)
def test_a_wrong_command_line_is_said_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["trace", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def no_strace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine on which no program is found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    strace.missing.cache_clear()
    yield
    strace.missing.cache_clear()


@pytest.mark.usefixtures("no_strace")
def test_without_strace_it_is_skipped_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert strace.missing() == "strace is not installed"
    assert command_line.main(["trace", "epoll"]) == 1
    assert "skipped: strace is not installed" in capsys.readouterr().err
    with pytest.raises(strace.TraceError, match="strace is not installed"):
        trace.run("epoll", log=tmp_path / "log", cpus=set(CPUS.server))


@pytest.mark.usefixtures("no_strace")
def test_a_bench_without_strace_skips_the_cells_and_says_why() -> None:
    plan = runner.plan(
        "quick",
        [experiments.find("system_calls")],
        [catalog.find("epoll")],
        blocks=1,
        spare=0.0,
        seed=1,
        descriptors=10_000,
    )
    assert plan.cells == ()
    assert {skip.reason for skip in plan.skipped} == {"strace is not installed"}


@pytest.mark.usefixtures("no_strace")
def test_strace_that_may_not_trace_is_said_with_its_own_words(tmp_path: Path) -> None:
    forbidden = tmp_path / "strace"
    forbidden.write_text("#!/bin/sh\necho 'PTRACE_TRACEME: not permitted' >&2\nexit 1\n")
    forbidden.chmod(0o755)

    assert strace.missing() == "strace is not allowed to trace: PTRACE_TRACEME: not permitted"


def calls_record(server: str, total: float, block: int, idle: int) -> Record:
    made = records.record(server, experiment="system_calls", connections=1, idle=idle, block=block)
    in_vain = round(total) - 2
    made["system_calls"] = {
        "requests": 20,
        "per_request": {"recvfrom (nothing)": in_vain, "recvfrom": 1.0, "sendto": 1.0},
        "total": total,
        "sequence": [
            {"call": "recvfrom (nothing)", "times": in_vain},
            {"call": "recvfrom", "times": 1},
            {"call": "sendto", "times": 1},
        ],
    }
    return made


def test_the_finding_of_system_calls_names_a_clear_win_a_tie_and_what_cannot_be_told(
    tmp_path: Path,
) -> None:
    def said(name: str, nonblocking: list[float]) -> str:
        alone = {"nonblocking": [3.0] * 5, "epoll": [3.0] * 5}
        beside = {"nonblocking": nonblocking, "epoll": [3.0] * 5}
        return found_in(
            tmp_path / name,
            blocks(calls_record, alone, idle=0) + blocks(calls_record, beside, idle=100),
        )

    clear = said("clear", [102.0] * 5)
    assert "34 [34, 34] times as many as epoll" in clear
    assert "epoll 3 (recvfrom (nothing), recvfrom, sendto)" in clear
    assert "ties with epoll" in said("tie", [3.0] * 5)
    assert "cannot be told from epoll" in said("wild", times(3.0, WILD))


def test_without_a_traced_server_there_is_no_finding_and_no_figure(tmp_path: Path) -> None:
    crashed = records.record("epoll", experiment="system_calls", connections=1)
    records.write_run(tmp_path, [crashed])
    run = analysis.load(tmp_path)
    experiment = experiments.find("system_calls")

    assert "do not decide" in experiment.finding(run)
    assert experiment.figures(run) == []
