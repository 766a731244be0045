"""What a server asks of the kernel for one request, call by call.

A reader learns how little the models differ: all receive and send, and select, poll and epoll ask
once before that who is ready; only the busy loop makes a call for every idle connection. A count is
not a cost: one poll() over a hundred clients is one call, like one epoll_wait().
"""

from collections.abc import Iterator, Sequence

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import Rows, largest_common, ratio_sentence, sweep
from loadgen.plan.plan import Profile
from loadgen.report.figure import Bar, BarStyle, Figure, Panel
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Trace
from servers.catalog import Model

NAME = "system_calls"
QUESTION = "Which system calls does a request cost, and do idle connections add any?"
HYPOTHESIS = (
    "Blocking and threads receive and send. The loops make one call more, which asks who is ready,"
    " however many clients there are. The busy loop tries to receive from every idle connection,"
    " in vain."
)
HOW_TO_READ = (
    "The calls from one answer to the next, in their order, for a request with the median number of"
    " calls. Solid: the call did something. Light: it asks who is ready, and waits. Hatched: there"
    " was nothing to do. strace recorded them in trials of their own, which are never timed. It"
    " makes the busy loop slower than its client and hides the loop's sweeps between two requests,"
    " so its figure is a lower bound. The price of a call is another matter: poll() and select()"
    " look at every client in one call, epoll_wait() at the ready ones only."
)

IDLE = (0, 100)
WAITS = {"select", "pselect6", "poll", "ppoll", "epoll_wait", "epoll_pwait", "epoll_pwait2"}
NOTHING = " (nothing)"
# Of the longest lane: what is narrower gets no text.
NARROW = 0.15


def cells(_: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server with and without silent clients; who serves one at a time, without."""
    return sweep(NAME, servers, [Trace(idle_connections=idle) for idle in IDLE])


def figures(run: Run) -> list[Figure]:
    """A panel without and one with idle connections; a lane per server."""
    rows = run.along(NAME, "idle_connections")
    panels = []
    for idle in sorted({idle for row in rows.values() for idle in row}):
        traced = {
            name: record
            for name in rows
            if idle in rows[name] and (record := first_traced(rows[name][idle])) is not None
        }
        if traced:
            panels.append(panel(idle, traced))
    if not panels:
        return []
    return [
        Figure(
            name="system_calls",
            title="One request: the system calls of the server",
            panels=tuple(panels),
            caption=HOW_TO_READ,
            panel_height_in=2.9,
        )
    ]


def panel(idle: float, traced: dict[str, Record]) -> Panel:
    """The sequences side by side."""
    longest = max(sum(count for _, count in sequence(record)) for record in traced.values())
    return Panel(
        "system calls",
        "",
        title=f"{idle:,.0f} idle connections" if idle else "no idle connections",
        kind="lanes",
        bars=tuple(
            bar
            for lane, (name, record) in enumerate(traced.items())
            for bar in bars(lane, name, record, longest)
        ),
        lanes=tuple(traced),
        x_range=(0, longest * 1.12),
    )


def bars(lane: int, name: str, record: Record, longest: int) -> Iterator[Bar]:
    """One bar for every run of the same call, and the sum behind them."""
    start = 0
    for label, count in sequence(record):
        style: BarStyle = (
            "hatched" if label.endswith(NOTHING) else "light" if label in WAITS else "solid"
        )
        text = f"{count:,} x {label}" if count > 1 else label
        wide = count >= NARROW * longest
        yield Bar(lane, start, start + count, name, style, text if wide else "")
        start += count
    yield Bar(lane, start, start, name, "faint", f"{start:,}")


def first_traced(cell: CellData) -> Record | None:
    """Its first trial that was traced."""
    return next((record for record in cell.valid if record["system_calls"]), None)


def sequence(record: Record) -> list[tuple[str, int]]:
    """The calls of one request in order, with how often each is made in a row."""
    traced = record["system_calls"]
    return [(entry["call"], entry["times"]) for entry in traced["sequence"]] if traced else []


def calls(record: Record) -> float | None:
    """System calls per request, the mean of a trial."""
    traced = record["system_calls"]
    return float(traced["total"]) if traced else None


def finding(run: Run) -> str:
    """The calls of each server; and the busy loop against epoll beside idle connections."""
    rows = run.along(NAME, "idle_connections")
    told = [told_of(name, rows) for name in rows]
    sentence = "; ".join(filter(None, told))
    if not sentence:
        return "The data do not decide: no server was traced."
    idle = largest_common(rows, ["nonblocking", "epoll"])
    if idle:
        verb, times = "makes at least", "times as many as"
        more = ratio_sentence("nonblocking", rows, ["epoll"], idle, calls, verb, times)
        sentence += f". Beside {idle:,} idle connections {more}"
    return f"System calls per request, without idle connections: {sentence}."


def told_of(name: str, rows: Rows) -> str:
    """ "epoll 3 (epoll_wait, recvfrom, sendto)", or nothing if it was not traced alone."""
    cell = rows[name].get(0)
    record = cell and first_traced(cell)
    found = cell and cell.over_blocks(calls)
    if not record or not found:
        return ""
    labels = ", ".join(
        f"{count:,} x {label}" if count > 1 else label for label, count in sequence(record)
    )
    return f"{name} {found.value:.3g} ({labels})"
