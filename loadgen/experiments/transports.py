"""The same server over IPv4, IPv6 and a Unix-domain socket, and servers without connections.

A reader learns what the way to a server costs when client and server share a machine: IPv4 and IPv6
are the same code but for the header; a Unix-domain socket leaves out TCP altogether, its segments,
acknowledgements and checksums; a datagram leaves out the connection, and with it the wait for
readiness, but every one is a system call of its own unless many are taken at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import (
    REFERENCE,
    dot_panel,
    listed,
    measured_by,
    times,
)
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure
from loadgen.report.naming import TRANSPORTS, entrant
from loadgen.report.units import Format
from loadgen.store.metric import Metric, cpu_us, latency_us, throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from loadgen.workload.load import Transport
from servers import catalog
from servers.catalog import Model

NAME = "transports"
QUESTION = "What does the way to a server cost: IPv4, IPv6, a Unix-domain socket, datagrams?"
HYPOTHESIS = (
    "IPv6 costs what IPv4 costs: on loopback no router looks at its longer header. A Unix-domain"
    " socket moves bytes from one process to the other without segments, acknowledgements and"
    " checksums, so it takes the least CPU per answer. UDP saves the connection's state and the"
    " wait for readiness, and pays for it with a system call per datagram, twice; taking many at"
    " once pays only where many wait."
)
HOW_TO_READ = (
    "The epoll server over each transport, and two servers that answer datagrams; closed loop,"
    " messages of 16 bytes, one client on the left and sixty-four on the right. Further right is"
    " more answers per second, a longer time, more CPU."
)
SETTINGS = (
    " Nothing is tuned for one of them: buffers are those that the system gives a new socket (TCP's"
    " grow when they fill, the others' do not, and messages of 16 bytes fill none of them);"
    " TCP_NODELAY is on, because without it TCP holds small messages back, and the others have no"
    " such delay."
)

CLIENTS = (1, 64)
STREAMS: tuple[Transport, ...] = ("ipv4", "ipv6", "unix")
MEASURED: tuple[tuple[str, Metric, Format], ...] = (
    ("answers per second", throughput, "number"),
    ("time to an answer, median", latency_us("service", "p50"), "microseconds"),
    ("time to an answer, p99", latency_us("service", "p99"), "microseconds"),
    ("server CPU per answer", cpu_us, "microseconds"),
)
# What the others are compared with.
PLAIN = f"{REFERENCE} {TRANSPORTS['ipv4']}"


def cells(_: Profile, servers: Sequence[Model]) -> list[Cell]:
    """The reference over every transport of a stream, and every server of datagrams, in one
    comparison for each number of clients."""
    names = [model.name for model in servers]
    if REFERENCE not in names:
        return []
    found = []
    for clients in CLIENTS:
        plain = Cell(experiment=NAME, server=REFERENCE, workload=Slices(connections=clients))
        found += [plain, replace(plain, replica=1)]
        found += [_over(plain, transport) for transport in STREAMS[1:]]
        found += [
            replace(_over(plain, "udp"), server=model.name)
            for model in catalog.DATAGRAMS
            if model.name in names
        ]
    return found


def _over(cell: Cell, transport: Transport) -> Cell:
    return replace(cell, workload=replace(cell.workload, transport=transport))


def figures(run: Run) -> list[Figure]:
    """A row of panels for each figure: one client, and many."""
    by_clients = by_load(run)
    panels = tuple(
        dot_panel(
            f"{clients} client{'s' if clients > 1 else ''}",
            f"{label} (* own stamps)" if metric.quantile and own_stamps(run) else label,
            {_row(name, data, metric): data for name, data in by_clients[clients].items()},
            metric,
            written,
        )
        for label, metric, written in MEASURED
        for clients in CLIENTS
        if by_clients[clients]
    )
    if not panels:
        return []
    return [
        Figure(
            name="transports",
            title="The same server over every transport",
            panels=panels,
            caption=HOW_TO_READ + about_stamps(run) + SETTINGS,
            columns=sum(1 for clients in CLIENTS if by_clients[clients]),
            panel_height_in=1.8,
        )
    ]


def by_load(run: Run) -> dict[int, dict[str, CellData]]:
    """Clients => server and transport => cell."""
    found: dict[int, dict[str, CellData]] = {clients: {} for clients in CLIENTS}
    for data, load in measured_by(run, NAME, Slices):
        found.setdefault(load.connections, {})[called(data.cell)] = data
    return found


def called(cell: Cell) -> str:
    """ "epoll over IPv4", "udp" """
    if cell.workload.transport == "udp":
        return cell.server
    return PLAIN if entrant(cell) == REFERENCE else entrant(cell)


def _row(name: str, data: CellData, metric: Metric) -> str:
    """What a row is called; of a latency with a mark where the kernel has not stamped it."""
    return f"{name}*" if metric.quantile and _own_stamps(data) else name


def _own_stamps(data: CellData) -> bool:
    """Did the generator stamp arrivals, and not the kernel?"""
    generator = data.first["generator"]
    return generator is not None and generator["stamps"] == "generator"


def own_stamps(run: Run) -> list[str]:
    """Over what the generator stamped arrivals itself, in words."""
    return list(
        dict.fromkeys(
            TRANSPORTS[data.cell.workload.transport].removeprefix("over ")
            for data, _ in measured_by(run, NAME, Slices)
            if _own_stamps(data)
        )
    )


def about_stamps(run: Run) -> str:
    """Which times were taken otherwise, and what that does to them."""
    own = own_stamps(run)
    if not own:
        return " Times run from a request's leaving to the kernel's stamp on its answer."
    return (
        " Times run from a request's leaving to the kernel's stamp on its answer. Over"
        f" {listed(own)} the kernel stamps nothing: there the generator stamped both (*), so its"
        " own way into the kernel and the wait until it came to read count too,"
        " which with many clients is the larger part. Answers per second and CPU are not touched"
        " by that."
    )


def finding(run: Run) -> str:
    """Every other way against IPv4: how much it answers, at what price; and what was lost."""
    sentences = []
    for clients, rows in by_load(run).items():
        others = [name for name in rows if name != PLAIN]
        if PLAIN not in rows or not others:
            continue
        told = "; ".join(
            f"{name} gives {times(rows[name], rows[PLAIN], throughput)} times the answers per"
            f" second, at {times(rows[name], rows[PLAIN], cpu_us)} times the CPU per answer"
            for name in others
        )
        busy = f"{clients} busy client{'s' if clients > 1 else ''}"
        sentences.append(f"With {busy}, relative to {PLAIN}: {told}")
    if not sentences:
        return f"The data do not decide: {PLAIN} and another way were not measured together."
    return ". ".join([*sentences, *lost(by_load(run))]) + "."


def lost(by_clients: Mapping[int, Mapping[str, CellData]]) -> list[str]:
    """What became of datagrams, in a sentence; none where none were sent."""
    accounts = [
        account
        for rows in by_clients.values()
        for data in rows.values()
        for record in data.records
        if (account := record["datagrams"])
    ]
    sent = sum(account["sent"] for account in accounts)
    if not sent:
        return []
    gone = sum(account["lost"] + account["late"] for account in accounts)
    were = "was" if gone < 2 else "were"
    return [f"Of {sent:,} datagrams {gone or 'none'} {were} not answered in time"]
