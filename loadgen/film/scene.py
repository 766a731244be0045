"""The scene that every server plays: three clients, in steps, always the same.

    1, 2 and 3 arrive
    1 says half a line, and pauses
    2 says two lines at once
    3 asks for more than it will ever read
    2 says a line: is it answered beside a client that takes nothing?
    1 ends its line
    3 leaves without a word
    2 says a line
    1 and 2 say exit

Steps begin at fixed times, so that films of two servers run on the same clock. The scene ends when
those who said exit have been let go. What a client waits for may never come, and then that is what
the film shows.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from loadgen.target.address import Address

CLIENTS = (1, 2, 3)
# So that 3 is full after some kilobytes, and not after megabytes (socket(7), SO_RCVBUF).
TINY_BUFFER_BYTES = 4_096
ASKED_LINE_BYTES, ASKED_LINES = 30_000, 200
STEP_S, NAP_S = 0.15, 0.002
# After the last step: who serves one client at a time has the others before it; and a busy machine
# takes longer, at most so long, to let those go who said exit.
LAST_S, PATIENCE_S = 0.5, 20.0
SHOWN_BYTES = 60


@dataclass(frozen=True)
class Deed:
    """What a client did or heard; `data` is what it said or heard, `more_bytes` what of it is not
    shown."""

    at_ns: int
    client: int
    what: str
    data: str = ""
    more_bytes: int = 0


@dataclass
class Scene:
    """The clients, and what has happened.

    look  is called again and again meanwhile: to watch what the kernel holds
    """

    address: Address
    look: Callable[[], object] = lambda: None
    deeds: list[Deed] = field(default_factory=list)
    socks: dict[int, socket.socket] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=dict)
    """of the clients' own ends"""

    def play(self) -> None:
        """From the first step to the last."""
        try:
            began_s = time.monotonic()
            for number, step in enumerate(self._steps(), 1):
                step()
                self._listen(began_s + number * STEP_S)
            self._listen(time.monotonic() + LAST_S)
            until_s = time.monotonic() + PATIENCE_S
            while {1, 2} & self.socks.keys() and time.monotonic() < until_s:
                self._listen(time.monotonic() + NAP_S)
        finally:
            for sock in self.socks.values():
                sock.close()

    def _steps(self) -> Iterator[Callable[[], None]]:
        for client in CLIENTS:
            yield lambda client=client: self._arrive(client)  # type: ignore[misc]
        yield lambda: self._say(1, b"wor")
        yield lambda: self._say(2, b"one\ntwo\n")
        yield self._ask_too_much
        yield lambda: self._say(2, b"three\n")
        yield lambda: self._say(1, b"ld\n")
        yield self._vanish
        yield lambda: self._say(2, b"four\n")
        yield lambda: self._say(1, b"exit\n")
        yield lambda: self._say(2, b"exit\n")

    def _note(self, client: int, what: str, data: bytes = b"") -> None:
        shown = data[:SHOWN_BYTES]
        self.deeds.append(
            Deed(time.time_ns(), client, what, shown.decode("latin-1"), len(data) - len(shown))
        )

    def _arrive(self, client: int) -> None:
        sock = socket.socket(self.address.family)
        if client == 3:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TINY_BUFFER_BYTES)
        self._note(client, "arrives")
        sock.connect(self.address.sockaddr)
        sock.setblocking(False)
        self.socks[client] = sock
        self.ports[sock.getsockname()[1]] = client

    def _say(self, client: int, data: bytes) -> None:
        if client not in self.socks:
            return  # it has been let go
        self._note(client, "says", data)
        try:
            self.socks[client].send(data)
        except OSError as error:
            self._note(client, f"fails: {error.strerror}")

    def _ask_too_much(self) -> None:
        line = b"x" * (ASKED_LINE_BYTES - 1) + b"\n"
        unsent = line * ASKED_LINES
        asked = len(unsent)
        self._note(3, "asks, and never reads", line)
        poller = select.poll()
        poller.register(self.socks[3], select.POLLOUT)
        until_s = time.monotonic() + STEP_S / 2
        while unsent and time.monotonic() < until_s:
            self.look()
            if not poller.poll(1000 * NAP_S):
                continue
            try:
                unsent = unsent[self.socks[3].send(unsent) :]
            except OSError:
                break
            self.look()
        self._note(
            3,
            f"has sent {asked - len(unsent):,} bytes; no more are taken"
            if unsent
            else "has sent all",
        )

    def _vanish(self) -> None:
        self._note(3, "leaves without a word")
        self.socks.pop(3).close()

    def _listen(self, until_s: float) -> None:
        """Hear what comes, until then (by the monotonic clock)."""
        while time.monotonic() < until_s:
            for client, sock in list(self.socks.items()):
                if client == 3:
                    continue
                try:
                    data = sock.recv(65_536)
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._note(client, f"fails: {error.strerror}")
                    data = b""
                else:
                    self._note(client, "hears" if data else "hears the end", data)
                if not data:
                    self.socks.pop(client).close()
            self.look()
            time.sleep(NAP_S)
