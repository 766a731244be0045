"""System calls per request, by strace: what is read out of its lines, and a machine without it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tracing import traced

from loadgen import __main__ as command_line
from loadgen import experiments
from loadgen.machine.cpus import choose_pinning
from loadgen.plan.plan import plan
from loadgen.target import strace
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Trace
from loadgen.trial.rig import SystemUnderTest
from servers import catalog

pytestmark = pytest.mark.measures

CPUS = choose_pinning()

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
def test_silent_clients_cost_the_busy_loop_a_call_each_and_epoll_none(tmp_path: Path) -> None:

    def calls(server: str, idle: int) -> dict[str, float]:
        workload = Trace(requests=5, idle_connections=idle)
        cell = Cell(experiment="run", server=server, workload=workload)
        system = SystemUnderTest(model=catalog.find(server))
        record = trial.run(system, cell, cpus=CPUS, log=tmp_path / "log")
        assert record["system_calls"] is not None, record["failure"]
        return record["system_calls"]["per_request"]

    assert calls("epoll", 10) == calls("epoll", 0)
    assert calls("nonblocking", 10)["recvfrom (nothing)"] >= 10


def test_a_trace_needs_a_model_that_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for each of the clients."""
    monkeypatch.setattr(strace, "missing", lambda: None)
    select, everything = catalog.find("select"), 5000
    most = select.serves(everything) - 1  # one client asks

    assert Trace(idle_connections=most).missing(select) is None
    assert Trace(idle_connections=most + 1).missing(select) == "no descriptor beyond 1,023"
    assert Trace(idle_connections=most + 1).missing(catalog.find("epoll")) is None
    assert Trace(idle_connections=3).missing(catalog.find("blocking")) == "serves 1 at a time"


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
        strace.trace("epoll", lambda _: None, log=tmp_path / "log", cpus=set(CPUS.server))


@pytest.mark.usefixtures("no_strace")
def test_a_bench_without_strace_skips_the_cells_and_says_why() -> None:
    planned = plan(
        "quick",
        ["system_calls"],
        ["epoll"],
        experiments.find("system_calls").cells("quick", [catalog.find("epoll")]),
        blocks=1,
        trials=1,
        extra_time=0.0,
        seed=1,
        descriptors=10_000,
    )
    assert planned.cells == ()
    assert {skip.reason for skip in planned.skipped} == {"strace is not installed"}


@pytest.mark.usefixtures("no_strace")
def test_strace_that_may_not_trace_is_said_with_its_own_words(tmp_path: Path) -> None:
    forbidden = tmp_path / "strace"
    forbidden.write_text("#!/bin/sh\necho 'PTRACE_TRACEME: not permitted' >&2\nexit 1\n")
    forbidden.chmod(0o755)

    assert strace.missing() == "strace is not allowed to trace: PTRACE_TRACEME: not permitted"
