"""What client and server say to each other, as bytes: the one place that knows the protocols' text.

A client says the same request again and again. Only its tag differs, and with it the answer, so
that an answer that belongs to another request is noticed. The engine knows no text: it writes tags
where a `Dialogue` says, sends, and compares.
"""

from typing import NamedTuple

import numpy as np

from loadgen.workload.load import Protocol

GREETING = b"Welcome!\n"
PREFIX, SUFFIX = b"Hello, ", b"!\n"
EXIT = b"exit\n"

# RFC 9110, 5.6.7: an IMF-fixdate has 29 bytes. What they say is the server's business.
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"

# 8 digits to the base 16 tell more requests apart than can be recorded (load.MAX_REQUESTS).
_TAG_DIGITS = 8


class Dialogue(NamedTuple):
    """The text of one connection; the tag in it has not been written yet."""

    greeting: bytes
    """what the server says first; empty: nothing, who is connected may ask"""
    request: bytes
    answer: bytes
    request_tag_offset: int
    """where the first byte of the tag is, in the request and in its answer"""
    answer_tag_offset: int
    tag_digits: int
    """one byte each, lowest digit first, the letters a to p; short requests have fewer"""
    opaque: slice = slice(0, 0)
    """the bytes of the answer that may be any; the others are compared, one by one"""


def of(protocol: Protocol, message_bytes: int, *, only: bool = False) -> Dialogue:
    """The dialogue of a protocol.

    message_bytes   `hello`: of a request, its newline included, at least 2; `http`: of what is
                    asked for and of one byte more, so that both carry the same name
    only            the request is the only one of its connection, and asks the server to close it
    """
    return (hello_echo if protocol == "hello" else http)(message_bytes, only=only)


def hello_echo(message_bytes: int, *, only: bool = False) -> Dialogue:
    """The lab's protocol: a line, and what is said of it."""
    line = _name(message_bytes)
    return Dialogue(
        greeting=GREETING,
        request=line + b"\n" + (EXIT if only else b""),
        answer=PREFIX + line + SUFFIX,
        request_tag_offset=0,
        answer_tag_offset=len(PREFIX),
        tag_digits=min(_TAG_DIGITS, len(line)),
    )


def http(message_bytes: int, *, only: bool = False) -> Dialogue:
    """HTTP/1.1 (RFC 9112): GET of the servers' own page, with a query that stands in it again."""
    name = _name(message_bytes)
    request, answer = http_request(name, only=only), http_answer(name, only=only)
    date = answer.index(DATE)
    return Dialogue(
        greeting=b"",
        request=request,
        answer=answer,
        request_tag_offset=request.index(name),
        answer_tag_offset=len(answer) - len(_END) - len(name),
        tag_digits=min(_TAG_DIGITS, len(name)),
        opaque=slice(date, date + len(DATE)),
    )


_BEGINNING = b"<!doctype html>\n<title>Hello</title>\n<p>Hello, "
_END = b"!\n"


def http_request(name: bytes, *, only: bool = False) -> bytes:
    """The request for the page that greets this name; `only`: and for no other page."""
    close = b"Connection: close\r\n" if only else b""
    return b"GET /?" + name + b" HTTP/1.1\r\nHost: lab\r\n" + close + b"\r\n"


def http_answer(name: bytes, *, only: bool = False) -> bytes:
    """What a server has to answer to that, but for the date."""
    body = _BEGINNING + name + _END
    return b"".join(
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n",
            b"Content-Length: %d\r\n" % len(body),
            b"Connection: close\r\n" if only else b"",
            b"Date: " + DATE + b"\r\n\r\n",
            body,
        )
    )


def _name(message_bytes: int) -> bytes:
    """Letters without a period, so that bytes lost inside a long line are noticed."""
    return np.random.default_rng(0).integers(97, 123, message_bytes - 1, np.uint8).tobytes()
