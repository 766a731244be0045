"""System calls of a server per request, by strace(1), in a run of its own.

strace stops the server twice per call and makes it some hundred times slower, so nothing here is
timed. Requests are told apart by what the server sends: every line carries its number, and a
request is whatever the server does from one answer to the next.
"""

import functools
import itertools
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.machine.environment import lack_of_descriptors
from loadgen.target.target import started
from loadgen.workload import dialogue
from servers.catalog import Variant

REQUESTS = 20
# Of requests and of silent clients: enough to see anything, and over in minutes.
MOST = 10_000
# Per answer: a traced server is slow, one that asks a hundred sockets per sweep slower.
PATIENCE_S = 10.0
_TRY_S = 5.0

# "1234  recvfrom(5, "abc\n", 65536, 0, NULL, NULL) = 4", with the caller before it (strace -f).
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*?)(?:\)\s+= (.*)| <unfinished \.\.\.>)$")
_RESUMED = re.compile(r"^(?:\d+ +)?<\.\.\. (\w+) resumed>(.*?)\)\s+= (.*)$")
_ANSWER = re.compile(rf'"{dialogue.PREFIX.decode()}trace (\d+)')


class TraceError(Exception):
    """The trace could not be taken. The text is one line."""


@dataclass(frozen=True)
class Call:
    """One system call: its name, its arguments as strace writes them, and what it returned."""

    name: str
    arguments: str
    result: str

    @property
    def label(self) -> str:
        """Its name; and "(nothing)" when it only learned that there was nothing to do."""
        return f"{self.name} (nothing)" if "EAGAIN" in self.result else self.name


@functools.cache
def missing() -> str | None:
    """Why nothing can be traced here, in words; None if it can. Found out by trying."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    try:
        done = subprocess.run(
            [strace, "-f", "-o", "/dev/null", sys.executable, "-c", ""],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TRY_S,
        )
    except subprocess.TimeoutExpired:
        return f"strace does not get through `python -c ''` within {_TRY_S:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return f"strace is not allowed to trace: {lines[0]}"
    return None


def why_not(variant: Variant, idle: int) -> str | None:
    """Why this server cannot be traced with so many silent clients; None if it can."""
    if missing := variant.missing():
        return missing
    if idle and variant.clients_at_once is not None:
        return f"serves {variant.clients_at_once} at a time, and {idle} would wait for ever"
    clients = 1 + idle
    if variant.descriptor_limit and lack_of_descriptors(clients, variant.descriptor_limit):
        return f"has no descriptor beyond {variant.descriptor_limit - 1}"
    return None


def parse(lines: Iterable[str]) -> list[Call]:
    """The calls of a trace, each where it began; those that never returned have no result."""
    calls: list[Call] = []
    unfinished: dict[tuple[str, str], int] = {}
    for line in lines:
        caller = line.split(" ", 1)[0]
        if match := _RESUMED.match(line.rstrip()):
            name, rest, result = match.groups()
            index = unfinished.pop((caller, name), None)
            if index is not None:
                begun = calls[index]
                calls[index] = Call(name, begun.arguments + rest, result)
        elif match := _CALL.match(line.rstrip()):
            name, arguments, result = match.groups()
            if result is None:
                unfinished[caller, name] = len(calls)
            calls.append(Call(name, arguments, result or ""))
    return calls


def per_request(calls: Sequence[Call]) -> list[list[Call]]:
    """The calls between one answer and the next, that of the next included.

    The first request has no answer before it and is left out. Raises TraceError when answers are
    missing or out of order.
    """
    ends = [
        (int(match[1]), index)
        for index, call in enumerate(calls)
        if (match := _ANSWER.search(call.arguments)) and call.name in ("sendto", "write", "sendmsg")
    ]
    if [number for number, _ in ends] != list(range(len(ends))) or len(ends) < 2:
        raise TraceError(f"the trace shows answers {[number for number, _ in ends]}, not all")
    return [
        list(calls[ends[number - 1][1] + 1 : ends[number][1] + 1]) for number in range(1, len(ends))
    ]


def sequence(calls: Sequence[Call]) -> list[dict[str, Any]]:
    """The labels in order, runs of the same one as one: {call, times}."""
    return [
        {"call": label, "times": len(list(run))}
        for label, run in itertools.groupby(call.label for call in calls)
    ]


def summarise(requests: Sequence[Sequence[Call]]) -> dict[str, Any]:
    """{requests, per_request: {label: mean}, total, sequence: of a request of median length}."""
    counts = Counter(call.label for calls in requests for call in calls)
    median = sorted(requests, key=len)[len(requests) // 2]
    return {
        "requests": len(requests),
        "per_request": {
            label: count / len(requests)
            for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        },
        "total": sum(counts.values()) / len(requests),
        "sequence": sequence(median),
    }


def run(
    name: str,
    *,
    log: Path,
    cpus: set[int],
    requests: int = REQUESTS,
    idle: int = 0,
    python: str = sys.executable,
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """Trace a server while one client asks `requests` + 1 times and `idle` others are silent.

    Returns what `summarise` does. `log` is as for `target.started`. Raises TraceError,
    target.TargetError or OSError.
    """
    if reason := missing():
        raise TraceError(reason)
    # -I 2: with -o strace would not let itself be stopped (strace(1)).
    prefix = ["strace", "-f", "-I", "2", "-s", "64", "-e", "signal=none", "-o"]
    with tempfile.NamedTemporaryFile("r", prefix="loadgen-", errors="replace") as trace:
        with (
            started(
                name,
                cpus=cpus,
                log=log,
                python=python,
                options=options,
                prefix=[*prefix, trace.name],
            ) as target,
            ExitStack() as clients,
        ):
            active = clients.enter_context(socket.create_connection(target.address, PATIENCE_S))
            _expect(active, dialogue.GREETING)
            for _ in range(idle):
                silent = clients.enter_context(socket.create_connection(target.address, PATIENCE_S))
                _expect(silent, dialogue.GREETING)
            for number in range(requests + 1):
                active.sendall(b"trace %d\n" % number)
                _expect(active, dialogue.PREFIX + b"trace %d" % number + dialogue.SUFFIX)
        return summarise(per_request(parse(trace)))


def _expect(sock: socket.socket, expected: bytes) -> None:
    heard = b""
    while len(heard) < len(expected):
        try:
            piece = sock.recv(len(expected) - len(heard))
        except TimeoutError as error:
            raise TraceError(f"no answer within {PATIENCE_S:.0f} s") from error
        heard += piece
        if not piece or not expected.startswith(heard):
            raise TraceError(f"the server said {heard!r} instead of {expected!r}")
