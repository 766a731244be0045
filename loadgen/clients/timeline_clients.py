"""A few clients whose every step is kept, to be drawn: for a picture, not for a figure.

Here nothing is compiled. A step takes milliseconds, because the server is told to work that long
on an answer, and a thread of Python per client is on time within a fraction of one. What arrives is
stamped by the kernel all the same.
"""

import dataclasses
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from loadgen.engine.syscalls import NS_PER_S, SO_TIMESTAMPNS
from loadgen.workload.dialogue import GREETING, PREFIX, SUFFIX

CLIENTS = 5
REQUESTS = 4
APART_NS = 5_000_000
# The client that pauses in the middle of a line, in which one (both counted from 0), how long.
SLOW_CLIENT, SLOW_REQUEST = 1, 1
PAUSE_NS = 40_000_000
PATIENCE_S = 10.0


@dataclass
class Request:
    """When it began to be sent, when it was sent, and when the kernel had all of the answer; ns."""

    sent_ns: int
    complete_ns: int
    arrived_ns: int


@dataclass
class Life:
    """What one client did and saw, in ns since the first of all connected; 0: never."""

    connect_ns: int = 0
    greeted_ns: int = 0
    left_ns: int = 0
    requests: list[Request] = field(default_factory=list)
    """those that were answered right"""
    wrong: int = 0
    """how many were answered wrong"""
    failure: str | None = None


def converse(address: tuple[str, int]) -> dict[str, Any]:
    """Let CLIENTS come APART_NS after each other, ask REQUESTS times each, say exit, and leave.

    Returns {"clients": a `Life` each, as a dictionary}, the first to come first. A client that
    fails says so in its life; nothing takes longer than PATIENCE_S per answer.
    """
    lives = [Life() for _ in range(CLIENTS)]
    start_ns = time.time_ns()
    threads = [
        threading.Thread(target=_live, args=(life, number, address, start_ns))
        for number, life in enumerate(lives)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"clients": [dataclasses.asdict(life) for life in lives]}


def _live(life: Life, number: int, address: tuple[str, int], start_ns: int) -> None:
    _sleep_until(start_ns + number * APART_NS)
    life.connect_ns = time.time_ns() - start_ns
    try:
        with socket.socket() as sock:
            sock.settimeout(PATIENCE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.connect(address)
            greeting, greeted_ns = _heard(sock, len(GREETING))
            if greeting != GREETING:
                raise ConnectionError("wrong greeting")
            life.greeted_ns = greeted_ns - start_ns
            for turn in range(REQUESTS):
                line = b"client %d, line %d" % (number, turn)
                half = len(line) // 2
                sent_ns = complete_ns = time.time_ns()
                if (number, turn) == (SLOW_CLIENT, SLOW_REQUEST):
                    sock.sendall(line[:half])
                    _sleep_until(sent_ns + PAUSE_NS)
                    complete_ns = time.time_ns()
                    sock.sendall(line[half:] + b"\n")
                else:
                    sock.sendall(line + b"\n")
                expected = PREFIX + line + SUFFIX
                answer, arrived_ns = _heard(sock, len(expected))
                if answer != expected:
                    life.wrong += 1
                    continue
                stamps = (stamp - start_ns for stamp in (sent_ns, complete_ns, arrived_ns))
                life.requests.append(Request(*stamps))
            sock.sendall(b"exit\n")
            if sock.recv(1) and life.requests:
                life.requests.pop()  # the last answer was not complete but too long
                life.wrong += 1
            life.left_ns = time.time_ns() - start_ns
    except OSError as error:
        life.failure = " ".join(str(error).split())


def _heard(sock: socket.socket, size_bytes: int) -> tuple[bytes, int]:
    """What came, and when the kernel had the last byte of it. Raises OSError."""
    heard = b""
    arrived_ns = 0
    while len(heard) < size_bytes:
        piece, ancillary, _, _ = sock.recvmsg(size_bytes - len(heard), socket.CMSG_SPACE(16))
        if not piece:
            raise ConnectionError("closed by the server")
        arrived_ns = time.time_ns()
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("=qq", data)
                arrived_ns = seconds * NS_PER_S + nanoseconds
        heard += piece
    return heard, arrived_ns


def _sleep_until(moment_ns: int) -> None:
    time.sleep(max(0, moment_ns - time.time_ns()) / NS_PER_S)
