"""The load generator against servers whose truth is known from theory.

What the theory says of single requests is compared exactly, in injected time (simulation.py).
Over real sockets only what holds on any machine is: orders of stamps, and identities.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import stubs
from driving import closed_loop, count, drive, endless, offsets, open_loop, stamping
from simulation import START_NS, Server, Simulation, busy_for, lindley, stalling
from stubs import Stub

from loadgen.engine.samples import Outcome, Samples
from loadgen.store import histogram
from loadgen.trial import summary
from loadgen.workload import arrivals
from loadgen.workload.load import Load

pytestmark = pytest.mark.measures

US, MS, S = 1_000, 1_000_000, 1_000_000_000


@pytest.fixture(autouse=True, scope="module")
def _stamping() -> Iterator[None]:
    with stamping():
        yield


def simulated(
    patch: pytest.MonkeyPatch,
    serve: Server,
    load: Load,
    offsets_ns: np.ndarray | None = None,
    **world: int,
) -> Samples:
    return Simulation(serve, **world).drive(patch, load, offsets_ns)


def poisson(rate_per_s: float, duration_s: float, connections: int = 4) -> Load:
    return Load(
        connections=connections,
        offered_per_s=rate_per_s,
        arrivals="poisson",
        warmup_s=0,
        duration_s=duration_s,
        drain_s=5.0,
        seed=11,
    )


# ------------------------------------------------------------------------------------------ pacing


@pytest.mark.parametrize("connections", [1, 3])
def test_each_request_is_sent_when_it_was_intended(
    connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = np.array([0, 1, 5, 5, 1000, 10**6, 99 * 10**6])
    result = simulated(monkeypatch, busy_for(50 * US), open_loop(connections), schedule)
    assert (result.sent_ns == START_NS + schedule).all()
    assert (result.intended_ns == result.sent_ns).all()


def test_late_requests_are_sent_as_soon_as_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """A send takes 100 us, and eleven are due at once: they follow each other without a gap, and
    the later ones catch up."""
    schedule = np.concatenate([np.zeros(11), [200 * US, 5 * MS, 5 * MS]]).astype(np.int64)
    result = simulated(monkeypatch, busy_for(0), open_loop(2), schedule, send_cost_ns=100 * US)
    lag_us = (result.sent_ns - START_NS - schedule) // US
    assert lag_us.tolist() == [*range(0, 1100, 100), 900, 0, 100]
    assert (result.intended_ns == START_NS + schedule).all()


def test_what_is_late_is_sent_before_answers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty are due at once and a send takes 10 us: four are sent before the kernel is asked for
    answers, and four before each of them is read, as long as there are any."""
    schedule = np.zeros(20, np.int64)
    result = simulated(monkeypatch, busy_for(0), open_loop(20), schedule, send_cost_ns=10 * US)
    assert (result.sent_ns - START_NS == np.arange(20) * 10 * US).all()
    read_us = np.sort(result.read_ns - START_NS) // US
    assert read_us.tolist() == [80, 120, 160, *[200] * 17]


def test_overload_is_late_and_never_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as much as it can send: request i is late by i x (cost - gap)."""
    schedule = offsets(1000, 50 * US)
    result = simulated(monkeypatch, busy_for(0), open_loop(3), schedule, send_cost_ns=100 * US)
    assert count(result) == {"OK": 1000}
    assert (result.sent_ns - START_NS == np.arange(1000) * 100 * US).all()
    assert (result.sent_ns - result.intended_ns == np.arange(1000) * 50 * US).all()


def test_slow_server_does_not_slow_an_open_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests queue on the connection: none waits for the answer to the one before."""
    schedule = offsets(200, 100 * US)
    result = simulated(monkeypatch, busy_for(300 * US), open_loop(1), schedule)
    assert (result.sent_ns == result.intended_ns).all()
    assert (result.arrived_ns == START_NS + (np.arange(200) + 1) * 300 * US).all()


def test_window_by_intended_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm-up 20 ms, window 100 ms, and one request each millisecond."""
    result = simulated(monkeypatch, busy_for(1), open_loop(), offsets(120, MS))
    assert np.flatnonzero(result.in_window).tolist() == list(range(20, 120))
    assert result.clocks.realtime_ns.tolist() == [START_NS + 20 * MS, START_NS + 120 * MS]


def test_forgotten_requests_shift_the_answers_of_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer to another request is a wrong one; the last ones are never answered."""
    result = simulated(monkeypatch, busy_for(US), open_loop(), offsets(100), forgets=10)
    assert count(result) == {"OK": 9, "MISMATCHED": 81, "TIMED_OUT": 10}


def test_forgotten_requests_end_a_closed_loop_at_the_end_of_the_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client whose request was forgotten waits for ever, and nobody else does."""
    load = closed_loop(5, warmup_s=0, duration_s=0.1, drain_s=0.05)
    result = simulated(monkeypatch, busy_for(MS), load, forgets=20)
    assert count(result) == {"OK": 95, "TIMED_OUT": 5}
    assert result.clocks.realtime_ns.tolist() == [START_NS, START_NS + 100 * MS]


@pytest.mark.parametrize(("service_us", "busy_fraction"), [(400, 0.25), (100, 1.0)])
def test_a_generator_is_busy_while_it_acts(
    service_us: int, busy_fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It acts for 100 us of every round and waits for the rest."""
    load = Load(warmup_s=0.1, duration_s=0.2)
    result = simulated(monkeypatch, busy_for(service_us * US), load, send_cost_ns=100 * US)
    assert result.clocks.busy_fraction == pytest.approx(busy_fraction, rel=1e-3)


@pytest.mark.parametrize(("service_ns", "busy_fraction"), [(100 * US, 1.0), (3600 * S, 0.0)])
@pytest.mark.parametrize("paused_at_ns", [100 * MS, 300 * MS])
def test_who_takes_the_cpu_at_an_edge_makes_no_generator_busier_than_there_was_time(
    service_ns: int, busy_fraction: float, paused_at_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop sees that it is time for an edge, and reads its clocks 50 ms later."""
    load = Load(warmup_s=0.1, duration_s=0.2, drain_s=0.1)
    pause = {"paused_at_ns": paused_at_ns, "pause_ns": 50 * MS}
    result = simulated(monkeypatch, busy_for(service_ns), load, send_cost_ns=100 * US, **pause)
    late_ns = 50 * MS if paused_at_ns == 300 * MS else 0
    elapsed_ns = result.clocks.elapsed_ns
    # A pause in front of the second edge is busy: nothing was asked for in vain meanwhile.
    least = max(busy_fraction, late_ns / elapsed_ns)
    assert result.clocks.busy_fraction == pytest.approx(least, rel=1e-2, abs=1e-6)
    assert 0 <= result.clocks.busy_fraction <= 1


def test_the_longest_pause_of_the_generator_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that spins looks at the clock all the time, but for 20 ms of this drive."""
    load = closed_loop(2, warmup_s=0, duration_s=0.1)
    pause = {"paused_at_ns": 50 * MS, "pause_ns": 20 * MS}
    plain = simulated(monkeypatch, busy_for(100 * US), load)
    paused = simulated(monkeypatch, busy_for(100 * US), load, **pause)
    assert plain.longest_gap_ns == 100 * US  # here no time passes between two answers
    assert paused.longest_gap_ns == 20 * MS


def test_a_generator_that_sleeps_knows_of_no_pause() -> None:
    with Stub() as stub:
        assert drive(stub, closed_loop(), spin=False).longest_gap_ns is None


@pytest.mark.parametrize(
    ("warmup_s", "window_ns"),
    [(0.0, 12 * MS), (1.0, 0)],
    ids=["in the window", "during the warm-up"],
)
def test_the_window_ends_when_the_record_is_full(
    warmup_s: float, window_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for 2 + 10 requests, and two are answered every 2 ms; no window is less than empty."""
    load = closed_loop(2, warmup_s=warmup_s, duration_s=2.0 - warmup_s)
    result = simulated(monkeypatch, busy_for(MS), load, most_per_s=5)
    assert result.full
    assert count(result) == {"OK": 12}
    assert result.window_end_ns - result.window_start_ns == pytest.approx(window_ns, abs=MS)
    assert result.in_window.sum() == (12 if window_ns else 0)


# ----------------------------------------------------------------- one queue: request by request


@pytest.mark.parametrize("connections", [1, 5])
@pytest.mark.parametrize(
    "serve",
    [busy_for(100 * US), busy_for(900 * US), stalling(200 * US, 100 * MS, 500 * MS)],
    ids=["light", "heavy", "stalls"],
)
def test_lindley(connections: int, serve: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """f(i) = max(a(i), f(i - 1), end of stall) + s(i), for every request."""
    load = poisson(1000, 2.0, connections)
    schedule = arrivals.schedule(load)
    result = simulated(monkeypatch, serve, load, schedule)
    assert count(result) == {"OK": len(schedule)}
    assert (result.arrived_ns == lindley(START_NS + schedule, serve)).all()
    assert (result.read_ns >= result.arrived_ns).all()


def test_injected_delay_comes_out_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load(warmup_s=0, duration_s=1.0)
    plain = simulated(monkeypatch, busy_for(200 * US), load)
    slower = simulated(monkeypatch, busy_for(210 * US), load)
    again = simulated(monkeypatch, busy_for(200 * US), load)
    service = [result.arrived_ns - result.sent_ns for result in (plain, slower, again)]
    assert set(service[0]) == set(service[2]) == {200 * US}
    assert set(service[1]) == {210 * US}
    assert len(plain.sent_ns) == len(again.sent_ns) == 5000


# ------------------------------------------------------------------------------- the stall oracle


def sampling_error(probability: float, requests: int, utilisation: float) -> float:
    """Four standard deviations of the share of `requests` with a property of this probability.

    Shares among Poisson arrivals have the variance p / n (the count inside an interval is
    Poisson). While the backlog of a stall is served an arrival more prolongs it by 1 / (1 - rho)
    services, so that is by how much each one counts.
    """
    return 4 * (probability / requests) ** 0.5 / (1 - utilisation)


@pytest.mark.parametrize(
    ("stall_ns", "every_ns", "utilisation"),
    [
        (100 * MS, 1 * S, 0.001),
        (100 * MS, 1 * S, 0.5),
        (200 * MS, 1 * S, 0.3),
        (50 * MS, 2 * S, 0.2),
        (400 * MS, 1 * S, 0.25),
    ],
)
def test_stall_oracle_in_open_loop(
    stall_ns: int, every_ns: int, utilisation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P(R > x) = (S - x) / ((1 - rho) T)."""
    rate_per_s = 500
    serve = stalling(round(utilisation / rate_per_s * S), stall_ns, every_ns)
    load = poisson(rate_per_s, 10 * every_ns / S)
    result = simulated(monkeypatch, serve, load, arrivals.schedule(load))
    response = (result.arrived_ns - result.intended_ns)[result.in_window]
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        x = share * stall_ns
        expected = (stall_ns - x) / ((1 - utilisation) * every_ns)
        tolerance = sampling_error(expected, len(response), utilisation)
        assert (response > x).mean() == pytest.approx(expected, abs=tolerance)


def test_percentiles_of_the_stall_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """S = 1 s, T = 10 s, rho near 0: p95 0.5 s, p99 0.9 s, mean 50 ms, from the record's own
    histogram."""
    load = poisson(100, 100.0)
    result = simulated(monkeypatch, stalling(US, S, 10 * S), load, arrivals.schedule(load))
    response = (result.arrived_ns - result.intended_ns)[result.in_window]
    stored = histogram.decode(histogram.encode(response))
    # A percentile is off by (error of the share) x T: its density there is 1 / T.
    for fraction, seconds in ((0.95, 0.5), (0.99, 0.9)):
        tolerance = sampling_error(1 - fraction, len(response), 0) * 10 + 1e-3 * seconds
        value_s = stored.get_value_at_percentile(100 * fraction) / S
        assert value_s == pytest.approx(seconds, abs=tolerance)
    # E[R^2] = S^3 / (3 T): the standard deviation of the mean.
    tolerance = 4 * (1 / 30 / len(response)) ** 0.5
    assert response.mean() / S == pytest.approx(0.05, abs=tolerance)


@pytest.mark.parametrize("connections", [1, 8])
def test_closed_loop_is_blind_to_stalls(connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly C slow samples per stall, however long it is: p99 does not see it."""
    round_ns = connections * MS
    load = Load(connections=connections, warmup_s=0, duration_s=20.0, drain_s=5.0)
    result = simulated(monkeypatch, stalling(MS, S, 10 * S), load)
    service = result.arrived_ns - result.sent_ns
    assert (service > round_ns).sum() == 2 * connections
    summary = histogram.summary(service)
    assert summary["p99"] == pytest.approx(round_ns, rel=1e-3)
    assert summary["p99_9"] == pytest.approx(round_ns, rel=1e-3)
    assert S <= summary["max"] <= S + round_ns


def test_stall_across_the_end_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who was to be answered after the end is forgotten: the drain waits for them."""
    load = poisson(1000, 0.55)
    serve = stalling(US, 200 * MS, S)  # from 0.5 s to 0.7 s
    schedule = arrivals.schedule(load)
    result = simulated(monkeypatch, serve, load, schedule)
    inside = schedule >= 500 * MS
    assert count(result) == {"OK": len(schedule)}
    assert (result.arrived_ns[inside] >= START_NS + 700 * MS).all()
    assert result.in_window.all()


def test_what_the_drain_does_not_see_is_censored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same stall and a drain that ends within it: unfinished, not dropped."""
    load = Load(**{**poisson(4000, 0.55).__dict__, "drain_s": 0.1})
    schedule = arrivals.schedule(load)
    result = simulated(monkeypatch, stalling(US, 200 * MS, S), load, schedule)
    inside = int((schedule >= 500 * MS).sum())
    assert count(result) == {"OK": len(schedule) - inside, "TIMED_OUT": inside}
    answered = result.outcome == Outcome.OK
    response = (result.arrived_ns - result.intended_ns)[answered]
    summary = histogram.summary(response, censored=inside)
    # About 9 % of all were unanswered: p90 is known, p99 is not.
    assert summary["p50"] is not None
    assert summary["p99"] is None
    assert "p99" in summary["at_least"]


# ----------------------------------------------------------------------------- over real sockets


def test_littles_law() -> None:
    """A closed loop never pauses, so what its requests took is clients x window, but for what
    reaches over the edges: exactly, whatever else the machine does."""
    with Stub() as stub:
        result = drive(stub, closed_loop(6, duration_s=0.3))
    start, end = result.window_start_ns, result.window_end_ns
    took_ns = (result.read_ns - result.sent_ns)[result.in_window].sum()
    reaching = summary.overlap(result)
    assert took_ns == 6 * (end - start) - reaching["start_ns"] + reaching["end_ns"]


def test_constant_delay_is_a_lower_bound() -> None:
    with Stub(stubs.delayed(2 * MS)) as stub:
        result = drive(stub, closed_loop(2))
    service = result.arrived_ns - result.sent_ns
    assert service.min() >= 2 * MS


def test_departures_of_a_real_queue() -> None:
    """Request by request: an answer leaves after the request came, after the answer before it,
    and after the service that both know; the loop's stamps enclose the server's."""
    service_ns = 300 * US
    load = poisson(1500, 0.3)
    with Stub(stubs.delayed(service_ns)) as stub:
        result = drive(stub, load)
    assert count(result) == {"OK": len(stub.served)}
    order = np.argsort(result.arrived_ns, kind="stable")
    departed = np.array([request.departed_ns for request in stub.served])
    assert (departed <= result.arrived_ns[order]).all()
    earliest = lindley(result.sent_ns, busy_for(service_ns))
    assert (np.sort(result.arrived_ns) >= earliest).all()


def test_real_stall_in_open_loop() -> None:
    """100 ms of silence: each request that was due meanwhile is timed from when it was due, sent in
    time or not."""
    stall_ns: list[int] = []
    with Stub(stubs.stalled(100, 100 * MS, stall_ns)) as stub:
        result = drive(stub, open_loop(3, duration_s=0.3), offsets(300, MS))
    begin_ns, end_ns = stall_ns
    assert count(result) == {"OK": 300}
    due = (begin_ns < result.intended_ns) & (result.intended_ns < end_ns)
    assert (result.arrived_ns[due] >= end_ns).all()


def test_real_stall_in_closed_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a closed loop: one slow sample per connection at most, then it says nothing."""
    stop = np.zeros(1, np.int64)
    stall_ns: list[int] = []
    stall = stubs.stalled(100, 100 * MS, stall_ns)

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if number == 200:
            stop[0] = 1
        yield from stall(number, line)

    with Stub(behave) as stub:
        result = drive(stub, endless(monkeypatch, 3), stop=stop)
    begin_ns, end_ns = stall_ns
    asked = result.sent_ns < end_ns
    assert 1 <= (asked & (result.arrived_ns >= end_ns)).sum() <= 3
    # At any moment each connection waits for one answer, read or not.
    assert (asked & (result.read_ns >= end_ns)).sum() == 3
    assert ((begin_ns < result.sent_ns) & asked).sum() <= 2


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize(
    "behaviour",
    [
        stubs.correct,
        stubs.dropping(5),
        stubs.corrupting(5),
        stubs.repeating,
        stubs.silent_after(20),
        stubs.ending_after(20, ConnectionAbortedError),
        stubs.ending_after(20, ConnectionResetError),
        stubs.flooding,
    ],
    ids=["correct", "drops", "corrupts", "repeats", "falls silent", "closes", "resets", "floods"],
)
def test_counts_are_conserved(behaviour: stubs.Behaviour, connections: int) -> None:
    """Whatever the server does, each scheduled request has exactly one outcome."""
    load = open_loop(connections, drain_s=0.05)
    with Stub(behaviour) as stub:
        result = drive(stub, load, offsets(120, MS))
    assert len(result.outcome) == 120
    assert sum(count(result).values()) == 120
    assert set(result.outcome.tolist()) <= set(map(int, Outcome))
    assert (result.outcome == Outcome.OK).sum() <= len(stub.served)
    # Nothing that went out on a connection that failed is still awaited. (What was never sent,
    # because the loop itself came too late for it, is unfinished all the same.)
    sent = result.sent_ns > 0
    failed = result.errors[result.connection] != 0
    assert not (failed & sent & (result.outcome == Outcome.TIMED_OUT)).any()


def test_merged_shards_are_one_drive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two generators that share the requests know together what one would."""
    load = poisson(1000, 2.0)
    schedule = arrivals.schedule(load)
    serve = stalling(100 * US, 100 * MS, 500 * MS)
    response = simulated(monkeypatch, serve, load, schedule)
    values = response.arrived_ns - response.intended_ns
    merged = histogram.merge([histogram.record(values[::2]), histogram.record(values[1::2])])
    whole = histogram.record(values)
    assert bytes(merged.counts) == bytes(whole.counts)
