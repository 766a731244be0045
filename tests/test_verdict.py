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
from loadgen.trial.methods import Churn, Search

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


def stolen(row: Row) -> None:
    row["machine"]["steal_fraction"] = 0.031


def overflowed(row: Row) -> None:
    row["machine"]["listen_overflows"] = 1


def sent_again(row: Row) -> None:
    row["machine"]["retransmits"] = 21


def set_forwards(row: Row) -> None:
    row["machine"]["clock_drift_ns"] = 1_000_001


def set_back(row: Row) -> None:
    row["machine"]["clock_drift_ns"] = -1_000_001


VOIDS = [
    (closed_loop, crashed, "not_measured", "logged a traceback"),
    (closed_loop, wrong, "wrong_answers", "1 wrong answers: fix the server"),
    (closed_loop, failed, "errors", "1 requests failed"),
    (closed_loop, hung, "unanswered", "the server hangs"),
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
    (closed_loop, busy_generator, "generator_bound", "this measures the generator"),
    (closed_loop, churning, "generator_busy", "this measures the generator"),
    (closed_loop, beside_others, "server_starved", "others used 21% of the server's CPU"),
    (closed_loop, held_up, "generator_starved", "the generator got 89% of its CPU"),
    (open_loop, late, "late_sends", "p99 101 us"),
    (closed_loop, stolen, "steal", "the hypervisor took 3.1%"),
    (closed_loop, overflowed, "overflows", "raise net.core.somaxconn"),
    (closed_loop, sent_again, "retransmits", "21 segments were sent again"),
    (closed_loop, set_forwards, "clocks_apart", "+1.0 ms"),
    (closed_loop, set_back, "clocks_apart", "-1.0 ms"),
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
    (reason,) = judged["reasons"]
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
    row = make()
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


@pytest.mark.parametrize(
    ("service_ns", "read_delay_ns", "bottleneck"),
    [(400_000, 3_000, "server"), (30_000, 200_000, "generator")],
)
def test_a_rate_that_was_missed_was_missed_by_one_side(
    service_ns: int, read_delay_ns: int, bottleneck: str
) -> None:
    row = waiting(open_loop, service_ns, read_delay_ns)
    missed_rate(row)

    assert slower_side(row) == bottleneck


def test_without_answers_nobody_is_named() -> None:
    row = closed_loop()
    row["latency_ns"]["service"] = histogram.summary(np.zeros(0, np.int64))

    assert slower_side(row) == "unknown"
