"""Cutting: what a thread does again and again is told once, and how often."""

from collections.abc import Iterable, Sequence
from typing import cast

from loadgen.film.film import Again, Event, Line

# The longest round of a loop that is recognised.
LONGEST = 200
# Fewer rounds than this are shown.
FEWEST = 3


def cut(events: Sequence[Event]) -> list[Event]:
    """The events, in their order, with the rounds of each thread that are alike folded."""
    kept: list[Event] = []
    threads: dict[int, list[Event]] = {}
    for event in events:
        if event["kind"] in ("line", "call"):
            threads.setdefault(event["thread"], []).append(event)
        else:
            kept.append(event)
            # Rounds are told apart by what happens to clients between them.
            for own in threads.values():
                kept += folded(own)
            threads.clear()
    for own in threads.values():
        kept += folded(own)
    return sorted(kept, key=lambda event: event["at_ns"])


def folded(events: Sequence[Event]) -> list[Event]:
    """The events of one thread, in which what repeats itself is followed by an `again`."""
    signs = [sign(event) for event in events]
    kept: list[Event] = []
    at = 0
    while at < len(events):
        length, times = _longest_repetition(signs, at)
        if not times:
            kept.append(events[at])
            at += 1
            continue
        kept += events[at : at + length]
        last = events[at + length * times - 1]
        again: Again = {
            "kind": "again",
            "at_ns": last["at_ns"],
            "thread": cast(Line, last)["thread"],  # or a call
            "events": length,
            "times": times - 1,
        }
        kept.append(again)
        at += length * times
    return kept


def sign(event: Event) -> tuple[object, ...]:
    """What makes two events alike: everything but their times."""
    return tuple(value for name, value in event.items() if name not in ("at_ns", "took_ns"))


def _longest_repetition(signs: Sequence[object], at: int) -> tuple[int, int]:
    """The length of the shortest round that begins here and repeats itself, and how often."""
    for length in _candidates(signs, at):
        round_ = signs[at : at + length]
        times = 1
        while signs[at + times * length : at + (times + 1) * length] == round_:
            times += 1
        if times >= FEWEST:
            return length, times
    return 0, 0


def _candidates(signs: Sequence[object], at: int) -> Iterable[int]:
    return (
        length
        for length in range(1, LONGEST + 1)
        if signs[at + length : at + length + 1] == signs[at : at + 1]
    )
