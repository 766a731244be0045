"""Servers with a known truth, in plain Python: what the load generator is tested against.

Each runs in a thread on a port of its own, serves one request after the other in the order of
their arrival, and writes down what it saw.
"""

import itertools
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loadgen.target.address import Address

# Every wait of a test ends by then.
DEADLINE_S = 30.0


@dataclass
class Served:
    """One request as the server saw it; CLOCK_REALTIME."""

    line: bytes
    received_ns: int
    departed_ns: int = 0
    """just before the last piece of the answer was sent; 0: never answered"""


# From the number of a request (the first is 1) and its line to the pieces of the answer, each
# sent by itself. It may take its time between them. ConnectionAbortedError: close the connection
# in good order; ConnectionResetError: by a reset.
Behaviour = Callable[[int, bytes], Iterator[bytes]]


def answer(line: bytes) -> bytes:
    return b"Hello, " + line + b"!\n"


def http_answer(head: bytes) -> bytes:
    """The lab's answer over HTTP to a request without its last newlines; the date is another one
    for every request."""
    name = head.split(b" ")[1].removeprefix(b"/?")
    close = b"Connection: close\r\n" if b"Connection: close" in head else b""
    body = b"<!doctype html>\n<title>Hello</title>\n<p>Hello, " + name + b"!\n"
    return b"".join(
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n",
            b"Content-Length: %d\r\n%bDate: " % (len(body), close),
            formatdate(next(_SECONDS), usegmt=True).encode(),
            b"\r\n\r\n",
            body,
        )
    )


_SECONDS = itertools.count()


def correct_http(number: int, head: bytes) -> Iterator[bytes]:
    """As HTTP servers do: who asks for the end of the connection gets it."""
    yield http_answer(head)
    if b"Connection: close" in head:
        raise ConnectionAbortedError


def correct(number: int, line: bytes) -> Iterator[bytes]:
    yield answer(line)


def wait_until_ns(moment_ns: int) -> None:
    """Wait without sleeping through it: no wake-up comes after a round number of nanoseconds."""
    while (rest_ns := moment_ns - time.time_ns()) > 0:
        if rest_ns > 2_000_000:
            select.poll().poll((rest_ns - 1_000_000) // 1_000_000)


def delayed(delay_ns: int) -> Behaviour:
    """Each request takes `delay_ns` of the server's time."""

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        wait_until_ns(time.time_ns() + delay_ns)
        yield answer(line)

    return behave


def stalled(at: int, length_ns: int, stall_ns: list[int]) -> Behaviour:
    """Before request `at` is answered nothing happens for `length_ns`.

    stall_ns  gets the beginning and the end (CLOCK_REALTIME)
    """

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if number == at:
            stall_ns.append(time.time_ns())
            wait_until_ns(stall_ns[0] + length_ns)
            stall_ns.append(time.time_ns())
        yield answer(line)

    return behave


def dropping(every: int) -> Behaviour:
    """Each `every`-th request is forgotten."""

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if number % every:
            yield answer(line)

    return behave


def corrupting(every: int) -> Behaviour:
    """In each `every`-th answer one byte is another one, at a place that moves along."""

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        text = bytearray(answer(line))
        if number % every == 0:
            text[number // every % len(text)] ^= 1
        yield bytes(text)

    return behave


def byte_by_byte(number: int, line: bytes) -> Iterator[bytes]:
    for byte in answer(line):
        yield bytes([byte])


def gluing() -> Behaviour:
    """Two answers at a time, in one piece."""
    held: list[bytes] = []

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        held.append(answer(line))
        if len(held) == 2:
            yield b"".join(held)
            held.clear()

    return behave


def swapping() -> Behaviour:
    """Two answers at a time, in the wrong order."""
    held: list[bytes] = []

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        held.insert(0, answer(line))
        if len(held) == 2:
            yield from held
            held.clear()

    return behave


def repeating(number: int, line: bytes) -> Iterator[bytes]:
    """Each answer is given twice."""
    yield answer(line) * 2


def silent_after(count: int) -> Behaviour:
    """Only the first `count` requests are answered."""

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if number <= count:
            yield answer(line)

    return behave


def ending_after(count: int, how: type[OSError], last: bytes = b"") -> Behaviour:
    """After `count` answers the next request gets `last` and the end of its connection."""

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if number > count:
            if last:
                yield last
            raise how
        yield answer(line)

    return behave


def flooding(number: int, line: bytes) -> Iterator[bytes]:
    """The first request gets answers for ever."""
    return itertools.repeat(b"flood\n" * 10_000)


HTTP: Any = {"behaviour": correct_http, "greeting": b"", "ending": b"\r\n\r\n"}
"""What makes a stub speak it."""


class Stub:
    """A server with one behaviour, running inside the `with` statement.

    greeting  what a client reads first; None: connections are closed as soon as they are there
    reads     False: nothing is ever received
    host      an IPv4 or IPv6 address
    path      of a Unix-domain socket, instead
    ending    of a request
    """

    def __init__(
        self,
        behaviour: Behaviour = correct,
        greeting: bytes | None = b"Welcome!\n",
        *,
        reads: bool = True,
        host: str = "127.0.0.1",
        path: Path | None = None,
        ending: bytes = b"\n",
    ) -> None:
        self.served: list[Served] = []
        self._behaviour = behaviour
        self._greeting = greeting
        self._reads = reads
        self._ending = ending
        if path is None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, 0), family=family, backlog=1024)
            self.port: int = self._listener.getsockname()[1]
            self.address = Address(host, self.port)
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(1024)
            self.address = Address(path=str(path))
        self._stop, self._stopped = socket.socketpair()
        self._clients: dict[int, socket.socket] = {}
        self._unfinished: dict[int, bytes] = {}
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the stub hangs"
        for sock in (self._listener, self._stopped, *self._clients.values()):
            sock.close()
        if self._failure is not None:
            raise self._failure

    def connect(
        self, count: int = 1, receive_buffer_bytes: int | None = None
    ) -> list[socket.socket]:
        """Connected clients, as the load generator wants them."""
        clients = []
        for _ in range(count):
            client = socket.socket(self.address.family)
            if not self.address.path:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
            if receive_buffer_bytes is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            client.settimeout(DEADLINE_S)
            client.connect(self.address.sockaddr)
            client.setblocking(False)
            clients.append(client)
        return clients

    def _serve(self) -> None:
        try:
            poller = select.poll()
            poller.register(self._stopped, select.POLLIN)
            poller.register(self._listener, select.POLLIN)
            while True:
                for fd, _ in poller.poll(1000 * DEADLINE_S):
                    if fd == self._stopped.fileno():
                        return
                    if fd == self._listener.fileno():
                        self._accept(poller)
                    elif not self._receive(self._clients[fd]):
                        poller.unregister(fd)
                        self._clients.pop(fd).close()
        except BaseException as error:
            self._failure = error

    def _accept(self, poller: select.poll) -> None:
        client, _ = self._listener.accept()
        if self._greeting is None:
            client.close()
            return
        if not self.address.path:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        client.send(self._greeting)
        self._clients[client.fileno()] = client
        self._unfinished[client.fileno()] = b""
        if self._reads:
            poller.register(client, select.POLLIN)

    def _receive(self, client: socket.socket) -> bool:
        """Serve what a client sent; False when its connection is over."""
        try:
            data = client.recv(65_536)
            received_ns = time.time_ns()
            *lines, rest = (self._unfinished[client.fileno()] + data).split(self._ending)
            self._unfinished[client.fileno()] = rest
            requests = [Served(line, received_ns) for line in lines]
            self.served += requests
            for number, request in enumerate(requests, len(self.served) - len(requests) + 1):
                for piece in self._behaviour(number, request.line):
                    request.departed_ns = time.time_ns()
                    if not self._send(client, piece):
                        return False
        except (ConnectionAbortedError, BrokenPipeError):
            return False
        except ConnectionResetError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        return bool(data)

    def _send(self, client: socket.socket, data: bytes) -> bool:
        """Send all of it; False if the stub was stopped meanwhile."""
        poller = select.poll()
        poller.register(self._stopped, select.POLLIN)
        poller.register(client, select.POLLOUT)
        while data:
            if any(fd == self._stopped.fileno() for fd, _ in poller.poll(1000 * DEADLINE_S)):
                return False
            data = data[client.send(data) :]
        return True
