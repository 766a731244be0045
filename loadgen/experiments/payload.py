"""Lines of 16 bytes to 1 MiB: where the price per request becomes a price per byte.

A reader learns that up to a kilobyte a request costs nearly the same whatever its size; beyond some
kilobytes bytes decide, and the model matters less and less.

Long lines easily measure the heap instead: with glibc's settings the memory of an answer goes back
to the kernel and is fetched again for the next. An answer of 64 KiB then cost epoll 105 us of CPU
and 34 page faults (/proc/PID/stat), and 36 us and 0.5 with the heap kept, which is how the lab
starts its servers (target/process.py).
"""

from collections.abc import Sequence

from loadgen.analysis.estimate import Metric
from loadgen.analysis.run import Run
from loadgen.experiments.tools import lines, ratio_sentence, sweep
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel
from loadgen.report.units import Format, size
from loadgen.store.metric import throughput
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from servers.catalog import Model

NAME = "payload"
QUESTION = "How long may a line be before copying costs more than the system calls?"
HYPOTHESIS = (
    "Up to a few kilobytes requests per second stay level: the price is per call. Beyond that the"
    " kernel copies each byte and the server copies it again, so bytes per second level off, alike"
    " in all models. The server puts lines longer than one receive (64 KiB) together piece by"
    " piece."
)
HOW_TO_READ = (
    "Four clients in a closed loop; lines are longer to the right. Where requests per second are"
    " level, the price is per request; where bytes per second are level, it is per byte."
)

CLIENTS = 4
MAX_LINE_BYTES = 1 << 20
BYTES: dict[Profile, tuple[int, ...]] = {
    "quick": (16, 1 << 16, 1 << 20),
    "standard": (16, 1 << 12, 1 << 16),
    "full": tuple(1 << power for power in range(4, 21)),
}


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server with lines of every length."""
    return sweep(
        NAME,
        servers,
        [
            Slices(connections=CLIENTS, message_bytes=message_bytes, max_line_bytes=MAX_LINE_BYTES)
            for message_bytes in BYTES[profile]
        ],
    )


def bytes_per_s(record: Record) -> float | None:
    """Bytes of lines, newlines included, that were answered per second."""
    rate = record["throughput_per_s"]
    message_bytes = record["cell"]["workload"]["message_bytes"]
    assert isinstance(message_bytes, int)
    return None if rate is None else rate * message_bytes


def figures(run: Run) -> list[Figure]:
    """Requests and bytes per second, over the length of a line."""
    rows = run.along(NAME, "message_bytes")

    def panel(label: str, metric: Metric, written: Format) -> Panel:
        return Panel(
            "length of a line",
            label,
            lines(rows, metric),
            x_log=True,
            y_log=True,
            x_format="size",
            y_format=written,
        )

    return [
        Figure(
            name="payload",
            title="Long lines: from a price per request to a price per byte",
            panels=(
                panel("answers per second", throughput, "number"),
                panel("bytes answered per second", bytes_per_s, "size"),
            ),
            caption=HOW_TO_READ,
            panel_height_in=3.6,
        )
    ]


def _rounded(count_bytes: float) -> str:
    return size(float(f"{count_bytes:.3g}"))


def finding(run: Run) -> str:
    """epoll at the longest against the shortest lines, and against threads at the longest."""
    rows = run.along(NAME, "message_bytes")
    row = rows.get("epoll", {})
    ends = [(length, cell.over_blocks(bytes_per_s)) for length, cell in row.items()]
    known = [(length, found.value) for length, found in ends if found is not None]
    if len(known) < 2:
        return "The data do not decide: epoll was not measured validly with two lengths of lines."
    (least, slow), (most, fast) = known[0], known[-1]
    fewer = (slow / least) / (fast / most)
    text = (
        f"When lines grow {most / least:,.0f}-fold, from {size(least)} to {size(most)}, epoll"
        f" answers {fewer:,.0f} times fewer requests per second, and {_rounded(fast)} instead of"
        f" {_rounded(slow)} per second"
    )
    if most in rows.get("threaded", {}):
        told = ratio_sentence("epoll", rows, ["threaded"], most, throughput)
        text += f". With the longest lines {told}"
    return f"{text}."
