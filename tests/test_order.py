"""In which order a block is measured: shuffled, and what is compared stays together."""

import itertools
from dataclasses import replace

from loadgen.plan.order import planned_order
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests, Slices

WORKLOADS = (
    ("throughput", Requests()),
    ("throughput", Requests(connections=8)),
    ("idle", Requests()),
)
SERVERS = ("poll", "epoll", "threaded")
CELLS = [
    Cell(experiment=experiment, server=server, workload=workload)
    for experiment, workload in WORKLOADS
    for server in SERVERS
]
IDS = [cell.id for cell in CELLS]
SLICED = [
    Cell(experiment=experiment, server=server, workload=workload, options=options, replica=replica)
    for experiment, workload in (("throughput", Slices()), ("idle", Slices()))
    for server, options, replica in (
        ("poll", (), 0),
        ("epoll", (), 0),
        ("epoll", (), 1),
        ("epoll", ("--host", "::1"), 0),
    )
]


def flat(seed: int, block: int) -> list[Cell]:
    """The order of cells of which none is measured with another."""
    order = planned_order(CELLS, seed, block)
    assert all(len(group) == 1 for group in order)
    return [cell for group in order for cell in group]


def test_a_block_holds_every_cell_once_and_the_servers_of_a_workload_together() -> None:
    for block in range(20):
        order = flat(7, block)

        assert sorted(cell.id for cell in order) == sorted(IDS)
        together = [
            key for key, _ in itertools.groupby((cell.experiment, cell.workload) for cell in order)
        ]
        assert len(together) == len(WORKLOADS)


def test_workloads_and_servers_are_shuffled_by_seed_and_block_and_by_nothing_else() -> None:
    orders = [flat(seed, block) for seed in range(8) for block in range(8)]

    assert orders == [flat(seed, block) for seed in range(8) for block in range(8)]
    assert {order[0].id for order in orders} == set(IDS), "everything comes first at times"
    distinct = {tuple(cell.id for cell in order) for order in orders}
    assert len(distinct) > len(orders) / 2
    # Within a workload the order is not the same in all the others.
    assert any(
        [cell.server for cell in order[:3]] != [cell.server for cell in order[3:6]]
        for order in orders
    )


def test_what_is_measured_by_slices_is_one_group_replicas_and_options_included() -> None:
    for block in range(8):
        groups = planned_order([*SLICED, *CELLS], 7, block)

        sliced = [group for group in groups if group[0].workload.together]
        assert sorted(group[0].experiment for group in sliced) == ["idle", "throughput"]
        for group in sliced:
            ours = [cell for cell in SLICED if cell.experiment == group[0].experiment]
            assert sorted(cell.id for cell in group) == sorted(cell.id for cell in ours)
        assert sum(map(len, groups)) == len(SLICED) + len(CELLS)


def test_within_a_group_the_servers_are_shuffled() -> None:
    """So the one that is started first is not always the same."""
    firsts = {planned_order(SLICED, 7, block)[0][0] for block in range(40)}

    assert {replace(cell, experiment="") for cell in firsts} == {
        replace(cell, experiment="") for cell in SLICED
    }
