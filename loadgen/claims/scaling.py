"""One thread, or one process, for each connection.

A reader learns two things that are often taken for one: how many threads and processes a machine
holds, which is more than tutorials think, and what they cost where many of them are busy.
"""

import ctypes
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Compared, Seen, Verdict
from loadgen.claims.connection import PATIENCE_S

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

# Enough to see whether they can be had; a machine must not be brought down to see more.
MOST_THREADS, MOST_PROCESSES = 4_000, 1_000
# Each connection has two descriptors here, and some are open already.
OWN_DESCRIPTORS = 64
# On a machine that is busy with other things fewer are tried.
STARTING_S = 15.0
LIBC = ctypes.CDLL(None)


def program() -> Seen:
    """Give connection after connection a thread, then a process, that waits for a line and answers
    it; ask each of them once, when all are there.

    A try is one more connection; the claim holds for it if it was not answered.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = MOST_THREADS
    if hard != resource.RLIM_INFINITY:
        room = max(1, min(MOST_THREADS, (hard - OWN_DESCRIPTORS) // 2))
    seen: Seen = {}
    # Processes first: a process that has had many threads is larger, and dearer to fork.
    for case, most, served in (
        ("processes", min(room, MOST_PROCESSES), with_processes),
        ("threads", room, with_threads),
    ):
        before = memory_available()
        tried, answered, after = served(most)
        seen[f"tries_{case}"] = tried
        seen[f"held_{case}"] = tried - answered
        if tried < most and answered == tried:
            seen[f"why_not_more_{case}"] = f"{STARTING_S:g} s were over"
        # Of the whole machine, so that what processes share counts once. Others take and give, too.
        if before and after and answered:
            seen[f"bytes_per_connection_{case}"] = max(0, before - after) / answered
        else:
            seen[f"bytes_per_connection_{case}"] = None
    return seen


def with_threads(most: int) -> tuple[int, int, int | None]:
    """How many connections were tried, at most so many; how many of them were answered by threads;
    and how much memory was left when all were there (bytes)."""
    deadline = time.monotonic() + STARTING_S
    tried = 0
    with ExitStack() as around:
        clients = []
        while tried < most and time.monotonic() < deadline:
            tried += 1
            client, served = socket.socketpair()
            around.enter_context(client)
            around.enter_context(served)
            try:
                threading.Thread(target=answer, args=(served,), daemon=True).start()
            except (RuntimeError, MemoryError):  # no more threads
                break
            clients.append(client)
        left = memory_available()
        return tried, asked(clients), left


def with_processes(most: int) -> tuple[int, int, int | None]:
    """The same with a process for each."""
    deadline = time.monotonic() + STARTING_S
    tried, children, parent = 0, [], os.getpid()
    with ExitStack() as around:
        clients = []
        try:
            while tried < most and time.monotonic() < deadline:
                tried += 1
                client, served = socket.socketpair()
                around.enter_context(client)
                with served:
                    try:
                        child = os.fork()
                    except OSError:  # no more processes
                        break
                    if not child:
                        # It ends with its parent, even if that is killed (prctl(2)).
                        LIBC.prctl(1, signal.SIGKILL)
                        if os.getppid() == parent:
                            answer(served)
                        os._exit(0)
                children.append(child)
                clients.append(client)
            left = memory_available()
            return tried, asked(clients), left
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
            for child in children:
                os.waitpid(child, 0)


def answer(sock: socket.socket) -> None:
    """Wait for a line, and send it back."""
    with suppress(OSError):  # the other side did not wait for it
        sock.sendall(sock.recv(64))


def asked(clients: list[socket.socket]) -> int:
    """How many answer; all are asked before the first answer is read."""
    for client in clients:
        client.settimeout(PATIENCE_S)
        client.sendall(b"hello\n")
    count = 0
    for client in clients:
        try:
            count += client.recv(64) == b"hello\n"
        except OSError:
            break  # it took too long: the others will not be quicker
    return count


def memory_available() -> int | None:
    """What programs can still have (bytes; proc_meminfo(5)); None where the kernel does not
    tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return found[0] * 1024 if found else None


def compares() -> Mapping[str, Compared]:
    """Each against epoll, with more and more busy clients."""
    from loadgen.claims import cells
    from loadgen.store.metric import throughput

    most = {"threaded": cells.CROWD, "fork": cells.OF_PROCESSES}
    return {
        f"{server}/{load.connections}": Compared(
            cells.cell(server, load), cells.cell(cells.REFERENCE, load), throughput
        )
        for server in most
        for load in (cells.ALONE, cells.BUSY, most[server])
    }


def verdict(evidence: "Evidence") -> Verdict:
    """Where they can be had, and are slower with many busy clients than with one, it depends on how
    many are busy."""
    from loadgen.claims.cells import BUSY_CLIENTS
    from loadgen.report.units import size

    threads, processes = evidence.share("threads"), evidence.share("processes")
    if threads is None or processes is None:
        return Verdict("not decided", "No run of the program counts.")
    told = "; ".join(
        f"{server} answers {evidence.times(f'{server}/1')} times as many requests per second as"
        f" epoll with one busy client, {evidence.times(f'{server}/{BUSY_CLIENTS}')} with"
        f" {BUSY_CLIENTS}, {evidence.times(f'{server}/{most}')} with {most:,}"
        for server, most in crowds().items()
    )
    had = []
    for case, found in (("threads", threads), ("processes", processes)):
        price = evidence.figure(f"bytes_per_connection_{case}")
        each = f" ({size(price.value)} of memory each)" if price and price.value else ""
        had.append(f"{found.failed.held:,} of {found.tries:,} {case}{each}")
    sentence = f"Connections that were answered: by {' and by '.join(had)}; no more was tried."
    sentence += f" {told[0].upper()}{told[1:]}." if told else ""
    kinds = {most_busy(evidence, server) for server in crowds()}
    fit = threads.never and processes.never
    if kinds == {"slower"}:
        if fit:
            on = "on how many of the connections are busy at once"
            return Verdict("it depends", sentence, on)
        return Verdict("true", sentence)
    if kinds <= {"faster", "equal"} and fit:
        return Verdict("false", sentence)
    return Verdict("not decided", sentence)


def crowds() -> dict[str, int]:
    """The most busy clients that each is measured with."""
    from loadgen.claims.cells import CROWD_CLIENTS, CROWD_OF_PROCESSES

    return {"threaded": CROWD_CLIENTS, "fork": CROWD_OF_PROCESSES}


def most_busy(evidence: "Evidence", server: str) -> str:
    """How a server compares with epoll under the most busy clients that both were measured with,
    of several."""
    from loadgen.claims.cells import BUSY_CLIENTS

    kinds = [evidence.kind(f"{server}/{count}") for count in (crowds()[server], BUSY_CLIENTS)]
    return next((kind for kind in kinds if kind != "missing"), "missing")


CLAIM = Claim(
    name="scaling",
    says="One thread or process per connection does not scale.",
    tried=(
        f"Up to {MOST_THREADS:,} connections with a thread each and {MOST_PROCESSES:,} with a"
        " process each, all of which are asked once; and servers of both kinds beside epoll with"
        " 1, 64 and 1,000 busy clients, of processes 256."
    ),
    why=(
        "A thread that waits costs some kilobytes and no time. Threads that are all busy queue for"
        " Python's GIL and for the CPU, and each answer needs a switch to another thread, where a"
        " loop takes the next client by itself; processes add the cost of switching memory."
    ),
    verdict=verdict,
    program=program,
    compares=compares,
)
