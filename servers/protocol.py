"""The hello-echo protocol without I/O: bytes in, bytes out, no socket.

    server: Welcome!\\n
    client: world\\n          any bytes but \\n; one \\r before it is dropped
    server: Hello, world!\\n
    client: exit\\n           the server sends what it owes, then closes

A server asks its session two questions, `wants_read` and `wants_write`. When
the answer to both is no, the conversation is over.
"""

from collections.abc import Callable

GREETING = b"Welcome!\n"

# A longer line is an error, so that one client cannot fill the memory.
MAX_LINE_BYTES = 65_536

# While more than this is unsent, the client is not read from: whoever does
# not take answers gets no new ones (back-pressure).
HIGH_WATER_BYTES = 262_144


def hello(line: bytes) -> bytes:
    """What the server answers to one line."""
    return b"Hello, " + line + b"!\n"


class Session:
    """One client's conversation.

    Memory is bounded by the high water, plus the answers to one receive,
    plus one unfinished line.

    respond         computes the answer to one line
    max_line_bytes  limit for the bytes before a newline, a \\r included
    high_water_bytes  unsent bytes above which `wants_read` is false
    """

    __slots__ = (
        "_finished",
        "_high_water_bytes",
        "_max_line_bytes",
        "_respond",
        "_unfinished",
        "outgoing",
        "wants_read",
        "wants_write",
    )

    def __init__(
        self,
        respond: Callable[[bytes], bytes] = hello,
        max_line_bytes: int = MAX_LINE_BYTES,
        high_water_bytes: int = HIGH_WATER_BYTES,
    ) -> None:
        self._respond = respond
        self._max_line_bytes = max_line_bytes
        self._high_water_bytes = high_water_bytes
        self._unfinished = bytearray()
        self._finished = False
        self.outgoing = GREETING
        self.wants_read = True
        self.wants_write = True

    def receive(self, data: bytes) -> None:
        """Take what the client sent; b"" says that it will send no more."""
        if self._finished:
            return
        if self._unfinished:
            self._unfinished += data
            if data and b"\n" not in data and not self._line_is_too_long():
                return
            data = bytes(self._unfinished) if data else b""
            self._unfinished.clear()
        if data:
            self._answer(data)
        else:
            self._finished = True
        self._update()

    def sent(self, count: int) -> None:
        """The first `count` bytes of `outgoing` are on their way."""
        self.outgoing = self.outgoing[count:]
        self._update()

    def abort(self) -> None:
        """The connection broke, or memory ran out: nothing more is said."""
        self._finished = True
        self._unfinished.clear()
        self.outgoing = b""
        self._update()

    def _answer(self, data: bytes) -> None:
        lines = data.split(b"\n")
        self._unfinished += lines.pop()
        answers = []
        for line in lines:
            if len(line) > self._max_line_bytes:
                self._unfinished += line  # reported below, as if unfinished
                break
            if line.endswith(b"\r"):
                line = line[:-1]
            if line == b"exit":
                self._finished = True
                break
            answers.append(self._respond(line))
        if not self._finished and self._line_is_too_long():
            self._finished = True
            limit = self._max_line_bytes
            answers.append(b"Error: line longer than %d bytes\n" % limit)
        if self._finished:
            self._unfinished.clear()
        self.outgoing += b"".join(answers)

    def _line_is_too_long(self) -> bool:
        return len(self._unfinished) > self._max_line_bytes

    def _update(self) -> None:
        unsent = len(self.outgoing)
        self.wants_write = unsent > 0
        self.wants_read = (
            not self._finished and unsent <= self._high_water_bytes
        )
