"""The clients that are drawn one by one, against servers that are wrong."""

import socket
from collections.abc import Iterator

import pytest
import stubs
from stubs import Stub

from loadgen.clients.timeline import ClientTimeline, converse
from loadgen.target.address import Address

pytestmark = pytest.mark.measures

CLIENTS, REQUESTS = 5, 4


def timelines(behaviour: stubs.Behaviour, greeting: bytes = b"Welcome!\n") -> list[ClientTimeline]:
    with Stub(behaviour, greeting) as stub:
        return converse(Address("127.0.0.1", stub.port), CLIENTS, REQUESTS)


def spoiling(wrong_line: bytes, wrong_answer: bytes) -> stubs.Behaviour:
    """Right but for one answer."""

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if line == b"exit":
            raise ConnectionAbortedError
        yield wrong_answer if line == wrong_line else stubs.answer(line)

    return behave


def counted(found: list[ClientTimeline]) -> list[tuple[int, int]]:
    """(right, wrong) answers of each client."""
    return [(len(timeline.requests), timeline.mismatched) for timeline in found]


def test_a_wrong_answer_is_no_request_to_be_timed() -> None:
    found = timelines(spoiling(b"client 2, line 1", b"Hallo, client 2, line 1!\n"))
    expected = [(REQUESTS, 0)] * CLIENTS
    expected[2] = (REQUESTS - 1, 1)
    assert counted(found) == expected
    assert {timeline.failure for timeline in found} == {None}


def test_what_follows_the_last_answer_makes_it_wrong() -> None:
    found = timelines(spoiling(b"client 3, line 3", b"Hello, client 3, line 3!\n?"))
    expected = [(REQUESTS, 0)] * CLIENTS
    expected[3] = (REQUESTS - 1, 1)
    assert counted(found) == expected


def test_a_wrong_greeting_is_no_greeting() -> None:
    found = timelines(stubs.correct, b"Welcome?\n")
    assert {(timeline.failure, timeline.greeted_ns) for timeline in found} == {
        ("wrong greeting", 0)
    }
    assert counted(found) == [(0, 0)] * CLIENTS


def test_a_client_that_is_turned_away_is_an_error_of_the_trial() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        found = converse(Address(*silent.getsockname()), CLIENTS, REQUESTS)

    assert all("refused" in (timeline.failure or "") for timeline in found)
    assert all(timeline.greeted_ns == 0 for timeline in found)
