"""Record a film: start the server under strace and the recorder, play the scene, put together."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from loadgen.film import calls, recorder
from loadgen.film.cut import cut
from loadgen.film.film import Event, Film, Line
from loadgen.film.kernel import Held, Watch
from loadgen.film.scene import Deed, Scene
from loadgen.machine.cpus import Pinning
from loadgen.target import strace
from loadgen.target.interpreter import LAB
from loadgen.target.process import running
from servers.catalog import Model


def shoot(model: Model, *, cpus: Pinning, python: str = sys.executable) -> Film:
    """The film of a server; takes a second or two. Raises TargetError or OSError."""
    not_recorded = []
    if model.rings:
        not_recorded.append("what is asked and answered in shared memory is no system call")
    if reason := strace.missing():
        not_recorded.append(f"system calls: {reason}")
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        notes, traced, log = (Path(folder, name) for name in ("lines", "calls", "log"))
        notes.touch()
        traced.touch()
        prefix = [] if reason else ["strace", *calls.OPTIONS, "-o", str(traced)]
        command = [*prefix, python, recorder.__file__, str(notes), model.name, "--port", "0"]
        with running(command, cpus=set(cpus.server), log=log, folder=LAB) as target:
            scene = Scene(target.address)
            watch = Watch(target.address.port, scene.ports)
            scene.look = watch.look
            scene.play()
        called = calls.parse(traced.read_text(errors="replace").splitlines())
        reached = notes.read_text().splitlines()
    events = [
        *_lines(reached),
        *_calls(called, target.address.port, scene.ports),
        *_deeds(scene.deeds),
        *_held(watch.seen),
    ]
    kept, threads = within(events, scene.deeds[0].at_ns, scene.deeds[-1].at_ns)
    source = LAB / "servers" / f"{model.name}_server.py"
    return {
        "server": model.name,
        "python": _version(python),
        "file": f"servers/{source.name}",
        "source": source.read_text(),
        "threads": called_by_number(threads, reached),
        "not_recorded": not_recorded,
        "events": cut(kept),
    }


def _version(python: str) -> str:
    asked = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def _lines(notes: Iterable[str]) -> Iterator[Event]:
    for note in notes:
        at_ns, _, thread, line, function = note.split()
        yield {
            "kind": "line",
            "at_ns": int(at_ns),
            "thread": int(thread),
            "line": int(line),
            "function": function,
        }


def _calls(found: Iterable[calls.Call], port: int, clients: Mapping[int, int]) -> Iterator[Event]:
    watched = calls.Watched()
    for call in found:
        yield {
            "kind": "call",
            "at_ns": call.begin_ns,
            "thread": call.thread,
            "name": call.name,
            "arguments": watched.told(call.thread, calls.told(call.arguments, port, clients)),
            "result": calls.told(call.result, port, clients),
            "took_ns": None if call.end_ns is None else call.end_ns - call.begin_ns,
        }


def _deeds(deeds: Iterable[Deed]) -> Iterator[Event]:
    for deed in deeds:
        yield {
            "kind": "client",
            "at_ns": deed.at_ns,
            "client": deed.client,
            "what": deed.what,
            "data": deed.data,
            "more_bytes": deed.more_bytes,
        }


def _held(seen: Iterable[Held]) -> Iterator[Event]:
    for held in seen:
        yield {
            "kind": "kernel",
            "at_ns": held.at_ns,
            "backlog": held.backlog,
            "unread": {str(client): size for client, size in held.unread.items()},
            "unsent": {str(client): size for client, size in held.unsent.items()},
        }


def within(events: Sequence[Event], start_ns: int, end_ns: int) -> tuple[list[Event], list[int]]:
    """The events of the scene; before it the last line and call of each thread, and whom it has had
    watched; times since the start, threads as numbers in the order of their appearance; and who
    they were."""
    before: dict[tuple[int, str], Event] = {}
    watched: list[Event] = []
    scene: list[Event] = []
    for event in sorted(events, key=lambda event: event["at_ns"]):
        if start_ns <= event["at_ns"] <= end_ns:
            scene.append(event)
        elif event["at_ns"] < start_ns and event["kind"] in ("line", "call"):
            before[event["thread"], event["kind"]] = event
            if event["kind"] == "call" and event["name"] == "epoll_ctl":
                watched.append(event)
    last = [event for event in before.values() if event not in watched]
    earlier = sorted((*watched, *last), key=lambda event: event["at_ns"])
    numbers: dict[int, int] = {}
    kept = []
    for event in (*earlier, *scene):
        changed = {**event, "at_ns": event["at_ns"] - start_ns}
        if "thread" in event:
            thread = cast(Line, event)["thread"]  # or a call
            changed["thread"] = numbers.setdefault(thread, len(numbers))
        kept.append(cast(Event, changed))
    return kept, list(numbers)


def called_by_number(threads: Sequence[int], notes: Iterable[str]) -> list[str]:
    """What each thread is called: those of one process are told from those of others."""
    process_of = {int(note.split()[2]): int(note.split()[1]) for note in notes}
    processes = list(dict.fromkeys(process_of.get(thread, thread) for thread in threads))
    names = []
    for number, thread in enumerate(threads, 1):
        process = process_of.get(thread, thread)
        one = sum(process_of.get(other, other) == process for other in threads) == 1
        several = len(processes) > 1
        names.append(
            f"process {processes.index(process) + 1}" if one and several else f"thread {number}"
        )
    return names
