"""The cells that claims share: so each server is measured once under each load, however many claims
look at it."""

from dataclasses import replace

from loadgen.store.schema import Heap
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Demonstration, Requests, Slices
from loadgen.trial.methods.method import Method

EXPERIMENT = "claims"
REFERENCE = "epoll"

BUSY_CLIENTS = 64
ALONE = Slices(connections=1)
BUSY = Slices(connections=BUSY_CLIENTS)
# Beside as many silent clients select has descriptors left for the busy ones.
SILENT_CLIENTS = 900
BESIDE_SILENT = Slices(connections=8, idle_connections=SILENT_CLIENTS)
CROWD_CLIENTS = 1_000
# So many need their time until all have been answered.
CROWD = Slices(connections=CROWD_CLIENTS, rounds=6, drain_s=5.0)
# A process for each of a thousand takes longer to come than clients wait to be greeted.
CROWD_OF_PROCESSES = 256
OF_PROCESSES = Slices(connections=CROWD_OF_PROCESSES, rounds=6, drain_s=5.0)
ASLEEP = Requests(connections=0, idle_connections=100, warmup_s=0.05, duration_s=0.3)


def cell(server: str, load: Method, heap: Heap = "system") -> Cell:
    """One server under one load."""
    return Cell(experiment=EXPERIMENT, server=server, workload=load, heap=heap)


def demonstration(claim: str) -> Cell:
    """The small program of a claim. It brings its own sockets: the server, which is not started,
    stands for all."""
    return cell(REFERENCE, Demonstration(claim=claim))


def with_reference(cells: list[Cell]) -> list[Cell]:
    """Each cell once; and in each comparison the reference once more, so that every run shows how
    often a difference is seen where there is none."""
    found = list(dict.fromkeys(cells))
    twins = [
        replace(each, replica=1)
        for each in found
        if each.workload.together and each.server == REFERENCE and each.heap == "system"
    ]
    return found + twins
