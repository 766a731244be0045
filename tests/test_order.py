"""In which order a block is measured: shuffled, and what is compared stays together."""

import itertools

from loadgen.plan.order import planned_order
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests

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


def test_a_block_holds_every_cell_once_and_the_servers_of_a_workload_together() -> None:
    for block in range(20):
        order = planned_order(CELLS, 7, block)

        assert sorted(cell.id for cell in order) == sorted(IDS)
        together = [
            key for key, _ in itertools.groupby((cell.experiment, cell.workload) for cell in order)
        ]
        assert len(together) == len(WORKLOADS)


def test_workloads_and_servers_are_shuffled_by_seed_and_block_and_by_nothing_else() -> None:
    orders = [planned_order(CELLS, seed, block) for seed in range(8) for block in range(8)]

    assert orders == [planned_order(CELLS, seed, block) for seed in range(8) for block in range(8)]
    assert {order[0].id for order in orders} == set(IDS), "everything comes first at times"
    distinct = {tuple(cell.id for cell in order) for order in orders}
    assert len(distinct) > len(orders) / 2
    # Within a workload the order is not the same in all the others.
    assert any(
        [cell.server for cell in order[:3]] != [cell.server for cell in order[3:6]]
        for order in orders
    )
