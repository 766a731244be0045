"""One trial: start > verify > connect > warm up > measure > drain > stop  =>  one record."""

import dataclasses
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from loadgen.clients import crowd, timeline_clients
from loadgen.clients.clients import GREETING_S, connected, on_cpus, stamping
from loadgen.engine import churn, engine
from loadgen.engine.syscalls import NS_PER_S
from loadgen.machine import environment, hiccup
from loadgen.machine.environment import Pinning, Snapshot
from loadgen.report.units import endpoint
from loadgen.store import results
from loadgen.target import trace
from loadgen.target.target import Target, TargetError, started
from loadgen.trial import knee, verdict
from loadgen.trial.record import (
    Driven,
    cost,
    empty_record,
    fairness,
    fill_in_churn,
    fill_in_drive,
    fill_in_latency,
    fill_in_timeline,
    footprint,
    knee_record,
    portable,
    probed,
)
from loadgen.workload.workload import Workload
from servers.catalog import Variant

LIMITED_GREETING_S = 0.2
# Descriptors that a server needs for itself: standard streams, listener, epoll.
OWN_FDS = 8
VERIFY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: a server of the catalog that we start, or one that somebody else did.

    variant   its line in the catalog; None for somebody else's server
    address   where somebody else's server listens; numeric, because nothing looks it up
    options   further words of the command line of ours
    """

    variant: Variant | None = None
    address: tuple[str, int] | None = None
    options: tuple[str, ...] = ()


class TrialError(Exception):
    """The trial could not be completed. The text is one line."""


def run(
    subject: Subject,
    workload: Workload,
    *,
    cpus: Pinning,
    log: Path,
    experiment: str = "run",
    cell: str = "run",
    block: int = 0,
    order: int = 0,
) -> results.Record:
    """Measure once. A server that fails gives a record too, with the failure as its verdict.

    workload   must be valid
    log        file for the standard error of the server
    """
    record = empty_record(
        _server(subject),
        workload,
        experiment=experiment,
        cell=cell,
        block=block,
        order=order,
        started_at=datetime.now(UTC),
    )
    before = Snapshot.take()
    try:
        if workload.driver == "trace":
            _trace(record, subject, workload, cpus, log)
            return _judged(record)
        with stamping(), _reached(subject, cpus, log) as (address, target):
            record["server"]["command"] = [portable(w) for w in target.command] if target else None
            _verify(address)
            if workload.driver == "churn":
                _measure_churn(record, address, target, workload, cpus)
            elif workload.driver == "timeline":
                _measure_timeline(record, address, cpus)
            else:
                _measure(record, address, target, subject.variant, workload, cpus)
            if target and (epitaph := target.epitaph()):
                raise TargetError(epitaph)
    except (TargetError, TrialError, trace.TraceError, OSError) as error:
        record["outcome"] = "crashed"
        record["failure"] = " ".join(str(error).split())
    after = Snapshot.take()
    if record["machine"]:
        record["machine"]["listen_overflows"] = after.listen_overflows - before.listen_overflows
    return _judged(record)


def compile() -> None:
    """Compile all that measures, or load it from the cache: once, before the first trial."""
    engine.compile()
    churn.compile()
    hiccup.compile()


def _server(subject: Subject) -> dict[str, Any]:
    """The `server` of a record; our command line follows when there is one."""
    variant, address = subject.variant, subject.address
    return {
        "name": variant.name if variant else endpoint(address) if address else "",
        "family": variant and variant.family,
        "python": portable(sys.executable) if variant else None,
        "command": None,
    }


def _judged(record: dict[str, Any]) -> results.Record:
    record["verdict"] = verdict.judge(record)
    return cast(results.Record, record)


@contextmanager
def _reached(
    subject: Subject, cpus: Pinning, log: Path
) -> Iterator[tuple[tuple[str, int], Target | None]]:
    """The address of the server, and the server itself if it is ours."""
    if subject.address is not None:
        yield subject.address, None
        return
    assert subject.variant is not None
    with started(
        subject.variant.name,
        cpus=set(cpus.server),
        log=log,
        options=subject.options,
    ) as target:
        yield target.address, target


def _verify(address: tuple[str, int]) -> None:
    """Hold one conversation and compare every byte: no number without a correct server.

    Raises TrialError.
    """
    said = b"one\ntwo\r\n\nthree\x00\xff\nexit\n"
    expected = b"Welcome!\nHello, one!\nHello, two!\nHello, !\nHello, three\x00\xff!\n"
    heard = b""
    try:
        with socket.create_connection(address, timeout=VERIFY_S) as sock:
            for piece in (said[:1], said[1:6], said[6:]):
                sock.sendall(piece)
            while piece := sock.recv(4096):
                heard += piece
    except OSError as error:
        raise TrialError(f"the conversation before the trial failed: {error}") from error
    if heard != expected:
        raise TrialError(f"wrong conversation: {heard[:120]!r} instead of {expected!r}")


def _measure(
    record: dict[str, Any],
    address: tuple[str, int],
    target: Target | None,
    variant: Variant | None,
    workload: Workload,
    cpus: Pinning,
) -> None:
    """Connect everybody, drive the load, and fill in the record."""
    waits = _waits(variant)
    patience_s = LIMITED_GREETING_S if waits else crowd.PATIENCE_S
    greeting_s = LIMITED_GREETING_S if waits else GREETING_S
    cpu_set = set(cpus.generator)
    with ExitStack() as around:
        silent_crowd = around.enter_context(
            crowd.standing_by(
                address, workload.idle_connections, cpus=cpu_set, patience_s=patience_s
            )
        )
        slow_crowd = around.enter_context(
            crowd.standing_by(
                address,
                workload.slow_connections,
                cpus=cpu_set,
                behaviour=workload.slow_behaviour or "silent",
                patience_s=patience_s,
            )
        )
        # Only now: a library that more processes share weighs less in each of them.
        empty = target.usage() if target else None
        kernel_empty = environment.kernel_memory()
        silent, slow = silent_crowd.connect(), slow_crowd.connect()
        clients = around.enter_context(connected(address, workload.connections, greeting_s))
        record["connections"] |= {
            "attempted": workload.idle_connections
            + workload.slow_connections
            + workload.connections,
            "greeted": silent.greeted + slow.greeted + len(clients.socks),
            "failed": dict(Counter(silent.failed) + Counter(slow.failed) + Counter(clients.failed)),
            "limit": _limit(variant, workload),
            "active": len(clients.socks),
            "slow_sent_bytes": slow.sent_bytes,
        }
        fill_in_latency(record, "greeting", clients.greeting_ns)
        if not clients.socks and workload.connections:
            return
        idle = target.usage() if target else None
        if empty and idle:
            record["footprint"] = footprint(empty, idle, kernel_empty, environment.kernel_memory())
        clocks = target.cpu_clocks() if target else []
        served = dataclasses.replace(workload, connections=len(clients.socks))
        fds = [sock.fileno() for sock in clients.socks]
        # A meter wakes its CPUs again and again, which who only watches must not do.
        watched = {"server_cpu": cpus.server, "generator_cpu": cpus.generator} if fds else {}

        def drive_once(load: Workload) -> Driven:
            calm = Snapshot.take()
            with hiccup.noted(watched) as hiccups:
                drive = on_cpus(
                    cpus.generator,
                    lambda stop: engine.drive(
                        fds,
                        load,
                        server_clocks=clocks,
                        # Who only watches must not warm the CPU next to the server's either.
                        spin=bool(fds) and not cpus.shared,
                        stop=stop,
                    ),
                    lambda done: _stall(target, load, done),
                )
            machine = environment.behaviour(calm, Snapshot.take(), cpus)
            return Driven(drive, {**machine, "hiccup_ns": hiccups if fds else None})

        if workload.knee_limit_s:
            driven, record["knee"] = _find_knee(drive_once, served)
        else:
            driven = drive_once(served)
        drive, record["machine"] = driven
        loaded = target.usage() if target else None
        fill_in_drive(record, drive, workload)
        record["fairness"] = fairness(drive, workload)
        if idle and loaded:
            record["server_cost"] = cost(idle, loaded, drive, record["counts"]["ok"])


def _measure_churn(
    record: dict[str, Any],
    address: tuple[str, int],
    target: Target | None,
    workload: Workload,
    cpus: Pinning,
) -> None:
    """Hold conversation after conversation, and fill in the record; a request is one of them."""
    idle = target.usage() if target else None
    clocks = target.cpu_clocks() if target else []
    calm = Snapshot.take()
    held = on_cpus(
        cpus.generator,
        lambda stop: churn.drive(
            address, workload, server_clocks=clocks, spin=not cpus.shared, stop=stop
        ),
        lambda _: None,
    )
    record["machine"] = environment.behaviour(calm, Snapshot.take(), cpus)
    loaded = target.usage() if target else None
    fill_in_churn(record, held, workload)
    if idle and loaded:
        record["server_cost"] = cost(idle, loaded, held.drive, record["counts"]["ok"])


def _measure_timeline(record: dict[str, Any], address: tuple[str, int], cpus: Pinning) -> None:
    """Let a few clients come, and keep each of their steps; there is no rate."""
    calm = Snapshot.take()
    before_ns = time.time_ns() - time.monotonic_ns()
    timeline = on_cpus(cpus.generator, lambda _: timeline_clients.converse(address), lambda _: None)
    record["machine"] = environment.behaviour(calm, Snapshot.take(), cpus)
    record["machine"]["clock_drift_ns"] = time.time_ns() - time.monotonic_ns() - before_ns
    fill_in_timeline(record, timeline)


def _trace(
    record: dict[str, Any], subject: Subject, workload: Workload, cpus: Pinning, log: Path
) -> None:
    """Count system calls: of a server of its own, which strace makes too slow for anything else."""
    if subject.variant is None:
        raise TrialError("only a server that we start can be traced")
    command = [sys.executable, "-m", "servers", subject.variant.name, "--port", "0"]
    record["server"]["command"] = [portable(word) for word in (*command, *subject.options)]
    traced = trace.run(
        subject.variant.name,
        log=log,
        cpus=set(cpus.server),
        idle=workload.idle_connections,
        options=subject.options,
    )
    clients = 1 + workload.idle_connections
    record["system_calls"] = traced
    record["counts"] |= {"scheduled": traced["requests"], "ok": traced["requests"]}
    record["connections"] |= {"attempted": clients, "greeted": clients}


def _limit(variant: Variant | None, workload: Workload) -> str | None:
    """Why the model cannot serve all these clients, by design; None if it should."""
    clients = workload.connections + workload.idle_connections + workload.slow_connections
    if variant is None:
        return None
    if variant.clients_at_once is not None and clients > variant.clients_at_once:
        return f"serves {variant.clients_at_once} at a time"
    if variant.descriptor_limit is not None and clients >= variant.descriptor_limit - OWN_FDS:
        return f"no descriptor beyond {variant.descriptor_limit - 1}"
    return None


def _waits(variant: Variant | None) -> bool:
    """Does a client wait for ever, because the ones before it do not leave?"""
    return variant is not None and variant.clients_at_once is not None


def _stall(target: Target | None, workload: Workload, ended: threading.Event) -> None:
    """Stop the whole server again and again, if the workload says so: a fault with a known answer.

    The first stall comes in the middle of the first period after the warm-up.
    """
    if target is None or not workload.stall_s:
        return
    pause_s = workload.stall_every_s - workload.stall_s
    wait_s = workload.warmup_s + pause_s / 2
    try:
        while not ended.wait(wait_s):
            target.signal(signal.SIGSTOP)
            ended.wait(workload.stall_s)
            target.signal(signal.SIGCONT)
            wait_s = pause_s
    finally:
        target.signal(signal.SIGCONT)


def _find_knee(
    drive_once: Callable[[Workload], Driven], workload: Workload
) -> tuple[Driven, dict[str, Any]]:
    """The drive at the largest rate that was kept, and the way to it.

    Raises TrialError when not even the first rate was kept.
    """

    def measure(rate_per_s: float) -> knee.Probe[Driven]:
        return probed(
            rate_per_s, drive_once(dataclasses.replace(workload, offered_per_s=rate_per_s))
        )

    limit_ns = workload.knee_limit_s * NS_PER_S
    best, probes = knee.search(measure, limit_ns)
    if best is None:
        raise TrialError(f"not even {knee.FIRST_PER_S:,.0f} requests per second were kept")
    return best.detail, knee_record(best, probes, limit_ns)
