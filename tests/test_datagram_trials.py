"""Whole trials of servers without connections: what is recorded, and that loss is a result."""

import json
from pathlib import Path
from typing import Any

import datagram_peer
import pytest
import records
from command_line import expect_error
from datagram_peer import Peer

from loadgen import __main__
from loadgen.analysis import audit
from loadgen.clients import scripted
from loadgen.clients.connect import connected_datagrams
from loadgen.clients.scripted import ConversationError, UnreachableError
from loadgen.engine import datagrams
from loadgen.engine.datagrams import Account
from loadgen.machine import counters
from loadgen.machine.cpus import choose_pinning
from loadgen.plan import plan
from loadgen.store import schema
from loadgen.store.schema import Record
from loadgen.target.address import Address
from loadgen.trial import sliced, trial, verdict
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Churn, Requests, Search, Slices
from loadgen.trial.rig import SystemUnderTest
from servers import catalog

pytestmark = pytest.mark.measures

CPUS = choose_pinning()
NAMES = [model.name for model in catalog.DATAGRAMS]
SHORT: dict[str, Any] = {"warmup_s": 0.05, "duration_s": 0.2, "transport": "udp"}


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    trial.compile()


def measure(log: Path, server: str | Address, **workload: object) -> Record:
    load = Requests(**{**SHORT, **workload})  # type: ignore[arg-type]
    load.check()
    if isinstance(server, str):
        system = SystemUnderTest(model=catalog.find(server))
    else:
        system = SystemUnderTest(address=server)
    cell = Cell(experiment="run", server=system.name, workload=load)
    record = trial.run(system, cell, cpus=CPUS, log=log)
    schema.record(record)
    assert [problem for check in audit.CHECKS for problem in check(record)] == []
    return record


def reasons(record: Record) -> list[str]:
    """Without those that are the machine's."""
    ours = ("not answered", "were answered", "hangs", "crashed", "error", "wrong", "lost")
    return [
        reason for reason in record["verdict"]["reasons"] if any(word in reason for word in ours)
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate_per_s", [None, 500.0])
def test_a_trial(tmp_path: Path, name: str, rate_per_s: float | None) -> None:
    rate = {"offered_per_s": rate_per_s, "arrivals": rate_per_s and "poisson"}
    record = measure(tmp_path / "log", name, connections=3, **rate)
    found = record["datagrams"]
    assert record["outcome"] == "measured", record["failure"]
    assert found
    assert found["sent"] == record["counts"]["scheduled"] > 0
    assert found["answered"] == record["counts"]["ok"] > 0
    assert found["dropped"] == 0
    assert record["connections"]["greeted"] == 3
    assert record["server_cost"]
    assert (record["latency_ns"]["response"] is None) == (rate_per_s is None)
    assert record["latency_ns"]["greeting"] is None


@pytest.mark.parametrize("rate_per_s", [None, 400.0])
def test_loss_is_a_result_and_no_error(tmp_path: Path, rate_per_s: float | None) -> None:
    rate = {"offered_per_s": rate_per_s, "arrivals": rate_per_s and "constant"}
    # The first five are those of the conversation before.
    with Peer(datagram_peer.dropping(7)) as peer:
        record = measure(
            tmp_path / "log", Address(*peer.address), connections=2, drain_s=0.3, **rate
        )
    found = record["datagrams"]
    assert found
    assert found["lost"] > 0
    assert found["lost"] + found["late"] == record["counts"]["timed_out"]
    if rate_per_s is None:
        assert reasons(record) == []


def test_a_server_that_cannot_keep_up(tmp_path: Path) -> None:
    """The kernel drops before it what its buffer does not hold, and says so."""
    record = measure(
        tmp_path / "log", "udp", work="sleep:5ms", offered_per_s=10_000.0, arrivals="constant"
    )
    found = record["datagrams"]
    assert found
    assert found["dropped"]
    assert found["lost"] > found["answered"]
    assert record["verdict"]["overloaded"]
    (reason,) = (one for one in record["verdict"]["reasons"] if one.startswith("overloaded"))
    assert f"{found['lost']:,} datagrams were lost" in reason
    assert verdict.unanswered(record) is None
    assert verdict.rate_missed(record) is None


def test_wrong_answers_are_no_result(tmp_path: Path) -> None:
    with Peer(datagram_peer.saying(b"Hello, you!\n")) as peer:
        record = measure(tmp_path / "log", Address(*peer.address))
    assert record["outcome"] == "crashed"
    assert "the server said b'Hello, you!\\n' instead of" in (record["failure"] or "")


def test_in_slices_beside_each_other(tmp_path: Path) -> None:
    load = Slices(connections=3, rounds=3, transport="udp")
    load.check()
    systems = [
        (
            SystemUnderTest(model=catalog.find(name)),
            Cell(experiment="run", server=name, workload=load),
            tmp_path / name,
        )
        for name in NAMES
    ]
    found = trial.measure(systems, cpus=CPUS)
    for record in found:
        assert record["outcome"] == "measured", record["failure"]
        schema.record(record)
        assert record["slices"]
        assert record["slices"]["together"] == len(NAMES)
        kept = [reason for reason in record["slices"]["void"] if reason is None]
        if kept:
            assert record["datagrams"]
            assert record["datagrams"]["dropped"] == 0
            assert [p for check in audit.CHECKS for p in check(record) if "datagram" in p] == []


def test_beside_a_server_with_connections(tmp_path: Path) -> None:
    systems = [
        (
            SystemUnderTest(model=catalog.find(name)),
            Cell(experiment="run", server=name, workload=Slices(rounds=2, transport=transport)),
            tmp_path / name,
        )
        for name, transport in (("udp", "udp"), ("epoll", "ipv4"))
    ]
    by_datagrams, by_connection = trial.measure(systems, cpus=CPUS)
    assert by_datagrams["failure"] is by_connection["failure"] is None
    assert by_connection["datagrams"] is None
    assert by_connection["counts"]["ok"] > 0


def test_a_loss_ends_no_slices(tmp_path: Path) -> None:
    with Peer(datagram_peer.dropping(50)) as peer:
        system = SystemUnderTest(address=Address(*peer.address))
        load = Slices(rounds=3, transport="udp")
        cell = Cell(experiment="run", server=system.name, workload=load)
        record = trial.run(system, cell, cpus=CPUS, log=tmp_path / "log")
    assert record["outcome"] == "measured", record["failure"]
    assert record["slices"]
    assert None not in record["slices"]["answers"]


def test_the_account_of_slices() -> None:
    kept = [Account(10, 8, 1, 1, 3, 2), Account(5, 5, 0, 0, 0, 1)]
    excluded = [Account(7, 4, 2, 1, 1, 1)]
    assert sliced.datagrams_of(kept, excluded) == Account(18, 13, 3, 2, 4, 4)


def test_drops_are_those_of_one_socket() -> None:
    with Peer() as peer, Peer(host="::1") as other:
        assert counters.datagram_drops(*peer.address) == 0
        assert counters.datagram_drops(*other.address) == 0
    assert counters.datagram_drops(*peer.address) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_clients_hear_their_server(host: str) -> None:
    with Peer(host=host) as peer:
        with connected_datagrams(Address(*peer.address), 3) as found:
            assert [sock.getpeername()[:2] for sock in found.socks] == [peer.address] * 3
            assert found.failed == {}
            fds = [sock.fileno() for sock in found.socks]
            load = Requests(connections=3, **SHORT).load(0)
            assert datagrams.drive(fds, load).account.answered > 0
        assert scripted.resolve_datagrams(Address(*peer.address)) == Address(*peer.address)


def test_nobody_there_is_said_in_words() -> None:
    with Peer() as peer:
        pass
    with pytest.raises(UnreachableError, match="nobody answers datagrams at "):
        scripted.resolve_datagrams(Address(*peer.address))
    with pytest.raises(UnreachableError, match="cannot resolve"):
        scripted.resolve_datagrams(Address("nosuch.invalid", 1))
    with pytest.raises(ConversationError, match="refused"):
        scripted.verify_datagrams(Address(*peer.address))


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (Requests(transport="udp", idle_connections=1), "idle_connections is 1"),
        (Requests(transport="udp", message_bytes=5), "message_bytes is 5"),
        (Requests(transport="udp", protocol="http"), "protocol is 'http'"),
        (Requests(transport="udp", idle_timeout_s=1.0), "idle_timeout_s is 1.0"),
        (Churn(transport="udp"), "transport is 'udp': churn needs connections"),
        (Search(transport="udp"), "transport is 'udp': search needs connections"),
    ],
)
def test_what_needs_connections_is_refused(workload: Requests, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        workload.check()


@pytest.mark.parametrize(
    ("server", "transport", "words"),
    [("udp", "ipv4", "it has no connections: it speaks UDP only"), ("epoll", "udp", "it does not")],
)
def test_a_cell_that_cannot_be_is_skipped(server: str, transport: Any, words: str) -> None:
    cell = Cell(experiment="x", server=server, workload=Requests(transport=transport))
    assert (plan.why_not(cell, 1000) or "").startswith(words)
    for name, right in (("udp", "udp"), ("epoll", "ipv4")):
        cell = Cell(experiment="x", server=name, workload=Requests(transport=right))  # type: ignore[arg-type]
        assert plan.why_not(cell, 1000) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run --server udp", "udp has no connections: it needs --udp"),
        ("run --udp --server epoll", "--udp does not go with epoll"),
        ("run --udp --server udp --idle 3", "--idle is 3"),
        ("run --udp --server udp --message-bytes 8", "--message-bytes is 8"),
        ("duel udp epoll", "udp has no connections"),
    ],
)
def test_a_wrong_command_line_has_status_2(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in expect_error(capsys, 2, *arguments.split())


def test_the_account_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = records.record()
    record["datagrams"] = {
        "sent": 1030,
        "answered": 1000,
        "lost": 20,
        "late": 10,
        "duplicated": 3,
        "reordered": 4,
        "dropped": 5,
    }
    monkeypatch.setattr(trial, "run", lambda *_, **__: record)
    __main__.main(["run", "--udp", "--server", "udp"])
    said = " ".join(capsys.readouterr().out.split())
    assert "1,030 sent, 1,000 answered, 20 lost, 10 late, 3 duplicated, 4 reordered" in said
    assert "5 dropped by the kernel" in said
    __main__.main(["run", "--udp", "--server", "udp", "--json"])
    assert json.loads(capsys.readouterr().out)["datagrams"] == record["datagrams"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sent": 1001}, "1,001 datagrams were sent and 1,000 accounted for"),
        ({"answered": 999, "lost": 1}, "999 datagrams were answered and 1 were not"),
        ({"reordered": 2000}, "2,000 answers were out of order"),
    ],
)
def test_an_audit_adds_them_up(change: dict[str, int], words: str) -> None:
    record = records.record(throughput_per_s=1000)
    found = dict.fromkeys(("lost", "late", "duplicated", "reordered", "dropped"), 0)
    record["datagrams"] = {**found, "sent": 1000, "answered": 1000, **change}  # type: ignore[typeddict-item]
    said = [problem for check in audit.CHECKS for problem in audit.found_by(check, record)]
    assert any(words in one for one in said), said
