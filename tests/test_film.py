"""Films: every server plays the scene, and the film says what happened."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest
from harness import ROOT
from pydantic import TypeAdapter, with_config

from loadgen.film import calls, transcript
from loadgen.film.cut import FEWEST, cut, folded, sign
from loadgen.film.film import Call as CallEvent
from loadgen.film.film import Deed, Event, Film, Line
from loadgen.film.shoot import shoot
from loadgen.machine.cpus import choose_pinning
from loadgen.target import strace
from servers import catalog

# A call that took so long has waited: the steps of the scene are three times as far apart.
WAITED_NS = 50_000_000


@cache
def filmed(name: str) -> Film:
    """One film of each, for all tests."""
    return shoot(catalog.find(name), cpus=choose_pinning())


def heard(film: Film, client: int) -> str:
    """All that a client was told."""
    return "".join(event["data"] for event in deeds(film, client) if event["what"] == "hears")


def deeds(film: Film, client: int) -> Iterator[Deed]:
    """What a client did and heard."""
    for event in film["events"]:
        if event["kind"] == "client" and event["client"] == client:
            yield event


def called(film: Film) -> Iterator[CallEvent]:
    """The system calls."""
    for event in film["events"]:
        if event["kind"] == "call":
            yield event


def test_every_server_is_filmed(model: catalog.Model) -> None:
    """All about one film in one test: it takes seconds to make, and is made where it is needed."""
    film = filmed(model.name)
    expect_form(film)
    expect_answers(film)
    expect_lines_of_the_source(film)
    if strace.missing() is None:
        expect_waits(film, model)


def expect_form(film: Film) -> None:
    strict = with_config({"strict": True, "extra": "forbid"})(Film)
    TypeAdapter(strict).validate_python(film)
    assert json.loads(json.dumps(film)) == film
    assert all(a["at_ns"] <= b["at_ns"] for a, b in pairwise(film["events"]))


def expect_answers(film: Film) -> None:
    """Those that are served at a time: two of them say all that they have to say."""
    assert heard(film, 1) == "Welcome!\nHello, world!\n"
    answers = "".join(f"Hello, {word}!\n" for word in ("one", "two", "three", "four"))
    assert heard(film, 2) == f"Welcome!\n{answers}"
    assert heard(film, 3) == "", "it never reads"


def expect_lines_of_the_source(film: Film) -> None:
    lines = film["source"].splitlines()
    reached = [event for event in film["events"] if event["kind"] == "line"]
    assert reached
    for event in reached:
        assert 0 < event["line"] <= len(lines)
        assert lines[event["line"] - 1].strip()
        assert 0 <= event["thread"] < len(film["threads"])


def expect_waits(film: Film, model: catalog.Model) -> None:
    """In a call that the catalog names, or nowhere."""
    names = {"accept4": "accept", "recvfrom": "recv", "rt_sigtimedwait": "sigwaitinfo"}
    names |= {"epoll_pwait": "epoll_wait", "pselect6": "select", "sendto": "send"}
    waits = [
        event for event in called(film) if event["took_ns"] is None or event["took_ns"] > WAITED_NS
    ]
    waited = {names.get(event["name"], event["name"]) for event in waits}
    if model.sleeps:
        assert any(f"{name}()" in model.waits for name in waited), waited
    else:  # a busy machine may hold a call up, now and then
        assert sum(event["took_ns"] or 0 for event in waits) < film["events"][-1]["at_ns"] / 4


def test_who_serves_one_at_a_time_lets_the_second_wait_until_the_first_has_left() -> None:
    film = filmed("blocking")
    left = next(event["at_ns"] for event in deeds(film, 1) if event["data"] == "exit\n")
    welcomed = next(event["at_ns"] for event in deeds(film, 2) if event["what"] == "hears")
    assert welcomed > left
    backlogs = [event["backlog"] for event in film["events"] if event["kind"] == "kernel"]
    assert max(backlogs) == 2


def test_what_nobody_reads_waits_in_the_kernel() -> None:
    unsent = [
        event["unsent"].get("3", 0)
        for event in filmed("epoll")["events"]
        if event["kind"] == "kernel"
    ]
    assert max(unsent) > 100_000


@pytest.mark.parametrize(("name", "threads"), [("threaded", "thread"), ("fork", "process")])
def test_each_client_has_its_own(name: str, threads: str) -> None:
    film = filmed(name)
    assert film["threads"] == [f"{threads} {number}" for number in (1, 2, 3, 4)]


def line(number: int, at_ns: int = 0, thread: int = 0) -> Line:
    return {"kind": "line", "at_ns": at_ns, "thread": thread, "line": number, "function": "serve"}


def test_rounds_that_are_alike_are_told_once() -> None:
    rounds: list[Event] = [line(n, at_ns) for at_ns, n in enumerate([1, 2, 3] * 5 + [4])]
    found = folded(rounds)

    assert [event["line"] for event in found if event["kind"] == "line"] == [1, 2, 3, 4]
    (again,) = (event for event in found if event["kind"] == "again")
    assert (again["events"], again["times"], again["at_ns"]) == (3, 4, 14)
    few: list[Event] = rounds[: 3 * (FEWEST - 1)]
    assert folded(few) == few


def test_rounds_are_told_apart_by_what_clients_do() -> None:
    deed: Deed = {
        "kind": "client", "at_ns": 9, "client": 1, "what": "says", "data": "", "more_bytes": 0
    }  # fmt: skip
    rounds: list[Event] = [line(1, at_ns) for at_ns in range(18) if at_ns != 9]
    found = cut(sorted([*rounds, deed], key=lambda event: event["at_ns"]))
    assert [event["kind"] for event in found] == ["line", "again", "client", "line", "again"]


def test_events_are_alike_whenever_they_happened() -> None:
    assert sign(line(3, at_ns=1)) == sign(line(3, at_ns=2)) != sign(line(4, at_ns=1))


def test_calls_are_read_as_strace_writes_them() -> None:
    text = """\
7 5.000000001 write(1<pipe:[3]>, "listening on 127.0.0.1:8000\\n", 28) = 28 <0.000000010>
7 5.000000100 write(900</tmp/lines>, "1 7 7 22 serve\\n", 15) = 15 <0.000000020>
7 6.000000002 accept4(3<TCP:[127.0.0.1:8000]>, NULL <unfinished ...>
8 6.000000003 close(4<TCP:[127.0.0.1:8000->127.0.0.1:99]>) = 0 <0.000000007>
7 6.000000009 <... accept4 resumed>, NULL) = 5<TCP:[127.0.0.1:8000->127.0.0.1:99]> <0.500000000>
7 7.000000000 read(5<TCP:[127.0.0.1:8000->127.0.0.1:99]>,  <unfinished ...>
"""
    accepted, closed, read = calls.parse(text.splitlines())
    assert (accepted.thread, accepted.begin_ns, accepted.end_ns) == (
        7,
        6_000_000_002,
        6_500_000_002,
    )
    told = calls.told(f"{accepted.arguments} = {accepted.result}", 8000, {99: 1})
    assert told == "3<listener>, NULL, NULL = 5<client 1>"
    assert (closed.thread, closed.name) == (8, "close")
    assert read.end_ns is None


def test_what_epoll_brings_back_is_named_after_whom_it_was_told_to_watch() -> None:
    watched = calls.Watched()
    added = "4, EPOLL_CTL_ADD, 5<client 1>, {events=EPOLLIN, data={u32=5, u64=140634409140229}}"
    waited = "4, [{events=EPOLLIN, data={u32=5, u64=140634409140229}}], 1023, -1"
    said = "4, EPOLL_CTL_ADD, 5<client 1>, {events=EPOLLIN, data=5<client 1>}"
    assert watched.told(1, added) == said
    assert watched.told(1, waited) == "4, [{events=EPOLLIN, data=5<client 1>}], 1023, -1"
    # Another process has descriptors of its own.
    assert watched.told(2, waited) == "4, [{events=EPOLLIN, data=5}], 1023, -1"


def loadgen_film(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadgen", "film", *words],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip


def test_a_transcript_shows_every_event() -> None:
    film = filmed("epoll")
    printed = list(transcript.lines(film))
    assert len(printed) == 1 + len(film["not_recorded"]) + len(film["events"])
    assert any(line.endswith("client 1 says 'wor'") for line in printed)


def test_two_transcripts_stand_beside_each_other_step_by_step() -> None:
    printed = "\n".join(transcript.columns(filmed("poll"), filmed("epoll")))
    for step in printed.split("-" * (2 * transcript.COLUMN + 3))[2:]:
        first = step.strip().splitlines()[0]
        left, _, right = first.partition(" | ")
        assert left.split()[1:] == right.split()[1:], "the clients do the same in both"


def test_the_command_prints_or_stores(tmp_path: object) -> None:
    done = loadgen_film("blocking", "--text")
    assert done.returncode == 0
    assert "client 1 arrives" in done.stdout
    stored = loadgen_film("blocking", "--output", str(tmp_path))
    assert stored.returncode == 0
    with gzip.open(stored.stdout.strip()) as file:
        assert json.load(file)["server"] == "blocking"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("nobody",), 2, "unknown server 'nobody'"),
        (("blocking", "--output", "/nowhere"), 1, "not a folder"),
    ],
)
def test_what_cannot_be_filmed_is_said_in_a_line(
    words: tuple[str, ...], status: int, said: str
) -> None:
    done = loadgen_film(*words)
    assert done.returncode == status
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
