"""The hello-echo protocol without I/O: bytes in, bytes out, no socket.

    server: Welcome!\\n
    client: world\\n          any bytes but \\n; one \\r before it is dropped
    server: Hello, world!\\n
    client: exit\\n           the server sends what it owes, then closes

A server asks its session two questions, `wants_read` and `wants_write`. When
the answer to both is no, the conversation is over.

A server that computes answers elsewhere, in a pool of threads or in a task,
makes its sessions `deferred` and asks a third question: is there a `request`?
"""

from collections.abc import Callable, Iterator

GREETING = b"Welcome!\n"

# A longer line is an error, so that one client cannot fill the memory.
MAX_LINE_BYTES = 65_536

TIMED_OUT = b"Error: timed out\n"

# While more than this is unsent, the client is not read from: whoever does
# not take answers gets no new ones (back-pressure).
HIGH_WATER_BYTES = 262_144


def hello(line: bytes) -> bytes:
    """What the server answers to one line."""
    return b"Hello, " + line + b"!\n"


class Session:
    """One client's conversation.

    Memory is bounded by the high water, plus the answers to one receive,
    plus one unfinished line; deferred, plus the lines of one receive.

    respond         computes the answer to one line
    max_line_bytes  limit for the bytes before a newline, a \\r included
    high_water_bytes  unsent bytes above which `wants_read` is false
    deferred        leaves the answers to the server: `receive` hands out the
                    first line as `request`, each `answer` the next one, until
                    it is None. Meanwhile `wants_read` is false, so what the
                    client says next waits in the kernel. The conversation
                    lasts until the last request is answered.
    """

    __slots__ = (
        "_deferred",
        "_ended",
        "_finished",
        "_high_water_bytes",
        "_max_line_bytes",
        "_unfinished",
        "_waiting",
        "outgoing",
        "request",
        "respond",
        "wants_read",
        "wants_write",
    )

    def __init__(
        self,
        respond: Callable[[bytes], bytes] = hello,
        max_line_bytes: int = MAX_LINE_BYTES,
        high_water_bytes: int = HIGH_WATER_BYTES,
        deferred: bool = False,
    ) -> None:
        self.respond = respond
        self._max_line_bytes = max_line_bytes
        self._high_water_bytes = high_water_bytes
        self._deferred = deferred
        self._waiting: Iterator[bytes] = iter(())  # lines behind `request`
        self._unfinished = bytearray()
        self._finished = False  # nothing that comes in is answered any more
        self._ended = False  # nothing will come in
        self.request: bytes | None = None
        self.outgoing = GREETING
        self.wants_read = True
        self.wants_write = True

    def receive(self, data: bytes) -> None:
        """Take what the client sent; b"" says that it will send no more.

        Raises RuntimeError while a request waits for its answer.
        """
        if self._finished:
            if not data:
                self._ended = True
                self.wants_read = False
            return
        if self.request is not None:
            raise RuntimeError("received before the request was answered")
        if self._unfinished:
            self._unfinished += data
            if data and b"\n" not in data and not self._line_is_too_long():
                return
            data = bytes(self._unfinished) if data else b""
            self._unfinished.clear()
        if data:
            lines = data.split(b"\n")
            self._unfinished += lines.pop()
            self._answer(iter(lines))
        else:
            self._finished = self._ended = True
        self._update()

    def answer(self, data: bytes) -> None:
        """Take the answer to `request`, which is then the next one or None.

        Raises RuntimeError if there is no request.
        """
        if self.request is None:
            raise RuntimeError("answered without a request")
        self.request = None
        if self._finished:  # aborted meanwhile
            return
        self.outgoing += data
        self._answer(self._waiting)
        self._update()

    def sent(self, count: int) -> None:
        """The first `count` bytes of `outgoing` are on their way."""
        self.outgoing = self.outgoing[count:]
        self._update()

    def time_out(self) -> None:
        """The client has been silent for too long: tell it, and finish.

        Who has been told, or had finished, and takes nothing of what it is
        owed is given up. Who waits for the answer to a request is not silent.
        """
        if self.request is not None:
            return
        if self._finished:
            self.abort()
            return
        self._finish()
        self.outgoing += TIMED_OUT
        self._update()

    def linger(self) -> None:
        """All is sent, and the end of file as well: wait for the client's.

        What it says until then is thrown away.
        """
        self.wants_read = not self._ended

    def abort(self) -> None:
        """The connection broke, or memory ran out: nothing more is said.

        A request keeps waiting for its answer, which is then thrown away.
        """
        self._ended = True
        self._finish()
        self.outgoing = b""
        self._update()

    def _answer(self, lines: Iterator[bytes]) -> None:
        answers = []
        for line in lines:
            if len(line) > self._max_line_bytes:
                self._unfinished += line  # reported below, as if unfinished
                break
            line = line.removesuffix(b"\r")
            if line == b"exit":
                self._finish()
                break
            if self._deferred:
                self.request = line
                self._waiting = lines
                return
            answers.append(self.respond(line))
        if self._unfinished and self._line_is_too_long():
            self._finish()
            limit = self._max_line_bytes
            answers.append(b"Error: line longer than %d bytes\n" % limit)
        self.outgoing += b"".join(answers)

    def _finish(self) -> None:
        self._finished = True
        self._unfinished.clear()
        self._waiting = iter(())

    def _line_is_too_long(self) -> bool:
        return len(self._unfinished) > self._max_line_bytes

    def _update(self) -> None:
        unsent = len(self.outgoing)
        self.wants_write = unsent > 0
        self.wants_read = (
            not self._finished
            and self.request is None
            and unsent <= self._high_water_bytes
        )
