"""A port that was in use a moment ago.

A reader learns that it is not the server's stopping that keeps a port, but connections that the
server closed first: these stay in TIME_WAIT for a minute (RFC 9293, 3.6.1), and a listening socket
without SO_REUSEADDR is not let in beside them.
"""

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Seen, Verdict
from loadgen.claims.connection import PATIENCE_S

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

TRIES = 20
TIME_WAIT = "06"  # include/net/tcp_states.h, as /proc/net/tcp writes it
TICKS_PER_S = 100  # of the timers there: USER_HZ


def program() -> Seen:
    """Serve a client, stop, and bind the same port again: is it refused?

    plain           the server closes first; nobody sets SO_REUSEADDR
    reuse           the server closes first; both servers set SO_REUSEADDR
    second_reuses   the server closes first; only the second one sets it
    client_first    the client closes first
    nobody          no client was there
    """
    seen: Seen = {}
    cases: dict[str, Callable[[], bool]] = {
        "plain": lambda: refused(again=stopped(reuse=False), reuse=False),
        "reuse": lambda: refused(again=stopped(reuse=True), reuse=True),
        "second_reuses": lambda: refused(again=stopped(reuse=False), reuse=True),
        "client_first": lambda: refused(again=stopped(client_first=True), reuse=False),
        "nobody": lambda: refused(again=stopped(client=False), reuse=False),
    }
    for case, once in cases.items():
        seen[f"tries_{case}"] = TRIES
        seen[f"held_{case}"] = sum(once() for _ in range(TRIES))
    seen["time_wait_s"] = time_wait_s(stopped(reuse=False))
    return seen


def stopped(*, reuse: bool = False, client: bool = True, client_first: bool = False) -> int:
    """The port of a server that has served, and is gone."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port: int = listener.getsockname()[1]
    if client:
        asking = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        served, _ = listener.accept()
        served.settimeout(PATIENCE_S)
        first, last = (asking, served) if client_first else (served, asking)
        first.shutdown(socket.SHUT_WR)
        last.recv(1)  # b"": the other side has closed
        last.close()
        first.recv(1)  # the handshake of the end is over: who closed first is in TIME_WAIT
        first.close()
    listener.close()
    return port


def refused(again: int, reuse: bool) -> bool:
    """Is a new server refused the port because it is in use? Raises OSError for other reasons."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            listener.bind(("127.0.0.1", again))
            listener.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False


def time_wait_s(port: int) -> float | None:
    """How long the kernel will keep a connection of that port in TIME_WAIT (proc_pid_net(5): the
    fields `st` and `tr:tm->when`); None where it does not tell."""
    try:
        lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        _, local, _, state, _, timer, *_ = line.split()
        if local.endswith(f":{port:04X}") and state == TIME_WAIT:
            return int(timer.partition(":")[2], 16) / TICKS_PER_S
    return None


def verdict(evidence: "Evidence") -> Verdict:
    """It depends where the plain server is refused, and another one is not."""
    words = {
        "plain": "when the server had closed first and nobody sets SO_REUSEADDR",
        "reuse": "when both servers set it",
        "second_reuses": "when only the second one does",
        "client_first": "when the client had closed first",
        "nobody": "when no client had been there",
    }
    shares = {case: found for case in words if (found := evidence.share(case))}
    if len(shares) < len(words):
        return Verdict("not decided", "No run of the program counts.")
    told = "; ".join(f"{words[case]} in {found}" for case, found in shares.items())
    sentence = f"The port was refused {told} tries."
    if kept := evidence.figure("time_wait_s"):
        sentence += f" The kernel keeps it for {kept.value:.0f} s."
    others = [shares[case] for case in words if case != "plain"]
    if all(each.always for each in shares.values()):
        return Verdict("true", sentence)
    if not shares["plain"].never and any(each.never for each in others):
        on = "on who closed first, and on SO_REUSEADDR"
        return Verdict("it depends", sentence, on)
    return Verdict("false", sentence)


CLAIM = Claim(
    name="rebinding",
    says="A server that was stopped cannot bind its port again for a while.",
    tried=(
        "A server serves one client, or none, and stops; another one binds the port at once, with"
        " and without SO_REUSEADDR, after the server or the client has closed first."
    ),
    why=(
        "Who closes first keeps the connection in TIME_WAIT, in case its last acknowledgement was"
        " lost. Linux lets a listener in beside it if both the old socket and the new one have"
        " SO_REUSEADDR (socket(7)), so a server should always set it."
    ),
    verdict=verdict,
    program=program,
)
