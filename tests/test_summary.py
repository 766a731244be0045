"""What is recorded of stamps: by hand, where every figure is known."""

import dataclasses
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import records
from driving import made_drive
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis import audit
from loadgen.clients.timeline import ClientTimeline, Request
from loadgen.engine import samples
from loadgen.engine.samples import Outcome, Samples
from loadgen.store.schema import Record
from loadgen.target.usage import Usage
from loadgen.trial import summary, verdict
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
    checks = (
        audit.conservation,
        audit.throughput,
        audit.latencies,
        audit.little,
        audit.edges,
        audit.growth,
        audit.cpu,
    )
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


def test_throughput_is_what_arrived_within_the_window() -> None:
    """Due before and answered within counts; due within and answered in the drain does not."""
    drive = made_drive(
        intended_ns=[0, 50, 120, 150, 180, 190],
        arrived_ns=[99, 100, 160, 199, 200, 0],
        outcome=[OK, OK, OK, MISMATCHED, OK, TIMED_OUT],
        window_ns=(100, 200),
    )
    workload = Requests(offered_per_s=5.0, arrivals="constant", drain_s=1e-6)
    made = empty(workload)
    summary.fill_in_drive(made, measured(drive), workload.load(SEED))

    assert made["throughput_per_s"] == 2 * 1e9 / 100
    assert made["window"] == {
        "answered": 2,
        "open_at_start": 1,
        "open_at_end": 2,
        # After the first answer nobody is waiting; in the second half two always are, but for the
        # moments behind the answers at 160 and 199: then there is one.
        "fewest_open_first_half": 0,
        "fewest_open_second_half": 1,
        "backlog_growth_per_s": 1 / 50e-9,
        "silence_ns": 200 + 1000 - 200,
    }
    nothing = {"scheduled": 2, "ok": 2, "mismatched": 0, "error": 0, "timed_out": 0}
    assert made["warmup"] == nothing
    assert made["counts"] == {"scheduled": 4, "ok": 2, "mismatched": 1, "error": 0, "timed_out": 1}
    # A wrong answer is an answer: 4 = 3 that arrived and 1 more that is open.
    window = made["window"]
    assert made["counts"]["scheduled"] - 3 == window["open_at_end"] - window["open_at_start"]


def test_cpu_time_is_shared_out_over_the_answers_that_it_made() -> None:
    """In an overload: two of three answers that were due came after the clocks were read."""
    drive = made_drive(intended_ns=[100, 200, 300], arrived_ns=[150, 2_000_000_000, 2_000_000_001])
    spent = replace(drive, clocks=drive.clocks._replace(server_cpu_ns=np.array([[0], [20_000]])))
    made = empty(Requests())
    summary.fill_in_drive(made, measured(spent), Requests().load(SEED))
    usage = Usage(**records.USAGE)
    summary.fill_in_cost(made, usage, usage, spent)

    assert made["server_cost"]["cpu_us_per_request"] == 20.0


def test_a_client_that_waits_through_the_whole_window_is_counted() -> None:
    """One of four; another is answered at its edge, one is served all the time, and one that asks
    for several at once gets some of them."""
    drive = made_drive(
        intended_ns=[50, 60, 70, 80, 81, 130],
        arrived_ns=[200, 199, 120, 150, 210, 210],
        connection=[0, 1, 2, 3, 3, 2],
        errors=[0, 0, 0, 0],
        window_ns=(100, 200),
    )
    assert summary.unanswered(drive) == 1


# A queue in front of one server that takes `service_ns` for each: where it is known what waits.


def queue(
    rate_per_s: float,
    capacity_per_s: float,
    pause_ns: int = 0,
    pause_at_s: float = 0.0,
    seed: int = 1,
) -> Samples:
    """Poisson arrivals, a warm-up of 0.3 s, a window and a drain of 1 s; first come, first served.

    The server stops for `pause_ns` at `pause_at_s` into the window.
    """
    generator = np.random.default_rng(seed)
    end_ns, drained_ns = 1_300_000_000, 2_300_000_000
    count = generator.poisson(rate_per_s * 1.3)
    due_ns = np.sort(generator.integers(0, end_ns, count))
    service_ns = np.full(count, 1e9 / capacity_per_s)
    stopped = int(np.searchsorted(due_ns, 300_000_000 + pause_at_s * 1e9))
    service_ns[min(stopped, count - 1)] += pause_ns
    # Lindley: an answer leaves after the one before it, or as soon as its request was served.
    before_ns = np.cumsum(service_ns) - service_ns
    left_ns = np.maximum.accumulate(due_ns - before_ns) + before_ns + service_ns
    done = left_ns < drained_ns
    return made_drive(
        intended_ns=due_ns.tolist(),
        arrived_ns=np.where(done, left_ns, 0).astype(np.int64).tolist(),
        outcome=np.where(done, OK, TIMED_OUT).tolist(),
        window_ns=(300_000_000, end_ns),
    )


def offered(drive: Samples, rate_per_s: float) -> Any:
    workload = Requests(offered_per_s=rate_per_s, arrivals="poisson")
    made = empty(workload)
    summary.fill_in_drive(made, measured(drive), workload.load(SEED))
    return made


def test_a_server_that_makes_44_000_of_60_000_is_said_to() -> None:
    """All of them are answered by the end of the drain, which is no excuse."""
    made = offered(queue(60_000, 44_000), 60_000)

    assert made["counts"]["ok"] == made["counts"]["scheduled"]
    assert made["throughput_per_s"] == pytest.approx(44_000, rel=1e-3)
    assert verdict.overloaded(made)
    assert made["window"]["backlog_growth_per_s"] == pytest.approx(16_000, rel=0.05)
    assert summary.kept(queue(60_000, 44_000), 1.0)[0] == pytest.approx(44 / 60, rel=0.02)


def test_a_search_does_not_call_an_overload_kept_however_long_it_may_take() -> None:
    for capacity_per_s, kept in ((44_000, False), (63_000, True)):
        probe = probed(60_000.0, measured(queue(60_000, capacity_per_s)), drain_s=1.0)
        assert probe.kept(limit_ns=1e10) == kept


def test_most_of_a_deep_overload_is_never_answered_and_the_server_is_not_silent() -> None:
    made = offered(queue(60_000, 10_000), 60_000)

    assert made["counts"]["timed_out"] > made["counts"]["ok"]
    assert verdict.overloaded(made)
    assert verdict.unanswered(made) is None


@pytest.mark.parametrize("rate_per_s", [500, 5_000, 40_000])
def test_a_rate_of_95_percent_of_the_capacity_is_kept(rate_per_s: int) -> None:
    """In 100 windows 1 may look otherwise, by chance: at most 3 of 40 (one in 1,000 suites)."""
    drives = [queue(rate_per_s, rate_per_s / 0.95, seed=seed) for seed in range(40)]

    assert sum(bool(verdict.overloaded(offered(drive, rate_per_s))) for drive in drives) <= 3


@pytest.mark.parametrize(("rate_per_s", "share"), [(5_000, 1.2), (60_000, 1.05)])
def test_a_little_more_than_the_capacity_is_not(rate_per_s: int, share: float) -> None:
    drives = [queue(rate_per_s, rate_per_s / share, seed=seed) for seed in range(20)]

    assert all(verdict.overloaded(offered(drive, rate_per_s)) for drive in drives)


@pytest.mark.parametrize("pause_at_s", [0.0, 0.3, 0.5, 0.97])
def test_a_pause_is_no_overload_wherever_it_comes(pause_at_s: float) -> None:
    """30 ms of 20,000 requests per second: 600 wait, at the end of the window too."""
    drive = queue(20_000, 44_000, pause_ns=30_000_000, pause_at_s=pause_at_s)

    assert not verdict.overloaded(offered(drive, 20_000))


def test_an_open_loop_of_which_one_connection_hangs_is_no_overload_that_counts() -> None:
    """Its backlog grows, and when the others have been answered the server has nothing to do."""
    drive = queue(20_000, 44_000)
    hung = np.arange(len(drive.outcome)) % 8 == 0
    stuck = replace(
        drive,
        outcome=np.where(hung, TIMED_OUT, drive.outcome).astype(np.uint8),
        arrived_ns=np.where(hung, 0, drive.arrived_ns),
    )
    made = offered(stuck, 20_000)

    assert verdict.overloaded(made)
    assert "the server hangs" in str(verdict.unanswered(made))


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
        "unanswered": 0,
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
        probed(rate_per_s, measured(each), drain_s=1.0)
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


@given(st.lists(st.integers(-(10**8), 10**9), min_size=1, max_size=300))
def test_lateness_may_be_negative(values: list[int]) -> None:
    """By as much as a histogram loses of the distance to the earliest."""
    found = summary.lateness(np.array(values, np.int64))

    assert found is not None
    assert (found["n"], found["min"], found["max"]) == (len(values), min(values), max(values))
    assert found["mean"] == pytest.approx(float(np.mean(values)), abs=1)
    if found["p50"] is not None:
        exact = sorted(values)[-(-len(values) // 2) - 1]
        assert abs(found["p50"] - exact) <= 2e-3 * (exact - min(0, *values)) + 2
    assert summary.lateness(np.zeros(0, np.int64)) is None
