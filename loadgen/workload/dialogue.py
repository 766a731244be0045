"""What client and server say to each other, as bytes: the one place that knows the protocol's text.

A client says the same request again and again. Only its tag differs, and with it the answer, so
that an answer that belongs to another request is noticed. The engine knows no text: it writes tags
where a `Dialogue` says, sends, and compares.
"""

from typing import NamedTuple

import numpy as np

GREETING = b"Welcome!\n"
PREFIX, SUFFIX = b"Hello, ", b"!\n"
EXIT = b"exit\n"

# 8 digits to the base 16 tell more requests apart than can be recorded (load.MAX_REQUESTS).
_TAG_DIGITS = 8


class Dialogue(NamedTuple):
    """The text of one connection; the tag in it has not been written yet."""

    greeting: bytes
    """what the server says first"""
    request: bytes
    answer: bytes
    request_tag_offset: int
    """where the first byte of the tag is, in the request and in its answer"""
    answer_tag_offset: int
    tag_digits: int
    """one byte each, lowest digit first, the letters a to p; short requests have fewer"""
    farewell: bytes
    """with it the client asks the server to close, once everything has been answered"""


def hello_echo(message_bytes: int) -> Dialogue:
    """The lab's protocol, with requests of `message_bytes`, their newline included; at least 2."""
    # Letters without a period, so that bytes lost inside a long line are noticed.
    line = np.random.default_rng(0).integers(97, 123, message_bytes - 1, np.uint8).tobytes()
    return Dialogue(
        greeting=GREETING,
        request=line + b"\n",
        answer=PREFIX + line + SUFFIX,
        request_tag_offset=0,
        answer_tag_offset=len(PREFIX),
        tag_digits=min(_TAG_DIGITS, len(line)),
        farewell=EXIT,
    )
