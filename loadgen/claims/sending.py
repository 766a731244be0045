"""How much of its data one send() takes.

A reader learns that only a blocking socket that nothing interrupts sends all of it; that a
nonblocking one, or one with a time-out, takes what there is room for; and that sendall() exists for
that reason.
"""

import signal
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Seen, Verdict
from loadgen.claims.connection import PATIENCE_S, pair

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

TRIES = 20
# More than the buffers of both ends take (tcp(7): tcp_wmem and tcp_rmem, 4 MiB and 6 MiB).
MUCH = bytes(32 * 2**20)
LITTLE = bytes(100)
# Again and again, because the first may come before the call that it is to interrupt.
INTERRUPTED_EVERY_S = 0.005


def program() -> Seen:
    """Call send() once, and look whether it took all.

    little       100 bytes, nonblocking
    blocking     32 MiB, and somebody reads
    nonblocking  32 MiB, and somebody reads
    timeout      the same, of a socket with a time-out
    interrupted  32 MiB of a blocking socket, nobody reads, and a signal is handled
    """
    seen: Seen = {"much_bytes": len(MUCH)}

    def usual(sock: socket.socket, data: bytes) -> int:
        return sock.send(data)

    cases: dict[str, tuple[bytes, float | None, bool, Callable[[socket.socket, bytes], int]]] = {
        "little": (LITTLE, 0.0, True, usual),
        "blocking": (MUCH, None, True, usual),
        "nonblocking": (MUCH, 0.0, True, usual),
        "timeout": (MUCH, PATIENCE_S, True, usual),
        "interrupted": (MUCH, None, False, interrupted),
    }
    for case, (data, timeout_s, is_read, send) in cases.items():
        sent = [once(data, timeout_s, is_read, send) for _ in range(TRIES)]
        seen[f"tries_{case}"] = TRIES
        seen[f"held_{case}"] = sum(count == len(data) for count in sent)
        seen[f"sent_fraction_{case}"] = sum(sent) / (TRIES * len(data))
    return seen


def once(
    data: bytes,
    timeout_s: float | None,
    is_read: bool,
    send: Callable[[socket.socket, bytes], int],
) -> int:
    """What one send() on a fresh connection returns."""
    with pair() as (sender, receiver):
        reader = threading.Thread(target=read_all, args=(receiver,), daemon=True)
        if is_read:
            reader.start()
        sender.settimeout(timeout_s)
        count = send(sender, data)
        sender.shutdown(socket.SHUT_WR)
        if is_read:
            reader.join(PATIENCE_S)
        return count


def interrupted(sock: socket.socket, data: bytes) -> int:
    """send(), while a signal is handled every few milliseconds. Python calls again by itself where
    nothing was sent yet (PEP 475); where something was, it returns how much."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, INTERRUPTED_EVERY_S, INTERRUPTED_EVERY_S)
    try:
        return sock.send(data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_all(sock: socket.socket) -> None:
    """Read until the end of file."""
    while sock.recv(2**20):
        pass


def verdict(evidence: "Evidence") -> Verdict:
    """True where it never fails; where a blocking socket never does and others do, it depends."""
    words = {
        "blocking": "32 MiB on a blocking socket",
        "little": "100 bytes on a nonblocking one",
        "nonblocking": "32 MiB on a nonblocking one",
        "timeout": "on one with a time-out",
        "interrupted": "on a blocking one, when a signal is handled meanwhile,",
    }
    shares = {case: found for case in words if (found := evidence.share(case))}
    if len(shares) < len(words):
        return Verdict("not decided", "No run of the program counts.")
    told = "; ".join(f"{words[case]} in {found}" for case, found in shares.items())
    sentence = f"One send() took all of it: {told} tries."
    if all(each.always for each in shares.values()):
        return Verdict("true", sentence)
    if shares["blocking"].always:
        on = "on whether the socket blocks, nothing interrupts it, and there is room"
        return Verdict("it depends", sentence, on)
    return Verdict("false", sentence)


CLAIM = Claim(
    name="sending",
    says="send() sends it all.",
    tried=(
        "One send() of 100 bytes or 32 MiB on sockets that block, that do not, that have a"
        " time-out, and on one that is interrupted by a signal."
    ),
    why=(
        "send() copies into the kernel's buffer and returns how much it took (send(2)). A blocking"
        " socket waits until all fits; a socket with a time-out is a nonblocking one in Python, and"
        " a signal ends the wait. sendall() goes on by itself."
    ),
    verdict=verdict,
    program=program,
)
