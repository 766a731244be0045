"""Time-outs: who has been silent for too long, and is told so and let go.

Only `--idle-timeout` asks for them. Each model waits in its own way; what is
the same for all stands here.
"""

import fcntl
import select
import socket
import sys
import termios
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any

# How long a client may be silent, in seconds; None: for ever.
# `--idle-timeout` sets it.
IDLE_TIMEOUT_S: float | None = None


def watched(kind: Any) -> Any:
    """Sessions of that kind that know when the client gave a sign of life.

    Signs of life are that something was received from it, or that its kernel
    had room for more. What is added:

    heard_s   when the last one was (time.monotonic())
    untaken   bytes on their way to it, when that was asked last and nothing
              else was heard of it; None: not yet
    leaving   its conversation is over; what it says now is no sign of life
    queue     the Silence that has to know, too
    """

    class Watched(kind):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.heard_s = time.monotonic()
            self.untaken: int | None = None
            self.leaving = False
            self.queue: Silence | None = None

        def receive(self, data: bytes) -> None:
            super().receive(data)
            self._heard()

        def answer(self, data: bytes) -> None:
            super().answer(data)
            self._heard()  # until then it waited; or it is over only now

        def sent(self, count: int) -> None:
            super().sent(count)
            self._heard()

        def abort(self) -> None:
            super().abort()
            self._heard()

        def linger(self) -> None:
            super().linger()
            self.heard_s = time.monotonic()
            self.leaving = True

        def _heard(self) -> None:
            if not self.leaving:
                self.heard_s = time.monotonic()
                self.untaken = None
            if self.queue is not None:
                self.queue.heard(self)

    return Watched


def left_s(
    sock: Any, session: Any, reads: bool, unsent: int = 0
) -> float | None:
    """How long a client may still be silent; if that is over it is told.

    Then it has as long again to take what it is owed. None: that is over,
    too, and the session was aborted.

    reads   what it says would be received now
    unsent  bytes that somebody else than the session keeps for it
    """
    assert IDLE_TIMEOUT_S is not None
    now_s = time.monotonic()
    left_s: float = session.heard_s + IDLE_TIMEOUT_S - now_s
    if left_s > 0:
        return left_s
    if is_silent(sock, session, reads, unsent):
        session.time_out()
        if over(session):
            return None
    session.heard_s = now_s
    return IDLE_TIMEOUT_S


def over(session: Any) -> bool:
    """Has the session nothing to read, to write or to work on?"""
    return not (
        session.wants_read
        or session.wants_write
        or session.request is not None
    )


def is_silent(sock: Any, session: Any, reads: bool, unsent: int = 0) -> bool:
    """Is nothing to be heard of a client whose time is over?

    It may have spoken while the server was busy. And it may be taking what it
    is owed, of which the kernel says nothing before a third of its buffer is
    free: so ask how much is left, and compare with the next time.
    """
    if session.request is not None:
        return False
    reads = reads and session.wants_read and not session.leaving
    events = (reads and select.POLLIN) | (
        session.wants_write and select.POLLOUT
    )
    if comes(sock, events):
        return False
    untaken = unsent + on_the_way(sock)
    taking = untaken > 0 and untaken != session.untaken
    session.untaken = untaken
    return not taking


def comes(sock: Any, events: int) -> bool:
    """Has one of these events come, or an error or a hang-up?"""
    poller = select.poll()
    poller.register(sock.fileno(), events)
    return bool(poller.poll(0))


def on_the_way(sock: Any) -> int:
    """Bytes that were sent and that the client's kernel has not taken."""
    try:
        answer: bytes = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # it is broken
        return 0
    return int.from_bytes(answer, sys.byteorder)


def time_out(
    sock: Any, session: Any, error: TimeoutError | None = None
) -> None:
    """A call for a client has waited for as long as it may be silent."""
    if error is not None and error.errno is not None:
        session.abort()  # ETIMEDOUT: the network has given up
    elif is_silent(sock, session, reads=not session.wants_write):
        session.time_out()
        if over(session):
            with suppress(OSError):  # nor is its end of file waited for
                sock.shutdown(socket.SHUT_RDWR)


class Silence:
    """Who has been silent for how long: a queue.

    Whoever gives a sign of life goes to its end, and so the one whose time is
    over next stands in front. Each sign costs the same, however many there
    are.

    by_turns  the server receives nothing from whom it owes something
    """

    def __init__(self, by_turns: bool) -> None:
        self._by_turns = by_turns
        self._queue: OrderedDict[Any, socket.socket] = OrderedDict()

    def welcome(self, sock: socket.socket, session: Any) -> None:
        """From now on this client has to give signs of life."""
        if not over(session):
            session.queue = self
            self._queue[session] = sock

    def heard(self, session: Any) -> None:
        """A sign of life, or the end."""
        if over(session):
            self._queue.pop(session, None)
        elif not session.leaving and session in self._queue:
            self._queue.move_to_end(session)

    def linger(self, sock: socket.socket, session: Any) -> bool:
        """If the conversation is over, wait for the client's end of file.

        As long as it may be silent. True if that begins.
        """
        if session.leaving or not over(session):
            return False
        session.linger()
        if not session.wants_read:
            return False
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            session.abort()
            return False
        self._queue[session] = sock
        return True

    def wait_s(self, other_s: float | None) -> float | None:
        """How long to wait for events: until the next one's time is over, or
        for `other_s` if that is less."""
        if not self._queue:
            return other_s
        assert IDLE_TIMEOUT_S is not None
        heard_s: float = next(iter(self._queue)).heard_s
        next_s = max(0.0, heard_s + IDLE_TIMEOUT_S - time.monotonic())
        return next_s if other_s is None else min(next_s, other_s)

    def due(self) -> list[int]:
        """Tell those whose time is over: their descriptors.

        Nothing has come from them. So they are not among the events of the
        same moment, and nobody is named twice.
        """
        told: list[int] = []
        assert IDLE_TIMEOUT_S is not None
        now_s = time.monotonic()
        while self._queue:
            session, sock = next(iter(self._queue.items()))
            if session.heard_s + IDLE_TIMEOUT_S > now_s:
                break
            reads = not self._by_turns or not session.wants_write
            if is_silent(sock, session, reads):
                session.time_out()
                # Who goes on speaking when nobody listens has its event.
                if not session.leaving or not comes(sock, select.POLLIN):
                    told.append(sock.fileno())
            session.heard_s = now_s
            if session in self._queue:
                self._queue.move_to_end(session)
        return told


def silence(by_turns: bool = False) -> Silence | None:
    """For a loop: who has been silent for how long; None if nobody asks."""
    return None if IDLE_TIMEOUT_S is None else Silence(by_turns)
