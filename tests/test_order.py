"""In which order a block is measured: shuffled, and what is compared stays together."""

import itertools
import random
from collections import Counter
from dataclasses import replace

import pytest

from loadgen.plan.order import planned_order
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests, Slices
from loadgen.trial.orders import round_orders

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


def test_who_takes_turns_may_be_reached_otherwise_and_speak_otherwise() -> None:
    plain = Cell(experiment="transports", server="epoll", workload=Slices(connections=64))
    ways: tuple[dict[str, object], ...] = (
        {"transport": "ipv6"},
        {"transport": "unix"},
        {"protocol": "http"},
        {"idle_timeout_s": 5.0},
    )
    cells = [plain, *(replace(plain, workload=replace(plain.workload, **way)) for way in ways)]
    fewer = replace(plain, workload=Slices(connections=1))

    groups = planned_order([*cells, fewer], 7, 0)

    assert sorted(map(len, groups)) == [1, len(cells)]
    assert len({cell.id for cell in cells}) == len(cells)
    # Whole trials have nothing of each other: each way is a workload of its own.
    alone = [replace(cell, workload=Requests()) for cell in (plain, replace(plain, server="poll"))]
    alone += [replace(cell, workload=Requests(transport="unix")) for cell in alone]
    order = [cell for (cell,) in planned_order(alone, 7, 0)]
    assert order[0].workload == order[1].workload


def test_within_a_group_the_servers_are_shuffled() -> None:
    """So the one that is started first is not always the same."""
    firsts = {planned_order(SLICED, 7, block)[0][0] for block in range(40)}

    assert {replace(cell, experiment="") for cell in firsts} == {
        replace(cell, experiment="") for cell in SLICED
    }


@pytest.mark.parametrize("servers", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("rounds", [0, 1, 5, 12])
def test_a_round_has_every_server_once(servers: int, rounds: int) -> None:
    orders = round_orders(servers, rounds, random.Random(1))

    assert len(orders) == rounds
    assert all(sorted(order) == list(range(servers)) for order in orders)


@pytest.mark.parametrize("servers", range(2, 10))
def test_over_complete_squares_each_server_follows_each_other_equally_often(servers: int) -> None:
    rounds = servers if servers % 2 == 0 else 2 * servers
    for seed in range(5):
        orders = round_orders(servers, 3 * rounds, random.Random(seed))
        follows = Counter(pair for order in orders for pair in itertools.pairwise(order))
        places = Counter(pair for order in orders for pair in enumerate(order))

        assert len(follows) == servers * (servers - 1)
        assert len(set(follows.values())) == 1
        assert len(places) == servers**2
        assert len(set(places.values())) == 1


def test_two_servers_follow_themselves_as_often_as_each_other() -> None:
    for seed in range(5):
        slices = [server for order in round_orders(2, 41, random.Random(seed)) for server in order]
        follows = Counter(itertools.pairwise(slices[:81]))

        assert set(follows.values()) == {20}


@pytest.mark.parametrize("servers", [2, 3, 6, 7])
def test_orders_of_rounds_are_drawn_by_the_seed_and_by_nothing_else(servers: int) -> None:
    drawn = [round_orders(servers, 12, random.Random(seed)) for seed in range(40)]

    assert drawn == [round_orders(servers, 12, random.Random(seed)) for seed in range(40)]
    assert {orders[0][0] for orders in drawn} == set(range(servers)), "everyone is first at times"
    assert len({str(orders) for orders in drawn}) == (2 if servers == 2 else 40)


def test_squares_differ_in_their_rows_and_not_in_the_order_of_these_alone() -> None:
    squares = {
        frozenset(tuple(order) for order in round_orders(6, 6, random.Random(seed)))
        for seed in range(20)
    }

    assert len(squares) > 10
