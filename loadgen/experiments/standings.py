"""Every server of a run relative to the reference: one table, a row per server, an interval in each
field."""

from collections.abc import Callable, Sequence

from loadgen.analysis.estimate import ratio
from loadgen.analysis.run import CellData, Run
from loadgen.experiments.tools import REFERENCE, interval
from loadgen.store.metric import Metric, cpu_us, throughput
from loadgen.trial.methods import ChurnSlices, Slices

Column = tuple[str, Callable[[CellData], bool], Metric]


def table(run: Run) -> tuple[tuple[str, ...], ...]:
    """A head, and a row per server in the order of the catalog; empty where no server but the
    reference took part, or not by slices.

    A field is the ratio with its 95 % interval; of a server that serves a part of the clients only,
    how many; empty where nothing was measured in common.
    """
    columns = [column for column in _columns(run) if len(_cells(run, column)) > 1]
    names = run.catalog.in_order({name: None for c in columns for name in _cells(run, c)})
    if not columns:
        return ()
    rows = [
        (
            line.family if (line := run.catalog.find(name)) else "",
            name,
            *(_field(_cells(run, column), name, column[2]) for column in columns),
        )
        for name in sorted(names, key=lambda name: _place(run, name))
    ]
    return (("family", "server", *(head for head, _, _ in columns)), *rows)


def _place(run: Run, name: str) -> int:
    """Families in the order of their first server, servers in that of the catalog."""
    lines = list(run.catalog)
    families = list(dict.fromkeys(line.family for line in lines))
    line = run.catalog.find(name)
    if line is None:
        return len(families) * len(lines)
    return families.index(line.family) * len(lines) + lines.index(line)


def _columns(run: Run) -> Sequence[Column]:
    busy = sorted(
        {
            data.cell.workload.connections
            for data in run.of("throughput").values()
            if isinstance(data.cell.workload, Slices)
        }
    )

    def with_clients(clients: int) -> Callable[[CellData], bool]:
        return lambda data: (
            data.cell.experiment == "throughput" and data.cell.workload.connections == clients
        )

    def coming(data: CellData) -> bool:
        workload = data.cell.workload
        return isinstance(workload, ChurnSlices) and workload.connections > 1

    found: list[Column] = [
        (
            f"requests/s, {clients:,} client{'' if clients == 1 else 's'}",
            with_clients(clients),
            throughput,
        )
        for clients in busy
    ]
    if busy:
        middle = 64 if 64 in busy else busy[-1]
        found.append((f"CPU/request, {middle:,} clients", with_clients(middle), cpu_us))
    return [*found, ("conversations/s", coming, throughput)]


def _cells(run: Run, column: Column) -> dict[str, CellData]:
    """By server; those with the plain command line."""
    _, is_meant, _ = column
    return {
        data.server: data
        for data in run.cells.values()
        if is_meant(data) and not data.cell.replica and not data.cell.options
    }


def _field(cells: dict[str, CellData], name: str, metric: Metric) -> str:
    if name == REFERENCE:
        return "1"
    one, other = cells.get(name), cells.get(REFERENCE)
    if one is None or other is None:
        return ""
    connections = one.first["connections"]
    if connections["limit"]:
        return f"{connections['greeted']:,} of {connections['attempted']:,} served"
    found = ratio(one.compared, other.compared, metric)
    return interval(found.estimate) if found else ""
