"""Every check fires on a record made for it, none on a sound one; so does the bottleneck."""

import copy
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import records

from loadgen.store import histogram
from loadgen.store.schema import Record, Verdict
from loadgen.trial import methods, verdict
from loadgen.trial.methods import Churn, Demonstration, Search, Slices

Row = dict[str, Any]


def judge(row: Row) -> Verdict:
    """By the checks of the method that its cell names."""
    return methods.of(row["cell"]["workload"]).judge(cast(Record, row))


def slower_side(row: Row) -> str:
    return judge(row)["bottleneck"]


def closed_loop() -> Row:
    return dict(copy.deepcopy(records.record(throughput_per_s=2000.0)))


def open_loop() -> Row:
    row = closed_loop()
    row["cell"]["workload"] |= {"offered_per_s": 2000.0, "arrivals": "poisson"}
    row["offered_per_s"] = 2000.0
    row["latency_ns"]["response"] = row["latency_ns"]["service"]
    return row


@pytest.mark.parametrize("make", [closed_loop, open_loop])
def test_a_sound_trial_passes_every_check(make: Callable[[], Row]) -> None:
    judged = judge(make())

    assert judged["valid"]
    assert judged["reasons"] == []


def crashed(row: Row) -> None:
    row |= {"outcome": "crashed", "failure": "the server logged a traceback: OSError: 24"}


def wrong(row: Row) -> None:
    row["counts"] |= {"ok": 1999, "mismatched": 1}


def failed(row: Row) -> None:
    row["counts"] |= {"ok": 1999, "error": 1}


def hung(row: Row) -> None:
    row["counts"] |= {"ok": 1999, "timed_out": 1}


def turned_away(row: Row) -> None:
    row["connections"] |= {"greeted": 7, "failed": {"ECONNREFUSED": 1}}


def silent(row: Row) -> None:
    row["counts"] = dict.fromkeys(row["counts"], 0)


def missed_rate(row: Row) -> None:
    row["counts"] |= {"ok": 1979, "timed_out": 21}


def in_the_warmup(outcome: str) -> Callable[[Row], None]:
    def spoil(row: Row) -> None:
        row["warmup"] |= {"scheduled": 7, outcome: 7}

    return spoil


def dropped(row: Row) -> None:
    """Nothing was outstanding on them: all requests were answered."""
    row["connections"]["lost"] = {"closed": 6, "ECONNRESET": 1}


def hung_at_a_rate(row: Row) -> None:
    """So few that the rate was kept; nobody was answered any more in the drain of one second."""
    row["counts"] |= {"ok": 1999, "timed_out": 1}
    row["window"]["silence_ns"] = 900_000_000


def waited_throughout(row: Row) -> None:
    row["connections"]["unanswered"] = 7


def no_knee(row: Row) -> None:
    """A rate that a search has called kept, in front of a backlog that grows."""
    row["cell"]["workload"] = Search(connections=8).as_record()
    row["knee"] = {"rate_per_s": 2000.0, "limit_ns": 5e6, "probes": []}
    overload(row)


def overload(row: Row) -> None:
    """Of 2,000 requests per second 1,500 are answered: 250 more are open in the second half of the
    window than in the first, and 500 more at its end than at its start."""
    row["throughput_per_s"] = 1500.0
    row["window"] |= {
        "answered": 1500,
        "open_at_start": 150,
        "open_at_end": 650,
        "fewest_open_first_half": 150,
        "fewest_open_second_half": 400,
        "backlog_growth_per_s": 500.0,
    }


def busy_generator(row: Row) -> None:
    row["generator"]["busy_fraction"] = 0.91
    row["machine"]["server_cpu_busy"] = 0.15


def churning(row: Row) -> None:
    """The server's CPU is busy too, because it polls."""
    row["cell"]["workload"] = Churn(connections=8).as_record()
    row["generator"]["busy_fraction"] = 0.91
    row["server_cost"]["cpu_fraction"] = row["machine"]["server_cpu_busy"] = 0.99


def beside_others(row: Row) -> None:
    row["machine"]["server_cpu_busy"] = row["server_cost"]["cpu_fraction"] + 0.21


def held_up(row: Row) -> None:
    row["generator"]["cpu_fraction"] = 0.89


def late(row: Row) -> None:
    row["generator"]["send_lag_ns"] = histogram.summary(np.full(2000, 101_000))


def unstamped(row: Row) -> None:
    row["generator"]["unstamped"] = 21


def stolen(row: Row) -> None:
    row["machine"]["steal_fraction"] = 0.031


def overflowed(row: Row) -> None:
    row["machine"]["listener_drops"] = 1


def sent_again(row: Row) -> None:
    row["machine"]["retransmits"] = 21


def set_forwards(row: Row) -> None:
    row["machine"]["clock_drift_ns"] = 1_000_001


def set_back(row: Row) -> None:
    row["machine"]["clock_drift_ns"] = -1_000_001


def in_slices() -> Row:
    row = closed_loop()
    row["cell"] = records.cell(connections=8).as_record()
    row["cell"]["workload"] = Slices(connections=8).as_record()
    row["slices"] = {"void": [None] * 4}
    return row


def unseen(row: Row) -> None:
    """A program that ended well, and told nothing."""
    row["cell"]["workload"] = Demonstration(claim="ports").as_record()


def spoilt_rounds(row: Row) -> None:
    row["slices"]["void"] = ["a pause", None, "a pause", "a pause"]


def busy_in_slices(row: Row) -> None:
    row["generator"] |= {"busy_fraction": 0.95, "cpu_fraction": 1.0}
    row["server_cost"]["cpu_fraction"] = 0.5


VOIDS = [
    (closed_loop, crashed, "not_measured", "logged a traceback"),
    (closed_loop, wrong, "wrong_answers", "1 wrong answers: fix the server"),
    (closed_loop, failed, "errors", "1 requests failed"),
    (closed_loop, hung, "unanswered", "1 requests were not answered within the drain"),
    (closed_loop, in_the_warmup("mismatched"), "wrong_answers", "7 (7 in the warm-up) wrong"),
    (closed_loop, in_the_warmup("error"), "errors", "7 (7 in the warm-up) requests failed"),
    (closed_loop, in_the_warmup("timed_out"), "unanswered", "7 (7 in the warm-up) requests"),
    (open_loop, in_the_warmup("mismatched"), "wrong_answers", "7 (7 in the warm-up) wrong"),
    (open_loop, in_the_warmup("error"), "errors", "7 (7 in the warm-up) requests failed"),
    (open_loop, hung_at_a_rate, "unanswered", "nothing else was in the last 0.9 s"),
    (closed_loop, dropped, "lost_connections", "7 connections were lost (6 closed, 1 ECONNRESET)"),
    (open_loop, dropped, "lost_connections", "7 connections were lost"),
    (closed_loop, waited_throughout, "clients_unanswered", "7 of 8 clients were not answered"),
    (
        closed_loop,
        turned_away,
        "not_greeted",
        "1 of 8 connections were not greeted: 1 ECONNREFUSED",
    ),
    (closed_loop, silent, "nothing_answered", "nothing to report"),
    (
        open_loop,
        missed_rate,
        "rate_missed",
        "99.0% of the offered 2,000/s were answered: offer less",
    ),
    (open_loop, no_knee, "rate_missed", "75.0% of the offered 2,000/s were answered"),
    (closed_loop, busy_generator, "generator_bound", "this measures the generator"),
    (closed_loop, churning, "generator_busy", "this measures the generator"),
    (closed_loop, beside_others, "server_starved", "others used 21% of the server's CPU"),
    (closed_loop, held_up, "generator_starved", "the generator got 89% of its CPU"),
    (open_loop, late, "late_sends", "p99 101 us"),
    (closed_loop, unstamped, "unstamped_answers", "21 of 2,000 answers came without a stamp"),
    (in_slices, unstamped, "unstamped_answers", "21 of 2,000 answers came without a stamp"),
    (closed_loop, stolen, "steal", "the hypervisor took 3.1%"),
    (closed_loop, overflowed, "overflows", "raise net.core.somaxconn"),
    (closed_loop, sent_again, "retransmits", "21 segments were sent again"),
    (closed_loop, set_forwards, "clocks_apart", "+1.0 ms"),
    (closed_loop, set_back, "clocks_apart", "-1.0 ms"),
    (
        in_slices,
        spoilt_rounds,
        "too_many_void",
        "75% of the rounds are void, as the first: a",
    ),
    (closed_loop, unseen, "nothing_seen", "nothing was seen"),
    (in_slices, busy_in_slices, "generator_bound_in_slices", "this measures the generator"),
]


@pytest.mark.parametrize(("make", "spoil", "check", "words"), VOIDS)
def test_a_check_fires_on_what_it_is_for_and_no_other_does(
    make: Callable[[], Row], spoil: Callable[[Row], None], check: str, words: str
) -> None:
    row = make()
    spoil(row)
    judged = judge(row)

    assert not judged["valid"]
    checks = methods.of(row["cell"]["workload"]).checks
    assert [each.__name__ for each in checks if each(cast(Record, row))] == [check]
    # A knee that was an overload is said to be one, too.
    reason, *flags = judged["reasons"]
    assert [flag.partition(":")[0] for flag in flags] == ["overloaded"] * (spoil is no_knee)
    assert words in reason
    assert "\n" not in reason


def test_every_check_is_made_to_fire() -> None:
    checks = {check.__name__ for method in methods.METHODS for check in method.checks}
    assert {check for _, _, check, _ in VOIDS} == checks


@pytest.mark.parametrize(
    ("make", "path", "value"),
    [
        (closed_loop, ("machine", "steal_fraction"), verdict.STEAL_LIMIT),
        (closed_loop, ("machine", "clock_drift_ns"), verdict.CLOCK_DRIFT_NS),
        (closed_loop, ("machine", "retransmits"), 20),
        (closed_loop, ("generator", "cpu_fraction"), verdict.GENERATOR_CPU_SHARE),
        (closed_loop, ("generator", "unstamped"), 20),
        (open_loop, ("counts", "ok"), 1980),
        # What a machine does not tell is held against nobody.
        (closed_loop, ("machine", "steal_fraction"), None),
        (closed_loop, ("machine", "server_cpu_busy"), None),
    ],
)
def test_at_its_limit_a_trial_is_still_believed(
    make: Callable[[], Row], path: tuple[str, str], value: object
) -> None:
    row = make()
    row[path[0]][path[1]] = value

    assert judge(row)["valid"]


def test_a_generator_that_is_never_idle_beside_a_server_that_is_not_either_is_believed() -> None:
    row = closed_loop()
    row["generator"]["busy_fraction"] = 0.99
    row["server_cost"]["cpu_fraction"] = row["machine"]["server_cpu_busy"] = 0.95

    assert judge(row)["valid"]


def test_a_model_that_cannot_serve_all_is_not_blamed_for_it() -> None:
    row = dict(records.record(connections=64, greeted=1))
    assert judge(row)["valid"]
    # One of those that ask is served, and has to be answered.
    silent(row)
    assert not judge(row)["valid"]


def test_that_nobody_who_asks_is_served_is_a_limit_of_the_model_and_named_so() -> None:
    """Idle clients came first, and have taken all the places."""
    row = dict(records.record("select", connections=8, idle=5000, greeted=1020))
    row["connections"]["active"] = 0
    silent(row)
    row |= {"generator": None, "server_cost": None, "machine": None}
    row["latency_ns"] = {"service": None, "response": None, "greeting": None}

    judged = judge(row)
    assert judged["valid"]
    assert judged["bottleneck"] == "model"


def test_a_model_has_to_greet_as_many_as_it_serves_by_its_design() -> None:
    """That it has a limit at all is no excuse for greeting fewer."""
    row = dict(records.record("select", connections=8, idle=5000, greeted=1020))
    row["connections"] |= {"greeted": 20, "failed": {"ECONNRESET": 4988}}

    judged = judge(row)
    assert not judged["valid"]
    assert judged["reasons"][0].startswith("1000 of 1020 connections were not greeted")


@pytest.mark.parametrize("check", [verdict.server_starved, verdict.generator_starved])
def test_nobody_is_starved_by_others_where_both_share_a_cpu(
    check: Callable[[Row], str | None],
) -> None:
    for spoil in (beside_others, held_up):
        row = closed_loop()
        spoil(row)
        row["machine"]["shared"] = True
        assert check(row) is None


def test_a_found_rate_is_judged_and_not_the_first_that_was_tried() -> None:
    row = open_loop()
    row["cell"]["workload"] = Search(connections=8).as_record()
    row["counts"] |= {"ok": 1900, "timed_out": 100}

    assert "of the offered 2,000/s" in str(verdict.rate_missed(row))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("machine", "hiccup_ns"), 51_000_000, "the machine paused for 51 ms"),
        (("generator", "full"), True, "ended early"),
    ],
)
def test_what_is_said_voids_nothing(path: tuple[str, str], value: Any, words: str) -> None:
    row = closed_loop()
    if path[1] == "hiccup_ns":
        quiet = {"max": 20_000}
        value = {"realtime": True, "server_cpu": {"max": value}, "generator_cpu": quiet}
    row[path[0]][path[1]] = value
    judged = judge(row)

    assert judged["valid"]
    (reason,) = judged["reasons"]
    assert words in reason


def test_what_was_left_over_at_a_rate_is_a_missed_rate_and_no_hang() -> None:
    row = open_loop()
    row["counts"] |= {"ok": 1990, "timed_out": 10}

    assert judge(row)["valid"]


def test_one_cpu_for_both_is_said_and_voids_nothing() -> None:
    row = closed_loop()
    row["machine"]["shared"] = True
    judged = judge(row)

    assert judged["valid"]
    assert judged["reasons"] == [
        "generator and server share one CPU: use a machine with two or more"
    ]


def test_several_reasons_are_all_given() -> None:
    row = open_loop()
    for spoil in (wrong, late, stolen):
        spoil(row)

    assert len(judge(row)["reasons"]) == 3


def test_a_trial_in_which_nothing_was_measured_can_be_judged() -> None:
    row = closed_loop()
    crashed(row)
    silent(row)
    row |= {"generator": None, "machine": None, "server_cost": None}
    row["latency_ns"] = {"service": None, "response": None, "greeting": None}
    judged = judge(row)

    assert not judged["valid"]
    assert judged["bottleneck"] == "unknown"


# Where the outstanding requests wait names the slower side.


def waiting(make: Callable[[], Row], service_ns: int, read_delay_ns: int) -> Row:
    """A server that is busy."""
    row = make()
    row["server_cost"]["cpu_fraction"] = row["machine"]["server_cpu_busy"] = 0.95
    row["latency_ns"]["service"] = histogram.summary(np.full(2000, service_ns))
    row["generator"]["read_delay_ns"] = histogram.summary(np.full(2000, read_delay_ns))
    return row


@pytest.mark.parametrize(
    ("service_ns", "read_delay_ns", "bottleneck"),
    [(400_000, 3_000, "server"), (30_000, 200_000, "generator"), (90_000, 90_000, "server")],
)
def test_in_a_closed_loop_requests_wait_for_the_slower_side(
    service_ns: int, read_delay_ns: int, bottleneck: str
) -> None:
    assert slower_side(waiting(closed_loop, service_ns, read_delay_ns)) == bottleneck


def test_a_rate_that_was_kept_is_its_own_limit() -> None:
    assert slower_side(waiting(open_loop, 400_000, 3_000)) == "offered"


@pytest.mark.parametrize("miss", [missed_rate, overload])
@pytest.mark.parametrize(
    ("service_ns", "read_delay_ns", "bottleneck"),
    [(400_000, 3_000, "server"), (30_000, 200_000, "generator")],
)
def test_a_rate_that_was_missed_was_missed_by_one_side(
    service_ns: int, read_delay_ns: int, bottleneck: str, miss: Callable[[Row], None]
) -> None:
    row = waiting(open_loop, service_ns, read_delay_ns)
    miss(row)

    assert slower_side(row) == bottleneck


def taking_turns() -> Row:
    """One client; its request takes the server 15 us of CPU and the generator 12, of 33 us."""
    row = waiting(closed_loop, 21_000, 3_000)
    row["generator"]["busy_fraction"] = 0.36
    row["server_cost"] |= {"cpu_fraction": 0.45, "cpu_us_per_request": 15.0}
    row["machine"]["server_cpu_busy"] = 0.55
    return row


def test_where_neither_side_is_busy_it_is_the_wake_up_that_limits() -> None:
    assert slower_side(taking_turns()) == "wake-up"


def asleep(row: Row) -> None:
    """It sleeps for 10 ms before it answers."""
    row["latency_ns"]["service"] = histogram.summary(np.full(2000, 10_020_000))


def at_work(row: Row) -> None:
    row["server_cost"]["cpu_fraction"] = row["machine"]["server_cpu_busy"] = 0.70


def held_back(row: Row) -> None:
    """What keeps both from being busy is somebody else."""
    row["machine"]["server_cpu_busy"] = 0.90


def several(row: Row) -> None:
    """Four processes with four CPUs, of which the one that has the client is busy for 80 %."""
    row["server_cost"] |= {"processes": 1, "cpu_fraction": 0.80}
    row["machine"] |= {"server_cpus": [0, 1, 2, 3], "server_cpu_busy": 0.25}


def of_schema_1(row: Row) -> None:
    row |= {"window": None, "warmup": None}


@pytest.mark.parametrize("change", [asleep, at_work, held_back, several, of_schema_1])
def test_a_server_with_work_or_sleep_of_its_own_is_not_taken_for_one_that_is_woken(
    change: Callable[[Row], None],
) -> None:
    row = taking_turns()
    change(row)

    assert slower_side(row) == "server"


def test_a_server_of_somebody_else_tells_nothing_of_its_cpu() -> None:
    row = taking_turns()
    row["server_cost"] = None

    assert slower_side(row) == "server"


# More was offered than was answered.


def test_an_overload_is_a_valid_measurement_of_an_overload() -> None:
    row = waiting(open_loop, 400_000, 3_000)
    overload(row)
    judged = judge(row)

    assert judged["valid"]
    assert judged["overloaded"]
    assert judged["bottleneck"] == "server"
    assert judged["reasons"] == [
        "overloaded: 1,500/s of the offered 2,000/s were answered, and 500 more requests waited"
        " after each second: latency grows with the length of the run"
    ]


def test_what_an_overload_leaves_unanswered_is_no_fault_as_long_as_the_server_answers() -> None:
    row = waiting(open_loop, 400_000, 3_000)
    overload(row)
    row["counts"] |= {"ok": 1000, "timed_out": 1000}
    row["warmup"] |= {"scheduled": 10, "timed_out": 10}
    row["window"]["silence_ns"] = 1_000_000

    assert judge(row)["valid"]


@pytest.mark.parametrize(("grown", "overloaded"), [(63, False), (64, True)])
def test_chance_is_no_overload(grown: int, overloaded: bool) -> None:
    """Of the 1,000 requests of half a window 2 standard deviations are 63."""
    row = waiting(open_loop, 400_000, 3_000)
    row["window"]["fewest_open_second_half"] += grown
    judged = judge(row)

    assert judged["overloaded"] == overloaded
    assert judged["bottleneck"] == ("server" if overloaded else "offered")


@pytest.mark.parametrize(("grown", "overloaded"), [(1_000, False), (1_001, True)])
def test_one_request_in_a_hundred_is_no_overload(grown: int, overloaded: bool) -> None:
    """Of half a window's 100,000 requests, where chance explains less."""
    row = waiting(open_loop, 400_000, 3_000)
    row["counts"] |= {"scheduled": 200_000, "ok": 200_000}
    row["window"]["fewest_open_second_half"] += grown

    assert judge(row)["overloaded"] == overloaded


@pytest.mark.parametrize(
    ("busy_fraction", "valid", "bottleneck"), [(0.5, True, "server"), (0.95, False, "generator")]
)
def test_in_an_overload_a_generator_is_to_blame_when_it_has_no_time_left(
    busy_fraction: float, valid: bool, bottleneck: str
) -> None:
    """One that is not busy waits for sockets that the server leaves full."""
    row = waiting(open_loop, 400_000, 3_000)
    overload(row)
    row["latency_ns"]["response"] = histogram.summary(np.full(2000, 50_000_000))
    row["generator"]["send_lag_ns"] = histogram.summary(np.full(2000, 40_000_000))
    row["generator"]["busy_fraction"] = busy_fraction
    judged = judge(row)

    assert judged["valid"] == valid
    assert judged["bottleneck"] == bottleneck


def test_in_an_overload_lateness_is_measured_by_what_requests_wait_for_anyway() -> None:
    """A busy generator, late by 0.4 ms where the backlog makes requests wait for 50."""
    row = waiting(open_loop, 400_000, 3_000)
    overload(row)
    row["latency_ns"]["response"] = histogram.summary(np.full(2000, 50_000_000))
    row["generator"]["send_lag_ns"] = histogram.summary(np.full(2000, 400_000))
    row["generator"]["busy_fraction"] = 0.95
    assert judge(row)["valid"]

    row["window"]["fewest_open_second_half"] = row["window"]["fewest_open_first_half"]
    assert not judge(row)["valid"]


@pytest.mark.parametrize("make", [closed_loop, open_loop])
def test_where_nobody_counted_nothing_is_said_of_an_overload(make: Callable[[], Row]) -> None:
    row = make()
    of_schema_1(row)
    judged = judge(row)

    assert judged["valid"]
    assert judged["overloaded"] is None


# What others do.


def test_what_was_dropped_at_the_listener_of_somebody_else_is_not_our_loss() -> None:
    row = closed_loop()
    row["machine"]["listen_overflows"] = 5

    assert judge(row)["valid"]


@pytest.mark.parametrize(
    ("used_by_the_server", "words"), [(1.75, None), (1.0, "others used 40% of the server's 2 CPUs")]
)
def test_others_are_told_from_a_server_of_several_processes(
    used_by_the_server: float, words: str | None
) -> None:
    """Two CPUs, both busy for 90 %: 1.8 cores, of which the server has that much."""
    row = closed_loop()
    row["machine"] |= {"server_cpus": [0, 1], "server_cpu_busy": 0.9}
    row["server_cost"]["cpu_fraction"] = used_by_the_server
    said = verdict.server_starved(cast(Record, row))

    assert said is None if words is None else words in str(said)


def test_without_answers_nobody_is_named() -> None:
    row = closed_loop()
    row["latency_ns"]["service"] = histogram.summary(np.zeros(0, np.int64))

    assert slower_side(row) == "unknown"


@pytest.mark.parametrize(("processes", "cpus", "cores"), [(1, 2, 1), (3, 2, 2), (2, 4, 2)])
def test_a_server_is_busy_when_it_is_on_all_cpus_that_its_processes_can_have(
    processes: int, cpus: int, cores: int
) -> None:
    row = in_slices()
    busy_in_slices(row)
    row["server_cost"]["processes"] = processes
    row["machine"]["server_cpus"] = list(range(cpus))
    assert verdict.cores(cast(Record, row)) == cores
    row["server_cost"]["cpu_fraction"] = 0.95 * cores
    assert judge(row)["valid"]
    row["server_cost"]["cpu_fraction"] = 0.85 * cores
    assert "this measures the generator" in judge(row)["reasons"][0]


def test_answers_that_the_generator_stamped_itself_are_no_reason_against_a_trial() -> None:
    row = closed_loop()
    row["generator"] |= {"stamps": "generator", "unstamped": 2000}
    assert judge(row)["valid"]


@pytest.mark.parametrize(("share", "bottleneck"), [(0.95, "server"), (0.3, "unknown")])
def test_without_the_kernels_stamps_only_a_busy_server_is_known_to_be_the_slower_side(
    share: float, bottleneck: str
) -> None:
    row = closed_loop()
    row["generator"] |= {"stamps": "generator", "unstamped": 2000, "busy_fraction": 0.8}
    row["server_cost"]["cpu_fraction"] = row["machine"]["server_cpu_busy"] = share
    assert slower_side(row) == bottleneck
