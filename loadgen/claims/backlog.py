"""listen(n): how many clients may wait for accept()?

A reader learns what the number means on Linux: so many connections, and one more, are made without
the server's doing. Whoever comes then is not refused: the kernel drops what arrives, and the client
tries again after a second.
"""

import select
import socket
import struct
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Seen, Verdict

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

# The last is more than clients come.
BACKLOGS = (1, 8, 64, 512)
CLIENTS = 100
# A handshake over loopback is over before connect() returns; a busy machine may put it off.
PATIENCE_S = 5.0
# linux/tcp.h, struct tcp_info: of a listener, after eight bytes and four words, how many wait to be
# accepted and how many may (tcpi_unacked, tcpi_sacked: tcp_get_info in the kernel's tcp.c).
QUEUE = struct.Struct("=8x4x4x4x4xII")


def program() -> Seen:
    """Let clients connect to a server that never calls accept(), under several backlogs.

    A try is a backlog; the claim holds for it if as many clients get in as with the largest.
    """
    inside = {backlog: connected(backlog) for backlog in BACKLOGS}
    *smaller, largest = BACKLOGS
    seen: Seen = {
        "tries_backlogs": len(smaller),
        "held_backlogs": sum(inside[backlog] == inside[largest] for backlog in smaller),
        "clients": CLIENTS,
        "largest_granted": granted(2**30),
        "wait_when_full_s": wait_when_full(),
    }
    return seen | {f"connected_{backlog}": count for backlog, count in inside.items()}


def connected(backlog: int) -> int:
    """How many of CLIENTS are connected while nobody accepts them."""
    with ExitStack() as around:
        listener = around.enter_context(listening(backlog))
        clients = [around.enter_context(coming_to(listener)) for _ in range(CLIENTS)]
        expected = min(CLIENTS, granted_to(listener) + 1)
        deadline = time.monotonic() + PATIENCE_S
        done = 0
        while done < expected and time.monotonic() < deadline:
            done = sum(is_connected(sock) for sock in clients)
        return sum(is_connected(sock) for sock in clients)


def wait_when_full() -> float | None:
    """How long it takes a client that found no room until it is connected, although there is room
    at once (s); None if it was not within PATIENCE_S."""
    with ExitStack() as around:
        listener = around.enter_context(listening(0))
        first = around.enter_context(coming_to(listener))
        select.select([], [first], [], PATIENCE_S)
        second = around.enter_context(coming_to(listener))
        began = time.monotonic()
        accepted, _ = listener.accept()  # now there is room
        around.enter_context(accepted)
        _, ready, _ = select.select([], [second], [], PATIENCE_S)
        return time.monotonic() - began if ready else None


def listening(backlog: int) -> socket.socket:
    """A server that will not accept anybody."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(backlog)
    return listener


def coming_to(listener: socket.socket) -> socket.socket:
    """A client that has called connect(), and does not wait."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(listener.getsockname())
    return sock


def is_connected(sock: socket.socket) -> bool:
    """Is the handshake over, as far as this side knows?"""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def granted(backlog: int) -> int:
    """What the kernel makes of a backlog."""
    with listening(backlog) as listener:
        return granted_to(listener)


def granted_to(listener: socket.socket) -> int:
    """How many may wait, as the kernel has it."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, QUEUE.size)
    _, most = QUEUE.unpack(info)
    return int(most)


def verdict(evidence: "Evidence") -> Verdict:
    """It has an effect where fewer clients get in with a smaller backlog."""
    found = evidence.share("backlogs")
    if found is None:
        return Verdict("not decided", "No run of the program counts.")
    counts = [
        f"{int(count.value):,} with listen({backlog})"
        for backlog in BACKLOGS
        if (count := evidence.figure(f"connected_{backlog}"))
    ]
    sentence = (
        f"Of {CLIENTS} clients that came while nobody called accept(), so many were connected:"
        f" {', '.join(counts)}; a smaller backlog let in as many as the largest in {found} tries."
    )
    largest, waited = evidence.figure("largest_granted"), evidence.figure("wait_when_full_s")
    if largest:
        sentence += f" The kernel makes {int(largest.value):,} of anything larger than that."
    if waited:
        sentence += (
            f" A client that found no room was connected {waited.value:.2f} s later, although there"
            " was room at once."
        )
    return Verdict("true" if found.always else "false", sentence)


CLAIM = Claim(
    name="backlog",
    says="The number in listen(n) has no effect on Linux.",
    tried=(
        "A hundred clients connect to a server that never calls accept(), under four backlogs; and"
        " one client comes when there is no room."
    ),
    why=(
        "Linux completes n + 1 handshakes by itself and drops what comes then (listen(2)); the"
        " client sends its SYN again after a second. n is capped by net.core.somaxconn, so it is"
        " numbers beyond that which have no effect."
    ),
    verdict=verdict,
    program=program,
)
