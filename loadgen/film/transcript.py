"""A film as text, for the terminal."""

from collections.abc import Iterator
from itertools import zip_longest

from loadgen.film.film import Event, Film

COLUMN = 78


def lines(film: Film) -> Iterator[str]:
    """The transcript, line by line."""
    yield from _head(film)
    for event in film["events"]:
        yield f"{event['at_ns'] / 1e6:9.3f} ms  {told(event, film)}"


def columns(left: Film, right: Film) -> Iterator[str]:
    """Two transcripts beside each other, step by step: what clients do of themselves, they do in
    both."""
    yield from _beside(list(_head(left)), list(_head(right)))
    nothing: list[str] = []
    for one, other in zip_longest(_steps(left), _steps(right), fillvalue=nothing):
        yield "-" * (2 * COLUMN + 3)
        yield from _beside(one, other)


def _head(film: Film) -> Iterator[str]:
    yield f"{film['file']}, Python {film['python']}"
    for reason in film["not_recorded"]:
        yield f"not recorded: {reason}"


def _steps(film: Film) -> Iterator[list[str]]:
    """What happens, from one deed of a client to the next."""
    step: list[str] = []
    for event in film["events"]:
        if event["kind"] == "client" and not event["what"].startswith(("hears", "fails", "has")):
            yield step
            step = []
        step.append(f"{event['at_ns'] / 1e6:8.1f} {told(event, film)}")
    yield step


def _beside(left: list[str], right: list[str]) -> Iterator[str]:
    for one, other in zip_longest(left, right, fillvalue=""):
        yield f"{one[:COLUMN]:<{COLUMN}} | {other[:COLUMN]}".rstrip()


def told(event: Event, film: Film) -> str:
    """An event in a line."""
    if event["kind"] == "client":
        said = f" {event['data']!r}" if event["data"] else ""
        more = f" and {event['more_bytes']:,} bytes more" if event["more_bytes"] else ""
        return f"client {event['client']} {event['what']}{said}{more}"
    if event["kind"] == "kernel":
        held = [f"{event['backlog']} to be accepted"] if event["backlog"] else []
        for words, sizes in (("unread", event["unread"]), ("unsent", event["unsent"])):
            held += [f"{size:,} B {words} of client {who}" for who, size in sizes.items() if size]
        return f"  kernel: {', '.join(held) or 'nothing waits'}"
    thread = f"[{film['threads'][event['thread']]}] " if len(film["threads"]) > 1 else ""
    if event["kind"] == "line":
        source = film["source"].splitlines()
        text = source[event["line"] - 1].strip() if event["line"] <= len(source) else ""
        return f"    {thread}{event['line']:4} {text}"
    if event["kind"] == "again":
        return f"    {thread}     (the last {event['events']} again, {event['times']:,} times)"
    took = "never returns" if event["took_ns"] is None else f"{event['took_ns'] / 1e6:.3f} ms"
    return f"    {thread}  -> {event['name']}({event['arguments']}) = {event['result']}  {took}"
