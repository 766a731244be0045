r"""HTTP/1.1 without sockets: bytes in, bytes out, beside the hello session.

It has the words of protocol.py's Session, so no server knows which of the two
it talks to. What it takes and refuses is RFC 9112's, what it answers RFC
9110's; paragraphs are named where something follows from them.

    GET /?NAME    without a folder: a page that says hello, as the other does
    GET /a/b.txt  with one: the file, whole or a range of it, if it is news

Refused is all that two readers may understand in different ways, because what
one of them takes for a body is a request to the other (RFC 9112, 11.2): two
lengths, a length beside a transfer coding, bare LF and CR, folded lines,
blanks before the colon. Who is refused is answered and then hung up on.
"""

import datetime
import email.utils
import errno
import functools
import mimetypes
import os
import re
import stat
import time
import urllib.parse
from collections.abc import Callable
from typing import NamedTuple

from servers.protocol import HIGH_WATER_BYTES, MAX_LINE_BYTES, hello

# A longer body is refused. None is of use here: what is received is thrown
# away, so that the next request on the connection is found behind it.
MAX_BODY_BYTES = 1_048_576

# So much of a file is in memory at a time, per client.
PIECE_BYTES = 65_536

# The line with the size of a chunk. Extensions are allowed to be there, and
# have to be limited (RFC 9112, 7.1.1).
MAX_CHUNK_LINE_BYTES = 1_024

# Whoever asks again mostly sends the same fields again, so these many blocks
# of at most so many bytes are remembered, parsed, for all clients.
REMEMBERED_BLOCKS = 256
REMEMBERED_BYTES = 1_024

PAGE = b"<!doctype html>\n<title>Hello</title>\n<p>"
PAGE_TYPE = b"Content-Type: text/html; charset=utf-8\r\n"
PLAIN_PAGE = b"HTTP/1.1 200 OK\r\n%bContent-Length: %%d\r\n%b%b%%b" % (
    PAGE_TYPE,
    b"Date: %b\r\n\r\n",
    PAGE,
)
TEXT_TYPE = b"Content-Type: text/plain; charset=utf-8\r\n"

PHRASES = {
    200: b"OK",
    206: b"Partial Content",
    301: b"Moved Permanently",
    304: b"Not Modified",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}

ANSWERED = (b"GET", b"HEAD")
# Known, and not allowed (405); any other method is not implemented (501).
NOT_ALLOWED = {
    *(b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE"),
    b"PATCH",
}

# What is kept of a request's fields; the others mean nothing here.
KEPT = {
    *(b"host", b"connection", b"content-length", b"transfer-encoding"),
    *(b"expect", b"range", b"if-range", b"if-match", b"if-none-match"),
    *(b"if-modified-since", b"if-unmodified-since"),
}
ONLY_ONCE = {b"host", b"content-length"}

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, 5.6.2
TOKEN_BYTES = frozenset(
    byte for byte in range(256) if re.fullmatch(TOKEN, bytes([byte]))
)
# No alternative can match what another one does, so time is linear.
REQUEST_LINE = re.compile(rb"(%b) ([!-~]+) HTTP/(\d)\.(\d)" % TOKEN)
FIELDS = re.compile(rb"(?:%b:[\t -~\x80-\xff]*\r\n)*" % TOKEN)
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)(?:[\t ]*;[\t -~\x80-\xff]*)?\r\n")
# With an empty line; each ends in one, whatever stands before it.
ENDS_OF_FIELDS = (b"\n\r\n", b"\n\n")
# uri-host [":" port], where the host may be empty (RFC 9110, 7.2).
HOST = re.compile(
    rb"(?:\[[0-9A-Za-z:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::\d*)?"
)
ABSOLUTE = re.compile(rb"https?://([^/?#:][^/?#]*)(.*)", re.IGNORECASE)
NOT_AN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
MARKUP = re.compile(rb"[&<>\"']")
RANGE = re.compile(rb"bytes=(\d{0,999})-(\d{0,999})", re.IGNORECASE)
ENTITY_TAG = re.compile(rb'(?:W/)?("[!#-~\x80-\xff]*")')

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)

CHUNKED = -1

# What the next bytes are.
HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER = range(6)


class RefusedError(Exception):
    """A request that is answered by an error, and what follows it by none."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Fields(NamedTuple):
    """What the fields of a request say.

    values   of those that are KEPT, by their names in small letters
    persist  "close" (False), "keep-alive" (True), or neither (None)
    length   of the body, in bytes; CHUNKED if nobody knows yet
    expects  the client waits for 100 before it sends the body
    plain    there is a Host, and nothing that makes the page another one
    """

    values: dict[bytes, bytes]
    persist: bool | None
    length: int
    expects: bool
    plain: bool


class Request(NamedTuple):
    """A request whose body is still to come, or has come.

    status  what it is answered with if it is an error, else 200
    """

    method: bytes
    target: bytes
    fields: Fields
    connection: bytes
    closes: bool
    status: int


class File:
    """An open file, its size and when it was changed.

    Closed when nobody has it any more, at the latest: not every server says
    that a client has left, and some merely forget the session.
    """

    __slots__ = ("fd", "modified_ns", "name", "size")

    def __init__(self, fd: int, name: bytes) -> None:
        self.fd = fd
        self.name = name
        about = os.fstat(fd)
        self.size = about.st_size
        self.modified_ns = about.st_mtime_ns

    def close(self) -> None:
        """Give the descriptor back, once."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


class HttpSession:
    """One client's requests, and the answers in their order.

    Memory is bounded by one head, one receive, the high water, one answer
    and one piece of a file. While more than the high water is unsent, or a
    file is being sent, no request is looked at: what has come in waits here,
    and what comes later in the kernel.

    Reading a file may wait for a disk, which no way of waiting for sockets
    can see (epoll_ctl(2), EPERM); a server with one thread waits with it.

    respond         computes the hello of the page; called for every request
                    that is in order, so that each has its cost
    max_line_bytes  limit for a head, from its first line to the empty one
    high_water_bytes  unsent bytes above which `wants_read` is false
    deferred        leaves `respond` to the server, as in protocol.py
    root            serve the files below this folder (as open_root() has it)
    max_body_bytes  limit for a body, as it is sent: chunk sizes included
    """

    __slots__ = (
        "_body_bytes",
        "_current",
        "_deferred",
        "_ended",
        "_file",
        "_finished",
        "_from",
        "_high_water_bytes",
        "_incoming",
        "_left",
        "_lingering",
        "_max_body_bytes",
        "_max_head_bytes",
        "_root",
        "_said",
        "_scanned",
        "_state",
        "_unsent",
        "_until",
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
        root: bytes | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.respond = respond
        self._max_head_bytes = max_line_bytes
        self._high_water_bytes = high_water_bytes
        self._deferred = deferred
        self._root = root
        self._max_body_bytes = max_body_bytes
        self._incoming = b""  # what has not been looked at
        self._scanned = 0  # of it, without the end of a head
        self._state = HEAD
        self._left = 0  # bytes of a body or chunk that are still to come
        self._body_bytes = 0  # of a chunked body that have come
        self._current: Request | None = None
        self._waiting = False  # there may be requests in _incoming
        self._ended = False
        self._finished = False
        self._lingering = False
        self._said: list[bytes] = []  # soon in outgoing
        self._unsent = 0  # bytes there and here
        self._file: File | None = None
        self._from = self._until = 0  # what is to be sent of it
        self.request: bytes | None = None
        self.outgoing = b""
        self.wants_read = True
        self.wants_write = False

    def receive(self, data: bytes) -> None:
        """Take what the client sent; b"" says that it will send no more.

        Raises RuntimeError while a request waits for its answer.
        """
        if self._finished:
            if not data:
                self._lingering = False
                self._update()
            return
        if self.request is not None:
            raise RuntimeError("received before the request was answered")
        if not data:
            self._ended = True
        elif self._incoming:
            self._incoming += data
        else:
            self._incoming = data
        self._proceed()
        self._update()

    def answer(self, data: bytes) -> None:
        """Take what `respond` has computed for `request`, which is then the
        next one or None.

        Raises RuntimeError if there is no request.
        """
        if self.request is None:
            raise RuntimeError("answered without a request")
        self.request = None
        if self._finished:  # aborted meanwhile
            return
        self._answer(data)
        self._proceed()
        self._update()

    def sent(self, count: int) -> None:
        """The first `count` bytes of `outgoing` are on their way."""
        self.outgoing = self.outgoing[count:]
        self._unsent = len(self.outgoing)
        if self._file is not None and not self._unsent:
            self._read_on()
        if self._waiting:
            self._proceed()
        self._update()

    def abort(self) -> None:
        """The connection broke, or memory ran out: nothing more is said.

        A request keeps waiting for its answer, which is then thrown away.
        """
        self._finish()
        self._lingering = False
        self._close_file()
        self._said.clear()
        self.outgoing = b""
        self._unsent = 0
        self._update()

    def time_out(self) -> None:
        """The client has been silent for too long.

        In the middle of a request that is an error, between two of them it is
        not; a second time, with answers not taken, it is the end.
        """
        if self.request is not None:
            return  # it waits for us
        if self._finished:
            self.abort()
            return
        halfway = self._state != HEAD or self._incoming
        if halfway and not self._waiting:
            self._refuse(408, self._incoming[:5])
            self._speak()
        self._finish()
        self._update()

    def linger(self) -> None:
        """Everything is sent, the sending side is shut down: from now on throw
        away what comes in, until the client's end."""
        self._finish()
        self._lingering = True
        self._update()

    # What has come in.

    def _proceed(self) -> None:
        """Look at what has come in, as far as answers may be kept."""
        data, at = self._incoming, 0
        self._waiting = False
        try:
            while not self._finished:
                if (
                    self._file is not None
                    or self.request is not None
                    or self._unsent > self._high_water_bytes
                ):
                    self._waiting = True
                    break
                after = self._step(data, at) if at < len(data) else -1
                if after < 0:  # there has to be more
                    if self._ended:
                        self._finish()
                    break
                at = after
        except RefusedError as refusal:
            self._refuse(refusal.status, data[at : at + 5])
        if self._finished:
            self._incoming = b""
        elif at:
            self._incoming = data[at:]
        self._speak()

    def _speak(self) -> None:
        if self._said:
            self.outgoing += b"".join(self._said)
            self._said.clear()

    def _step(self, data: bytes, at: int) -> int:
        """Take the next thing that stands there: what follows it, or -1 if
        that is not all of it. Raises RefusedError."""
        if self._state == HEAD:
            return self._take_head(data, at)
        if self._state in (BODY, CHUNK):
            taken = min(self._left, len(data) - at)
            self._left -= taken
            if not self._left:
                if self._state == CHUNK:
                    self._state = CHUNK_END
                else:
                    self._take_request()
            return at + taken
        if self._state == CHUNK_SIZE:
            return self._take_chunk_size(data, at)
        if self._state == CHUNK_END:
            if not b"\r\n".startswith(data[at : at + 2]):
                raise RefusedError(400)
            self._state = CHUNK_SIZE if len(data) - at > 1 else CHUNK_END
            return at + 2 if len(data) - at > 1 else -1
        return self._take_trailer(data, at)

    def _take_head(self, data: bytes, at: int) -> int:
        if data[at] not in TOKEN_BYTES:
            # Empty lines before a request are overlooked (RFC 9112, 2.2).
            if data.startswith(b"\r\n", at):
                return at + 2
            if data[at] == 13 and len(data) == at + 1:
                return -1
            raise RefusedError(400)
        end = data.find(b"\r\n\r\n", at) + 4
        if not 4 <= end - at <= self._max_head_bytes:
            end = self._end_of_fields(data, at)
            if end < 0:
                return -1
        line_end = data.find(b"\r\n", at, end)
        line = REQUEST_LINE.fullmatch(data, at, line_end)
        if line is None or data[end - 2] != 13:
            raise RefusedError(400)
        method, target, major, minor = line.groups()
        block = data[line_end + 2 : end - 2]
        if len(block) <= REMEMBERED_BYTES:
            fields = parse_remembered(block)
        else:
            fields = parse(block)
        if major != b"1":
            raise RefusedError(505)
        # The short way to the same answer, for nearly everybody who asks for
        # the page: it saves a quarter of the time.
        if (
            fields.plain
            and method == b"GET"
            and target.startswith(b"/?")
            and minor != b"0"
            and self._root is None
            and not self._deferred
        ):
            name = target[2:]
            if MARKUP.search(name):
                name = escaped(name)
            data = self.respond(name)
            self._say(PLAIN_PAGE % (len(PAGE) + len(data), today(), data))
            return end
        self._begin(method, target, minor != b"0", fields)
        return end

    def _end_of_fields(self, data: bytes, at: int) -> int:
        """Where they end, the empty line included; -1 if they go on.

        Raises RefusedError: 414 or 431 where they are too long. A bare LF
        counts as the end of a line, so that nobody waits for what will be
        refused.
        """
        start = at + self._scanned
        ends = [
            found + len(end)
            for end in ENDS_OF_FIELDS
            if (found := data.find(end, start)) >= 0
        ]
        end = min(ends, default=0)
        length = (end or len(data)) - at
        if length > self._max_head_bytes:
            line_end = data.find(b"\n", at, at + self._max_head_bytes)
            first_line = self._state == HEAD and line_end < 0
            raise RefusedError(414 if first_line else 431)
        self._scanned = 0 if end else max(0, length - 2)
        return end or -1

    def _take_chunk_size(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at, at + MAX_CHUNK_LINE_BYTES) + 1
        if not end:
            if len(data) - at >= MAX_CHUNK_LINE_BYTES:
                raise RefusedError(400)
            return -1
        line = CHUNK_LINE.fullmatch(data, at, end)
        if line is None:
            raise RefusedError(400)
        size = int(line[1], 16)
        self._body_bytes += end - at + size + 2
        if self._body_bytes > self._max_body_bytes:
            raise RefusedError(413)
        self._left = size
        self._state = CHUNK if size else TRAILER
        return end

    def _take_trailer(self, data: bytes, at: int) -> int:
        if data[at] == 13:
            if data.startswith(b"\r\n", at):
                self._take_request()
                return at + 2
            if len(data) == at + 1:
                return -1
        if data[at] not in TOKEN_BYTES:
            raise RefusedError(400)
        end = self._end_of_fields(data, at)
        if end < 0:
            return -1
        block = data[at : end - 2]
        if not data.endswith(b"\r\n", at, end) or not FIELDS.fullmatch(block):
            raise RefusedError(400)
        self._take_request()
        return end

    def _begin(
        self, method: bytes, target: bytes, later: bool, fields: Fields
    ) -> None:
        """A head is complete. Raises RefusedError.

        later  the client speaks HTTP/1.1, or what comes after it
        """
        if later and b"host" not in fields.values:
            raise RefusedError(400)  # RFC 9112, 3.2
        if fields.length == CHUNKED and not later:
            raise RefusedError(400)  # RFC 9112, 6.1
        if later:
            closes = fields.persist is False
            connection = b"Connection: close\r\n" if closes else b""
        else:
            closes = not fields.persist
            connection = b"Connection: %b\r\n" % (
                b"close" if closes else b"keep-alive"
            )
        status = 200
        if method not in ANSWERED:
            status = 405 if method in NOT_ALLOWED else 501
        elif not target.startswith(b"/"):
            absolute = ABSOLUTE.fullmatch(target)
            if absolute is None or not HOST.fullmatch(absolute[1]):
                raise RefusedError(400)
            target = absolute[2]
            if not target.startswith(b"/"):
                target = b"/" + target
        self._current = Request(
            method, target, fields, connection, closes, status
        )
        if not fields.length:
            self._take_request()
            return
        if fields.length > self._max_body_bytes:
            raise RefusedError(413)
        if fields.expects and later:
            if status != 200:
                raise RefusedError(status)  # before the body is sent
            self._say(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._left = fields.length
        self._body_bytes = 0
        self._state = CHUNK_SIZE if fields.length == CHUNKED else BODY

    def _take_request(self) -> None:
        """The request is complete, body and all."""
        self._state = HEAD
        request = self._current
        assert request is not None
        if request.status != 200:
            self._report(request.status)
            return
        subject = request.target
        if self._root is None:
            _, asks, subject = subject.partition(b"?")
            if not asks:
                subject = b"world"
            if MARKUP.search(subject):
                subject = escaped(subject)
        if self._deferred:
            self.request = subject
        else:
            self._answer(self.respond(subject))

    # What is answered.

    def _answer(self, data: bytes) -> None:
        """Answer the current request; `data` says hello."""
        request = self._current
        assert request is not None
        if self._root is not None:
            self._answer_with_file(request, self._root)
        elif request.target == b"/" or request.target.startswith(b"/?"):
            self._reply(request, 200, PAGE_TYPE, PAGE + data)
        else:
            self._report(404)

    def _answer_with_file(self, request: Request, root: bytes) -> None:
        try:
            file = open_below(root, request.target.partition(b"?")[0])
        except RefusedError as refusal:
            self._report(refusal.status)
            return
        if file is None:
            # Never two slashes: they would be another host (RFC 3986, 4.2).
            path, asks, query = request.target.partition(b"?")
            where = b"/" + path.lstrip(b"/") + b"/" + asks + query
            self._report(301, b"Location: %b\r\n" % where)
            return
        tag = b'"%x-%x"' % (file.size, file.modified_ns)
        modified_s = file.modified_ns // 10**9
        about = b"Last-Modified: %b\r\nETag: %b\r\n" % (
            http_date(modified_s),
            tag,
        )
        values = request.fields.values
        status = precondition(values, tag, modified_s)
        if status == 304:
            self._reply(request, 304, about, None)
        elif status == 412:
            self._report(412)
        else:
            first, until, status = 0, file.size, 200
            if request.method == b"GET" and b"range" in values:
                if_range = values.get(b"if-range")
                if if_range is None or unchanged(if_range, tag, modified_s):
                    first, until, status = part(values[b"range"], file.size)
            if status == 416:
                about = b"Content-Range: bytes */%d\r\n" % file.size
                self._report(416, about)
            else:
                about += b"Accept-Ranges: bytes\r\n"
                if status == 206:
                    about += b"Content-Range: bytes %d-%d/%d\r\n" % (
                        first,
                        until - 1,
                        file.size,
                    )
                about = content_type(file.name) + about
                self._head(request, status, about, until - first)
                if request.method == b"GET" and first < until:
                    self._file, self._from, self._until = file, first, until
                    self._speak()
                    self._read_on()
                    return
        file.close()

    def _read_on(self) -> None:
        """Send the next piece of the file, and close it after the last."""
        assert self._file is not None
        count = min(PIECE_BYTES, self._until - self._from)
        try:
            piece = os.pread(self._file.fd, count, self._from)
        except OSError:
            piece = b""
        if not piece:
            # It has become shorter, or cannot be read. To hang up before the
            # length that was promised says so (RFC 9112, 8).
            self._finish()
            self._close_file()
            return
        self._from += len(piece)
        self.outgoing += piece
        self._unsent = len(self.outgoing)
        if self._from == self._until:
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _report(self, status: int, about: bytes = b"") -> None:
        """Answer the current request with a status and what it means."""
        assert self._current is not None
        if status == 405:
            about = b"Allow: GET, HEAD\r\n"
        body = b"%d %b\n" % (status, PHRASES[status])
        self._reply(self._current, status, TEXT_TYPE + about, body)

    def _refuse(self, status: int, start: bytes) -> None:
        """Answer what is no request, or not all of one, and finish.

        start  its first bytes, unless its head is complete
        """
        method = self._current.method if self._current else start[:-1]
        fields = Fields({}, False, 0, False, False)
        connection = b"Connection: close\r\n"
        self._current = Request(method, b"", fields, connection, True, status)
        self._report(status)

    def _reply(
        self, request: Request, status: int, about: bytes, body: bytes | None
    ) -> None:
        self._head(request, status, about, None if body is None else len(body))
        if body is not None and request.method != b"HEAD":
            self._say(body)

    def _head(
        self, request: Request, status: int, about: bytes, length: int | None
    ) -> None:
        if length is not None:
            about += b"Content-Length: %d\r\n" % length
        self._say(
            b"HTTP/1.1 %d %b\r\n%b%bDate: %b\r\n\r\n"
            % (status, PHRASES[status], about, request.connection, today())
        )
        self._current = None
        if request.closes:
            self._finish()

    def _say(self, data: bytes) -> None:
        self._said.append(data)
        self._unsent += len(data)

    def _finish(self) -> None:
        self._finished = True
        self._waiting = False
        self._incoming = b""

    def _update(self) -> None:
        self.wants_write = self._unsent > 0
        self.wants_read = self._lingering or not (
            self._finished
            or self._waiting
            or self._file is not None
            or self.request is not None
            or self._unsent > self._high_water_bytes
        )


def parse(block: bytes) -> Fields:
    """What a request's field lines say, each with its CR LF.

    Raises RefusedError: 400, 417 or 501.
    """
    if FIELDS.fullmatch(block) is None:
        raise RefusedError(400)
    values: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name not in KEPT:
            continue
        value = value.strip(b"\t ")
        if name in values:
            if name in ONLY_ONCE:
                raise RefusedError(400)  # RFC 9112, 3.2 and 6.3
            value = values[name] + b", " + value  # RFC 9110, 5.3
        values[name] = value
    if not HOST.fullmatch(values.get(b"host", b"")):
        raise RefusedError(400)
    persist = None
    options = elements(values.get(b"connection", b""))
    if b"close" in options:
        persist = False
    elif b"keep-alive" in options:
        persist = True
    expectations = elements(values.get(b"expect", b""))
    if expectations - {b"100-continue"}:
        raise RefusedError(417)
    length, expects = body_length(values), bool(expectations)
    plain = b"host" in values and persist is None and not length
    return Fields(values, persist, length, expects, plain)


parse_remembered = functools.lru_cache(REMEMBERED_BLOCKS)(parse)


def body_length(values: dict[bytes, bytes]) -> int:
    """The length of a request's body, or CHUNKED (RFC 9112, 6.3).

    Raises RefusedError: 400, 413 or 501.
    """
    length = values.get(b"content-length")
    codings = values.get(b"transfer-encoding")
    if codings is not None:
        *others, last = [
            coding.strip(b"\t ") for coding in codings.lower().split(b",")
        ]
        if length is not None or last != b"chunked" or last in others:
            raise RefusedError(400)
        if others:
            raise RefusedError(501)
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit():
        raise RefusedError(400)
    length = length.lstrip(b"0")
    if len(length) > 18:  # 10**18 bytes; int() takes no number of any length
        raise RefusedError(413)
    return int(length or b"0")


def elements(value: bytes) -> set[bytes]:
    """Those of a list, in small letters; empty ones do not count."""
    return {one.strip(b"\t ") for one in value.lower().split(b",")} - {b""}


def escaped(text: bytes) -> bytes:
    """As text in HTML."""
    for plain, entity in (
        (b"&", b"&amp;"),
        (b"<", b"&lt;"),
        (b">", b"&gt;"),
        (b'"', b"&quot;"),
        (b"'", b"&#x27;"),
    ):
        text = text.replace(plain, entity)
    return text


_today = (0, b"")


def today() -> bytes:
    """The date and time, formatted once per second."""
    global _today
    now_s = int(time.time())
    if _today[0] != now_s:
        _today = now_s, http_date(now_s)
    return _today[1]


def http_date(seconds: int) -> bytes:
    """As RFC 9110, 5.6.7 has it: always in English, always in GMT."""
    t = time.gmtime(seconds)
    return (
        f"{DAYS[t.tm_wday]}, {t.tm_mday:02} {MONTHS[t.tm_mon - 1]} "
        f"{t.tm_year:04} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    ).encode()


def seconds_of(date: bytes) -> int | None:
    """The time that a client says, in any of the three formats; None if it
    is none."""
    try:
        parsed = email.utils.parsedate_tz(date.decode("ascii"))
        if parsed is None:
            return None
        moment = datetime.datetime(*parsed[:6], tzinfo=datetime.UTC)
        return int(moment.timestamp()) - (parsed[9] or 0)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def precondition(
    values: dict[bytes, bytes], tag: bytes, modified_s: int
) -> int:
    """200, or 304 or 412 where it is not met (RFC 9110, 13.2.2)."""
    if b"if-match" in values:
        if not names(values[b"if-match"], tag, strong=True):
            return 412
    elif b"if-unmodified-since" in values:
        since_s = seconds_of(values[b"if-unmodified-since"])
        if since_s is not None and modified_s > since_s:
            return 412
    if b"if-none-match" in values:
        if names(values[b"if-none-match"], tag):
            return 304
    elif b"if-modified-since" in values:
        since_s = seconds_of(values[b"if-modified-since"])
        if since_s is not None and modified_s <= since_s:
            return 304
    return 200


def names(tags: bytes, tag: bytes, strong: bool = False) -> bool:
    """Is `tag` in the list? A strong comparison takes no weak one for equal
    (RFC 9110, 8.8.3.2)."""
    return tags == b"*" or any(
        match[1] == tag and not (strong and match[0].startswith(b"W/"))
        for match in ENTITY_TAG.finditer(tags)
    )


def unchanged(if_range: bytes, tag: bytes, modified_s: int) -> bool:
    """Does If-Range name what there is now (RFC 9110, 13.1.5)?

    A date does so to the second, and not in the second after a change, when
    there may be another one (8.8.2.2).
    """
    if if_range.startswith((b'"', b"W/")):
        return if_range == tag
    return seconds_of(if_range) == modified_s and modified_s < time.time() - 2


def part(wanted: bytes, size: int) -> tuple[int, int, int]:
    """Which part of a file a Range asks for: (first, until, status).

    What is not one range of bytes is answered with all of it, several ranges
    among them: a server may overlook the field (RFC 9110, 14.2).
    """
    match = RANGE.fullmatch(wanted)
    if match is None or not (match[1] or match[2]):
        return 0, size, 200
    if not match[1]:  # so many of the last
        first, until = max(0, size - int(match[2])), size
        if not size and int(match[2]):
            return 0, 0, 200  # nothing, which Content-Range has no words for
    else:
        first = int(match[1])
        until = int(match[2]) + 1 if match[2] else size
        if match[2] and until <= first:
            return 0, size, 200
    if first >= size:
        return 0, 0, 416
    return first, min(until, size), 206


def content_type(name: bytes) -> bytes:
    """By what stands behind the last dot of a name."""
    kind, encoding = mimetypes.guess_type("/" + os.fsdecode(name))
    if kind is None or encoding is not None:
        kind = "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    return b"Content-Type: %b\r\n" % kind.encode()


def open_root(folder: str) -> bytes:
    """A folder to serve from, as the session takes it.

    Raises OSError: it is not there, or is no folder, or may not be read.
    """
    if not folder:  # else it would be the one we are in
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    where = os.path.realpath(os.fsencode(folder), strict=True)
    os.scandir(where).close()
    mimetypes.init()  # now, and not when somebody waits for it
    return where.rstrip(b"/") + b"/"


def open_below(root: bytes, target: bytes) -> File | None:
    """Open the file that the path of a target names; None if it is a folder
    and the path does not end in a slash.

    Raises RefusedError: 400, 404 or 503. Looked at is where the kernel says
    that we arrived, and not where the path seemed to lead before: between the
    two somebody may put a link into the way. And what is looked at is not
    opened yet (O_PATH, open(2)): a pipe would wait for a writer, and a device
    may do whatever it does. So neither links nor races lead out.
    """
    if NOT_AN_ESCAPE.search(target):
        raise RefusedError(400)
    path = urllib.parse.unquote_to_bytes(target)
    folder_wanted = path.endswith((b"/", b"/."))
    steps = [step for step in path.split(b"/") if step not in (b"", b".")]
    if b".." in steps or b"\0" in path:
        raise RefusedError(404)
    places = []
    try:
        places.append(os.open(root + b"/".join(steps), os.O_PATH))
        where = place(places[-1], root)
        if where is not None and stat.S_ISDIR(os.fstat(places[-1]).st_mode):
            if not folder_wanted:
                return None
            steps.append(b"index.html")
            places.append(os.open(b"index.html", os.O_PATH, dir_fd=places[-1]))
            where = place(places[-1], root)
        elif folder_wanted:
            raise RefusedError(404)
        if where is None or not stat.S_ISREG(os.fstat(places[-1]).st_mode):
            raise RefusedError(404)
        fd = os.open(
            b"/proc/self/fd/%d" % places[-1], os.O_RDONLY | os.O_NONBLOCK
        )
        return File(fd, steps[-1])
    except OSError as error:
        full = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
        raise RefusedError(503 if error.errno in full else 404) from None
    finally:
        for fd in places:
            os.close(fd)


def place(fd: int, root: bytes) -> bytes | None:
    """Where an open file is (proc(5), /proc/PID/fd); None outside of root."""
    where = os.readlink(b"/proc/self/fd/%d" % fd)
    return where if (where + b"/").startswith(root) else None
