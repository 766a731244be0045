"""What one recv(1024) returns.

A reader learns that the number is a bound and nothing else: recv() returns what is there, be it a
part of a message, one, or several, as soon as anything is.
"""

import array
import fcntl
import select
import socket
import termios
import time
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Seen, Verdict
from loadgen.claims.connection import PATIENCE_S, pair

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

TRIES = 100
RECEIVE_BYTES = 1024
SHORT, LONG = b"x" * 100, b"x" * 3_000


def program() -> Seen:
    """Call recv(1024) once when a message has come: does it return that message, no more, no less?

    alone   one message was sent, and the next one follows when it was received
    two     two were sent before
    long    it is longer than 1,024 bytes
    pieces  its sender sent one half of it, and then the other
    """
    seen: Seen = {}
    cases = {
        "alone": (SHORT, (SHORT,)),
        "two": (SHORT, (SHORT, SHORT)),
        "long": (LONG, (LONG,)),
        "pieces": (SHORT, (SHORT[:50],)),
    }
    for case, (message, sends) in cases.items():
        held = 0
        with pair() as (sender, receiver):
            # Or the second half would wait until the first was acknowledged (RFC 896, Nagle).
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(TRIES):
                for piece in sends:
                    sender.sendall(piece)
                await_bytes(receiver, sum(map(len, sends)))
                held += receiver.recv(RECEIVE_BYTES) == message
                if case == "pieces":
                    sender.sendall(SHORT[50:])
                    await_bytes(receiver, 50)
                drain(receiver)
        seen[f"tries_{case}"], seen[f"held_{case}"] = TRIES, held
    return seen


def await_bytes(sock: socket.socket, count: int) -> None:
    """Wait until so many bytes can be received (tcp(7), SIOCINQ). Raises OSError: they do not
    come."""
    waiting = array.array("i", [0])
    deadline = time.monotonic() + PATIENCE_S
    while waiting[0] < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count} bytes were sent and {waiting[0]} came")
        select.select([sock], [], [], PATIENCE_S)
        fcntl.ioctl(sock, termios.FIONREAD, waiting)


def drain(sock: socket.socket) -> None:
    """Throw away the rest, so that the next try begins anew."""
    while select.select([sock], [], [], 0)[0]:
        sock.recv(65_536)


def verdict(evidence: "Evidence") -> Verdict:
    """A single receive that returned something else refutes it."""
    words = {
        "alone": "when the sender waits until it was received",
        "two": "when two were sent",
        "long": "when it is longer than that",
        "pieces": "when its sender sends it in two pieces",
    }
    shares = {case: found for case in words if (found := evidence.share(case))}
    if len(shares) < len(words):
        return Verdict("not decided", "No run of the program counts.")
    told = "; ".join(f"{words[case]} in {found}" for case, found in shares.items())
    sentence = f"One recv(1024) returned one message, no more and no less, {told} tries."
    return Verdict("true" if all(each.always for each in shares.values()) else "false", sentence)


CLAIM = Claim(
    name="receiving",
    says="recv(1024) receives one message.",
    tried=(
        "Messages are sent alone, two at once, longer than 1,024 bytes, and in two pieces; what the"
        " first recv(1024) returns is compared with the message."
    ),
    why=(
        "recv(n) returns at least one byte and at most n, whatever has arrived (recv(2)): TCP keeps"
        " the order of bytes and not where a send ended. It looks right as long as a client asks,"
        " waits and asks again, which is how tutorials try it."
    ),
    verdict=verdict,
    program=program,
)
