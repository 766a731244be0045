"""Messages that stick together, and what a pause between two sends does about it.

A reader learns that a pause makes messages arrive one by one only if the receiver is quicker than
the pause, and at what price; and that a receiver which looks for the end of a message, or for its
length, needs no pause and is never wrong.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Seen, Verdict
from loadgen.claims.connection import PATIENCE_S, pair

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

# (case, messages, pause between two sends, how long the receiver is busy with what it got)
PAUSED = (
    ("no_pause", 1_000, 0.0, 0.0),
    ("1ms", 100, 0.001, 0.0),
    ("10ms", 50, 0.010, 0.0),
    ("100ms", 20, 0.100, 0.0),
    ("100ms_busy", 20, 0.100, 0.250),
)
FRAMED = 20_000
# As tutorials receive.
RECEIVE_BYTES = 1024

Receiver = Callable[[socket.socket], Iterator[bytes]]


def program() -> Seen:
    """Send numbered lines with pauses between them, and count those that recv() returned alone and
    whole; and as many as can be, to receivers that find out by themselves where a message ends.

    A try is a message.
    """
    seen: Seen = {}
    for case, messages, pause_s, busy_s in PAUSED:
        lines = [b"message %d\n" % number for number in range(messages)]

        def once(sock: socket.socket, busy_s: float = busy_s) -> Iterator[bytes]:
            return by_receive(sock, busy_s)

        got, took_s = transfer(lines, pause_s, once)
        wanted = set(lines)
        seen[f"tries_{case}"] = messages
        seen[f"held_{case}"] = sum(piece in wanted for piece in got)
        seen[f"messages_per_s_{case}"] = (messages - 1) / took_s
    lines = [b"message %d" % number for number in range(FRAMED)]
    framings: dict[str, tuple[Receiver, Callable[[bytes], bytes]]] = {
        "delimiter": (by_delimiter, lambda line: line + b"\n"),
        "length": (by_length, lambda line: len(line).to_bytes(4, "big") + line),
    }
    for case, (receiver, framed) in framings.items():
        got, took_s = transfer([framed(line) for line in lines], 0.0, receiver)
        seen[f"tries_{case}"] = len(lines)
        # Each in its place: what is lost, cut or glued fails.
        seen[f"held_{case}"] = sum(one == other for one, other in zip(got, lines, strict=False))
        seen[f"messages_per_s_{case}"] = len(lines) / took_s
    return seen


def transfer(sent: list[bytes], pause_s: float, receiver: Receiver) -> tuple[list[bytes], float]:
    """What a receiver makes of what is sent, a message per send; and how long it took (s)."""
    with pair() as (sender, receiving):

        def send() -> None:
            for number, message in enumerate(sent):
                if number and pause_s:
                    time.sleep(pause_s)  # what tutorials advise
                sender.sendall(message)
            sender.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send, daemon=True)
        began = time.monotonic()
        thread.start()
        got = list(receiver(receiving))
        took_s = time.monotonic() - began
        thread.join(PATIENCE_S)
    return got, took_s


def by_receive(sock: socket.socket, busy_s: float = 0.0) -> Iterator[bytes]:
    """What tutorials do: what one recv() returns is taken for a message.

    busy_s  and then something is done with it
    """
    while piece := sock.recv(RECEIVE_BYTES):
        yield piece
        if busy_s:
            time.sleep(busy_s)


def by_delimiter(sock: socket.socket) -> Iterator[bytes]:
    """A message ends with its newline, wherever that is in what was received."""
    rest = b""
    while piece := sock.recv(RECEIVE_BYTES):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole


def by_length(sock: socket.socket) -> Iterator[bytes]:
    """Four bytes say how long a message is."""
    rest = b""
    while piece := sock.recv(RECEIVE_BYTES):
        rest += piece
        while len(rest) >= 4 and len(rest) >= 4 + int.from_bytes(rest[:4], "big"):
            end = 4 + int.from_bytes(rest[:4], "big")
            yield rest[4:end]
            rest = rest[end:]


def verdict(evidence: "Evidence") -> Verdict:
    """A message that stuck in spite of the pause refutes it; where none does while the receiver
    waits for it, it depends on the receiver."""
    waiting, busy = evidence.share("100ms"), evidence.share("100ms_busy")
    if waiting is None or busy is None:
        return Verdict("not decided", "No run of the program counts.")
    sentence = (
        f"With 0.1 s between two sends {waiting.failed} messages stuck together when the receiver"
        f" waited for them, and {busy.failed} when it was busy for 0.25 s with each that it got"
    )
    shorter = [
        f"{found.failed.percent} with {words}"
        for case, words in (("no_pause", "no pause"), ("1ms", "1 ms"), ("10ms", "10 ms"))
        if (found := evidence.share(case))
    ]
    if shorter:
        sentence += f"; {', '.join(shorter)}"
    paused = evidence.figure("messages_per_s_100ms")
    framed = [
        (words, found, rate)
        for case, words in (("delimiter", "a delimiter"), ("length", "a length in front"))
        if (found := evidence.share(case)) and (rate := evidence.figure(f"messages_per_s_{case}"))
    ]
    sentence += "."
    if paused and framed:
        told = " and ".join(
            f"{words} failed for {found.failed} at {rate.value:,.0f} per second"
            for words, found, rate in framed
        )
        sentence += f" The pause allows {paused.value:.2g} messages per second; {told}."
    if busy.always and waiting.always:
        return Verdict("true", sentence)
    if not busy.always and waiting.failed.high < busy.failed.low:
        return Verdict("it depends", sentence, "on what the receiver does meanwhile")
    return Verdict("false", sentence)


CLAIM = Claim(
    name="sticking",
    says="Wait 0.1 s between two sends, and messages do not stick together.",
    tried=(
        "Numbered lines are sent over one connection with pauses from none to 0.1 s, and what each"
        " recv() returns is taken for a message; then without a pause to receivers that look for a"
        " delimiter or for a length."
    ),
    why=(
        "TCP carries bytes and knows no messages: whatever has arrived by the time recv() is called"
        " is returned together. A pause only bets that the receiver has taken one message when the"
        " next comes; a busy receiver or a slow network loses the bet. Framing needs none."
    ),
    verdict=verdict,
    program=program,
)
