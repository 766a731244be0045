"""What silent and slow clients say, heard by a stub."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from loadgen.clients import background
from loadgen.clients.background_process import HALF_LINE, UNREAD
from loadgen.machine.cpus import choose_pinning
from loadgen.target.address import Address
from loadgen.workload.dialogue import GREETING

pytestmark = pytest.mark.measures

CPUS = choose_pinning()

DEADLINE_S = 20.0


@contextmanager
def listening(converse: Callable[[socket.socket], None]) -> Iterator[Address]:
    """A stub that converses with one client, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(DEADLINE_S)
                sock.sendall(GREETING)
                converse(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Address(*listener.getsockname())
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_a_half_line_has_no_end() -> None:
    heard = bytearray()

    def count(sock: socket.socket) -> None:
        while piece := sock.recv(4096):
            heard.extend(piece)

    with (
        listening(count) as address,
        background.prepare(address, 1, cpus=set(CPUS.generator), behaviour="half_line") as waiting,
    ):
        connected = waiting.connect()
        assert connected == (1, {}, len(HALF_LINE))
    assert bytes(heard) == HALF_LINE
    assert b"\n" not in heard


def test_who_never_reads_takes_no_more_than_its_buffer_and_sends_whole_lines() -> None:
    """The stub answers until nothing more is taken, and counts what it could send."""
    answered, heard = 0, bytearray()
    stuck, over = threading.Event(), threading.Event()

    def answer(sock: socket.socket) -> None:
        nonlocal answered
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        heard.extend(sock.recv(4096))
        sock.settimeout(0.2)
        try:
            while answered < 1 << 24:
                answered += sock.send(b"x" * 4096)
        except TimeoutError:
            stuck.set()
        assert over.wait(DEADLINE_S)

    with (
        listening(answer) as address,
        background.prepare(
            address, 1, cpus=set(CPUS.generator), behaviour="never_reads"
        ) as waiting,
    ):
        connected = waiting.connect()
        assert stuck.wait(DEADLINE_S)
        over.set()
        assert connected.greeted == 1
        assert connected.sent_bytes > 100 * len(heard) > 0
    assert answered < 1 << 20
    assert set(heard) <= set(UNREAD)


def test_silent_clients_say_nothing() -> None:
    heard = bytearray()

    def listen(sock: socket.socket) -> None:
        while piece := sock.recv(4096):
            heard.extend(piece)

    with (
        listening(listen) as address,
        background.prepare(address, 1, cpus=set(CPUS.generator)) as waiting,
    ):
        connected = waiting.connect()
        assert connected == (1, {}, 0)
    assert not heard
