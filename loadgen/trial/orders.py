"""In which order the servers of a comparison take their turns, round by round."""

import random
from collections.abc import Iterator


def orders(servers: int, rounds: int, chance: random.Random) -> Iterator[list[int]]:
    """One order per round: rows of Williams squares, shuffled.

    A slice leaves something behind for the one that follows it. In a Williams square (1949,
    Australian Journal of Scientific Research 2, "Experimental designs balanced for the estimation
    of residual effects of treatments") every server stands at each place equally often and follows
    each other one equally often. Which server is which letter is drawn anew for each square.
    """
    square: list[list[int]] = []
    for _ in range(rounds):
        if not square:
            names = chance.sample(range(servers), servers)
            square = [[names[letter] for letter in row] for row in _williams(servers)]
            chance.shuffle(square)
        yield square.pop()


def _williams(n: int) -> list[list[int]]:
    """The square of n letters; for an odd n its rows once more, backwards."""
    first = [(step + 1) // 2 if step % 2 else (n - step // 2) % n for step in range(n)]
    rows = [[(letter + shift) % n for letter in first] for shift in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]
