"""The protocol without sockets: every case whole, byte by byte, and with the next message glued
on; then the same for streams that hypothesis invents."""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import pairwise

import pytest
from harness import TOO_LONG, answers_to
from hypothesis import example, given, settings
from hypothesis import strategies as st

from servers.protocol import (
    GREETING,
    HIGH_WATER_BYTES,
    MAX_LINE_BYTES,
    TIMED_OUT,
    Session,
    hello,
)

# Limits so small that every stream reaches them.
TINY_LINE_BYTES = 6
TINY_HIGH_WATER_BYTES = 30

# A CPU that is busy elsewhere must not fail a property.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def take_all(session: Session) -> bytes:
    """Everything the session wants to send now."""
    said = bytes(session.outgoing)
    session.sent(len(said))
    return said


def talk(session: Session, pieces: Iterable[bytes], sends: Iterator[int] | None = None) -> bytes:
    """A whole conversation as a server would hold it: all that was said.

    pieces  what each receive returns; the end of the stream follows by itself
    sends   how much each send may take (default: everything)
    """
    said = b""

    def write() -> None:
        nonlocal said
        count = min(next(sends), len(session.outgoing)) if sends else len(session.outgoing)
        said += session.outgoing[:count]
        session.sent(count)

    incoming = iter([*pieces, b""])
    while session.wants_read or session.wants_write:
        if session.wants_read:
            session.receive(next(incoming))
        if session.wants_write:
            write()
    return said


def whole(stream: bytes) -> list[bytes]:
    return [stream] if stream else []


def byte_by_byte(stream: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in stream]


def halves(stream: bytes) -> list[bytes]:
    middle = len(stream) // 2
    return [half for half in (stream[:middle], stream[middle:]) if half]


CASES = {
    "nothing": (b"", b""),
    "one line": (b"world\n", b"Hello, world!\n"),
    "empty line": (b"\n", b"Hello, !\n"),
    "two lines": (b"a\nb\n", b"Hello, a!\nHello, b!\n"),
    "carriage return": (b"a\r\n", b"Hello, a!\n"),
    "carriage return alone": (b"\r\n", b"Hello, !\n"),
    "only one carriage return": (b"a\r\r\n", b"Hello, a\r!\n"),
    "carriage return inside": (b"a\rb\n", b"Hello, a\rb!\n"),
    "carriage return first": (b"\ra\n", b"Hello, \ra!\n"),
    "NUL": (b"\0\n", b"Hello, \0!\n"),
    "not UTF-8": (b"\xff\xfe\n", b"Hello, \xff\xfe!\n"),
    "unfinished line": (b"a\nb", b"Hello, a!\n"),
    "unfinished exit": (b"exit", b""),
    "exit": (b"exit\n", b""),
    "exit with carriage return": (b"exit\r\n", b""),
    "exit after a line": (b"a\nexit\n", b"Hello, a!\n"),
    "anything after exit": (b"exit\na\n", b""),
    "exit as a prefix": (b"exits\n", b"Hello, exits!\n"),
    "exit as a suffix": (b"sexit\n", b"Hello, sexit!\n"),
    "exit with a blank": (b"exit \n", b"Hello, exit !\n"),
    "exit in capitals": (b"EXIT\n", b"Hello, EXIT!\n"),
    "exit with two carriage returns": (b"exit\r\r\n", b"Hello, exit\r!\n"),
    "longest line": (b"123456\n", b"Hello, 123456!\n"),
    "longest line, carriage return included": (b"12345\r\n", b"Hello, 12345!\n"),
    "line too long": (b"1234567\n", TOO_LONG % 6),
    "line too long by a carriage return": (b"123456\r\n", TOO_LONG % 6),
    "unfinished line too long": (b"1234567", TOO_LONG % 6),
    "line too long after a line": (b"a\n1234567\n", b"Hello, a!\n" + TOO_LONG % 6),
    "anything after a line too long": (b"1234567\na\nexit\n", TOO_LONG % 6),
    "line too long after exit": (b"exit\n1234567\n", b""),
}


@pytest.mark.parametrize("cut", [whole, byte_by_byte, halves])
@pytest.mark.parametrize(("stream", "answers"), CASES.values(), ids=CASES.keys())
def test_case(stream: bytes, answers: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    session = Session(max_line_bytes=TINY_LINE_BYTES)
    assert talk(session, cut(stream)) == GREETING + answers


@pytest.mark.parametrize("cut", [whole, byte_by_byte, halves])
@pytest.mark.parametrize("stream", [stream for stream, _ in CASES.values()], ids=CASES.keys())
def test_case_with_the_next_message_glued_on(
    stream: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    glued = stream + b"z\n"
    session = Session(max_line_bytes=TINY_LINE_BYTES)
    assert talk(session, cut(glued)) == answers_to(glued, TINY_LINE_BYTES)


@pytest.mark.parametrize(("stream", "answers"), CASES.values(), ids=CASES.keys())
def test_the_oracle_of_the_tests_agrees(stream: bytes, answers: bytes) -> None:
    assert answers_to(stream, TINY_LINE_BYTES) == GREETING + answers


def test_documented_figures() -> None:
    assert GREETING == b"Welcome!\n"
    assert MAX_LINE_BYTES == 65_536
    assert HIGH_WATER_BYTES == 262_144
    assert hello(b"world") == b"Hello, world!\n"


def test_says_what_it_wants() -> None:
    session = Session()
    assert (session.wants_read, session.wants_write) == (True, True)
    take_all(session)
    assert (session.wants_read, session.wants_write) == (True, False)
    session.receive(b"a")
    assert (session.wants_read, session.wants_write) == (True, False)
    session.receive(b"\n")
    assert (session.wants_read, session.wants_write) == (True, True)
    session.receive(b"")
    assert (session.wants_read, session.wants_write) == (False, True)
    assert take_all(session) == b"Hello, a!\n"
    assert (session.wants_read, session.wants_write) == (False, False)


def test_ends_without_being_read_from_again() -> None:
    session = Session()
    session.receive(b"exit\n")
    assert not session.wants_read
    assert take_all(session) == GREETING
    session.receive(b"a\n")  # what a careless server might still hand over
    session.receive(b"")
    assert session.outgoing == b""
    assert not session.wants_read
    assert not session.wants_write


def test_nothing_sent_changes_nothing() -> None:
    session = Session()
    session.sent(0)
    assert session.outgoing == GREETING
    assert session.wants_write


def test_a_broken_connection_wants_nothing_more() -> None:
    session = Session()
    session.receive(b"a\nb")
    session.abort()
    assert (session.wants_read, session.wants_write) == (False, False)
    session.receive(b"c\n")
    session.abort()
    assert session.outgoing == b""
    assert (session.wants_read, session.wants_write) == (False, False)


def test_a_broken_connection_keeps_no_memory() -> None:
    """A server may hold the session until the next event, and memory may be what it ran out of."""
    session = Session()
    tracemalloc.start()
    try:
        session.receive(b"x" * MAX_LINE_BYTES)
        session.abort()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < MAX_LINE_BYTES


def test_computes_with_what_was_handed_in() -> None:
    lines = []

    def respond(line: bytes) -> bytes:
        lines.append(line)
        return line.upper()

    session = Session(respond)
    take_all(session)
    session.receive(b"a\nb\r\nc")
    assert take_all(session) == b"AB"
    assert lines == [b"a", b"b"]


def test_is_not_read_from_above_the_high_water() -> None:
    session = Session(high_water_bytes=len(GREETING))
    assert session.wants_read, "at the high water and not above it"
    session.receive(b"a\n")
    assert not session.wants_read
    session.sent(len(session.outgoing) - len(GREETING) - 1)
    assert not session.wants_read
    session.sent(1)
    assert session.wants_read


def test_is_over_once_what_is_owed_has_gone_even_from_above_the_high_water() -> None:
    session = Session(high_water_bytes=0)
    session.receive(b"a\nexit\n")
    said = take_all(session)
    assert said == GREETING + b"Hello, a!\n"
    assert (session.wants_read, session.wants_write) == (False, False)


# Streams that are rich in what the protocol cares about.
streams = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b"exit\n", b"exit\r\n", b"exit", b"1234567", b"123456\n"]
        ),
        st.binary(max_size=8),
    ),
    max_size=12,
).map(b"".join)


def cut_at(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges) if start < end]


cuts = st.lists(st.integers(0, 200), max_size=10)
sends = st.lists(st.integers(1, 40), min_size=1, max_size=10)


def for_ever(counts: list[int]) -> Iterator[int]:
    while True:
        yield from counts


@given(streams, cuts)
@example(b"123456\r\n", [6, 7])
@example(b"exit\r\nz\n", [4, 5])
def test_cutting_the_stream_anywhere_changes_nothing(stream: bytes, cuts: list[int]) -> None:
    session = Session(max_line_bytes=TINY_LINE_BYTES)
    assert talk(session, cut_at(stream, cuts)) == answers_to(stream, TINY_LINE_BYTES)


@given(streams, cuts, sends)
def test_taking_the_output_in_any_pieces_changes_nothing(
    stream: bytes, cuts: list[int], counts: list[int]
) -> None:
    session = Session(max_line_bytes=TINY_LINE_BYTES, high_water_bytes=TINY_HIGH_WATER_BYTES)
    said = talk(session, cut_at(stream, cuts), for_ever(counts))
    assert said == answers_to(stream, TINY_LINE_BYTES)


@given(streams, cuts, st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_memory_is_bounded(stream: bytes, cuts: list[int], counts: list[int]) -> None:
    """High water, the answers to one receive, one unfinished line: nothing else is kept."""
    session = Session(max_line_bytes=TINY_LINE_BYTES, high_water_bytes=TINY_HIGH_WATER_BYTES)
    sends = for_ever(counts)
    for piece in cut_at(stream, cuts):
        if session.wants_read:
            assert len(session.outgoing) <= TINY_HIGH_WATER_BYTES
            session.receive(piece)
            lines = (b"x" * TINY_LINE_BYTES + piece).split(b"\n")
            answers_bytes = len(b"".join(map(hello, lines))) + len(TOO_LONG % TINY_LINE_BYTES)
            assert len(session.outgoing) <= TINY_HIGH_WATER_BYTES + answers_bytes
        session.sent(min(next(sends), len(session.outgoing)))


@given(streams, st.integers(0, 200), st.booleans())
def test_a_connection_may_break_anywhere(stream: bytes, at: int, after: bool) -> None:
    session = Session(max_line_bytes=TINY_LINE_BYTES)
    session.receive(stream[:at] or b"\n")
    session.abort()
    if after:
        session.receive(stream[at:])
    assert (session.wants_read, session.wants_write, session.outgoing) == (False, False, b"")


def test_memory_of_an_endless_line_is_bounded() -> None:
    """Measured where it counts: in bytes that Python has allocated."""
    session = Session()
    take_all(session)
    piece = b"x" * 1_000
    tracemalloc.start()
    try:
        for _ in range(10 * MAX_LINE_BYTES // len(piece)):
            session.receive(piece)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert session.outgoing == TOO_LONG % MAX_LINE_BYTES
    assert peak_bytes < 4 * MAX_LINE_BYTES


def test_memory_of_a_finished_session_is_given_back() -> None:
    """A client that has said exit may be slow to take its answers: only they may be kept."""
    session = Session()
    take_all(session)
    tracemalloc.start()
    try:
        session.receive(b"x" * MAX_LINE_BYTES)
        session.receive(b"\nexit\n" + b"y" * MAX_LINE_BYTES)
        take_all(session)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < MAX_LINE_BYTES


# Answers that are computed elsewhere: a session that hands out requests.


def deferred_session() -> Session:
    return Session(
        max_line_bytes=TINY_LINE_BYTES, high_water_bytes=TINY_HIGH_WATER_BYTES, deferred=True
    )


def is_over(session: Session) -> bool:
    return not session.wants_read and not session.wants_write and session.request is None


def test_a_deferred_session_hands_out_one_request_after_the_other() -> None:
    session = Session(deferred=True)
    take_all(session)
    session.receive(b"a\r\nb\nc")
    assert (session.request, session.wants_read, session.wants_write) == (b"a", False, False)
    session.answer(b"A")
    assert (session.request, session.wants_read, session.wants_write) == (b"b", False, True)
    assert take_all(session) == b"A"
    session.answer(b"B")
    assert (session.request, session.wants_read, session.wants_write) == (None, True, True)
    assert take_all(session) == b"B"
    session.receive(b"d\n")
    assert session.request == b"cd"


def test_a_session_that_answers_by_itself_hands_out_nothing() -> None:
    session = Session()
    session.receive(b"a\nb")
    assert session.request is None


def test_the_server_is_told_how_answers_are_computed() -> None:
    session = Session(bytes.upper, deferred=True)
    session.receive(b"a\n")
    assert session.request is not None
    session.answer(session.respond(session.request))
    assert take_all(session) == GREETING + b"A"


@pytest.mark.parametrize(
    ("behind", "owed"),
    [
        (b"exit\nz\n", b""),
        (b"1234567\nz\n", TOO_LONG % TINY_LINE_BYTES),
        (b"1234567", TOO_LONG % TINY_LINE_BYTES),
    ],
)
def test_what_ends_the_conversation_waits_for_the_answer(behind: bytes, owed: bytes) -> None:
    session = deferred_session()
    session.receive(b"a\n" + behind)
    assert take_all(session) == GREETING
    assert session.request == b"a"
    assert not is_over(session)
    session.answer(b"A")
    assert take_all(session) == b"A" + owed
    assert is_over(session)


def test_an_answer_comes_too_late_for_a_broken_connection() -> None:
    session = deferred_session()
    session.receive(b"a\nb\n")
    session.abort()
    assert not session.wants_read
    assert not session.wants_write
    session.answer(b"A")
    assert session.outgoing == b""
    assert is_over(session)


def test_requests_and_answers_take_turns() -> None:
    session = deferred_session()
    with pytest.raises(RuntimeError, match="without a request"):
        session.answer(b"A")
    session.receive(b"a\n")
    with pytest.raises(RuntimeError, match="before the request was answered"):
        session.receive(b"b\n")
    session.answer(b"A")
    with pytest.raises(RuntimeError, match="without a request"):
        session.answer(b"A")
    assert take_all(session) == GREETING + b"A"


turn = st.just(-1) | st.integers(1, 40)


@given(streams, cuts, st.lists(turn, min_size=1, max_size=30))
@example(b"a\nb\nexit\nz\n", [], [-1])
def test_answering_later_changes_nothing(stream: bytes, cuts: list[int], turns: list[int]) -> None:
    """Whatever the order in which it receives, sends (so much) and answers (-1), as far as the
    session lets it; and what it keeps meanwhile is bounded."""
    session = deferred_session()
    incoming = iter([*cut_at(stream, cuts), b""])
    said, owed_bytes = b"", 0
    for turn in for_ever(turns):
        if is_over(session):
            break
        if session.request is not None:
            assert not session.wants_read
            if turn < 0 or not session.wants_write:
                session.answer(session.respond(session.request))
        elif session.wants_read:
            assert len(session.outgoing) <= TINY_HIGH_WATER_BYTES
            piece = next(incoming)
            session.receive(piece)
            lines = (b"x" * TINY_LINE_BYTES + piece).split(b"\n")
            owed_bytes = len(b"".join(map(hello, lines))) + len(TOO_LONG % TINY_LINE_BYTES)
        assert len(session.outgoing) <= TINY_HIGH_WATER_BYTES + owed_bytes
        count = min(max(turn, 0), len(session.outgoing))
        if not session.wants_read and session.request is None:
            count = max(1, count)  # or it would wait for ever
        said += session.outgoing[:count]
        session.sent(count)
    assert said == answers_to(stream, TINY_LINE_BYTES)


@given(streams, st.integers(0, 5), st.integers(0, 200))
def test_a_connection_may_break_between_requests(stream: bytes, answered: int, at: int) -> None:
    session = deferred_session()
    session.receive(stream[:at] or b"\n")
    while answered and session.request is not None:
        session.answer(session.respond(session.request))
        answered -= 1
    session.abort()
    if session.request is not None:
        session.answer(b"A")
    assert is_over(session)
    assert session.outgoing == b""


def test_lines_that_wait_are_forgotten_with_the_connection() -> None:
    session = Session(deferred=True)
    lines = b"".join(b"%07d\n" % number for number in range(8_000))
    tracemalloc.start()
    try:
        session.receive(lines)
        kept_bytes, _ = tracemalloc.get_traced_memory()
        assert kept_bytes > len(lines)
        session.abort()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < len(lines)


def test_a_pool_of_threads_works_for_many_sessions() -> None:
    """As a server does it: the pool computes, and the loop's thread alone touches sessions."""
    new_session = partial(Session, respond=bytes.upper)
    sessions = [new_session(deferred=True) for _ in range(20)]
    streams = [b"".join(b"client %d line %d\n" % (n, i) for i in range(50)) for n in range(20)]
    with ThreadPoolExecutor(4) as pool:
        working: dict[Future[bytes], Session] = {}

        def hand_over(session: Session) -> None:
            if session.request is not None:
                working[pool.submit(session.respond, session.request)] = session

        for session, stream in zip(sessions, streams, strict=True):
            session.receive(stream)
            hand_over(session)
        while working:
            done, _ = wait(working, return_when=FIRST_COMPLETED)
            for future in done:
                session = working.pop(future)
                session.answer(future.result())
                hand_over(session)
    for session, stream in zip(sessions, streams, strict=True):
        assert session.wants_read
        assert take_all(session) == GREETING + stream.replace(b"\n", b"").upper()


# Silence. How long it was is for the server to know.


def test_who_is_silent_is_told_after_all_that_is_owed() -> None:
    session = Session()
    session.receive(b"a\nunfinished")
    session.time_out()
    assert take_all(session) == GREETING + hello(b"a") + TIMED_OUT
    assert not session.wants_read
    assert not session.wants_write
    session.receive(b"\nb\n")
    assert not session.wants_write


@pytest.mark.parametrize("end", [b"exit\n", b"", b"x" * (MAX_LINE_BYTES + 1)])
def test_who_had_finished_and_takes_nothing_is_given_up(end: bytes) -> None:
    session = Session()
    session.receive(b"a\n")
    session.receive(end)
    session.time_out()
    assert not session.wants_read
    assert not session.wants_write


def test_who_was_told_and_takes_nothing_is_given_up() -> None:
    session = Session()
    session.time_out()
    session.sent(1)
    assert session.wants_write
    session.time_out()
    assert not session.wants_write


def test_who_waits_for_an_answer_is_not_silent() -> None:
    session = Session(deferred=True)
    take_all(session)
    session.receive(b"a\n")
    session.time_out()
    assert session.request == b"a"
    session.answer(hello(b"a"))
    assert take_all(session) == hello(b"a")
    assert session.wants_read


@pytest.mark.parametrize(
    "said", [[], [b"more\n"], [b"x" * (MAX_LINE_BYTES + 1), b"exit\n", b"a\n"]]
)
def test_lingers_until_the_client_has_ended(said: list[bytes]) -> None:
    session = Session()
    session.receive(b"exit\n")
    take_all(session)
    session.linger()
    for data in said:
        session.receive(data)
        assert session.wants_read
        assert not session.wants_write
    session.receive(b"")
    assert not session.wants_read


@pytest.mark.parametrize("end", [Session.time_out, Session.abort])
def test_lingers_no_longer_than_it_is_told(end: Callable[[Session], None]) -> None:
    session = Session()
    session.receive(b"exit\n")
    take_all(session)
    session.linger()
    end(session)
    assert not session.wants_read


@pytest.mark.parametrize("end", [lambda one: one.receive(b""), Session.abort])
def test_does_not_linger_for_who_has_ended(end: Callable[[Session], None]) -> None:
    session = Session()
    end(session)
    take_all(session)
    session.linger()
    assert not session.wants_read


def test_an_end_of_file_behind_an_exit_is_an_end() -> None:
    session = Session()
    session.receive(b"exit\n")
    session.receive(b"")
    assert session.wants_write
    take_all(session)
    session.linger()
    assert not session.wants_read
