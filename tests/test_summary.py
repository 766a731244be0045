"""What is recorded of stamps: by hand, where every figure is known."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import records
from driving import made_drive

from loadgen.analysis import audit
from loadgen.clients.timeline import ClientTimeline, Request
from loadgen.engine import samples
from loadgen.engine.samples import Outcome, Samples
from loadgen.store.schema import Record
from loadgen.trial import summary
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Churn, Method, Requests, Timeline
from loadgen.trial.methods.search import probed
from loadgen.trial.rig import Measurement, SystemUnderTest
from servers import catalog

OK, MISMATCHED, ERROR, TIMED_OUT = map(int, Outcome)
SEED = 7


def empty(workload: Method) -> Any:
    return summary.empty_record(
        SystemUnderTest(model=catalog.find("epoll")),
        Cell(experiment="run", server="epoll", workload=workload),
        block=0,
        position=0,
        seed=SEED,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def measured(samples: Samples) -> Measurement:
    """Samples of a machine on which nothing happened."""
    machine = records.record()["machine"]
    assert machine is not None
    return Measurement(samples, machine)


def problems(made: Any) -> list[str]:
    """What an audit says of counts and latencies."""
    stored: Record = json.loads(json.dumps(made, allow_nan=False))
    checks = (audit.conservation, audit.throughput, audit.latencies, audit.little)
    return [problem for check in checks for problem in check(stored)]


def test_what_was_not_measured_is_null_and_never_absent() -> None:
    made = empty(Requests())
    for name in ("fairness", "footprint", "knee", "timeline", "system_calls", "generator"):
        assert made[name] is None
    for name in ("active", "slow_sent_bytes", "lost", "limit"):
        assert made["connections"][name] is None
    assert made["started_at"] == "2026-01-01T00:00:00.000+00:00"
    assert problems(made) == []


def test_latencies_are_those_of_right_answers_alone() -> None:
    """A connection that fails leaves a wrong answer without stamps, or one that was complete before
    its request was sent: neither says how fast the server is."""
    drive = made_drive(
        intended_ns=[100, 200, 300, 400, 500],
        sent_ns=[100, 250, 300, 0, 500],
        arrived_ns=[190, 240, 0, 0, 0],
        read_ns=[195, 245, 0, 0, 0],
        outcome=[OK, MISMATCHED, MISMATCHED, ERROR, TIMED_OUT],
        errors=[samples.UNSOLICITED],
    )
    workload = Requests(offered_per_s=5.0, arrivals="constant")
    made = empty(workload)
    summary.fill_in_drive(made, measured(drive), workload.load(SEED))

    for kind in ("service", "response"):
        found = made["latency_ns"][kind]
        assert (found["n"], found["min"], found["max"]) == (1, 90, 90)
        assert found["censored"] == 1
    assert made["generator"]["send_lag_ns"]["max"] == 0
    assert made["generator"]["read_delay_ns"]["max"] == 5
    assert made["counts"] == {"scheduled": 5, "ok": 1, "mismatched": 2, "error": 1, "timed_out": 1}
    assert made["connections"]["lost"] == {"unsolicited bytes": 1}
    assert problems(made) == []


def test_an_empty_window_has_no_rate() -> None:
    """The record of stamps was full before the window began."""
    made = empty(Requests())
    drive = made_drive(intended_ns=[5], window_ns=(10, 10))
    summary.fill_in_drive(made, measured(drive), Requests().load(SEED))

    assert made["throughput_per_s"] == 0.0
    assert made["counts"]["scheduled"] == 0
    assert problems(made) == []


def test_littles_law_holds_to_the_nanosecond_across_the_edges() -> None:
    """Two clients; one still waits when the window begins, both when it ends, and one that does so
    throughout has no request in it at all."""
    drive = made_drive(
        intended_ns=[0, 0, 0, 90, 160, 130],
        arrived_ns=[80, 120, 900, 150, 230, 300],
        read_ns=[90, 130, 999, 160, 240, 301],
        connection=[0, 1, 2, 0, 0, 1],
        errors=[0, 0, 0],
        window_ns=(100, 200),
    )
    reaching = summary.overlap(drive)

    assert reaching == {"start_ns": 60 + 30 + 100, "end_ns": 40 + 101}
    took_ns = (drive.read_ns - drive.sent_ns)[drive.in_window].sum()
    assert took_ns == 3 * 100 - reaching["start_ns"] + reaching["end_ns"]


def test_service_time_begins_when_the_request_has_left() -> None:
    """The second was stamped; of the others the same is assumed, and never more than they took."""
    drive = dataclasses.replace(
        made_drive(
            intended_ns=[0, 90, 170, 260],
            arrived_ns=[80, 160, 172, 400],
            read_ns=[90, 170, 260, 400],
            window_ns=(0, 400),
        ),
        stamped=np.array([1]),
        send_path_ns=np.array([7]),
    )
    assert drive.sending_ns.tolist() == [7, 7, 2, 7]
    assert drive.service_ns.tolist() == [73, 63, 0, 133]

    workload = Requests(duration_s=400e-9)
    made = empty(workload)
    made["connections"]["active"] = 1
    summary.fill_in_drive(made, measured(drive), workload.load(SEED))
    assert made["latency_ns"]["service"]["max"] == 133
    assert made["generator"]["send_path_ns"] == {"n": 1, "p50": 7, "max": 7, "subtracted": 23}
    assert list(audit.little(made)) == []

    made["generator"]["send_path_ns"] = {"n": 1, "p50": 7, "max": 5, "subtracted": 23}
    assert "no request had over 5" in "".join(audit.little(made))


def test_without_transmit_stamps_nothing_is_taken_off() -> None:
    made = empty(Requests())
    summary.fill_in_drive(made, measured(made_drive(intended_ns=[5])), Requests().load(SEED))
    assert made["generator"]["send_path_ns"] is None
    assert made["latency_ns"]["service"]["max"] == 100


def test_sampled_requests_keep_their_own_send_path() -> None:
    drive = dataclasses.replace(
        made_drive(intended_ns=[0, 200, 400, 600]),
        stamped=np.array([0, 2, 3]),
        send_path_ns=np.array([10, 30, 20]),
    )
    assert drive.sending_ns.tolist() == [10, 20, 30, 20]


@pytest.mark.parametrize(
    "workload",
    [
        Requests(offered_per_s=5.0, arrivals="constant"),
        Requests(pipeline_depth=3),
        Churn(),
    ],
)
def test_where_a_client_pauses_between_requests_no_law_is_claimed(
    workload: Requests | Churn,
) -> None:
    made = empty(workload)
    drive = measured(made_drive(intended_ns=[5, 500], errors=[0, 0]))
    if isinstance(workload, Churn):
        summary.fill_in_churn(made, drive, np.array([6, 501]), workload.load())
    else:
        summary.fill_in_drive(made, drive, workload.load(SEED))

    assert made["generator"]["overlap_ns"] is None
    assert problems(made) == []


def test_churn_accounts_for_every_connection_of_the_window() -> None:
    """Greeted or not, with a name for who was not; what failed after the greeting is lost."""
    drive = made_drive(
        intended_ns=[50, 100, 200, 300, 400],
        outcome=[ERROR, OK, ERROR, ERROR, TIMED_OUT],
        arrived_ns=[0, 250, 0, 0, 0],
        errors=[samples.CLOSED, 0, 104, samples.CLOSED, 0],
        window_ns=(100, 1_000_000_100),
    )
    made = empty(Churn())
    greeted_ns = np.array([0, 180, 0, 390, 0])
    summary.fill_in_churn(made, measured(drive), greeted_ns, Churn().load())

    assert made["connections"] == {
        "attempted": 4,
        "due": 4,
        "greeted": 2,
        "failed": {"ECONNRESET": 1, "waiting for the greeting": 1},
        "lost": {"closed": 2, "ECONNRESET": 1},
        "limit": None,
        "active": None,
        "slow_sent_bytes": None,
    }
    assert made["latency_ns"]["greeting"]["n"] == 2
    assert made["latency_ns"]["service"]["n"] == 1
    assert problems(made) == []


def client(**changes: Any) -> ClientTimeline:
    request = Request(sent_ns=20, complete_ns=30, arrived_ns=70)
    usual: dict[str, Any] = {"connect_ns": 0, "greeted_ns": 10, "left_ns": 99}
    return ClientTimeline(**{**usual, "requests": [request] * 4, **changes})


def test_a_timeline_accounts_for_every_client() -> None:
    made = empty(Timeline())
    clients = [
        client(),
        client(requests=client().requests[:3], mismatched=1),
        client(requests=[], failure="closed by the server"),
        client(requests=[], greeted_ns=0, failure="refused"),
    ]
    summary.fill_in_timeline(made, clients, requests=4)

    assert made["counts"] == {
        "scheduled": 16,
        "ok": 7,
        "mismatched": 1,
        "error": 8,
        "timed_out": 0,
    }
    connections = made["connections"]
    assert (connections["attempted"], connections["greeted"]) == (4, 3)
    assert (connections["failed"], connections["lost"]) == (
        {"refused": 1},
        {"closed by the server": 1},
    )
    assert made["latency_ns"]["service"]["n"] == 7
    assert made["latency_ns"]["greeting"]["n"] == 3
    assert problems(made) == []


def test_a_probe_tells_a_late_generator_from_a_slow_server() -> None:
    drive = made_drive(
        intended_ns=[0, 1_000],
        sent_ns=[700, 1_700],
        arrived_ns=[750, 1_750],
        outcome=[OK, OK],
        busy_ns=500_000_000,
    )
    nothing = made_drive(intended_ns=[0], outcome=[TIMED_OUT], arrived_ns=[0])
    probes = [
        probed(rate_per_s, measured(each))
        for rate_per_s, each in ((2_000.0, drive), (4_000.0, nothing))
    ]
    told = [
        summary.probe(each.detail.samples, each.offered_per_s, each.achieved, each.p99_ns)
        for each in probes
    ]

    assert told == [
        {
            "offered_per_s": 2_000.0,
            "achieved": 1.0,
            "p99_ns": 750.0,
            "send_lag_p99_ns": 700.0,
            "service_p99_ns": 50.0,
            "busy_fraction": 0.5,
        },
        {
            "offered_per_s": 4_000.0,
            "achieved": 0.0,
            "p99_ns": None,
            "send_lag_p99_ns": None,
            "service_p99_ns": None,
            "busy_fraction": 0.0,
        },
    ]


def test_paths_inside_the_lab_are_told_from_its_folder() -> None:
    assert summary.portable(summary.__file__) == "loadgen/trial/summary.py"
    assert summary.portable("/usr/bin/python") == "/usr/bin/python"
