"""Servers without connections and with a known truth: what the generator's account is tested by.

Each runs in a thread, on a port of its own. It writes down what it received, in the order of its
arrival, and does with the answers what its behaviour says.
"""

import heapq
import select
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import stubs

Sender = Callable[[bytes, Any, int], None]
# From the number of a request (the first is 1), its line, its client and a function that sends: a
# datagram, to whom, so many nanoseconds from now.
Behaviour = Callable[[int, bytes, Any, Sender], None]


def correct(number: int, line: bytes, client: Any, send: Sender) -> None:
    send(stubs.answer(line), client, 0)


def dropping(every: int) -> Behaviour:
    """Each `every`-th request is not answered."""

    def behave(number: int, line: bytes, client: Any, send: Sender) -> None:
        if number % every:
            send(stubs.answer(line), client, 0)

    return behave


def repeating(times: int) -> Behaviour:
    """Each answer is given so many times."""

    def behave(number: int, line: bytes, client: Any, send: Sender) -> None:
        for _ in range(times):
            send(stubs.answer(line), client, 0)

    return behave


def swapping() -> Behaviour:
    """Two answers at a time, in the wrong order."""
    held: list[tuple[bytes, Any]] = []

    def behave(number: int, line: bytes, client: Any, send: Sender) -> None:
        held.append((stubs.answer(line), client))
        if len(held) == 2:
            for answer, whose in reversed(held):
                send(answer, whose, 0)
            held.clear()

    return behave


def delaying(every: int, delay_ns: int) -> Behaviour:
    """Each `every`-th answer is given that much later."""

    def behave(number: int, line: bytes, client: Any, send: Sender) -> None:
        send(stubs.answer(line), client, 0 if number % every else delay_ns)

    return behave


def confusing() -> Behaviour:
    """Who asks gets the answer to whoever asked before."""
    before: list[bytes] = []

    def behave(number: int, line: bytes, client: Any, send: Sender) -> None:
        before.append(line)
        if len(before) > 1:
            send(stubs.answer(before.pop(0)), client, 0)

    return behave


def saying(said: bytes) -> Behaviour:
    """The same to everything."""

    def behave(number: int, line: bytes, client: Any, send: Sender) -> None:
        send(said, client, 0)

    return behave


class Peer:
    """A server with one behaviour, running inside the `with` statement."""

    def __init__(self, behaviour: Behaviour = correct, *, host: str = "127.0.0.1") -> None:
        self.lines: list[bytes] = []
        self._behaviour = behaviour
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sock = socket.socket(self._family, socket.SOCK_DGRAM)
        self._sock.bind((host, 0))
        self.address: tuple[str, int] = self._sock.getsockname()[:2]
        self._stop, self._stopped = socket.socketpair()
        self._later: list[tuple[int, int, bytes, Any]] = []
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
        self._thread.join(stubs.DEADLINE_S)
        assert not self._thread.is_alive(), "the peer hangs"
        for sock in (self._sock, self._stopped):
            sock.close()
        if self._failure is not None:
            raise self._failure

    def connect(self, count: int = 1) -> list[socket.socket]:
        """Connected clients, as the load generator wants them."""
        clients = []
        for _ in range(count):
            client = socket.socket(self._family, socket.SOCK_DGRAM)
            client.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
            client.connect(self.address)
            client.setblocking(False)
            clients.append(client)
        return clients

    def _serve(self) -> None:
        try:
            poller = select.poll()
            poller.register(self._stopped, select.POLLIN)
            poller.register(self._sock, select.POLLIN)
            while True:
                for fd, _ in poller.poll(self._patience_ms()):
                    if fd == self._stopped.fileno():
                        return
                    data, client = self._sock.recvfrom(65_536)
                    self.lines.append(data.removesuffix(b"\n").removesuffix(b"\r"))
                    self._behaviour(len(self.lines), self.lines[-1], client, self._send)
                while self._later and self._later[0][0] <= time.monotonic_ns():
                    _, _, answer, whose = heapq.heappop(self._later)
                    self._sock.sendto(answer, whose)
        except BaseException as error:
            self._failure = error

    def _patience_ms(self) -> int:
        if not self._later:
            return round(1000 * stubs.DEADLINE_S)
        return max(0, (self._later[0][0] - time.monotonic_ns()) // 1_000_000)

    def _send(self, answer: bytes, client: Any, delay_ns: int) -> None:
        if delay_ns:
            due_ns = time.monotonic_ns() + delay_ns
            heapq.heappush(self._later, (due_ns, len(self.lines), answer, client))
        else:
            self._sock.sendto(answer, client)
