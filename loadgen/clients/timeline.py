"""A few clients whose every step is kept, to be drawn: for a picture, not for a figure.

Here nothing is compiled. A step takes milliseconds, because the server is told to work that long
on an answer, and a thread of Python per client is on time within a fraction of one. What arrives is
stamped by the kernel all the same.
"""

import threading
import time
from dataclasses import dataclass, field

from loadgen.clients.scripted import Conversation
from loadgen.engine.syscalls import NS_PER_S
from loadgen.target.address import Address
from loadgen.workload.dialogue import EXIT, GREETING, PREFIX, SUFFIX

APART_NS = 5_000_000
# The client that pauses in the middle of a line, in which one (both counted from 0), how long.
SLOW_CLIENT, SLOW_REQUEST = 1, 1
PAUSE_NS = 40_000_000
PATIENCE_S = 10.0


@dataclass
class Request:
    """When it began to be sent, when it was sent, and when the kernel had all of the answer; ns."""

    sent_ns: int
    complete_ns: int
    arrived_ns: int


@dataclass
class ClientTimeline:
    """What one client did and saw, in ns since the first of all connected; 0: never."""

    connect_ns: int = 0
    greeted_ns: int = 0
    left_ns: int = 0
    requests: list[Request] = field(default_factory=list)
    """those that were answered right"""
    mismatched: int = 0
    """how many were answered otherwise"""
    failure: str | None = None


def converse(address: Address, clients: int, requests: int) -> list[ClientTimeline]:
    """Let clients come APART_NS after each other, ask so many requests each, say exit, and leave.

    Returns their timelines, the first to come first. A client that fails says so in its timeline;
    nothing takes longer than PATIENCE_S per answer.
    """
    timelines = [ClientTimeline() for _ in range(clients)]
    start_ns = time.time_ns()
    threads = [
        threading.Thread(target=_follow, args=(timeline, number, requests, address, start_ns))
        for number, timeline in enumerate(timelines)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return timelines


def _follow(
    timeline: ClientTimeline, number: int, requests: int, address: Address, start_ns: int
) -> None:
    """Be one client, and write down when what happened."""
    _sleep_until(start_ns + number * APART_NS)
    timeline.connect_ns = time.time_ns() - start_ns
    try:
        with Conversation(address, PATIENCE_S, kernel_stamps=True) as conversation:
            if conversation.receive_exactly(len(GREETING)) != GREETING:
                raise ConnectionError("wrong greeting")
            timeline.greeted_ns = conversation.arrived_ns - start_ns
            for turn in range(requests):
                line = b"client %d, line %d" % (number, turn)
                pause_ns = PAUSE_NS if (number, turn) == (SLOW_CLIENT, SLOW_REQUEST) else 0
                sent_ns, complete_ns = _ask(conversation, line, pause_ns)
                expected = PREFIX + line + SUFFIX
                if conversation.receive_exactly(len(expected)) != expected:
                    timeline.mismatched += 1
                    continue
                stamps = sent_ns, complete_ns, conversation.arrived_ns
                timeline.requests.append(Request(*(stamp - start_ns for stamp in stamps)))
            conversation.send(EXIT)
            if conversation.receive(1) and timeline.requests:
                timeline.requests.pop()  # the last answer was not complete but too long
                timeline.mismatched += 1
            timeline.left_ns = time.time_ns() - start_ns
    except OSError as error:
        timeline.failure = " ".join(str(error).split())


def _ask(conversation: Conversation, line: bytes, pause_ns: int) -> tuple[int, int]:
    """Send a line, with a pause in the middle if there is to be one; returns when its first and
    when its last part were sent."""
    sent_ns = complete_ns = time.time_ns()
    if pause_ns:
        half = len(line) // 2
        conversation.send(line[:half])
        line = line[half:]
        _sleep_until(sent_ns + pause_ns)
        complete_ns = time.time_ns()
    conversation.send(line + b"\n")
    return sent_ns, complete_ns


def _sleep_until(moment_ns: int) -> None:
    time.sleep(max(0, moment_ns - time.time_ns()) / NS_PER_S)
