"""Clients that are connected and greeted, and the CPU that they are driven from."""

import errno
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from loadgen.engine import requests, samples
from loadgen.engine.syscalls import SO_TIMESTAMPNS, Int64s

# Clients that connect at once; less than any backlog, so that no SYN is dropped.
CONNECT_AT_ONCE = 1000
# How long each such group waits for its greetings.
GREETING_S = 3.0

T = TypeVar("T")


@dataclass(frozen=True)
class Clients:
    """The measured clients that were greeted, how long that took, and what became of the others."""

    socks: list[socket.socket]
    greeting_ns: Int64s
    failed: dict[str, int]


@contextmanager
def connected(
    address: tuple[str, int], count: int, greeting_s: float = GREETING_S
) -> Iterator[Clients]:
    """`count` clients, connected and greeted, CONNECT_AT_ONCE at a time.

    address     numeric: nothing is looked up while the clock runs
    greeting_s  how long the greetings of such a group are awaited

    Raises OSError for an address that is not numeric.
    """
    family, _, _, _, endpoint = socket.getaddrinfo(
        *address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    socks: list[socket.socket] = []
    greeted: list[socket.socket] = []
    greeting_ns = [np.zeros(0, np.int64)]
    failed: Counter[str] = Counter()
    try:
        for first in range(0, count, CONNECT_AT_ONCE):
            group: list[socket.socket] = []
            started_ns: list[int] = []
            for _ in range(min(CONNECT_AT_ONCE, count - first)):
                sock = socket.socket(family, socket.SOCK_STREAM)
                socks.append(sock)
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                now_ns = time.time_ns()
                code = sock.connect_ex(endpoint)
                if code in (0, errno.EINPROGRESS):
                    group.append(sock)
                    started_ns.append(now_ns)
                else:
                    failed[samples.error_name(code)] += 1
            answers = requests.greet([sock.fileno() for sock in group], greeting_s)
            greeted += [s for s, good in zip(group, answers.greeted, strict=True) if good]
            greeting_ns.append(
                (answers.arrived_ns - np.array(started_ns, np.int64))[answers.greeted]
            )
            failed.update(samples.by_name(answers.errors[~answers.greeted]))
        yield Clients(greeted, np.concatenate(greeting_ns), dict(failed))
    finally:
        for sock in socks:
            sock.close()


@contextmanager
def stamping() -> Iterator[None]:
    """Have arrivals stamped before the first one counts.

    The kernel begins when the first socket asks for stamps, but leaves it to a work queue
    (net/core/dev.c, net_enable_timestamp): the first answers of a trial would have none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        yield


def on_cpus(
    cpus: frozenset[int],
    work: Callable[[Int64s], T],
    meanwhile: Callable[[threading.Event], object],
) -> T:
    """Call `work` in a thread pinned to `cpus`, and `meanwhile` here, which ends when it is told.

    `work` gets a stop flag (int64[1]), which Ctrl-C sets before it waits for the end.
    """
    stop = np.zeros(1, np.int64)
    ended = threading.Event()
    done: list[T] = []
    errors: list[BaseException] = []

    def pinned() -> None:
        try:
            os.sched_setaffinity(0, cpus)  # of this thread alone (sched_setaffinity(2))
            done.append(work(stop))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=pinned, name="generator")
    try:
        thread.start()  # may be interrupted when the thread already runs
        meanwhile(ended)
        thread.join()
    except BaseException:
        stop[0] = 1
        if thread.is_alive():
            thread.join()
        raise
    if errors:
        raise errors[0]
    return done[0]
