"""Clients that only look on, at a listener that is a plain socket here."""

import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness import wait_until

from loadgen.clients.connect import kernel_stamps
from loadgen.clients.onlookers import TIMED_OUT, coming, state, states, told
from loadgen.engine.syscalls import SO_TIMESTAMPNS
from loadgen.target.address import Address

# How long what is due may take; what is not due is not waited for.
PATIENCE_S = 10.0
RESET = struct.pack("ii", 1, 0)  # close() sends one (socket(7), SO_LINGER)


def test_each_sees_what_the_server_does_to_it() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        coming(Address(*listener.getsockname()[:2]), 4) as socks,
    ):
        assert states(socks, 0.0) == {"waiting": 4}
        served = {peer: sock for sock, peer in (listener.accept() for _ in socks)}
        greeted, ended, reset, waiting = (served[sock.getsockname()] for sock in socks)
        greeted.send(b"hello")
        ended.close()
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        reset.close()

        assert states(socks[:3], PATIENCE_S) == {"greeted": 1, "broken": 2}
        assert [state(sock) for sock in socks] == ["greeted", "broken", "broken", "waiting"]
        assert states(socks[:1], PATIENCE_S) == {"greeted": 1}, "what was seen is not taken"
        greeted.close()
        waiting.close()


def stamps_have_begun() -> bool:
    """The kernel leaves that to a work queue (net/core/dev.c, net_enable_timestamp)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind(("127.0.0.1", 0))
        before_ns = time.time_ns()
        sock.sendto(b"", sock.getsockname())
        read_ns = time.time_ns()
        [(_, _, stamp)] = sock.recvmsg(1, 64)[1]
        seconds, nanoseconds = struct.unpack("@ll", stamp)
        # Of a datagram that has none it makes one up when it is read.
        return before_ns <= seconds * 10**9 + nanoseconds <= read_ns


@contextmanager
def connected(count: int = 1) -> Iterator[tuple[list[socket.socket], list[socket.socket]]]:
    """Clients whose arrivals are stamped, and the server's ends of their connections."""
    with kernel_stamps(), socket.create_server(("127.0.0.1", 0)) as listener:
        wait_until(stamps_have_begun, "the kernel stamps what arrives")
        ours = [socket.socket() for _ in range(count)]
        theirs = []
        try:
            for sock in ours:
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                sock.connect(listener.getsockname())
                sock.setblocking(False)
                theirs.append(listener.accept()[0])
            yield ours, theirs
        finally:
            for sock in (*ours, *theirs):
                sock.close()


def test_the_kernel_says_when_a_client_was_told() -> None:
    """However long after it somebody looks."""
    with connected(3) as (ours, theirs):
        before_ns = time.time_ns()
        for sock in theirs:
            sock.send(TIMED_OUT)
            sock.close()
        after_ns = time.time_ns()
        select.poll().poll(50)

        stamps_ns = told(ours, PATIENCE_S)

        assert len(stamps_ns) == 3
        assert all(ns is not None and before_ns <= ns <= after_ns for ns in stamps_ns), stamps_ns


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"Error: timed",
        b"Error: too many connections\n",
        TIMED_OUT + b"and more",
        TIMED_OUT * 2,
    ],
)
def test_what_else_is_said_does_not_count(said: bytes) -> None:
    with connected() as (ours, (other,)):
        other.send(said)
        other.close()
        assert told(ours, PATIENCE_S) == [None]


def test_who_is_told_and_kept_does_not_count() -> None:
    with connected() as (ours, (other,)):
        other.send(TIMED_OUT)
        assert told(ours, 0.05) == [None]


def test_who_is_reset_or_told_nothing_does_not_count() -> None:
    with connected(2) as (ours, theirs):
        theirs[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        theirs[0].close()
        assert told(ours, 0.05) == [None, None]
