"""How much to receive at once, and what the C library's heap makes of it.

A reader learns why asyncio's Protocol is slow with short lines: not because of its callbacks, but
because it asks for 256 KiB at a time. Python allocates that much for every receive and gives back
what was not used; glibc serves so large a piece by mmap(), and takes it back by munmap(), page
faults included, unless its threshold has been raised by chance. A loop that asks for as much pays
as much; one that receives into a buffer of its own pays nothing.
"""

from collections.abc import Sequence
from dataclasses import replace

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import (
    ANSWERS,
    REFERENCE,
    about_hollow,
    compared,
    dot_panel,
    lines,
    measured_by,
    with_options,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel
from loadgen.report.units import Format, size
from loadgen.store.metric import Metric, cpu_us, throughput
from loadgen.store.schema import Heap
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from servers.catalog import Model

NAME = "receive_size"
QUESTION = "How many bytes should a server ask for at once?"
HYPOTHESIS = (
    "A line of 16 bytes needs 16 bytes. As long as what a server asks for is below glibc's"
    " threshold for mmap(), asking for more costs nothing. Beyond it every receive is an mmap(),"
    " page faults and a munmap(). The threshold begins with 128 KiB, and glibc raises it to the"
    " size of any block that it unmaps (mallopt(3)): so it is chance, what a program freed while it"
    " started, that decides. With the threshold fixed sizes matter; with a heap that keeps what was"
    " freed they do not. asyncio's Protocol asks for 256 KiB, its BufferedProtocol receives into a"
    " buffer that stays."
)
HOW_TO_READ = (
    "Sixty-four clients in a closed loop, lines of 16 bytes. The heap is as the system sets it;"
    " with glibc's first threshold fixed (MALLOC_MMAP_THRESHOLD_=131072); or set to keep what was"
    " freed (a threshold of 32 MiB, and MALLOC_TRIM_THRESHOLD_). The line is the epoll server,"
    " asked to receive so many bytes at once, at most. Higher is more answers."
)

CLIENTS = 64
DEFAULT_BYTES = 65_536
SIZES: dict[Profile, tuple[int, ...]] = {
    "quick": (DEFAULT_BYTES, 2**18),
    "standard": (DEFAULT_BYTES, 2**18, 2**20),
    "full": (2**12, 2**14, DEFAULT_BYTES, 2**17, 2**18, 2**19, 2**20),
}
PROTOCOLS = ("asyncio", "asyncio_buffered", "uvloop")
HEAPS: tuple[Heap, ...] = ("system", "fixed", "kept")
MEASURED: tuple[tuple[str, Metric, Format], ...] = (
    ("answers per second", throughput, "number"),
    ("server CPU per answer", cpu_us, "microseconds"),
)
# What the sentences are about: (one, other).
COMPARED = (
    (f"{REFERENCE} --receive-bytes {2**18}", REFERENCE),
    ("asyncio", "asyncio_buffered"),
)
HEAP_WORDS = {
    "system": "heap as the system sets it",
    "fixed": "heap whose threshold for mmap() is fixed",
    "kept": "heap that keeps what was freed",
}


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """The epoll server with every size, and asyncio's two kinds of protocol, with each heap."""
    load = Slices(connections=CLIENTS)
    names = [model.name for model in servers]
    if REFERENCE not in names:
        return []
    plain = Cell(experiment=NAME, server=REFERENCE, workload=load)
    loops = [
        replace(plain, options=("--receive-bytes", str(size)) if size != DEFAULT_BYTES else ())
        for size in SIZES[profile]
    ]
    protocols = [replace(plain, server=name) for name in PROTOCOLS if name in names]
    return [
        replace(plain, replica=1),
        *(replace(cell, heap=heap) for heap in HEAPS for cell in (*loops, *protocols)),
    ]


def figures(run: Run) -> list[Figure]:
    """Answers over the size of a receive, and the protocols beside it; a row per heap."""
    found = []
    for python in pythons(run):
        sizes, protocols = by_size(run, python), by_protocol(run, python)
        over = tuple(
            Panel(
                "received at once, at most",
                "answers per second",
                lines({REFERENCE: sizes[heap]}, throughput),
                title=HEAP_WORDS[heap],
                x_log=True,
                x_format="size",
            )
            for heap in HEAPS
            if sizes[heap]
        )
        beside = tuple(
            dot_panel(HEAP_WORDS[heap], label, protocols[heap], metric, written)
            for label, metric, written in MEASURED
            for heap in HEAPS
            if protocols[heap]
        )
        under = f"-{python.rpartition('/')[2]}" if python else ""
        told = f", under {python}" if python else ""
        if over:
            found.append(
                Figure(
                    name=f"receive_size{under}",
                    title=f"How much to receive at once{told}",
                    panels=over,
                    caption=HOW_TO_READ + about_hollow(over),
                    columns=3,
                    panel_height_in=3.0,
                )
            )
        if beside:
            found.append(
                Figure(
                    name=f"receive_size-protocols{under}",
                    title=f"asyncio's protocols beside epoll, with each heap{told}",
                    panels=beside,
                    caption="Further right is more answers per second, or more CPU per answer."
                    " asyncio's Protocol receives 256 KiB at once, and no option changes"
                    " that; asyncio_buffered and uvloop receive into buffers of their own. epoll"
                    f" receives {size(DEFAULT_BYTES)}.",
                    columns=3,
                    panel_height_in=2.0,
                )
            )
    return found


def pythons(run: Run) -> list[str | None]:
    """The interpreters that servers ran under."""
    return list(dict.fromkeys(data.cell.python for data in run.of(NAME).values()))


def by_size(run: Run, python: str | None) -> dict[Heap, dict[float, CellData]]:
    """Heap => bytes => cell of the reference."""
    table: dict[Heap, dict[float, CellData]] = {heap: {} for heap in HEAPS}
    for data, _ in measured_by(run, NAME, Slices):
        cell = data.cell
        if cell.server == REFERENCE and cell.python == python:
            asked = int(cell.options[1]) if cell.options else DEFAULT_BYTES
            table[cell.heap][asked] = data
    return {heap: dict(sorted(row.items())) for heap, row in table.items()}


def by_protocol(run: Run, python: str | None) -> dict[Heap, dict[str, CellData]]:
    """Heap => server => cell, of those with the plain command line."""
    table: dict[Heap, dict[str, CellData]] = {heap: {} for heap in HEAPS}
    for data, _ in measured_by(run, NAME, Slices):
        if not data.cell.options and data.cell.python == python:
            table[data.cell.heap][data.server] = data
    return table


def finding(run: Run) -> str:
    """What large receives cost with the system's heap, and what is left of it with another one."""
    sentences = []
    for python in pythons(run):
        for heap in HEAPS:
            rows = [*by_size(run, python)[heap].values(), *by_protocol(run, python)[heap].values()]
            row = {with_options(data.cell): data for data in rows}
            clauses = [
                compared(row, one, other, throughput, *ANSWERS)
                for one, other in COMPARED
                if {one, other} <= row.keys()
            ]
            if clauses:
                under = f", under {python}" if python else ""
                sentences.append(f"With a {HEAP_WORDS[heap]}{under}, {'; '.join(clauses)}")
    if not sentences:
        return "The data do not decide: no two sizes were measured in the same block."
    return f"{'. '.join(sentences)}."
