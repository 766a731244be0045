"""One trial: start > verify > connect > warm up > measure > drain > stop  =>  one record."""

import dataclasses
import math
import os
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
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from loadgen import (
    churn,
    crowd,
    engine,
    environment,
    hiccup,
    histogram,
    knee,
    results,
    timeline_clients,
    trace,
    verdict,
)
from loadgen.environment import Pinning, Snapshot
from loadgen.syscalls import NS_PER_S, SO_TIMESTAMPNS
from loadgen.target import Target, TargetError, Usage, started
from loadgen.workload import Workload
from servers.catalog import Variant

# Clients that connect at once; less than any backlog, so that no SYN is dropped.
CONNECT_AT_ONCE = 1000
GREETING_S = 3.0
LIMITED_GREETING_S = 0.2
# Descriptors that a server needs for itself: standard streams, listener, epoll.
OWN_FDS = 8
VERIFY_S = 5.0

Int64s = npt.NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: a server of the catalog that we start, or one that somebody else did.

    variant   its line in the catalog; None for somebody else's server
    address   where somebody else's server listens
    python    the interpreter for ours
    options   further words of its command line
    """

    variant: Variant | None = None
    address: tuple[str, int] | None = None
    python: str = sys.executable
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
    record = _empty(subject, workload, experiment, cell, block, order)
    before = Snapshot.take()
    try:
        if workload.driver == "trace":
            _trace(record, subject, workload, cpus, log)
            return _judged(record)
        with _stamping(), _reached(subject, cpus, log) as (address, target):
            record["server"]["command"] = [_portable(w) for w in target.command] if target else None
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


def _judged(record: dict[str, Any]) -> results.Record:
    record["verdict"] = verdict.judge(record)
    return cast(results.Record, record)


@contextmanager
def _stamping() -> Iterator[None]:
    """Have arrivals stamped before the first one counts.

    The kernel begins when the first socket asks for stamps, but leaves it to a work queue
    (net/core/dev.c, net_enable_timestamp): the first answers of a trial would have none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        yield


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
        python=subject.python,
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
    patience_s = LIMITED_GREETING_S if _waits(variant) else crowd.PATIENCE_S
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
        clients = around.enter_context(connected(address, workload.connections, variant))
        record["connections"] = {
            "attempted": workload.idle_connections
            + workload.slow_connections
            + workload.connections,
            "greeted": silent.greeted + slow.greeted + len(clients.socks),
            "failed": dict(Counter(silent.failed) + Counter(slow.failed) + Counter(clients.failed)),
            "limit": _limit(variant, workload),
            "active": len(clients.socks),
            "slow_sent_bytes": slow.sent_bytes,
        }
        record["latency_ns"]["greeting"] = histogram.summary(clients.greeting_ns)
        record["histograms"]["greeting"] = histogram.encode(clients.greeting_ns)
        if not clients.socks and workload.connections:
            return
        idle = target.usage() if target else None
        if empty and idle:
            record["footprint"] = _footprint(empty, idle, kernel_empty)
        clocks = target.cpu_clocks() if target else []
        served = dataclasses.replace(workload, connections=len(clients.socks))
        calm = Snapshot.take()
        fds = [sock.fileno() for sock in clients.socks]

        def drive_once(load: Workload) -> engine.Drive:
            return on_cpus(
                cpus.generator,
                lambda stop: engine.drive(
                    fds,
                    load,
                    server_clocks=clocks,
                    # Who only watches must not warm the CPU next to the server's.
                    spin=bool(fds) and not cpus.shared,
                    stop=stop,
                ),
                lambda done: _stall(target, load, done),
            )

        # A meter wakes its CPUs again and again, which who only watches must not do either.
        watched = {"server_cpu": cpus.server, "generator_cpu": cpus.generator} if fds else {}
        with hiccup.noted(watched) as hiccups:
            if workload.knee_limit_s:
                drive, record["knee"] = _find_knee(drive_once, served)
            else:
                drive = drive_once(served)
        record["machine"] = environment.behaviour(calm, Snapshot.take(), cpus)
        record["machine"]["hiccup_ns"] = hiccups if fds else None
        loaded = target.usage() if target else None
        _fill_in(record, drive, workload)
        record["fairness"] = fairness(drive, workload)
        if idle and loaded:
            record["server_cost"] = _cost(idle, loaded, drive, record["counts"]["ok"])


def _measure_churn(
    record: dict[str, Any],
    address: tuple[str, int],
    target: Target | None,
    workload: Workload,
    cpus: Pinning,
) -> None:
    """Hold conversation after conversation, and fill in the record; a request is one of them."""
    churn.compile()  # now, or the first trial would be watched for seconds in which nothing happens
    idle = target.usage() if target else None
    clocks = target.cpu_clocks() if target else []
    calm = Snapshot.take()
    held = on_cpus(
        cpus.generator,
        lambda stop: churn.drive(
            address, workload, server_clocks=clocks, spin=not cpus.shared, stop=stop
        ),
        lambda done: _stall(target, workload, done),
    )
    record["machine"] = environment.behaviour(calm, Snapshot.take(), cpus)
    loaded = target.usage() if target else None
    _fill_in(record, held.drive, workload)
    inside = held.drive.in_window
    greeted = inside & (held.greeted_ns > 0)
    greeting_ns = (held.greeted_ns - held.drive.sent_ns)[greeted]
    record["latency_ns"]["greeting"] = histogram.summary(greeting_ns)
    record["histograms"]["greeting"] = histogram.encode(greeting_ns)
    record["connections"] |= {
        "attempted": int(inside.sum()),
        "greeted": int(greeted.sum()),
        "failed": record["connections"].pop("lost"),
    }
    if idle and loaded:
        record["server_cost"] = _cost(idle, loaded, held.drive, record["counts"]["ok"])


def _measure_timeline(record: dict[str, Any], address: tuple[str, int], cpus: Pinning) -> None:
    """Let a few clients come, and keep each of their steps; there is no rate."""
    calm = Snapshot.take()
    before_ns = time.time_ns() - time.monotonic_ns()
    timeline = on_cpus(cpus.generator, lambda _: timeline_clients.converse(address), lambda _: None)
    record["timeline"] = timeline
    record["machine"] = environment.behaviour(calm, Snapshot.take(), cpus)
    record["machine"]["clock_drift_ns"] = time.time_ns() - time.monotonic_ns() - before_ns
    lives = timeline["clients"]
    scheduled = len(lives) * timeline_clients.REQUESTS
    answered = sum(len(life["requests"]) for life in lives)
    wrong = sum(life["wrong"] for life in lives)
    record["counts"] |= {
        "scheduled": scheduled,
        "ok": answered - wrong,
        "wrong": wrong,
        "error": scheduled - answered,
    }
    greeting_ns = np.array([life["greeted_ns"] - life["connect_ns"] for life in lives])
    greeted = np.array([life["greeted_ns"] > 0 for life in lives])
    record["connections"] |= {
        "attempted": len(lives),
        "greeted": int(greeted.sum()),
        "failed": dict(Counter(life["failure"] for life in lives if life["failure"])),
    }
    service_ns = [
        request["arrived_ns"] - request["complete_ns"]
        for life in lives
        for request in life["requests"]
    ]
    measured = {"greeting": greeting_ns[greeted], "service": np.array(service_ns, np.int64)}
    for name, values_ns in measured.items():
        record["latency_ns"][name] = histogram.summary(values_ns)
        record["histograms"][name] = histogram.encode(values_ns)


def _trace(
    record: dict[str, Any], subject: Subject, workload: Workload, cpus: Pinning, log: Path
) -> None:
    """Count system calls: of a server of its own, which strace makes too slow for anything else."""
    if subject.variant is None:
        raise TrialError("only a server that we start can be traced")
    traced = trace.run(
        subject.variant.name,
        log=log,
        cpus=set(cpus.server),
        idle=workload.idle_connections,
        python=subject.python,
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


@dataclass(frozen=True)
class Clients:
    """The measured clients that were greeted, how long that took, and what became of the others."""

    socks: list[socket.socket]
    greeting_ns: Int64s
    failed: dict[str, int]


@contextmanager
def connected(address: tuple[str, int], count: int, variant: Variant | None) -> Iterator[Clients]:
    """`count` clients, connected and greeted, CONNECT_AT_ONCE at a time."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    waits = _waits(variant)
    socks: list[socket.socket] = []
    greeted: list[socket.socket] = []
    greeting_ns = [np.zeros(0, np.int64)]
    failed: Counter[str] = Counter()
    try:
        while len(socks) < count:
            group = min(CONNECT_AT_ONCE, count - len(socks))
            started_ns = np.zeros(group, np.int64)
            for index in range(group):
                sock = socket.socket(family, socket.SOCK_STREAM)
                socks.append(sock)
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                started_ns[index] = time.time_ns()
                sock.connect_ex(address)
            fds = [sock.fileno() for sock in socks[-group:]]
            answers = engine.greet(fds, LIMITED_GREETING_S if waits else GREETING_S)
            greeted += [s for s, good in zip(socks[-group:], answers.greeted, strict=True) if good]
            greeting_ns.append((answers.arrived_ns - started_ns)[answers.greeted])
            failed.update(
                engine.error_name(code) if code else "waiting for the greeting"
                for code in answers.errors[~answers.greeted].tolist()
            )
        yield Clients(greeted, np.concatenate(greeting_ns), dict(failed))
    finally:
        for sock in socks:
            sock.close()


def on_cpus(
    cpus: frozenset[int],
    work: Callable[[Int64s], T],
    meanwhile: Callable[[threading.Event], object],
) -> T:
    """Call `work` in a thread pinned to `cpus`, and `meanwhile` here, which ends when it is told.

    Ctrl-C sets the stop flag of `work` and waits for it.
    """
    stop = np.zeros(1, np.int64)
    ended = threading.Event()
    done: list[T] = []
    errors: list[BaseException] = []

    def pinned() -> None:
        os.sched_setaffinity(0, cpus)  # of this thread alone (sched_setaffinity(2))
        try:
            done.append(work(stop))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=pinned, name="generator")
    thread.start()
    try:
        meanwhile(ended)
        thread.join()
    except BaseException:
        stop[0] = 1
        thread.join()
        raise
    if errors:
        raise errors[0]
    return done[0]


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
    drive_once: Callable[[Workload], engine.Drive], workload: Workload
) -> tuple[engine.Drive, dict[str, Any]]:
    """The drive at the largest rate that was kept, and the way to it.

    Raises TrialError when not even the first rate was kept.
    """

    def measure(rate_per_s: float) -> knee.Probe[engine.Drive]:
        drive = drive_once(dataclasses.replace(workload, offered_per_s=rate_per_s))
        inside = drive.in_window
        ok = inside & (drive.outcome == engine.Outcome.OK)
        response_ns = (drive.arrived_ns - drive.intended_ns)[ok]
        p99_ns = float(np.percentile(response_ns, 99)) if len(response_ns) else math.inf
        return knee.Probe(rate_per_s, ok.sum() / max(inside.sum(), 1), p99_ns, drive)

    limit_ns = workload.knee_limit_s * NS_PER_S
    best, probes = knee.search(measure, limit_ns)
    if best is None:
        raise TrialError(f"not even {knee.FIRST_PER_S:,.0f} requests per second were kept")
    return best.detail, {
        "rate_per_s": best.offered_per_s,
        "limit_ns": limit_ns,
        "probes": [
            {
                "offered_per_s": probe.offered_per_s,
                "achieved": float(probe.achieved),
                "p99_ns": probe.p99_ns if math.isfinite(probe.p99_ns) else None,
            }
            for probe in probes
        ],
    }


def _fill_in(record: dict[str, Any], drive: engine.Drive, workload: Workload) -> None:
    """Counts, latencies, and what the generator says of itself; all of the window only."""
    inside = drive.in_window
    outcome = drive.outcome[inside]
    answered = inside & (
        (drive.outcome == engine.Outcome.OK) | (drive.outcome == engine.Outcome.WRONG)
    )
    unanswered = int((outcome == engine.Outcome.UNFINISHED).sum())
    window_s = (drive.window_end_ns - drive.window_start_ns) / NS_PER_S
    record["counts"] = {
        "scheduled": int(inside.sum()),
        "ok": int((outcome == engine.Outcome.OK).sum()),
        "wrong": int((outcome == engine.Outcome.WRONG).sum()),
        "error": int((outcome == engine.Outcome.ERROR).sum()),
        "unfinished": unanswered,
    }
    record["throughput_per_s"] = record["counts"]["ok"] / window_s

    intended, sent = drive.intended_ns[answered], drive.sent_ns[answered]
    arrived, read = drive.arrived_ns[answered], drive.read_ns[answered]
    latencies = {"service": arrived - sent}
    if workload.mode == "open":
        latencies["response"] = arrived - intended
    for name, values_ns in latencies.items():
        record["latency_ns"][name] = histogram.summary(values_ns, censored=unanswered)
        record["histograms"][name] = histogram.encode(values_ns)

    edges = drive.edges
    elapsed_ns = int(np.diff(edges.realtime_ns)[0])
    record["generator"] = {
        "cpu_fraction": int(np.diff(edges.generator_cpu_ns)[0]) / elapsed_ns,
        "busy_fraction": int(np.diff(edges.busy_ns)[0]) / elapsed_ns,
        "send_lag_ns": histogram.summary(sent - intended),
        "read_delay_ns": histogram.summary(read - arrived),
        "unstamped": drive.unstamped,
        "full": drive.full,
    }
    record["machine"]["clock_drift_ns"] = elapsed_ns - int(np.diff(edges.monotonic_ns)[0])
    failed = Counter(engine.error_name(code) for code in drive.errors.tolist() if code)
    record["connections"]["lost"] = dict(failed)


def fairness(drive: engine.Drive, workload: Workload) -> dict[str, float | None] | None:
    """How the ok answers of the window were shared out; None without any.

    A share is a fraction of all answers. With a greedy client, whose share stands apart, `jain`,
    `slowest_share` and `fastest_share` are those of the others. Jain's index is
    (sum x)**2 / (n sum x**2): 1 when all get the same, 1/n when one gets everything (Jain, Chiu,
    Hawe: A Quantitative Measure of Fairness, DEC-TR-301, 1984).
    """
    ok = drive.in_window & (drive.outcome == engine.Outcome.OK)
    answers = np.bincount(drive.connection[ok], minlength=len(drive.errors)).astype(float)
    greedy = bool(workload.greedy_pipeline)
    others = answers[1:] if greedy else answers
    if not others.sum():
        return None
    shares = others / answers.sum()
    return {
        "jain": float(shares.sum() ** 2 / (len(shares) * (shares**2).sum())),
        "slowest_share": float(shares.min()),
        "fastest_share": float(shares.max()),
        "greedy_share": float(answers[0] / answers.sum()) if greedy else None,
    }


def _footprint(
    empty: Usage, connected: Usage, kernel_empty: environment.KernelMemory
) -> dict[str, Any]:
    """What the server holds for those connected: before and after they came, and before any asked.

    The kernel's memory counts for both ends of a connection, and for the whole machine.
    """
    kernel = environment.kernel_memory()
    return {
        "empty": dataclasses.asdict(empty),
        "connected": dataclasses.asdict(connected),
        "slab_bytes": kernel.slab_bytes - kernel_empty.slab_bytes,
        "socket_buffer_bytes": kernel.socket_buffer_bytes - kernel_empty.socket_buffer_bytes,
    }


def _cost(before: Usage, after: Usage, drive: engine.Drive, ok: int) -> dict[str, Any]:
    """What the server used: CPU per request over the window, the rest over the whole drive.

    The kernel counts user and system time in ticks of 10 ms, hence the long stretch; the CPU
    clocks that were read inside the drive count in nanoseconds.
    """
    cpu_ns = int(np.diff(drive.edges.server_cpu_ns, axis=0).sum())
    # Not the window: an edge can be read late, and then so is the clock.
    watched_ns = max(1, int(np.diff(drive.edges.monotonic_ns)[0]))
    return {
        **dataclasses.asdict(after),
        "user_s": after.user_s - before.user_s,
        "system_s": after.system_s - before.system_s,
        "voluntary_switches": after.voluntary_switches - before.voluntary_switches,
        "involuntary_switches": after.involuntary_switches - before.involuntary_switches,
        "cpu_us_per_request": cpu_ns / 1000 / ok if ok else None,
        "cpu_fraction": cpu_ns / watched_ns,
        "watched_s": watched_ns / NS_PER_S,
        "drive_requests": len(drive.outcome),
    }


def _portable(word: str) -> str:
    """A path inside the lab as seen from its folder: a record may be read on another machine."""
    return word.removeprefix(f"{Path(__file__).parents[1]}{os.sep}")


def _empty(
    subject: Subject, workload: Workload, experiment: str, cell: str, block: int, order: int
) -> dict[str, Any]:
    """A record in which nothing was measured yet."""
    variant = subject.variant
    address = subject.address
    return {
        "schema": results.SCHEMA,
        "experiment": experiment,
        "cell": cell,
        "block": block,
        "order": order,
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "seed": workload.seed,
        "outcome": "measured",
        "failure": None,
        "knee": None,
        "server": {
            "name": variant.name if variant else f"{address[0]}:{address[1]}" if address else "",
            "family": variant and variant.family,
            "python": _portable(subject.python) if variant else None,
            "command": None,
        },
        "workload": dataclasses.asdict(workload),
        "counts": {"scheduled": 0, "ok": 0, "wrong": 0, "error": 0, "unfinished": 0},
        "connections": {"attempted": 0, "greeted": 0, "failed": {}, "limit": None, "lost": {}},
        "throughput_per_s": None,
        "latency_ns": {"response": None, "service": None, "greeting": None},
        "histograms": {"response": None, "service": None, "greeting": None},
        "generator": None,
        "server_cost": None,
        "machine": None,
        "verdict": {"valid": False, "limiter": "unknown", "reasons": []},
    }
