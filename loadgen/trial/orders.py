"""In which order the servers of a comparison take their turns, round by round."""

import random


def round_orders(servers: int, rounds: int, chance: random.Random) -> list[list[int]]:
    """For each round of slices the order of its servers, by number.

    Whatever a slice leaves behind (warm caches, a queue, a raised clock), the next one gets: so
    over a complete square each server comes in each place, and right after each other one,
    equally often (Williams 1949, "Experimental designs balanced for the estimation of residual
    effects of treatments", Australian Journal of Scientific Research A 2). A square has as many
    rounds as servers, twice as many where their number is odd. Its rows come in random order and
    who is who is drawn anew for each square, so that nothing that happens in step with rounds
    always meets the same server.

    Two servers take turns as ABBA ABBA or BAAB BAAB, by chance: each comes after the other one as
    often as after itself. Where the two are mixed, what A leaves behind would meet B more often.
    """
    if servers == 2:
        one, other = chance.sample(range(2), 2)
        return ([[one, other], [other, one]] * rounds)[:rounds]
    orders: list[list[int]] = []
    while len(orders) < rounds:
        names = chance.sample(range(servers), servers)
        rows = williams_square(servers)
        chance.shuffle(rows)
        orders += [[names[place] for place in row] for row in rows]
    return orders[:rounds]


def williams_square(n: int) -> list[list[int]]:
    """n rows of the numbers below n, or 2n where n is odd."""
    # 0, 1, n-1, 2, n-2, ...: the steps between neighbours are all different.
    first = [(place + 1) // 2 if place % 2 else -(place // 2) % n for place in range(n)]
    rows = [[(start + turn) % n for start in first] for turn in range(n)]
    return rows + [row[::-1] for row in rows] if n > 1 and n % 2 else rows
