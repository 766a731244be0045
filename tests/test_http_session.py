"""HTTP without sockets: what is refused and what is answered, in whatever pieces it comes; against
h11 (by its maintainers the reference for a parser without I/O), as client and as judge."""

import gc
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from servers import http_session
from servers.http_session import MAX_BODY_BYTES, PIECE_BYTES, HttpSession, open_root
from servers.protocol import HIGH_WATER_BYTES, MAX_LINE_BYTES

# A CPU that is busy elsewhere must not fail a property.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

NOW = b"Sun, 06 Nov 1994 08:49:37 GMT"
TINY_HEAD_BYTES = 80
TINY_HIGH_WATER_BYTES = 300
TINY_BODY_BYTES = 40


@pytest.fixture(autouse=True, scope="module")
def no_time_passes() -> Iterator[None]:
    """Else two answers that are compared may differ in their Date."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_session, "today", lambda: NOW)
        yield


def request(target: bytes = b"/?a", *fields: bytes, method: bytes = b"GET") -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: lab", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def page(name: bytes = b"a", connection: bytes = b"", body: bool = True) -> bytes:
    """The answer with the page, to the byte: the load generator counts on it."""
    text = b"<!doctype html>\n<title>Hello</title>\n<p>Hello, %b!\n" % name
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n"
        b"%bDate: %b\r\n\r\n%b" % (len(text), connection, NOW, text if body else b"")
    )


def error(text: bytes, fields: bytes = b"", closes: bool = True, body: bool = True) -> bytes:
    connection = b"Connection: close\r\n" if closes else b""
    return (
        b"HTTP/1.1 %b\r\nContent-Type: text/plain; charset=utf-8\r\n%bContent-Length: %d\r\n"
        b"%bDate: %b\r\n\r\n%b"
        % (text, fields, len(text) + 1, connection, NOW, text + b"\n" if body else b"")
    )


def take_all(session: HttpSession) -> bytes:
    """Everything the session wants to send now, and what it then wants to send, and so on."""
    said = b""
    while session.wants_write:
        said += session.outgoing
        session.sent(len(session.outgoing))
    return said


def talk(session: HttpSession, pieces: list[bytes], sends: Iterator[int] | None = None) -> bytes:
    """A whole conversation as a server would hold it; the end of the stream follows by itself."""
    said = b""
    incoming = iter([*pieces, b""])
    while session.wants_read or session.wants_write or session.request is not None:
        if session.wants_read:
            session.receive(next(incoming))
        while session.request is not None:
            session.answer(session.respond(session.request))
        if session.wants_write:
            count = min(next(sends), len(session.outgoing)) if sends else len(session.outgoing)
            said += session.outgoing[:count]
            session.sent(count)
    return said


def whole(stream: bytes) -> list[bytes]:
    return [stream] if stream else []


def byte_by_byte(stream: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in stream]


def cut_at(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges) if start < end]


def for_ever(counts: list[int]) -> Iterator[int]:
    while True:
        yield from counts


def statuses(said: bytes) -> list[int]:
    """Of all answers, as far as no page speaks of HTTP."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


# What is said to what. Behind each of these comes a request more, and is answered or not.

NEXT = request(b"/?next")
KEEP_ALIVE = b"Connection: keep-alive\r\n"
CLOSE = b"Connection: close\r\n"
LIMITS = {"max_line_bytes": 2_000, "max_body_bytes": TINY_BODY_BYTES}

# what is sent => what is said to it; those after which the next one is answered
GOES_ON = {
    "nothing": (b"", b""),
    "page": (request(), page()),
    "page without a name": (request(b"/"), page(b"world")),
    "page with an empty name": (request(b"/?"), page(b"")),
    "name in markup": (request(b"/?<a&'\">"), page(b"&lt;a&amp;&#x27;&quot;&gt;")),
    "name as it is": (request(b"/?%41?/../"), page(b"%41?/../")),
    "empty lines before": (b"\r\n\r\n" + request(), page()),
    "two at once": (request() + request(b"/?b"), page() + page(b"b")),
    "HEAD": (request(method=b"HEAD"), page(body=False)),
    "elsewhere": (request(b"/a"), error(b"404 Not Found", closes=False)),
    "elsewhere, HEAD": (
        request(b"/a", method=b"HEAD"),
        error(b"404 Not Found", closes=False, body=False),
    ),
    "absolute": (request(b"http://lab:80/?a"), page()),
    "absolute, without a path": (request(b"HTTP://lab?a"), page()),
    "POST": (request(method=b"POST"), error(b"405 Method Not Allowed", b"Allow: GET, HEAD\r\n", 0)),
    "OPTIONS *": (
        request(b"*", method=b"OPTIONS"),
        error(b"405 Method Not Allowed", b"Allow: GET, HEAD\r\n", 0),
    ),
    "CONNECT": (
        request(b"lab:80", method=b"CONNECT"),
        error(b"405 Method Not Allowed", b"Allow: GET, HEAD\r\n", 0),
    ),
    "unknown method": (request(method=b"BREW"), error(b"501 Not Implemented", closes=False)),
    "methods have capitals": (request(method=b"get"), error(b"501 Not Implemented", closes=False)),
    "later version": (b"GET /?a HTTP/1.7\r\nHost:\r\n\r\n", page()),
    "keep-alive is what it does": (request(b"/?a", b"Connection: keep-alive"), page()),
    "other options of the connection": (request(b"/?a", b"Connection: TE, , upgrade"), page()),
    "HTTP/1.0 that goes on": (
        b"GET /?a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        page(connection=KEEP_ALIVE),
    ),
    "body": (request(b"/?a", b"Content-Length: 5") + b"hello", page()),
    "body of POST": (
        request(b"/?a", b"Content-Length: 005", method=b"POST") + b"hello",
        error(b"405 Method Not Allowed", b"Allow: GET, HEAD\r\n", 0),
    ),
    "body that looks like a request": (
        request(b"/?a", b"Content-Length: %d" % len(b"GET / HTTP/1.0\r\n\r\n"))
        + b"GET / HTTP/1.0\r\n\r\n",
        page(),
    ),
    "empty body": (request(b"/?a", b"Content-Length: 0"), page()),
    "longest body": (request(b"/?a", b"Content-Length: 40") + b"x" * 40, page()),
    "chunks": (
        request(b"/?a", b"Transfer-Encoding: Chunked")
        + b"5\r\nhello\r\n00A ;a=b;c\r\n0123456789\r\n0\r\n\r\n",
        page(),
    ),
    "no chunk": (request(b"/?a", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", page()),
    "trailer": (
        request(b"/?a", b"Transfer-Encoding: chunked") + b"0;x\r\nA: b\r\nHost: c\r\n\r\n",
        page(),
    ),
    "expects to be asked for the body": (
        request(b"/?a", b"Expect: 100-Continue", b"Content-Length: 1") + b"x",
        b"HTTP/1.1 100 Continue\r\n\r\n" + page(),
    ),
    "expects it without a body": (request(b"/?a", b"Expect: 100-continue"), page()),
    "values with every byte that may stand there": (
        request(b"/?a", b"A:" + bytes([9, *range(32, 127), *range(128, 256)]), b"B:"),
        page(),
    ),
    "Host may be empty, or an address": (
        b"GET /?a HTTP/1.1\r\nhost:[::1]:80 \t\r\n\r\nGET /?b HTTP/1.1\r\nHOST:\r\n\r\n",
        page() + page(b"b"),
    ),
}

# those after which it hangs up
ENDS = {
    "Connection: close": (request(b"/?a", b"Connection: x, Close"), page(connection=CLOSE)),
    "HTTP/1.0": (b"GET /?a HTTP/1.0\r\n\r\n", page(connection=CLOSE)),
    "HTTP/1.0 with a Host": (b"GET /?a HTTP/1.0\r\nHost: lab\r\n\r\n", page(connection=CLOSE)),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\n", error(b"505 HTTP Version Not Supported")),
    "HTTP/0.9": (b"GET /\r\n\r\n", error(b"400 Bad Request")),
    "no HTTP": (b"GET /?a HTML/1.1\r\n\r\n", error(b"400 Bad Request")),
    "version of two digits": (b"GET /?a HTTP/1.10\r\n\r\n", error(b"400 Bad Request")),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", error(b"400 Bad Request")),
    "blanks in the target": (request(b"/?a b"), error(b"400 Bad Request")),
    "two blanks": (request(b" /?a"), error(b"400 Bad Request")),
    "a blank before": (b" " + request(), error(b"400 Bad Request")),
    "target without a slash": (request(b"a"), error(b"400 Bad Request")),
    "asterisk": (request(b"*"), error(b"400 Bad Request")),
    "absolute, another scheme": (request(b"ftp://lab/"), error(b"400 Bad Request")),
    "absolute, without a host": (request(b"http:///"), error(b"400 Bad Request")),
    "absolute, with a user": (request(b"http://a@lab/"), error(b"400 Bad Request")),
    "no Host": (b"GET /?a HTTP/1.1\r\n\r\n", error(b"400 Bad Request")),
    "two Hosts": (request(b"/?a", b"Host: lab"), error(b"400 Bad Request")),
    "wrong Host": (b"GET /?a HTTP/1.1\r\nHost: a/b\r\n\r\n", error(b"400 Bad Request")),
    "body too long": (request(b"/?a", b"Content-Length: 41"), error(b"413 Content Too Large")),
    "body far too long": (
        request(b"/?a", b"Content-Length: " + b"9" * 1_000),
        error(b"413 Content Too Large"),
    ),
    "HEAD, body too long": (
        request(b"/?a", b"Content-Length: 41", method=b"HEAD"),
        error(b"413 Content Too Large", body=False),
    ),
    "chunks too long": (
        request(b"/?a", b"Transfer-Encoding: chunked") + b"0f\r\n0123456789abcde\r\n10\r\n",
        error(b"413 Content Too Large"),
    ),
    "chunk sizes too long": (
        request(b"/?a", b"Transfer-Encoding: chunked") + b"1;" + b"x" * 30 + b"\r\n1\r\n1\r\n",
        error(b"413 Content Too Large"),
    ),
    "chunk far too long": (
        request(b"/?a", b"Transfer-Encoding: chunked") + b"f" * 100 + b"\r\n",
        error(b"413 Content Too Large"),
    ),
    "unknown coding": (
        request(b"/?a", b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
        error(b"501 Not Implemented"),
    ),
    "expects something else": (request(b"/?a", b"Expect: a"), error(b"417 Expectation Failed")),
    "expects to be asked, in vain": (
        request(b"/?a", b"Expect: 100-continue", b"Content-Length: 1", method=b"PUT"),
        error(b"405 Method Not Allowed", b"Allow: GET, HEAD\r\n"),
    ),
    "line too long": (b"GET /?" + b"x" * 2_000, error(b"414 URI Too Long")),
    "fields too long": (
        request(b"/?a", b"A: " + b"x" * 2_000),
        error(b"431 Request Header Fields Too Large"),
    ),
    "too many fields": (
        request(b"/?a", *[b"A: b"] * 400),
        error(b"431 Request Header Fields Too Large"),
    ),
    "trailer too long": (
        request(b"/?a", b"Transfer-Encoding: chunked") + b"0\r\nA: " + b"x" * 2_000,
        error(b"431 Request Header Fields Too Large"),
    ),
}


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize(("stream", "answers"), GOES_ON.values(), ids=GOES_ON)
def test_answers(
    stream: bytes, answers: bytes, deferred: bool, cut: Callable[[bytes], list[bytes]]
) -> None:
    session = HttpSession(deferred=deferred, **LIMITS)
    assert talk(session, cut(stream + NEXT)) == answers + page(b"next")


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize(("stream", "answers"), ENDS.values(), ids=ENDS)
def test_answers_and_hangs_up(
    stream: bytes, answers: bytes, deferred: bool, cut: Callable[[bytes], list[bytes]]
) -> None:
    session = HttpSession(deferred=deferred, **LIMITS)
    assert talk(session, cut(request() + stream + NEXT)) == page() + answers


def chunked(body: bytes, *fields: bytes) -> bytes:
    return request(b"/?a", b"Transfer-Encoding: chunked", *fields) + body


# Where another reader would find another end of the request, or other fields (RFC 9112, 11.2).
SMUGGLED = {
    "two lengths": request(b"/?a", b"Content-Length: 0", b"Content-Length: 40"),
    "two lengths that agree": request(b"/?a", b"Content-Length: 0", b"Content-Length: 0"),
    "lengths in a list": request(b"/?a", b"Content-Length: 0, 0"),
    "length with a sign": request(b"/?a", b"Content-Length: +0"),
    "negative length": request(b"/?a", b"Content-Length: -1"),
    "hexadecimal length": request(b"/?a", b"Content-Length: 0x0"),
    "length with an underscore": request(b"/?a", b"Content-Length: 1_0"),
    "no length": request(b"/?a", b"Content-Length:"),
    "length of other digits": request(
        b"/?a", "Content-Length: \N{ARABIC-INDIC DIGIT ONE}".encode()
    ),
    "length and coding": chunked(b"0\r\n\r\n", b"Content-Length: 5"),
    "coding and length": request(b"/?a", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "length and another coding": request(b"/?a", b"Content-Length: 0", b"Transfer-Encoding: x"),
    "chunked not last": request(b"/?a", b"Transfer-Encoding: chunked, gzip"),
    "not chunked at all": request(b"/?a", b"Transfer-Encoding: identity"),
    "no coding": request(b"/?a", b"Transfer-Encoding:"),
    "nearly chunked": request(b"/?a", b"Transfer-Encoding: xchunked"),
    "chunked with a parameter": request(b"/?a", b"Transfer-Encoding: chunked;a=b"),
    "chunked in quotes": request(b"/?a", b'Transfer-Encoding: "chunked"'),
    "chunked after a vertical tab": request(b"/?a", b"Transfer-Encoding: \x0bchunked"),
    "chunked twice": request(b"/?a", b"Transfer-Encoding: chunked, chunked"),
    "two codings": chunked(b"0\r\n\r\n", b"Transfer-Encoding: identity"),
    "coding under HTTP/1.0": b"GET /?a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "blank before the colon": request(b"/?a", b"Content-Length : 0"),
    "tab before the colon": request(b"/?a", b"Transfer-Encoding\t: chunked"),
    "folded line": request(b"/?a", b"A: b", b" Content-Length: 40"),
    "folded first line": b"GET /?a HTTP/1.1\r\n Host: lab\r\n\r\n",
    "folded by a tab": request(b"/?a", b"Transfer-Encoding:", b"\tchunked"),
    "bare LF in the first line": b"GET /?a HTTP/1.1\nHost: lab\r\n\r\n",
    "bare LF in the fields": request(b"/?a", b"A: b\nContent-Length: 40"),
    "bare LF at the end": b"GET /?a HTTP/1.1\r\nHost: lab\n\r\n",
    "bare LF for the empty line": b"GET /?a HTTP/1.1\r\nHost: lab\r\n\n",
    "bare LFs only": b"GET /?a HTTP/1.1\nHost: lab\n\n",
    "bare LF before": b"\n" + request(),
    "bare CR in the first line": b"GET /?a\rHTTP/1.1\r\nHost: lab\r\n\r\n",
    "bare CR in the fields": request(b"/?a", b"A: b\rContent-Length: 40"),
    "bare CR before": b"\r" + request(),
    "two CRs": b"GET /?a HTTP/1.1\r\nHost: lab\r\r\n\r\n",
    "NUL in a value": request(b"/?a", b"A: \0"),
    "NUL in a name": request(b"/?a", b"Content-Length\0: 40"),
    "NUL in the target": request(b"/?a\0"),
    "DEL in a value": request(b"/?a", b"A: \x7f"),
    "no colon": request(b"/?a", b"Content-Length"),
    "no name": request(b"/?a", b": b"),
    "name of other bytes": request(b"/?a", b"Content-L\xe4ngth: 0"),
    "tab for a blank": b"GET\t/?a HTTP/1.1\r\nHost: lab\r\n\r\n",
    "something after the version": b"GET /?a HTTP/1.1 \r\nHost: lab\r\n\r\n",
    "chunk size with a sign": chunked(b"+1\r\nx\r\n0\r\n\r\n"),
    "chunk size with 0x": chunked(b"0x1\r\nx\r\n0\r\n\r\n"),
    "no chunk size": chunked(b"\r\n0\r\n\r\n"),
    "chunk extension only": chunked(b";a\r\n0\r\n\r\n"),
    "chunk size with a blank": chunked(b"1 \r\nx\r\n0\r\n\r\n"),
    "chunk size after a blank": chunked(b" 1\r\nx\r\n0\r\n\r\n"),
    "chunk size with an underscore": chunked(b"1_0\r\nx\r\n0\r\n\r\n"),
    "bare LF after a chunk size": chunked(b"1\nx\r\n0\r\n\r\n"),
    "bare CR in a chunk extension": chunked(b"1;a\rb\r\nx\r\n0\r\n\r\n"),
    "bare LF after a chunk": chunked(b"1\r\nx\n0\r\n\r\n"),
    "chunk longer than it says": chunked(b"1\r\nxyz\r\n0\r\n\r\n"),
    "chunk shorter than it says": chunked(b"4\r\nxyz\r\n0\r\n\r\n"),
    "bare LF after the last chunk": chunked(b"0\n\r\n"),
    "bare LF in the trailer": chunked(b"0\r\nA: b\n\r\n"),
    "bare LF after the trailer": chunked(b"0\r\nA: b\r\n\n"),
    "folded trailer": chunked(b"0\r\nA: b\r\n c\r\n\r\n"),
    "trailer without a colon": chunked(b"0\r\nA\r\n\r\n"),
    "endless chunk extension": chunked(b"1;" + b"x" * 2_000),
}


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize("stream", SMUGGLED.values(), ids=SMUGGLED)
def test_refuses_what_others_may_understand_differently(
    stream: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    said = talk(HttpSession(), cut(request() + stream + NEXT))
    assert said == page() + error(b"400 Bad Request")


@pytest.mark.parametrize("bytes_more", [0, 1])
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize("longer", [b"/?a%b HTTP/1.1\r\nHost: lab", b"/?a HTTP/1.1\r\nHost: lab%b"])
def test_the_limit_of_a_head_is_exact(
    longer: bytes, cut: Callable[[bytes], list[bytes]], bytes_more: int
) -> None:
    empty = len(b"GET " + longer % b"" + b"\r\n\r\n")
    stream = b"GET " + longer % (b"x" * (TINY_HEAD_BYTES - empty + bytes_more)) + b"\r\n\r\n"
    said = talk(HttpSession(max_line_bytes=TINY_HEAD_BYTES), cut(stream))
    assert statuses(said) == [431 if bytes_more else 200]


def test_a_request_that_is_not_all_there_is_forgotten() -> None:
    for stream in (request(b"/?a", b"Content-Length: 5") + b"hell", request()[:-1], b"\r\n", b"\r"):
        assert talk(HttpSession(), [stream]) == b""


def test_nothing_is_said_before_the_client() -> None:
    session = HttpSession()
    session.sent(0)
    assert (session.outgoing, session.wants_read, session.wants_write) == (b"", True, False)


def test_the_date_is_todays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert http_session.http_date(784_111_777) == NOW
    assert http_session.http_date(0) == b"Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize(
    "date",
    [NOW, b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
)
def test_dates_are_understood_in_all_three_formats(date: bytes) -> None:
    assert http_session.seconds_of(date) == 784_111_777


@pytest.mark.parametrize(
    "date", [b"", b"yesterday", b"\xff", b"Sun, 99 Nov 1994 08:49:37 GMT", b"0"]
)
def test_what_is_no_date_is_none(date: bytes) -> None:
    assert http_session.seconds_of(date) is None


# h11 as a client: the answers mean to it what they are to mean.


class Answer(NamedTuple):
    status: int
    fields: dict[bytes, bytes]
    body: bytes


def ask(session: HttpSession, *requests: h11.Request, body: bytes = b"") -> list[Answer]:
    """Ask one after the other, by h11, and have it read the answers."""
    client = h11.Connection(h11.CLIENT)
    answers = []
    for one in requests:
        session.receive(client.send(one) or b"")
        if body:
            session.receive(client.send(h11.Data(body)) or b"")
        if rest := client.send(h11.EndOfMessage()):
            session.receive(rest)
        received, answer = b"", None
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                assert session.wants_write, "it owes something, and says nothing"
                client.receive_data(session.outgoing[:1_000])
                session.sent(min(1_000, len(session.outgoing)))
            elif isinstance(event, h11.Response):
                answer = event
            elif isinstance(event, h11.Data):
                received += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        assert answer is not None
        answers.append(Answer(answer.status_code, dict(answer.headers), received))
        if client.our_state is h11.MUST_CLOSE:
            assert not session.wants_read
            assert not session.wants_write
        else:
            client.start_next_cycle()
    assert not client.trailing_data[0]
    return answers


def get(target: str, method: str = "GET", **fields: str) -> h11.Request:
    headers = [(name.replace("_", "-"), value) for name, value in {"Host": "lab", **fields}.items()]
    return h11.Request(method=method, target=target, headers=headers)


def test_h11_reads_the_answers() -> None:
    session = HttpSession()
    requests = [get(f"/?{number}") for number in range(5)]
    for number, answer in enumerate(ask(session, *requests, get("/a"), get("/", "HEAD"))):
        if number < 5:
            assert answer.status == 200
            assert b"Hello, %d!" % number in answer.body
            assert answer.fields[b"date"] == NOW
    assert answer.body == b""
    assert session.wants_read
    assert ask(session, get("/?a", Connection="close"))[0].status == 200
    assert not session.wants_read


@pytest.mark.parametrize("framing", [{"Content_Length": "4000"}, {"Transfer_Encoding": "chunked"}])
def test_h11_sends_a_body(framing: dict[str, str]) -> None:
    for method, status in (("GET", 200), ("POST", 405), ("BREW", 501)):
        session = HttpSession()
        one = get("/?a", method, **framing)
        assert [answer.status for answer in ask(session, one, body=b"x" * 4_000)] == [status]
        assert ask(session, get("/?b"))[0].status == 200


# h11 as a judge: what is a request, and where does it end?


class Recording(HttpSession):
    """Stops after its first request, and says which one it was."""

    __slots__ = ("asked",)

    def _take_request(self) -> None:
        assert self._current is not None
        self.asked = self._current[:2]
        self._state = http_session.HEAD
        self.request = b""


def our_verdict(stream: bytes) -> object:
    """(method, target, what follows the request), or what it is instead."""
    session = Recording(deferred=True)
    session.receive(stream)
    if session.request is not None:
        return *session.asked, session._incoming
    said = session.outgoing.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    return "refused" if said else "unfinished"


def origin_form(method: bytes, target: bytes) -> bytes:
    """h11 leaves it to others to take a target apart."""
    authority = re.match(rb"https?://[^/?#]*", target, re.IGNORECASE)
    if authority is None or method not in (b"GET", b"HEAD"):
        return target
    target = target[authority.end() :]
    return target if target.startswith(b"/") else b"/" + target


def verdict_of_h11(stream: bytes) -> object:
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_LINE_BYTES)
    judge.receive_data(stream)
    asked: tuple[bytes, ...] = ()
    try:
        while True:
            event = judge.next_event()
            if event is h11.NEED_DATA:
                return "unfinished"
            if isinstance(event, h11.Request):
                asked = event.method, origin_form(event.method, event.target)
            elif isinstance(event, h11.EndOfMessage):
                return *asked, judge.trailing_data[0]
    except h11.RemoteProtocolError:
        return "refused"


class Difference(NamedTuple):
    """Where the two may disagree.

    why      who is right to do what
    example  a request on which they do
    shape    what such a stream looks like
    """

    why: str
    example: bytes
    shape: bytes


def shape(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


WE_REFUSE = {
    "no token": Difference(
        "RFC 9112, 3: a method is a token, and who sends anything else waits in vain for more",
        b"[GET / HTTP/1.1\r\n",
        rb"\A(\r\n)*[^!#$%&'*+\-.^_`|~0-9a-z]",
    ),
    "bare LF": Difference(
        "RFC 9112, 2.2: a recipient MAY take a single LF for the end of a line; or not",
        b"GET / HTTP/1.1\nHost: x\r\n\r\n",
        rb"(?<!\r)\n",
    ),
    "folded line": Difference(
        "RFC 9112, 5.2: a server MUST refuse it, or put blanks in its place",
        request(b"/", b"A: b", b" c"),
        rb"\n[ \t]",
    ),
    "control characters": Difference(
        "RFC 9110, 5.5: they are invalid; recipients MAY retain some of them",
        request(b"/", b"A: \x01"),
        rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)",
    ),
    "version": Difference(
        "RFC 9110, 15.6.6: 505 for another major version",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        rb" HTTP/[02-9]\.\d\r\n",
    ),
    "later version without a Host": Difference(
        "RFC 9110, 2.5: to be taken as HTTP/1.1, which needs one (RFC 9112, 3.2)",
        b"GET / HTTP/1.2\r\n\r\n",
        rb" HTTP/1\.[2-9]\r\n",
    ),
    "Host": Difference(
        "RFC 9112, 3.2: a server MUST answer 400 where its value is invalid",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        rb"\nHost:[ \t]*(?!([a-z0-9\-._~%!$&'()*+,;=]*|\[[0-9a-z:.]+\])(:\d*)?[ \t]*\r\n)",
    ),
    "lengths that agree": Difference(
        "RFC 9110, 8.6: either refuse the message, or take one of them",
        request(b"/", b"Content-Length: 1", b"Content-Length: 1") + b"x",
        rb"Content-Length:(.*\nContent-Length:|[^\n]*,)",
    ),
    "length and coding": Difference(
        "RFC 9112, 6.1: a server MAY refuse a request that has both",
        request(b"/", b"Content-Length: 1", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        rb"\nContent-Length:.*\nTransfer-Encoding:|\nTransfer-Encoding:.*\nContent-Length:",
    ),
    "coding under HTTP/1.0": Difference(
        "RFC 9112, 6.1: the framing is faulty then, even if there is a length",
        b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        rb" HTTP/1\.0\r\n.*Transfer-Encoding:",
    ),
    "target": Difference(
        "RFC 9112, 3.2: there are four forms; and two of them are not for GET and HEAD",
        request(b"a"),
        rb"\A(\r\n)*(GET|HEAD) (?!/|https?://[a-z0-9\-._~%!$&'()*+,;=\[\]]+(:\d*)?([/?#]| ))",
    ),
    "expectation": Difference(
        "RFC 9110, 10.1.1: 417 for what it cannot meet",
        request(b"/", b"Expect: a"),
        rb"\nExpect:",
    ),
    "blank after a chunk size": Difference(
        "RFC 9112, 7.1: there is none but before an extension",
        chunked(b"1 \r\nx\r\n0\r\n\r\n"),
        rb"\n[0-9a-f]+[ \t]+\r\n",
    ),
    "body too long": Difference(
        "RFC 9110, 15.5.14: 413 for what a server does not want to receive",
        request(b"/", b"Content-Length: %d" % (MAX_BODY_BYTES + 1)),
        rb"\nContent-Length:[ \t]*\d{6}|\n[0-9a-f]{5}",
    ),
}
WE_ACCEPT = {
    "empty line before": Difference(
        "RFC 9112, 2.2: a server SHOULD ignore at least one",
        b"\r\n" + request(b"/"),
        rb"\A\r\n",
    ),
    "blank before a chunk extension": Difference(
        "RFC 9112, 7.1.1: bad whitespace may stand there, and MUST be taken (RFC 9110, 5.6.3)",
        chunked(b"1 ;a\r\nx\r\n0\r\n\r\n"),
        rb"\n[0-9a-f]+[ \t]+;",
    ),
    "trailer": Difference(
        "RFC 9110, 6.5.1: fields of a trailer may be ignored; none of them is about the framing",
        chunked(b"0\r\nTransfer-Encoding: gzip\r\n\r\n"),
        rb"\n0+[ \t]*(;[^\n]*)?\r\n[^\r]",
    ),
}


@pytest.mark.parametrize("name", WE_REFUSE)
def test_what_is_refused_here_and_not_by_h11(name: str) -> None:
    difference = WE_REFUSE[name]
    assert our_verdict(difference.example) == "refused"
    assert verdict_of_h11(difference.example) != "refused"
    assert shape(difference.shape).search(difference.example)


@pytest.mark.parametrize("name", WE_ACCEPT)
def test_what_is_refused_by_h11_and_not_here(name: str) -> None:
    difference = WE_ACCEPT[name]
    assert our_verdict(difference.example) != "refused"
    assert verdict_of_h11(difference.example) == "refused"
    assert shape(difference.shape).search(difference.example)


def check_against_h11(stream: bytes) -> None:
    """The same verdict, or a difference that has a name. Whatever both take for a request is the
    same one, and ends at the same byte."""
    ours, theirs = our_verdict(stream), verdict_of_h11(stream)
    if ours == theirs:
        return
    # Who waits for more has refused nothing yet: bare LFs end a head for h11 and here; an endless
    # line is refused when it is long.
    assert "refused" in (ours, theirs), f"{stream!r}: {ours} here, {theirs} by h11"
    named = WE_REFUSE if ours == "refused" else WE_ACCEPT
    assert any(shape(difference.shape).search(stream) for difference in named.values()), (
        f"{stream!r}: {ours} here, {theirs} by h11, and nobody has said why"
    )


SEEDS = [
    request(),
    request(b"/", b"Connection: close", method=b"HEAD"),
    request(b"http://lab:80/a?b", b"A: b"),
    request(b"/", b"Content-Length: 5", method=b"POST") + b"hello",
    request(b"/", b"Expect: 100-continue", b"Content-Length: 5") + b"hello",
    chunked(b"5;a=b\r\nhello\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n"),
    b"GET / HTTP/1.0\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
FRAGMENTS = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b";", b"%", b"/", b"\x7f", b"\xff"),
    *(b"0", b"5", b"-1", b"+1", b"0x1", b"GET", b"HTTP/1.1", b"HTTP/2.0", b"1.0", b"\r\n\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: 6\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    *(b"Transfer-Encoding: identity\r\n", b"Host: y\r\n", b"Expect: 100-continue\r\n"),
    *(b" x: y\r\n", b"A : b\r\n", b"Connection: close\r\n", b"chunked", b"http://a@b", b"*"),
]
# (where, how many bytes are replaced, by what)
changes = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 3),
        st.sampled_from(FRAGMENTS) | st.binary(max_size=2),
    ),
    max_size=3,
)


@settings(max_examples=1_500)
@given(st.sampled_from(SEEDS), changes, st.sampled_from([b"", *SEEDS]))
def test_mutated_requests_are_judged_as_by_h11(
    stream: bytes, changes: list[tuple[int, int, bytes]], behind: bytes
) -> None:
    for where, count, by in changes:
        at = where % (len(stream) + 1)
        stream = stream[:at] + by + stream[at + count :]
    check_against_h11(stream + behind)


tokens = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=8).map(str.encode)
targets = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12).map(
    lambda text: b"/" + text.encode()
)
values = st.binary(max_size=12).filter(lambda value: not set(value) & {*range(32), 127})
fields = st.tuples(tokens, values).map(b": ".join)
bodies = st.lists(st.binary(min_size=1, max_size=20), max_size=3)


@settings(max_examples=300)
@given(tokens, targets, st.lists(fields, max_size=4), bodies, st.booleans(), st.binary(max_size=9))
def test_every_request_that_is_in_order_is_taken_as_by_h11(
    method: bytes,
    target: bytes,
    fields: list[bytes],
    parts: list[bytes],
    in_chunks: bool,
    behind: bytes,
) -> None:
    if in_chunks:
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
        framing = b"Transfer-Encoding: chunked"
    else:
        body = b"".join(parts)
        framing = b"Content-Length: %d" % len(body)
    stream = request(target, *fields, framing, method=method) + body
    assert our_verdict(stream + behind) == verdict_of_h11(stream + behind)
    assert our_verdict(stream + behind) == (method, target, behind)


# Pieces, order, memory.

streams = st.lists(
    st.sampled_from(
        [
            *(request(), request(b"/?b", method=b"HEAD"), request(b"/c")),
            chunked(b"5\r\nhello\r\n0\r\n\r\n"),
            request(b"/?d", b"Content-Length: 3") + b"xyz",
            request(b"/?e", b"Connection: close"),
            *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"A"),
        ]
    ),
    max_size=9,
).map(b"".join)
cuts = st.lists(st.integers(0, 400), max_size=10)
sends = st.lists(st.integers(1, 400), min_size=1, max_size=10)


def tiny(deferred: bool = False) -> HttpSession:
    return HttpSession(
        max_line_bytes=TINY_HEAD_BYTES,
        high_water_bytes=TINY_HIGH_WATER_BYTES,
        max_body_bytes=TINY_BODY_BYTES,
        deferred=deferred,
    )


@settings(max_examples=300)
@given(streams, cuts, sends, st.booleans())
@example(request() * 5, [], [1], False)
def test_pieces_change_nothing(
    stream: bytes, cuts: list[int], counts: list[int], deferred: bool
) -> None:
    """Wherever what comes in is cut, however much is taken of what is said, and whoever computes:
    the answers are the same, and in the order of the requests."""
    said = talk(tiny(deferred), cut_at(stream, cuts), for_ever(counts))
    assert said == talk(tiny(), whole(stream))


def test_a_head_in_pieces_leaves_nothing_behind_for_the_trailer() -> None:
    """How far it was searched for its end is nothing that what comes later begins with."""
    session = HttpSession()
    head = request(b"/?a", b"Transfer-Encoding: chunked")
    session.receive(head[:-1])
    session.receive(head[-1:] + b"0\r\nA: b\r\n\r\n")
    assert take_all(session) == page()


def test_a_client_that_takes_nothing_gets_no_more() -> None:
    session = HttpSession()
    count = 3 * HIGH_WATER_BYTES // len(page())
    session.receive(request() * count)
    assert not session.wants_read
    assert HIGH_WATER_BYTES < len(session.outgoing) < HIGH_WATER_BYTES + 2 * len(page())
    session.sent(len(page()))
    session.sent(len(page()))
    assert not session.wants_read, "there are requests that it has not looked at"
    session.receive(b"")  # some servers receive all the same
    assert take_all(session) == page() * (count - 2)
    assert not session.wants_read


def test_what_comes_though_it_is_not_wanted_is_answered_in_its_turn() -> None:
    session = tiny()
    session.receive(request() * 4)
    session.receive(request(b"/?b")[:9])
    session.receive(request(b"/?b")[9:])
    assert take_all(session) == page() * 4 + page(b"b")
    assert session.wants_read


def peak_bytes(session: HttpSession, pieces: Iterator[bytes]) -> int:
    """The most that Python has allocated meanwhile."""
    tracemalloc.start()
    try:
        for piece in pieces:
            if not session.wants_read:
                break
            session.receive(piece)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /?", b"x"),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
        (b"", b"\r\n"),
        (request(b"/", b"Content-Length: 1000000"), b"x"),
        (request(b"/", b"Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
        (chunked(b"0\r\n"), b"A: b\r\n"),
        (chunked(b"1;"), b"x"),
        (b"", request(b"/a", b"A: b")),
    ],
)
def test_memory_is_bounded_whatever_comes_in(start: bytes, piece: bytes) -> None:
    """Measured where it counts: in bytes that Python has allocated."""
    more = piece * (4_000 // len(piece))
    session = HttpSession()
    assert (
        peak_bytes(session, iter([start, *[more] * 1_000])) < 5 * MAX_LINE_BYTES + HIGH_WATER_BYTES
    )


# Files.


class Folder(NamedTuple):
    path: Path
    root: bytes

    def session(self, **options: int) -> HttpSession:
        return HttpSession(root=self.root, **options)

    def get(self, target: str, method: str = "GET", **fields: str) -> Answer:
        return ask(self.session(), get(target, method, **fields))[0]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "www"
    path.mkdir()
    (path / "a.txt").write_bytes(b"0123456789")
    (path / "index.html").write_bytes(b"<p>index")
    (path / "sub").mkdir()
    (path / "sub" / "b.bin").write_bytes(bytes(range(256)))
    (path / "empty").write_bytes(b"")
    os.utime(path / "a.txt", (784_111_777, 784_111_777))
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "www2").mkdir()
    (tmp_path / "www2" / "secret").write_bytes(b"secret")
    return Folder(path, open_root(str(path)))


def test_a_file_is_what_it_is(folder: Folder) -> None:
    answer = folder.get("/a.txt")
    assert answer.status == 200
    assert answer.body == b"0123456789"
    assert answer.fields == {
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"10",
        b"last-modified": NOW,
        b"etag": b'"a-%x"' % (784_111_777 * 10**9),
        b"accept-ranges": b"bytes",
        b"date": NOW,
    }
    assert folder.get("/a.txt", "HEAD") == answer._replace(body=b"")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", b"text/html; charset=utf-8"),
        ("a.png", b"image/png"),
        ("a.css", b"text/css; charset=utf-8"),
        ("a.tar.gz", b"application/octet-stream"),
        ("a", b"application/octet-stream"),
        ("data:text,a.svg", b"image/svg+xml"),
    ],
)
def test_the_type_of_a_file_is_that_of_its_name(folder: Folder, name: str, kind: bytes) -> None:
    (folder.path / name).write_bytes(b"x")
    assert folder.get(f"/{name}").fields[b"content-type"] == kind


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/", b"<p>index"),
        ("/?query", b"<p>index"),
        ("http://elsewhere/a.txt", b"0123456789"),
        ("//a.txt", b"0123456789"),
        ("/./sub/.//b.bin", bytes(range(256))),
        ("/%61%2Etxt?x=/../", b"0123456789"),
        ("/%73ub%2fb.bin", bytes(range(256))),
        ("/.", b"<p>index"),
        ("/empty", b""),
    ],
)
def test_a_target_names_a_file(folder: Folder, target: str, body: bytes) -> None:
    answer = folder.get(target)
    assert (answer.status, answer.body) == (200, body)


def test_names_are_bytes(folder: Folder) -> None:
    for name in (b"\xff\xfe", "ä b".encode(), b"back\\slash", b"a%41", b"#", b"~", b"-", b"a\nb"):
        Path(os.fsdecode(os.fsencode(folder.path) + b"/" + name)).write_bytes(name)
        escaped = "".join(f"%{byte:02x}" for byte in name)
        assert folder.get(f"/{escaped}").body == name


ELSEWHERE = [
    *("/../secret", "/sub/../../secret", "/..", "/../", "/sub/..", "/sub/../a.txt"),
    *(
        "/%2e%2e/secret",
        "/.%2E/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/sub/%2e./%2e./secret",
    ),
    *("/%252e%252e/secret", "/..%252fsecret", "/%c0%ae%c0%ae/secret", "/..%c0%afsecret"),
    *("/..\\secret", "/..%5csecret", "/\\..\\secret", "/.../secret", "/..;/secret", "/..?/secret"),
    *("/../www2/secret", "/../www/a.txt", "//../secret", "///etc/passwd", "/%2fetc/passwd"),
    *("http://lab/../secret", "/a.txt/../../secret", "/a.txt/", "/a.txt/.", "/a.txt/x", "/sub/"),
    *("/a.txt%00", "/%00", "/secret%00/a.txt", "/../secret%00.txt", "/nosuch", "/" + "x" * 300),
    *("/" + "x/" * 3_000, "/out", "/out_of_sub/secret", "/sub/out", "/loop", "/twin", "/fifo"),
    *("/null", "/socket", "/dangling", "/locked_out/", "/proc_self_root/etc/passwd", "/absolute"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_there_is_no_way_out(folder: Folder, method: str) -> None:
    """And nothing that is no file is opened: it would wait, or do something."""
    path = folder.path
    (path / "out").symlink_to("../secret")
    (path / "sub" / "out").symlink_to("../../secret")
    (path / "absolute").symlink_to(path.parent / "secret")
    (path / "out_of_sub").symlink_to("..")
    (path / "loop").symlink_to("loop")
    (path / "twin").symlink_to("../www2/secret")
    (path / "dangling").symlink_to("nosuch")
    (path / "proc_self_root").symlink_to("/proc/self/root")
    (path / "null").symlink_to("/dev/null")
    (path / "locked_out").mkdir()
    (path / "locked_out" / "index.html").symlink_to("../../secret")
    os.mkfifo(path / "fifo")
    with suppress(PermissionError):  # a device needs privileges
        os.mknod(path / "device", 0o020600, os.makedev(1, 5))
    for target in [*ELSEWHERE, "/device"]:
        answer = folder.get(target, method)
        assert (answer.status, b"secret" in answer.body) == (404, False), target


def test_links_that_stay_inside_are_followed(folder: Folder) -> None:
    (folder.path / "link").symlink_to("sub/b.bin")
    (folder.path / "up").symlink_to(folder.path)
    assert folder.get("/link").body == bytes(range(256))
    assert folder.get("/up/sub/b.bin").body == bytes(range(256))


def test_a_root_may_be_a_link_and_may_be_all_there_is(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("www")
    (tmp_path / "www" / "inside").symlink_to(tmp_path / "link" / "a.txt")
    session = HttpSession(root=open_root(str(tmp_path / "link")))
    assert ask(session, get("/inside"))[0].body == b"0123456789"
    session = HttpSession(root=open_root("/"))
    assert ask(session, get(f"{tmp_path}/secret"))[0].body == b"secret"


def test_a_link_that_is_put_into_the_way_leads_nowhere(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at where a path leads and the opening, whichever comes first."""
    opened = os.open

    def turned(path: bytes, *more: int, **options: int) -> int:
        if path.endswith(b"/sub/b.bin"):
            (folder.path / "sub").rename(folder.path / "old")
            (folder.path / "sub").symlink_to("..")
            (folder.path.parent / "b.bin").write_bytes(b"secret")
        return opened(path, *more, **options)

    monkeypatch.setattr(os, "open", turned)
    assert folder.get("/sub/b.bin").status == 404


@pytest.mark.parametrize("target", ["/%", "/%4", "/%zz", "/a%%41"])
def test_an_escape_that_is_none_is_an_error(folder: Folder, target: str) -> None:
    assert folder.get(target).status == 400


def test_a_folder_is_found_with_a_slash(folder: Folder) -> None:
    (folder.path / "sub" / "index.html").write_bytes(b"sub")
    (folder.path / "evil.com").mkdir()
    assert folder.get("/sub/").body == b"sub"
    for target, where in (
        ("/sub", b"/sub/"),
        ("/sub?a/b", b"/sub/?a/b"),
        ("//evil.com", b"/evil.com/"),
        ("http://lab/sub", b"/sub/"),
    ):
        answer = folder.get(target)
        assert (answer.status, answer.fields[b"location"]) == (301, where)


def test_a_file_that_may_not_be_read_is_not_there(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, status in ((13, 404), (24, 503), (23, 503), (12, 503), (5, 404)):

        def fail(path: bytes, *_: int, number: int = number, **__: int) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "open", fail)
        assert folder.get("/a.txt").status == status


def test_a_root_has_to_be_a_folder(folder: Folder) -> None:
    for name in ("nosuch", "a.txt", "a.txt/x", "\0"):
        with pytest.raises((OSError, ValueError)):
            open_root(str(folder.path / name))


RANGES = [
    ("bytes=0-0", b"0", "0-0"),
    ("bytes=2-4", b"234", "2-4"),
    ("Bytes=9-", b"9", "9-9"),
    ("bytes=0-", b"0123456789", "0-9"),
    ("bytes=5-99", b"56789", "5-9"),
    ("bytes=5-" + "9" * 900, b"56789", "5-9"),
    ("bytes=-3", b"789", "7-9"),
    ("bytes=-99", b"0123456789", "0-9"),
    ("bytes=10-", None, "*"),
    ("bytes=10-5000", None, "*"),
    ("bytes=" + "9" * 900 + "-", None, "*"),
    ("bytes=-0", None, "*"),
    ("bytes=4-2", b"0123456789", None),
    ("bytes=-", b"0123456789", None),
    ("bytes=", b"0123456789", None),
    ("bytes=a-b", b"0123456789", None),
    ("bytes=0-1,3-4", b"0123456789", None),
    ("bytes=+0-1", b"0123456789", None),
    ("lines=0-1", b"0123456789", None),
    ("bytes 0-1", b"0123456789", None),
]


@pytest.mark.parametrize(("wanted", "body", "where"), RANGES)
def test_a_range(folder: Folder, wanted: str, body: bytes | None, where: str | None) -> None:
    answer = folder.get("/a.txt", Range=wanted)
    if body is None:
        assert answer.status == 416
        assert answer.fields[b"content-range"] == b"bytes */10"
    elif where is None:
        assert (answer.status, answer.body) == (200, body)
        assert b"content-range" not in answer.fields
    else:
        assert (answer.status, answer.body) == (206, body)
        assert answer.fields[b"content-range"] == f"bytes {where}/10".encode()
        assert answer.fields[b"content-length"] == b"%d" % len(body)
    assert folder.get("/a.txt", "HEAD", Range=wanted).status == 200  # RFC 9110, 14.2


def test_a_range_of_nothing(folder: Folder) -> None:
    assert folder.get("/empty", Range="bytes=0-").status == 416
    assert folder.get("/empty", Range="bytes=-5").status == 200


TAG = f'"a-{784_111_777 * 10**9:x}"'
DATE, BEFORE = NOW.decode(), "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Mon, 07 Nov 1994 08:49:37 GMT"
CONDITIONS = [
    ({"If_None_Match": TAG}, 304),
    ({"If_None_Match": f"W/{TAG}"}, 304),
    ({"If_None_Match": f'"x", {TAG}'}, 304),
    ({"If_None_Match": "*"}, 304),
    ({"If_None_Match": '"x"'}, 200),
    ({"If_None_Match": TAG.strip('"')}, 200),
    ({"If_Modified_Since": DATE}, 304),
    ({"If_Modified_Since": LATER}, 304),
    ({"If_Modified_Since": BEFORE}, 200),
    ({"If_Modified_Since": "yesterday"}, 200),
    # RFC 9110, 13.2.2: the order of precedence
    ({"If_None_Match": '"x"', "If_Modified_Since": LATER}, 200),
    ({"If_None_Match": TAG, "If_Modified_Since": BEFORE}, 304),
    ({"If_Match": TAG}, 200),
    ({"If_Match": "*"}, 200),
    ({"If_Match": '"x"'}, 412),
    ({"If_Match": f"W/{TAG}"}, 412),
    ({"If_Unmodified_Since": DATE}, 200),
    ({"If_Unmodified_Since": BEFORE}, 412),
    ({"If_Unmodified_Since": "yesterday"}, 200),
    ({"If_Match": TAG, "If_Unmodified_Since": BEFORE}, 200),
    ({"If_Match": TAG, "If_None_Match": TAG}, 304),
    ({"If_Match": '"x"', "If_None_Match": TAG}, 412),
    ({"If_None_Match": TAG, "Range": "bytes=0-1"}, 304),
    ({"If_None_Match": '"x"', "Range": "bytes=0-1"}, 206),
    ({"If_Range": TAG, "Range": "bytes=0-1"}, 206),
    ({"If_Range": '"x"', "Range": "bytes=0-1"}, 200),
    ({"If_Range": f"W/{TAG}", "Range": "bytes=0-1"}, 200),
    ({"If_Range": DATE, "Range": "bytes=0-1"}, 206),
    ({"If_Range": LATER, "Range": "bytes=0-1"}, 200),
    ({"If_Range": BEFORE, "Range": "bytes=0-1"}, 200),
    ({"If_Range": TAG, "Range": "bytes=10-"}, 416),
    ({"If_Range": '"x"', "Range": "bytes=10-"}, 200),
    ({"If_Range": TAG}, 200),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("fields", "status"), CONDITIONS)
def test_a_condition(folder: Folder, fields: dict[str, str], status: int, method: str) -> None:
    answer = folder.get("/a.txt", method, **fields)
    if method == "HEAD":  # has no ranges
        assert answer.status == (200 if status in (206, 416) else status)
    else:
        assert answer.status == status
    if status == 304:
        assert answer.body == b""
        assert answer.fields[b"etag"] == TAG.encode()
        assert b"content-length" not in answer.fields


def test_a_file_that_changes_has_another_tag(folder: Folder) -> None:
    tags = set()
    for text in (b"a", b"b", b"ab"):
        (folder.path / "a.txt").write_bytes(text)
        os.utime(folder.path / "a.txt", ns=(0, len(tags)))
        tags.add(folder.get("/a.txt").fields[b"etag"])
    assert len(tags) == 3


def test_a_file_of_this_second_is_no_date(folder: Folder) -> None:
    """It may change once more, and have the same date (RFC 9110, 8.8.2.2)."""
    os.utime(folder.path / "a.txt")
    date = folder.get("/a.txt").fields[b"last-modified"].decode()
    assert folder.get("/a.txt", Range="bytes=0-1", If_Range=date).status == 200


@pytest.mark.parametrize("years", [50, 10**10])
def test_a_file_of_the_future_is_of_now(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    """RFC 9110, 8.8.2.1. Not every file system can say so late a time: so we say it."""
    now_s = 784_111_777
    monkeypatch.setattr(http_session.time, "time", lambda: float(now_s))
    modified_ns = (now_s + years * 31_556_952) * 10**9

    class FutureFile(http_session.File):
        def __init__(self, fd: int, name: bytes) -> None:
            super().__init__(fd, name)
            self.modified_ns = modified_ns

    monkeypatch.setattr(http_session, "File", FutureFile)
    answer = folder.get("/a.txt")
    assert answer.status == 200
    assert answer.fields[b"last-modified"] == NOW
    assert answer.body == b"0123456789"


# Large files.


def descriptors() -> set[str]:
    """The files below that are open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            where = os.readlink(f"/proc/self/fd/{number}")
            if "/www/" in where:
                found.add(where)
    return found


@pytest.fixture
def large(folder: Folder) -> bytes:
    content = os.urandom(8 * PIECE_BYTES + 1)
    (folder.path / "large").write_bytes(content)
    return content


def body_of(said: bytes) -> bytes:
    return said.partition(b"\r\n\r\n")[2]


def test_a_large_file_goes_out_in_pieces(folder: Folder, large: bytes) -> None:
    session = folder.session()
    session.receive(request(b"/large") + request(b"/a.txt"))
    said = b""
    tracemalloc.start()
    try:
        sent = 0
        while session.wants_write:
            assert len(session.outgoing) < 2 * PIECE_BYTES
            assert session.wants_read == (b"0123456789" in session.outgoing)
            piece = session.outgoing[:30_000]
            said += piece if not sent else b""
            assert large[:100] in said
            sent += len(piece)
            session.sent(len(piece))
        assert tracemalloc.get_traced_memory()[1] < 4 * PIECE_BYTES
    finally:
        tracemalloc.stop()
    assert sent > len(large)
    assert not descriptors()


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("counts", [[10**9], [1_000, 65_536, 1, 100_000]])
def test_a_large_file_arrives(
    folder: Folder, large: bytes, counts: list[int], deferred: bool
) -> None:
    session = folder.session(deferred=deferred)
    asked = request(b"/large") + request(b"/a.txt", b"Connection: close")
    head, _, rest = talk(session, [asked], for_ever(counts)).partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(large) in head
    assert rest[: len(large)] == large
    assert body_of(rest[len(large) :]) == b"0123456789"
    assert not descriptors()


def test_a_range_of_a_large_file_arrives(folder: Folder, large: bytes) -> None:
    first, last = PIECE_BYTES - 5, 5 * PIECE_BYTES + 5
    asked = request(b"/large", b"Range: bytes=%d-%d" % (first, last))
    assert body_of(talk(folder.session(), [asked])) == large[first : last + 1]


def test_small_files_stop_at_the_high_water(folder: Folder) -> None:
    (folder.path / "a.txt").write_bytes(b"x" * 10_000)
    session = folder.session()
    session.receive(request(b"/a.txt") * 100)
    assert len(session.outgoing) < HIGH_WATER_BYTES + 2 * 10_500
    assert statuses(take_all(session)) == [200] * 100


@pytest.mark.parametrize(
    "leave",
    [HttpSession.abort, HttpSession.time_out, lambda session: None],
    ids=["abort", "time-out", "forgotten"],
)
def test_the_file_is_closed_when_the_client_has_left(
    folder: Folder, large: bytes, leave: Callable[[HttpSession], None]
) -> None:
    """Even where a server says nothing and forgets the session."""
    session = folder.session()
    session.receive(request(b"/large"))
    assert descriptors()
    leave(session)
    leave(session)
    if leave is HttpSession.abort:
        assert not descriptors()
        assert (session.wants_read, session.wants_write, session.outgoing) == (False, False, b"")
    del session
    gc.collect()
    assert not descriptors()


def test_a_file_that_shrinks_ends_the_connection(folder: Folder, large: bytes) -> None:
    session = folder.session()
    session.receive(request(b"/large") + request(b"/a.txt"))
    os.truncate(folder.path / "large", 2 * PIECE_BYTES)
    said = take_all(session)
    assert body_of(said) == large[: 2 * PIECE_BYTES]
    assert not session.wants_read
    assert not descriptors()


def test_a_file_that_cannot_be_read_ends_the_connection(
    folder: Folder, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = folder.session()
    session.receive(request(b"/large"))

    def fail(*_: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    take_all(session)
    assert not session.wants_read
    assert not descriptors()


def test_a_file_that_grows_or_goes_is_sent_as_it_was_promised(folder: Folder, large: bytes) -> None:
    session = folder.session()
    session.receive(request(b"/large") + request(b"/large"))
    with (folder.path / "large").open("ab") as file:
        file.write(b"more")
    (folder.path / "large").unlink()
    _, _, said = take_all(session).partition(b"\r\n\r\n")
    assert said[: len(large)] == large
    assert statuses(said[len(large) :]) == [404]


def test_the_answers_before_a_file_and_behind_it_keep_their_order(
    folder: Folder, large: bytes
) -> None:
    session = folder.session()
    session.receive(request(b"/a.txt") + request(b"/large") + request(b"/a.txt") + request(b"/"))
    session.receive(b"")
    said = take_all(session)
    assert statuses(said.replace(large, b"")) == [200] * 4
    assert [said.index(b"0123456789"), said.index(large), said.rindex(b"<p>index")] == sorted(
        [said.index(b"0123456789"), said.index(large), said.rindex(b"<p>index")]
    )
    assert not session.wants_read


# What servers say to a session.


def test_every_request_that_is_in_order_costs_an_answer(folder: Folder) -> None:
    worked = []

    def work(name: bytes) -> bytes:
        worked.append(name)
        return b"Hello, %b!\n" % name

    session = HttpSession(respond=work)
    session.receive(request() + request(b"/b") + request(method=b"POST") + request(b"/?<"))
    assert worked == [b"a", b"world", b"&lt;"]
    worked.clear()
    session = HttpSession(respond=work, root=folder.root)
    session.receive(request(b"/a.txt") + request(b"/nosuch"))
    assert worked == [b"/a.txt", b"/nosuch"]


def test_a_deferred_session_hands_out_one_request_after_the_other() -> None:
    session = HttpSession(deferred=True)
    session.receive(request() + request(method=b"POST") + request(b"/?b") + request()[:9])
    assert (session.request, session.wants_read, session.wants_write) == (b"a", False, False)
    with pytest.raises(RuntimeError, match="before the request was answered"):
        session.receive(b"x")
    session.answer(b"A")
    assert (session.request, session.wants_read, session.wants_write) == (b"b", False, True)
    assert statuses(take_all(session)) == [200, 405]
    assert (session.request, session.wants_read, session.wants_write) == (b"b", False, False)
    session.answer(b"B")
    assert (session.request, session.wants_read, session.wants_write) == (None, True, True)
    assert take_all(session).endswith(b"<p>B")
    with pytest.raises(RuntimeError, match="without a request"):
        session.answer(b"C")


def test_an_answer_comes_too_late_for_a_broken_connection() -> None:
    session = HttpSession(deferred=True)
    session.receive(request() * 2)
    session.abort()
    session.answer(b"A")
    assert (session.request, session.wants_read, session.wants_write) == (None, False, False)
    assert session.outgoing == b""


@pytest.mark.parametrize("deferred", [False, True])
def test_a_connection_may_break_at_any_byte(folder: Folder, large: bytes, deferred: bool) -> None:
    stream = request(b"/a.txt") + chunked(b"1\r\nx\r\n0\r\n\r\n") + request(b"/large")
    for at in range(len(stream)):
        session = folder.session(deferred=deferred)
        session.receive(stream[: at + 1])
        session.abort()
        if session.request is not None:
            session.answer(b"A")
        session.receive(stream[at + 1 :])
        assert (session.wants_read, session.wants_write, session.outgoing) == (False, False, b"")
    assert not descriptors()


def state(session: HttpSession) -> tuple[bool, bool]:
    return session.wants_read, session.wants_write


def test_silence_between_requests_is_no_error() -> None:
    for said_before in (b"", request()):
        session = HttpSession()
        if said_before:
            session.receive(said_before)
            take_all(session)
        session.time_out()
        assert state(session) == (False, False)


HALF_REQUESTS = [b"G", b"\r", request()[:-2], request(b"/", b"Content-Length: 5") + b"hell"]


@pytest.mark.parametrize("half", [*HALF_REQUESTS, chunked(b""), chunked(b"5\r\nh")])
def test_silence_in_a_request_is_an_error(half: bytes) -> None:
    session = HttpSession()
    session.receive(request() + half)
    session.time_out()
    assert take_all(session) == page() + error(b"408 Request Timeout")
    assert state(session) == (False, False)


def test_who_takes_nothing_for_long_is_left() -> None:
    session = HttpSession()
    session.receive(request())
    session.time_out()
    assert state(session) == (False, True)
    session.sent(10)
    session.time_out()
    assert state(session) == (False, False)


def test_a_file_that_is_not_taken_for_long_goes_on_when_it_is(folder: Folder, large: bytes) -> None:
    session = folder.session()
    session.receive(request(b"/large") + request()[:9])
    session.time_out()
    assert state(session) == (False, True)
    assert body_of(take_all(session)) == large
    assert state(session) == (False, False)


def test_a_client_whose_request_is_worked_on_is_not_silent() -> None:
    session = HttpSession(deferred=True)
    session.receive(request())
    session.time_out()
    assert session.request == b"a"
    session.answer(b"A")
    assert session.wants_read


@pytest.mark.parametrize(
    "end",
    [lambda session: session.receive(b""), HttpSession.abort, HttpSession.time_out],
    ids=["end of file", "abort", "time-out"],
)
def test_lingering_throws_away_what_comes(end: Callable[[HttpSession], None]) -> None:
    session = HttpSession()
    session.receive(request(b"/?a", b"Connection: close"))
    take_all(session)
    session.linger()
    session.receive(request())
    assert state(session) == (True, False)
    end(session)
    assert state(session) == (False, False)


@pytest.mark.parametrize("fields", [(), (b"Connection: close",)])
@pytest.mark.parametrize(
    "end", [lambda session: session.receive(b""), HttpSession.abort], ids=["end of file", "abort"]
)
def test_does_not_linger_for_who_has_ended(
    end: Callable[[HttpSession], None], fields: tuple[bytes, ...]
) -> None:
    """asyncio and uvloop tell it once."""
    session = HttpSession()
    session.receive(request(b"/?a", *fields))
    end(session)
    take_all(session)
    session.linger()
    assert state(session) == (False, False)
