"""In which order the cells of a block are measured, and which of them together."""

import random
from collections.abc import Sequence
from dataclasses import replace

from loadgen.trial.cell import Cell

# Measured together, or a single one.
Group = tuple[Cell, ...]


def planned_order(cells: Sequence[Cell], seed: int, block: int) -> list[Group]:
    """The cells of one block in the order they are measured in, by groups.

    The workloads are shuffled, and within each its servers: by seed and block number. Servers that
    are measured together are one group. Of the others each is a group of its own, and those under
    one workload follow each other: a shared host has slow spells of 5 to 10 s, measured, and a
    block that was shuffled as a whole would put minutes between what is compared.
    """
    workloads: dict[Cell, list[Cell]] = {}
    for cell in cells:
        workloads.setdefault(comparison(cell), []).append(cell)
    chance = random.Random(f"{seed}/{block}")
    compared = list(workloads.values())
    chance.shuffle(compared)
    order: list[Group] = []
    for group in compared:
        shuffled = tuple(chance.sample(group, len(group)))
        order += [shuffled] if group[0].workload.together else [(cell,) for cell in shuffled]
    return order


def comparison(cell: Cell) -> Cell:
    """What a cell has in common with those that it is compared with: question and workload. Servers
    that take turns may differ in how they are started and reached, and in what they speak, too."""
    alike = replace(cell, server="", replica=0)
    if not cell.workload.together:
        return alike
    workload = cell.workload.comparable
    return replace(alike, options=(), python=None, heap="system", workload=workload)
