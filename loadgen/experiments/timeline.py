"""Five clients, one of them slow: who waits for whom, as a picture.

A reader sees what an I/O model is: the staircase of a server that serves one client after the
other, the rows of threads side by side, and a loop that serves its clients in turns. And that the
four loops draw the same picture: they differ in what waiting costs, not in who waits.
"""

from collections.abc import Iterator, Sequence

from loadgen.analysis.catalog import CatalogLine
from loadgen.analysis.run import CellData, Run
from loadgen.clients.timeline import APART_NS, SLOW_CLIENT
from loadgen.experiments.tools import largest_common, listed, nothing_to_say, ratio_sentence, sweep
from loadgen.plan.plan import Profile
from loadgen.report.figure import Bar, BarStyle, Figure, Panel, Wall
from loadgen.store.schema import ClientTimeline, Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Timeline
from servers.catalog import Model

NAME = "timeline"
QUESTION = "Who waits for whom when five clients come, and one of them is slow?"
HYPOTHESIS = (
    "The blocking server greets nobody before the client in front has left, and waits while that"
    " client pauses. Threads sleep side by side. A loop serves whichever client has finished a"
    " line, one answer at a time."
)
WORK_MS = 4
WORKLOAD = Timeline(work=f"sleep:{WORK_MS}ms")
HOW_TO_READ = (
    "Time runs to the right, from when the first client connects; each row is a client."
    f" Five clients come {APART_NS // 10**6} ms apart, ask {WORKLOAD.requests} times each and"
    f" leave. The server sleeps {WORK_MS} ms for every answer, as tutorials do, and then"
    f" sends it at once, so those are the {WORK_MS} ms before it arrives. One client pauses in"
    " the middle of its second line."
)
BEHIND = SLOW_CLIENT + 1


def cells(_: Profile, servers: Sequence[Model]) -> list[Cell]:
    """Every server once per block."""
    return sweep(NAME, servers, [WORKLOAD])


def figures(run: Run) -> list[Figure]:
    """A panel per server: of its blocks, the one that took the median time."""
    cells = {cell.server: cell for cell in run.of(NAME).values()}
    shown = {name: record for name in cells if (record := typical(cells[name])) is not None}
    if not shown:
        return []
    longest_ms = max(filter(None, (done_ms(record) for record in shown.values())))
    panels = [
        panel(name, run.catalog.find(name), record, longest_ms) for name, record in shown.items()
    ]
    return [
        Figure(
            name="timeline",
            title="Five clients, one of them slow: who waits for whom",
            panels=(key(longest_ms), *panels),
            caption=HOW_TO_READ,
            columns=2,
            same_x=True,
            panel_height_in=1.75,
        )
    ]


def typical(cell: CellData) -> Record | None:
    """Of the valid trials, or else of all, the one in which the last client left in median time."""
    timed = [
        (done, record["block"], record)
        for record in cell.valid or cell.records
        if (done := done_ms(record)) is not None
    ]
    ordered = sorted(timed, key=lambda entry: entry[:2])
    return ordered[(len(ordered) - 1) // 2][2] if ordered else None


def panel(name: str, line: CatalogLine | None, record: Record, longest_ms: float) -> Panel:
    """One server's five lanes."""
    done = done_ms(record) or longest_ms
    slow = SLOW_CLIENT
    return Panel(
        "",
        "",
        title=f"{name}: {line.idea}" if line else name,
        kind="lanes",
        bars=tuple(bars(name, record)),
        lanes=tuple(
            f"client {number + 1}{', slow' if number == slow else ''}"
            for number in range(WORKLOAD.connections)
        ),
        walls=(Wall(done, f"all done:\n{done:.0f} ms", name),),
        x_range=(0, longest_ms),
        x_format="milliseconds",
    )


def bars(name: str, record: Record) -> Iterator[Bar]:
    """What each client did from connecting to its last answer; milliseconds."""
    for lane, client in enumerate(clients(record)):
        if client["greeted_ns"]:
            yield Bar(lane, client["connect_ns"] / 1e6, client["greeted_ns"] / 1e6, name, "faint")
        for request in client["requests"]:
            sent, complete = request["sent_ns"] / 1e6, request["complete_ns"] / 1e6
            arrived = request["arrived_ns"] / 1e6
            begun = max(complete, arrived - WORK_MS)
            if complete > sent:
                yield Bar(lane, sent, complete, name, "hatched")
            yield Bar(lane, complete, begun, name, "light")
            yield Bar(lane, begun, arrived, name)


def key(longest_ms: float) -> Panel:
    """What the four kinds of bars mean, as a panel of its own."""
    meanings: tuple[tuple[BarStyle, str], ...] = (
        ("faint", "connected, not greeted yet"),
        ("light", "has asked, waits for its turn"),
        ("solid", "is being answered"),
        ("hatched", "pauses in the middle of a line"),
    )
    return Panel(
        "",
        "",
        title="what the bars mean",
        kind="key",
        bars=tuple(
            Bar(lane, 0, longest_ms / 12, "key", style, text)
            for lane, (style, text) in enumerate(meanings)
        ),
        lanes=("",) * WORKLOAD.connections,
        x_range=(0, longest_ms),
    )


def clients(record: Record) -> list[ClientTimeline]:
    """The clients of a trial, in the order they came; none if it failed."""
    timeline = record["timeline"]
    return list(timeline["clients"]) if timeline else []


def done_ms(record: Record) -> float | None:
    """When the last client had left."""
    left_ns = [client["left_ns"] for client in clients(record)]
    return max(left_ns) / 1e6 if left_ns and all(left_ns) else None


def behind_ms(record: Record) -> float | None:
    """How long the client that came after the slow one waited to be greeted."""
    if len(clients(record)) <= BEHIND:
        return None
    client = clients(record)[BEHIND]
    return (client["greeted_ns"] - client["connect_ns"]) / 1e6 if client["greeted_ns"] else None


def finding(run: Run) -> str:
    """How long all clients took with blocking, against threads and a loop; and who waited most."""
    rows = run.along(NAME, "connections")
    others = [name for name in ("threaded", "epoll") if name in rows]
    clients = largest_common(rows, ["blocking", *others])
    if clients is None or not others:
        return nothing_to_say(rows, ["blocking", *(others or ["threaded"])])
    waits = [
        f"{found.value:.1f} ms with {name}"
        for name in ("blocking", *others)
        if (found := rows[name][clients].over_blocks(behind_ms)) is not None
    ]
    told = ratio_sentence("blocking", rows, others, clients, done_ms, "takes", "times as long as")
    return (
        f"Until the last of {clients:,} clients, one of them slow, has left, {told}. The client"
        f" behind the slow one waits this long for its greeting: {listed(waits)}."
    )
