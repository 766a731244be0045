"""System calls of a server per request, by strace(1).

strace stops the server twice per call and makes it some hundred times slower, so nothing here is
timed. Requests are told apart by what the server sends: every line carries its number, and a
request is whatever the server does from one answer to the next.
"""

import functools
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadgen.store.schema import CallRun, Heap, SystemCalls
from loadgen.target.address import Address
from loadgen.target.process import started
from loadgen.workload.dialogue import PREFIX

_TRY_S = 5.0

# "1234  recvfrom(5, "abc\n", 65536, 0, NULL, NULL) = 4", with the caller before it (strace -f).
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*?)(?:\)\s+= (.*)| <unfinished \.\.\.>)$")
_RESUMED = re.compile(r"^(?:\d+ +)?<\.\.\. (\w+) resumed>(.*?)\)\s+= (.*)$")
_ANSWER = re.compile(rf'"{PREFIX.decode()}trace (\d+)')


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


def sequence(calls: Sequence[Call]) -> list[CallRun]:
    """The labels in order, runs of the same one as one: {call, times}."""
    return [
        {"call": label, "times": len(list(run))}
        for label, run in itertools.groupby(call.label for call in calls)
    ]


def summarise(requests: Sequence[Sequence[Call]]) -> SystemCalls:
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


def difference(less: Iterable[Call], more: Iterable[Call], requests: int) -> SystemCalls:
    """What so many requests more have added to a trace, as `summarise` tells it: for a server whose
    calls do not show what it sends. Its start is left out, which may differ."""
    counts = Counter(call.label for call in _serving(more))
    counts.subtract(call.label for call in _serving(less))
    added = {label: count for label, count in counts.most_common() if count > 0}
    return {
        "requests": requests,
        "per_request": {label: count / requests for label, count in added.items()},
        "total": sum(added.values()) / requests,
        "sequence": [
            {"call": label, "times": times}
            for label, count in added.items()
            if (times := count // requests)
        ],
    }


def _serving(calls: Iterable[Call]) -> Iterator[Call]:
    """The calls behind the ready line."""
    from_ready = itertools.dropwhile(lambda call: '"listening on ' not in call.arguments, calls)
    return itertools.islice(from_ready, 1, None)


def trace(
    name: str,
    converse: Callable[[Address], None],
    *,
    log: Path,
    cpus: set[int],
    python: str = sys.executable,
    options: Sequence[str] = (),
    heap: Heap = "system",
) -> list[Call]:
    """Start a server under strace, hold a conversation with it, and return all its system calls.

    converse   called with the address of the server; so that `per_request` can tell requests apart
               it sends the lines `request_line(0)`, `request_line(1)` and so on, each when the one
               before has been answered

    The other parameters are those of `process.started`. Raises TraceError, TargetError, OSError,
    and what `converse` raises.
    """
    if reason := missing():
        raise TraceError(reason)
    # -I 2: with -o strace would not let itself be stopped (strace(1)).
    prefix = ["strace", "-f", "-I", "2", "-s", "64", "-e", "signal=none", "-o"]
    with tempfile.NamedTemporaryFile("r", prefix="loadgen-", errors="replace") as written:
        with started(
            name,
            cpus=cpus,
            log=log,
            python=python,
            options=options,
            heap=heap,
            prefix=[*prefix, written.name],
        ) as target:
            converse(target.address)
        return parse(written)


def request_line(number: int) -> bytes:
    """The line of a request, without its newline, by which its answer is known in a trace."""
    return b"trace %d" % number
