"""The client that follows a script: what it takes for an answer, and what it says of others."""

import socket
import time
from collections.abc import Iterator

import pytest
import stubs
from harness import wait_until
from stubs import Stub

from loadgen.clients import scripted
from loadgen.clients.connect import kernel_stamps
from loadgen.clients.scripted import Conversation, ConversationError, UnreachableError
from loadgen.target.address import Address

LOOPBACK = "127.0.0.1"
AT_ONCE_S = 0.05  # so long a silence is long enough where nothing is going to be said


def polite(number: int, line: bytes) -> Iterator[bytes]:
    """As a server should, `exit` included."""
    if line == b"exit":
        raise ConnectionAbortedError
    yield stubs.answer(line.removesuffix(b"\r"))


def spoiling(wrong_line: bytes, wrong_answer: bytes) -> stubs.Behaviour:
    """Right but for one answer."""

    def behave(number: int, line: bytes) -> Iterator[bytes]:
        if line == wrong_line:
            yield wrong_answer
        yield from polite(number, line) if line != wrong_line else ()

    return behave


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
def test_a_correct_server_is_verified(host: str) -> None:
    with Stub(polite, host=host) as stub:
        scripted.verify(Address(host, stub.port))
        assert [served.line for served in stub.served] == [
            *(b"one", b"two\r", b"", b"three\x00\xff", b"exit")
        ]


@pytest.mark.parametrize(
    ("behaviour", "greeting", "words"),
    [
        (polite, b"Welcome?\n", r"^the server said b'Welcome\?\\n.* instead of b'Welcome!\\n"),
        (spoiling(b"two\r", b"Hello, two\r!\n"), b"Welcome!\n", r"said .*two\\r!.* instead of"),
        (spoiling(b"two\r", b""), b"Welcome!\n", "instead of"),
        (spoiling(b"exit", b"Hello, exit!\n"), b"Welcome!\n", "Hello, exit.* after `exit`"),
        (polite, None, "the conversation before the trial failed|the server said b'' instead of"),
    ],
)
def test_every_byte_of_a_conversation_is_compared(
    behaviour: stubs.Behaviour, greeting: bytes | None, words: str
) -> None:
    with (
        Stub(behaviour, greeting) as stub,
        pytest.raises(ConversationError, match=words),
    ):
        scripted.verify(Address(LOOPBACK, stub.port))


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scripted, "VERIFY_S", AT_ONCE_S)
    with Stub(reads=False) as stub, pytest.raises(ConversationError, match="no answer within 0 s"):
        scripted.verify(Address(LOOPBACK, stub.port))


def test_a_server_that_does_not_close_after_exit_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted, "VERIFY_S", AT_ONCE_S)
    with (
        Stub(spoiling(b"exit", b"")) as stub,
        pytest.raises(ConversationError, match="the conversation before the trial failed: timed"),
    ):
        scripted.verify(Address(LOOPBACK, stub.port))


def test_something_else_is_refused_before_it_is_complete() -> None:
    with (
        Stub(greeting=b"Wel?") as stub,
        Conversation(Address(LOOPBACK, stub.port), stubs.DEADLINE_S) as conversation,
        pytest.raises(ConversationError, match=r"^the server said b'Wel\?' instead of b'Welcome"),
    ):
        conversation.expect(b"Welcome!\n")


def test_an_end_before_the_last_byte_is_an_error() -> None:
    with (
        Stub(spoiling(b"a", b"Hel")) as stub,
        Conversation(Address(LOOPBACK, stub.port), stubs.DEADLINE_S) as conversation,
    ):
        assert conversation.receive_exactly(9) == b"Welcome!\n"
        conversation.send(b"a\nexit\n")
        with pytest.raises(ConnectionError, match="closed by the server"):
            conversation.receive_exactly(10)


def is_stamped_before_it_is_read() -> bool:
    with (
        Stub(polite) as stub,
        Conversation(
            Address(LOOPBACK, stub.port), stubs.DEADLINE_S, kernel_stamps=True
        ) as conversation,
    ):
        conversation.expect(b"Welcome!\n")
        conversation.send(b"a\nexit\n")
        assert conversation.receive(1) == b"H"
        read_ns = time.time_ns()
        # The rest came in the same segment: its stamp is older than the reading of its first byte.
        assert conversation.receive(9) == b"ello, a!\n"
        assert stub.served[0].received_ns <= conversation.arrived_ns
        return conversation.arrived_ns <= read_ns


def test_an_arrival_is_stamped_by_the_kernel_and_not_when_it_is_read() -> None:
    """Once the kernel has begun to (net/core/dev.c, net_enable_timestamp)."""
    with kernel_stamps():
        wait_until(is_stamped_before_it_is_read, "the kernel stamps what arrives")


def test_without_the_kernels_stamp_an_arrival_is_when_it_was_read() -> None:
    with (
        Stub(polite) as stub,
        Conversation(Address(LOOPBACK, stub.port), stubs.DEADLINE_S) as conversation,
    ):
        conversation.expect(b"Welcome!\n")
        conversation.send(b"a\nexit\n")
        assert conversation.receive(1) == b"H"
        read_ns = time.time_ns()
        assert conversation.receive(9) == b"ello, a!\n"
        assert conversation.arrived_ns >= read_ns


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
def test_a_numeric_address_is_what_it_is(host: str) -> None:
    with Stub(host=host) as stub:
        assert scripted.resolve(Address(host, stub.port)) == Address(host, stub.port)


def test_a_name_becomes_the_address_at_which_somebody_listens() -> None:
    with Stub() as stub:
        assert scripted.resolve(Address("localhost", stub.port)) == Address(LOOPBACK, stub.port)


def test_where_nobody_listens_is_said() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError, match=f"^nobody listens at 127.0.0.1:{port}$"):
        scripted.resolve(Address(LOOPBACK, port))
