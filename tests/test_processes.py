"""Servers of several processes: one of them dies, all of them have to, and none stays behind."""

import os
import resource
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from harness import Client, Server, limit, listed, members, process_state, wait_until

from servers.catalog import MODELS, Model
from servers.protocol import GREETING

Start = Callable[..., Server]

SEVERAL = [model for model in MODELS if model.processes != "one"]
PER_WORKER = [model for model in MODELS if model.processes == "one per worker"]
SHARING = [model for model in MODELS if "workers" in model.parameters]

several = pytest.mark.parametrize("model", SEVERAL, ids=lambda model: model.name, indirect=True)
per_worker = pytest.mark.parametrize(
    "model", PER_WORKER, ids=lambda model: model.name, indirect=True
)
shared_listener = pytest.mark.parametrize(
    "model",
    [model for model in PER_WORKER if "room of others" not in model.gaps],
    ids=lambda model: model.name,
    indirect=True,
)
sharing = pytest.mark.parametrize("model", SHARING, ids=lambda model: model.name, indirect=True)


def workers(server: Server) -> set[int]:
    """Its living processes but the first."""
    return set(members(server.pid, living=True)) - {server.pid}


def expect_gone(client: Client) -> None:
    """Its connection has ended, in whatever way."""
    with suppress(ConnectionResetError):
        assert client.rest() == b""


@several
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_process_dies_and_the_others_go_on(
    start: Start, model: Model, by: signal.Signals
) -> None:
    server = start(*(["--workers", "3"] if "workers" in model.parameters else []))
    clients = [server.greeted() for _ in range(12)]
    holders = [server.holder(client) for client in clients]
    victim = holders[0]
    assert victim not in (None, server.pid)
    os.kill(victim, by)
    for client, holder in zip(clients, holders, strict=True):
        if holder == victim:
            expect_gone(client)
        else:
            assert client.ask(b"still here") == b"Hello, still here!\n"
    for _ in range(12):
        assert server.greeted().ask(b"world") == b"Hello, world!\n"


@per_worker
def test_a_dead_worker_is_replaced(start: Start) -> None:
    server = start("--workers", "2")
    wait_until(lambda: len(workers(server)) == 2, "both workers are there")
    for _ in range(3):
        before = workers(server)
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        wait_until(
            lambda before=before: len(workers(server)) == 2 and not workers(server) & before,
            "each has a successor",
        )
        assert server.greeted().ask(b"world") == b"Hello, world!\n"
    wait_until(lambda: len(server.pids()) == 3, "none of the dead is left unburied")


@per_worker
def test_who_waits_for_a_worker_gets_its_successor(start: Start) -> None:
    """They have connected, no worker has accepted them, and none of those will."""
    server = start("--workers", "2")
    wait_until(lambda: len(workers(server)) == 2, "both workers are there")
    assert server.greeted().ask(b"world") == b"Hello, world!\n"
    before = workers(server)
    for worker in before:
        os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: all(process_state(pid) == "T" for pid in before), "both are stopped")
    clients = [server.connect() for _ in range(30)]
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    for client in clients:
        assert client.line() == GREETING
        assert client.ask(b"world") == b"Hello, world!\n"


@sharing
def test_who_is_busy_does_not_keep_others_from_newcomers(start: Start) -> None:
    """Some of them get in, whoever the kernel gives the others to."""
    server = start("--workers", "2", "--work", "sleep:60s")
    busy = server.greeted()
    busy.send(b"a\n")
    server.expect_read(busy)
    newcomers = [server.connect() for _ in range(40)]
    greeted = set()

    def somebody_is_greeted() -> bool:
        for client in newcomers:
            with suppress(BlockingIOError):
                client.sock.setblocking(False)
                if client.sock.recv(100) == GREETING:
                    greeted.add(client.port)
        return bool(greeted)

    wait_until(somebody_is_greeted, "one of the newcomers is greeted")


def alone(server: Server, worker: int) -> Client:
    """A client of that worker: the others are stopped while it comes."""
    others = workers(server) - {worker}
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: {process_state(pid) for pid in others} == {"T"}, "the others are stopped")
    client = server.greeted()
    for pid in others:
        os.kill(pid, signal.SIGCONT)
    assert server.holder(client) == worker
    return client


@shared_listener
def test_a_worker_without_room_leaves_newcomers_to_the_others(start: Start) -> None:
    """Whichever it is, it is not to use up the wake-up that was for all of them."""
    server = start("--workers", "2")
    wait_until(lambda: len(workers(server)) == 2, "both workers are there")
    assert server.greeted().ask(b"world") == b"Hello, world!\n"
    wait_until(lambda: server.thread_states() == {"S"}, "both have all that they need")
    for full in workers(server):
        before, _ = resource.prlimit(full, resource.RLIMIT_NOFILE)
        limit(full, resource.RLIMIT_NOFILE, 1 + max(map(int, listed(full, "fd"))))
        for _ in range(2):
            # Who is busy is passed over (the kernel's fs/eventpoll.c, ep_poll_callback): in turn
            # each of them is to be the one that is woken.
            wait_until(lambda: server.thread_states() == {"S"}, "both of them wait")
            assert server.greeted().ask(b"world") == b"Hello, world!\n"
        limit(full, resource.RLIMIT_NOFILE, before)


@shared_listener
def test_whoever_leaves_makes_room_whichever_worker_served_it(start: Start) -> None:
    server = start("--workers", "2")
    wait_until(lambda: len(workers(server)) == 2, "both workers are there")
    inside = [alone(server, worker) for worker in workers(server)]
    server.allow_no_more_descriptors()
    for _ in range(6):
        waiting = server.connect()
        inside.pop(0).close()
        assert waiting.line() == GREETING
        inside.append(waiting)
    for client in inside:
        assert client.ask(b"world") == b"Hello, world!\n"


@several
def test_a_killed_parent_leaves_no_orphan(start: Start, model: Model) -> None:
    server = start(*(["--workers", "3"] if "workers" in model.parameters else []))
    clients = [server.greeted() for _ in range(5)]
    wait_until(lambda: workers(server), "it has children")
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not members(server.pid, living=True), "no process is left")
    for client in clients:
        expect_gone(client)


@several
def test_stops_while_it_forks(start: Start, model: Model) -> None:
    """Again and again, so that it is met before, between and after."""
    for _ in range(5):
        server = start(*(["--workers", "8"] if "workers" in model.parameters else []))
        over = threading.Event()

        def come_and_go(server: Server = server, over: threading.Event = over) -> None:
            while not over.is_set():
                with suppress(OSError):
                    Client(server.address).close()

        rush = threading.Thread(target=come_and_go)
        rush.start()
        try:
            server.stop()
        finally:
            over.set()
            rush.join()


@several
def test_no_thread_runs_when_it_forks(start_with: Start, model: Model) -> None:
    """What a thread holds at that moment, its copy in the child holds for ever; Python 3.12 and
    later warn (library: os.fork). What is written to standard error fails the test."""
    server = start_with("""
        import os
        def count():
            threads = len(os.listdir("/proc/self/task"))
            if threads > 1:
                os.write(2, b"forked beside %d threads" % (threads - 1))
        os.register_at_fork(before=count)
    """)
    for _ in range(3):
        with server.greeted() as client:
            assert client.ask(b"world") == b"Hello, world!\n"
    if model.processes == "one per worker":
        before = workers(server)
        os.kill(min(before), signal.SIGKILL)
        wait_until(
            lambda: workers(server) - before and len(workers(server)) == len(before),
            "it has forked again",
        )
    server.stop()
