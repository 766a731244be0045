"""One client that follows a script: it says its lines, and checks every byte of the answers.

Here nothing is compiled, and a call blocks until its part of the conversation is over: good for
looking at a server, not for loading it.
"""

import os
import re
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from loadgen.engine.syscalls import NS_PER_S, SO_TIMESTAMPNS
from loadgen.target.address import Address
from loadgen.workload.dialogue import (
    DATE,
    GREETING,
    PREFIX,
    SUFFIX,
    http_answer,
    http_request,
)
from loadgen.workload.load import Protocol

VERIFY_S = 5.0
# A datagram may be lost, and then is sent again.
DATAGRAM_TRIES = 5
DATAGRAM_S = 2.0
CONNECT_S = 5.0


class ConversationError(Exception):
    """The server did not say what it should. The text is one line."""


class UnreachableError(Exception):
    """Nobody can be connected to. The text is one line."""


class Conversation:
    """A connected client, until the end of the `with` statement."""

    def __init__(self, address: Address, patience_s: float, *, kernel_stamps: bool = False) -> None:
        """Connect.

        address         numeric
        patience_s      how long the connection, and later each piece of an answer, is awaited
        kernel_stamps   have the kernel tell when something arrived (socket(7), SO_TIMESTAMPNS)

        Raises OSError.
        """
        self.arrived_ns = 0
        """when the piece that was received last had arrived, by the clock of time.time_ns(): as
        the kernel stamped it, or else (over a Unix-domain socket) when we read it"""
        self._patience_s = patience_s
        self._sock = socket.socket(address.family)
        try:
            self._sock.settimeout(patience_s)
            if not address.path:
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if kernel_stamps:  # before connecting: the greeting may be there at once
                self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._sock.connect(address.sockaddr)
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        self._sock.sendall(data)

    def receive(self, most_bytes: int) -> bytes:
        """Wait for what comes next; nothing when the server has closed. Raises OSError."""
        piece, ancillary, _, _ = self._sock.recvmsg(most_bytes, socket.CMSG_SPACE(16))
        self.arrived_ns = time.time_ns()
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("=qq", data)
                self.arrived_ns = seconds * NS_PER_S + nanoseconds
        return piece

    def receive_exactly(self, size_bytes: int) -> bytes:
        """Wait for so many bytes. Raises OSError, also when the server closes before."""
        heard = b""
        while len(heard) < size_bytes:
            piece = self.receive(size_bytes - len(heard))
            if not piece:
                raise ConnectionError("closed by the server")
            heard += piece
        return heard

    def expect(self, expected: bytes) -> None:
        """Wait for exactly these bytes; where DATE stands, for any date.

        Raises ConversationError as soon as something else comes, or nothing; OSError.
        """
        heard = b""
        while len(heard) < len(expected):
            try:
                piece = self.receive(len(expected) - len(heard))
            except TimeoutError as error:
                raise ConversationError(f"no answer within {self._patience_s:.0f} s") from error
            heard += piece
            if not piece or not expected.startswith(_with_dates_of(expected, heard)):
                raise ConversationError(f"the server said {heard!r} instead of {expected!r}")


# IMF-fixdate (RFC 9110, 5.6.7).
_ANY_DATE = re.compile(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


def _with_dates_of(expected: bytes, heard: bytes) -> bytes:
    """What was heard, as if its dates were those that are expected; one that is cut off at the end
    is any."""
    at = expected.find(DATE)
    while 0 <= at < len(heard):
        date = heard[at : at + len(DATE)]
        if len(date) < len(DATE) or _ANY_DATE.fullmatch(date):
            heard = heard[:at] + DATE[: len(date)] + heard[at + len(DATE) :]
        at = expected.find(DATE, at + 1)
    return heard


def verify(address: Address, protocol: Protocol = "hello") -> None:
    """Hold one conversation and compare every byte: no number without a correct server.

    Raises ConversationError.
    """
    if protocol == "hello":
        said = b"one\ntwo\r\n\nthree\x00\xff\nexit\n"
        lines = (b"one", b"two", b"", b"three\x00\xff")
        expected, last = GREETING + b"".join(PREFIX + line + SUFFIX for line in lines), "`exit`"
    else:
        names, end = (b"one", b"two"), b"three"
        said = b"".join(map(http_request, names)) + http_request(end, only=True)
        expected = b"".join(map(http_answer, names)) + http_answer(end, only=True)
        last = "`Connection: close`"
    try:
        with Conversation(address, VERIFY_S) as conversation:
            for piece in (said[:1], said[1:6], said[6:]):
                conversation.send(piece)
            conversation.expect(expected)
            if more := conversation.receive(120):
                raise ConversationError(f"the server said {more!r} after {last}")
    except OSError as error:
        raise ConversationError(f"the conversation before the trial failed: {error}") from error


def verify_datagrams(address: Address) -> None:
    """As `verify`, by datagrams; what is lost is said again: this is about what a server says.

    Raises ConversationError.
    """
    lines = (b"one", b"two\r\n", b"", b"three\x00\xff\n", b"exit\n")
    bare = (b"one", b"two", b"", b"three\x00\xff", b"exit")
    try:
        with _datagrams(address) as sock:
            for said, line in zip(lines, bare, strict=True):
                expected = PREFIX + line + SUFFIX
                heard = _asked(sock, said, VERIFY_S)
                if heard is None:
                    raise ConversationError(f"no answer within {VERIFY_S:.0f} s")
                if heard != expected:
                    raise ConversationError(f"the server said {heard!r} instead of {expected!r}")
    except OSError as error:
        raise ConversationError(f"the conversation before the trial failed: {error}") from error


def _datagrams(address: Address) -> socket.socket:
    """A UDP socket that is connected to a numeric address. Raises OSError."""
    sock = socket.socket(address.family, socket.SOCK_DGRAM)
    try:
        sock.connect(address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def _asked(sock: socket.socket, data: bytes, patience_s: float) -> bytes | None:
    """What answers a datagram, which is sent DATAGRAM_TRIES times at most, or None. Raises
    OSError."""
    sock.settimeout(patience_s / DATAGRAM_TRIES)
    for _ in range(DATAGRAM_TRIES):
        sock.send(data)
        with suppress(TimeoutError):
            return sock.recv(65_536)
    return None


def ask_in_turn(
    address: Address,
    lines: Iterable[bytes],
    *,
    idle: int,
    patience_s: float,
    pause_s: float = 0.0,
) -> None:
    """One client says line after line, each when the one before was answered, beside idle ones.

    patience_s   how long each answer is awaited
    pause_s      how long the client is silent before each line

    Raises ConversationError or OSError.
    """
    with ExitStack() as around:
        clients = [around.enter_context(Conversation(address, patience_s)) for _ in range(1 + idle)]
        for client in clients:
            client.expect(GREETING)
        for line in lines:
            time.sleep(pause_s)
            clients[0].send(line + b"\n")
            clients[0].expect(PREFIX + line + SUFFIX)


def resolve(address: Address) -> Address:
    """The numeric address at which somebody listens, of all that a name stands for; of a
    Unix-domain socket the whole path.

    Raises UnreachableError.
    """
    try:
        if address.path:
            whole = Address(path=os.path.abspath(address.path))
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(CONNECT_S)
                sock.connect(whole.sockaddr)
            return whole
        with socket.create_connection((address.host, address.port), CONNECT_S) as sock:
            host, port, *_ = sock.getpeername()
            return Address(host, port)
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: no name at all (idna)
        raise UnreachableError(f"cannot resolve {address.host!r}") from error
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise UnreachableError(f"nobody listens at {address}") from error
    except OSError as error:
        raise UnreachableError(f"cannot connect to {address}: {error}") from error


def resolve_datagrams(address: Address) -> Address:
    """The numeric address at which somebody answers datagrams, of all that a name stands for.

    Raises UnreachableError.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    except (socket.gaierror, UnicodeError) as error:
        raise UnreachableError(f"cannot resolve {address.host!r}") from error
    for _, _, _, _, (host, port, *_) in found:
        candidate = Address(str(host), int(port))
        with suppress(OSError), _datagrams(candidate) as sock:
            if _asked(sock, b"\n", DATAGRAM_S) is not None:
                return candidate
    raise UnreachableError(f"nobody answers datagrams at {address}")
