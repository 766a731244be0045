"""The page of a stored run for tests: made from values, with films that were made by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadgen import experiments
from loadgen.analysis import run
from loadgen.experiments import book
from loadgen.film import folder as films
from loadgen.film.film import Event, Film
from loadgen.report.html import HTML_NAME, write
from loadgen.store.runs import SOURCES_NAME

MS = 1_000_000


def page_of(folder: Path) -> str:
    """The page of a stored run."""
    stored = run.load(folder)
    reels, broken = films.read(folder)
    shown = book.book(stored, experiments.report(stored), {*reels, *broken})
    return write.text(stored, shown, reels, broken)


def write_page(folder: Path) -> Path:
    """The same in the folder of the run; returns its path."""
    path = folder / HTML_NAME
    path.write_text(page_of(folder), encoding="utf-8")
    return path


def film(server: str, source: str, *, waits_in: str = "epoll_wait", log: str = "hello") -> Film:
    """One client arrives and is greeted; the server waits twice, the second time for ever."""
    events: list[Event] = [
        {"kind": "line", "at_ns": 0, "thread": 0, "line": 3, "function": "serve"},
        deed(MS, "arrives"),
        {"kind": "kernel", "at_ns": 2 * MS, "backlog": 1, "unread": {}, "unsent": {}},
        call(3 * MS, waits_in, 20 * MS),
        {"kind": "line", "at_ns": 24 * MS, "thread": 0, "line": 5, "function": "serve"},
        deed(25 * MS, "hears", log),
        {"kind": "kernel", "at_ns": 26 * MS, "backlog": 0, "unread": {"1": 7}, "unsent": {"1": 0}},
        {"kind": "again", "at_ns": 27 * MS, "thread": 0, "events": 2, "times": 40},
        call(30 * MS, waits_in, None),
    ]
    return {
        "server": server,
        "python": "3.11.7",
        "file": f"servers/{server}_server.py",
        "source": source,
        "threads": ["thread 1"],
        "not_recorded": [],
        "events": events,
    }


def deed(at_ns: int, what: str, data: str = "") -> Event:
    """Something that the client does or hears."""
    return {
        "kind": "client",
        "at_ns": at_ns,
        "client": 1,
        "what": what,
        "data": data,
        "more_bytes": 0,
    }


def call(at_ns: int, name: str, took_ns: int | None) -> Event:
    """A system call of the first thread."""
    return {
        "kind": "call",
        "at_ns": at_ns,
        "thread": 0,
        "name": name,
        "arguments": "4, [], 1023, -1",
        "result": "1",
        "took_ns": took_ns,
    }


def add_films(folder: Path, names: Sequence[str], **other: Any) -> None:
    """A film of each of these servers, of the source that the run kept."""
    (folder / films.FILMS_NAME).mkdir(exist_ok=True)
    for name in names:
        source = (folder / SOURCES_NAME / f"{name}_server.py").read_text()
        films.write(film(name, source, waits_in=name, **other), folder / films.FILMS_NAME)
