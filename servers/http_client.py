"""The tutorials' other client: ask for one page over a plain socket.

python -m servers client --http http://127.0.0.1:8000/ -o page.html

It prints what the server says of the page, then the page, or saves it.
"""

import os
import re
import socket
import sys
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from servers import command_line, common

# Nobody needs longer headers; whoever sends them means no good.
MAX_HEAD_BYTES = 65_536

# host[:port], where an IPv6 address stands in brackets (RFC 3986, 3.2).
URL = re.compile(
    r"http://(?:\[(?P<v6>[0-9A-Za-z:.%]+)\]|(?P<name>[A-Za-z0-9._~-]+))"
    r"(?::(?P<port>\d*))?(?P<path>/[!-\"$-~]*|\?[!-\"$-~]*|)(?:#.*)?",
    re.IGNORECASE,
)
STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})(?: [^\r\n]*)?\r?\n")


class Address(NamedTuple):
    """What a URL names: whom to ask, and for what."""

    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As the Host field has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"


def parse(url: str) -> Address:
    """What a URL means. Raises ValueError, in words for people."""
    scheme, colon, _ = url.partition("://")
    if colon and scheme.lower() == "https":
        raise ValueError("https needs TLS, which this client does not speak")
    match = URL.fullmatch(url)
    if match is None:
        raise ValueError("not like http://HOST[:PORT]/PATH")
    port = int(match["port"] or 80) if len(match["port"] or "") < 9 else 0
    if not 0 < port <= 65_535:
        raise ValueError(f"there is no port {match['port']}")
    path = match["path"]
    if not path.startswith("/"):
        path = "/" + path
    return Address(match["v6"] or match["name"], port, path)


def run(url: str, output: str | None) -> None:
    """Print the headers of the page, and save it in `output` or print it."""
    try:
        address = parse(url)
    except ValueError as error:
        command_line.misused(f"{url!r}: {error}")
    if output is not None:
        folder = os.path.dirname(output) or "."
        if os.path.isdir(output) or not os.path.isdir(folder):
            command_line.misused(
                f"cannot save in {output!r}: no such place for a file"
            )
    where = f"{address.host} port {address.port}"
    try:
        with socket.create_connection((address.host, address.port)) as sock:
            sock.sendall(
                b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
                % (address.path.encode(), address.authority.encode())
            )
            with sock.makefile("rb") as answer:
                head, pieces = receive(answer)
                common.say(head)
                if output is not None:
                    save(pieces, output)
                    return
                for piece in pieces:
                    common.say(piece)
    except (OSError, UnicodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.exit(f"error: cannot get a page from {where}: {reason}")
    except KeyboardInterrupt:
        pass


def save(pieces: Iterator[bytes], output: str) -> None:
    """Write the page into a file, as it comes; status 1 if that fails."""
    try:
        # Not in a `with`: its errors are not those of the socket.
        file = open(output, "wb", buffering=0)  # noqa: SIM115
    except OSError as error:
        sys.exit(f"error: cannot write {output!r}: {error.strerror}")
    with file:
        for piece in pieces:
            try:
                while piece:
                    piece = piece[file.write(piece) :]
            except OSError as error:
                sys.exit(f"error: cannot write {output!r}: {error.strerror}")


def receive(answer: BinaryIO) -> tuple[bytes, Iterator[bytes]]:
    """The head of the answer, with its empty line, and the body in pieces.

    Raises ValueError: that is no answer. ConnectionError: it has an end, and
    is not all. The pieces raise them, too.
    """
    while True:
        head = b""
        while not head.endswith((b"\n\r\n", b"\n\n")):
            line = answer.readline(MAX_HEAD_BYTES)
            head += line
            if not line:
                raise ConnectionError("it hung up before it had answered")
            if len(head) >= MAX_HEAD_BYTES:
                raise ValueError("headers without end")
            if not STATUS_LINE.match(head):
                raise ValueError("that was no HTTP/1.1")
        status = int(head.split()[1])
        if status >= 200:  # before that, it says that it will answer
            break
    fields: dict[bytes, bytes] = {}
    for line in head.splitlines()[1:]:
        name, _, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip().lower()
    length = fields.get(b"content-length")
    if status in (204, 304):
        return head, iter(())
    if fields.get(b"transfer-encoding", b"").endswith(b"chunked"):
        return head, chunks(answer)
    if length is None:  # until it hangs up (RFC 9112, 6.3)
        return head, iter(lambda: answer.read(common.RECEIVE_BYTES), b"")
    if not length.isdigit() or len(length) > 18:
        raise ValueError(f"a length of {length.decode(errors='replace')!r}")
    return head, exactly(answer, int(length))


def exactly(answer: BinaryIO, length: int) -> Iterator[bytes]:
    """So many bytes. Raises ConnectionError if there are less."""
    left = length
    while left:
        piece = answer.read(min(left, common.RECEIVE_BYTES))
        if not piece:
            raise ConnectionError(
                f"it hung up {left:,} bytes before the end of the page"
            )
        left -= len(piece)
        yield piece


def chunks(answer: BinaryIO) -> Iterator[bytes]:
    """A body whose length nobody knew before (RFC 9112, 7.1)."""
    while True:
        line = answer.readline(MAX_HEAD_BYTES)
        if not line:
            raise ConnectionError("it hung up before the end of the page")
        size = line.partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
            raise ValueError("a chunk without a size")
        length = int(size, 16)
        if not length:
            break
        yield from exactly(answer, length)
        if answer.read(2) != b"\r\n":
            raise ValueError("a chunk longer than it said")
    while answer.readline(MAX_HEAD_BYTES) not in (b"\r\n", b"\n", b""):
        pass  # fields after the body
