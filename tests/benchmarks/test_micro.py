"""The protocol alone, and one round trip per server: `make microbench`.

These are for finding a regression while one works on a file, not for comparing models: the client
is Python and costs as much as the server. The comparison is `make bench`. Without
`--benchmark-enable` each runs once, as a test.
"""

from harness import Server
from pytest_benchmark.fixture import BenchmarkFixture

from servers.common import RECEIVE_BYTES
from servers.protocol import Session


def test_session_answers_one_line(benchmark: BenchmarkFixture) -> None:
    session = Session()
    session.sent(len(session.outgoing))

    def answer() -> bytes:
        session.receive(b"0123456789abcde\n")
        outgoing = session.outgoing
        session.sent(len(outgoing))
        return outgoing

    assert benchmark(answer) == b"Hello, 0123456789abcde!\n"


def test_session_answers_a_receive_full_of_lines(benchmark: BenchmarkFixture) -> None:
    session = Session()
    session.sent(len(session.outgoing))
    line = b"0123456789abcde\n"
    received = line * (RECEIVE_BYTES // len(line))

    def answer() -> int:
        session.receive(received)
        count = len(session.outgoing)
        session.sent(count)
        return count

    assert benchmark(answer) == len(received) // len(line) * len(b"Hello, 0123456789abcde!\n")


def test_session_takes_a_long_line_in_pieces(benchmark: BenchmarkFixture) -> None:
    session = Session()
    session.sent(len(session.outgoing))
    pieces = [b"x" * 1_000] * 60 + [b"\n"]

    def answer() -> int:
        for piece in pieces:
            session.receive(piece)
        count = len(session.outgoing)
        session.sent(count)
        return count

    assert benchmark(answer) == len(b"Hello, !\n") + 60_000


def test_round_trip(benchmark: BenchmarkFixture, server: Server) -> None:
    client = server.greeted()
    sock = client.sock
    sock.settimeout(None)  # a time-out would cost a poll() per call

    def ask() -> bytes:
        sock.send(b"0123456789abcde\n")
        return sock.recv(64)

    assert benchmark(ask) == b"Hello, 0123456789abcde!\n"
