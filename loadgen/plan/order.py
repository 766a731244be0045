"""In which order the cells of a block are measured."""

import random
from collections.abc import Sequence
from dataclasses import replace

from loadgen.trial.cell import Cell


def planned_order(cells: Sequence[Cell], seed: int, block: int) -> list[Cell]:
    """The cells of one block in the order they are run in.

    The workloads are shuffled, and within each its servers: by seed and block number. A shared
    host has slow spells of 5 to 10 s, measured: what is compared with each other, the servers
    under one workload, has to run within seconds. A block shuffled as a whole would put minutes
    between them.
    """
    workloads: dict[str, list[Cell]] = {}
    for cell in cells:
        workloads.setdefault(_without_server(cell), []).append(cell)
    chance = random.Random(f"{seed}/{block}")
    groups = list(workloads.values())
    chance.shuffle(groups)
    return [cell for group in groups for cell in chance.sample(group, len(group))]


def _without_server(cell: Cell) -> str:
    return replace(cell, server="").id
