"""Drives of the load generator against a stub, and what holds for every one of them."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import stubs
from stubs import Stub

from loadgen.engine import requests
from loadgen.engine.samples import Outcome, Samples, WindowClocks
from loadgen.engine.syscalls import SO_TIMESTAMPNS, SOL_SOCKET
from loadgen.workload.load import Load


@contextmanager
def stamping() -> Iterator[None]:
    """The kernel stamps as long as any socket asks for it, and begins a little later
    (net/core/dev.c, net_enable_timestamp)."""
    requests.compile()
    with socket.socket() as keeper, Stub() as stub:
        keeper.setsockopt(SOL_SOCKET, SO_TIMESTAMPNS, 1)
        deadline = time.monotonic() + stubs.DEADLINE_S
        while drive(stub, closed_loop(duration_s=0.01)).unstamped:
            assert time.monotonic() < deadline
        yield


def closed_loop(connections: int = 1, **changes: object) -> Load:
    settings = {"warmup_s": 0.02, "duration_s": 0.1, "drain_s": stubs.DEADLINE_S}
    return Load(**{"connections": connections, **settings, **changes})  # type: ignore[arg-type]


def endless(patch: pytest.MonkeyPatch, connections: int = 1) -> Load:
    """A closed loop that lasts until something ends it, with room for what it does until then."""
    patch.setattr(requests, "_CLOSED_LOOP_MAX_PER_S", 1000)
    return closed_loop(connections, duration_s=stubs.DEADLINE_S)


def drive(
    stub: Stub,
    load: Load,
    offsets_ns: np.ndarray | None = None,
    receive_buffer_bytes: int | None = None,
    **options: object,
) -> Samples:
    """Connect, greet and drive; what must hold for every drive is asserted on the way."""
    with ExitStack() as stack:
        clients = stub.connect(load.connections, receive_buffer_bytes)
        fds = [stack.enter_context(client).fileno() for client in clients]
        assert requests.greet(fds, stubs.DEADLINE_S).greeted.all()
        result = requests.drive(fds, load, offsets_ns, **options)  # type: ignore[arg-type]
    check_invariants(result)
    return result


def check_invariants(result: Samples) -> None:
    answered = np.isin(result.outcome, [Outcome.OK, Outcome.MISMATCHED]) & (result.read_ns > 0)
    intended, sent, arrived, read = (
        stamps[answered]
        for stamps in (result.intended_ns, result.sent_ns, result.arrived_ns, result.read_ns)
    )
    assert (intended <= sent).all()
    assert (arrived <= read).all()
    assert (np.diff(result.intended_ns) >= 0).all()
    # What was never answered has no stamps that say so.
    assert not result.arrived_ns[~answered].any()
    assert (result.outcome[~answered] != Outcome.OK).all()
    ok = result.outcome == Outcome.OK
    assert (result.sent_ns[ok] < result.arrived_ns[ok]).all()


def count(result: Samples) -> dict[str, int]:
    """How many requests had which outcome, without the zeros."""
    values, counts = np.unique(result.outcome, return_counts=True)
    return {Outcome(value).name: int(n) for value, n in zip(values, counts, strict=True)}


def tag(line: bytes) -> int:
    """The number of a request, which its line begins with, lowest digit first."""
    return sum((letter - ord("a")) << (4 * place) for place, letter in enumerate(line[:8]))


def offsets(requests: int, gap_ns: int = 0) -> np.ndarray:
    return np.arange(requests, dtype=np.int64) * gap_ns


def open_loop(connections: int = 1, **changes: object) -> Load:
    return closed_loop(connections, **{"offered_per_s": 1000.0, "arrivals": "constant", **changes})


def made_drive(
    *,
    intended_ns: Sequence[int],
    sent_ns: Sequence[int] | None = None,
    arrived_ns: Sequence[int] | None = None,
    read_ns: Sequence[int] | None = None,
    outcome: Sequence[int] | None = None,
    connection: Sequence[int] | None = None,
    errors: Sequence[int] = (0,),
    window_ns: tuple[int, int] = (0, 1_000_000_000),
    cpu_ns: int = 0,
    busy_ns: int = 0,
    longest_gap_ns: int = 0,
) -> Samples:
    """A drive that never took place: by default each request is sent when it is due, answered right
    100 ns later, and read at once."""

    def column(values: Sequence[int] | None, default: np.ndarray) -> np.ndarray:
        return default if values is None else np.array(values, np.int64)

    intended = np.array(intended_ns, np.int64)
    sent = column(sent_ns, intended)
    arrived = column(arrived_ns, sent + 100)
    both = np.array(window_ns)
    return Samples(
        intended_ns=intended,
        sent_ns=sent,
        arrived_ns=arrived,
        read_ns=column(read_ns, arrived),
        connection=column(connection, np.zeros(len(intended), np.int64)).astype(np.int32),
        outcome=column(outcome, np.zeros(len(intended), np.int64)).astype(np.uint8),
        window_start_ns=window_ns[0],
        window_end_ns=window_ns[1],
        clocks=WindowClocks(
            both, both, np.array([0, cpu_ns]), np.array([0, busy_ns]), np.zeros((2, 0), np.int64)
        ),
        errors=np.array(errors, np.int32),
        unstamped=0,
        longest_gap_ns=longest_gap_ns,
        full=False,
    )
