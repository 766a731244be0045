"""What all trials of a run have in common: its machine, its generator, and what a server holds."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal

from loadgen.analysis.audit.bounds import CLOCKS
from loadgen.analysis.audit.words import answered, cell_id, window_s
from loadgen.machine.limits import lack_of_descriptors
from loadgen.store.runs import RunFolder
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests

# A CPU that is disturbed makes an answer dearer, never cheaper: by so much a calibration may be
# below the cheapest trial.
CHEAPER = 1.5
# Lines below this cost the generator what a calibration's cost.
SHORT_BYTES = 64
# What a server holds for each client, or for some.
HELD = ("fds", "threads")
# The one that looks before a trial may not have been let go when it begins.
LEAVING = 1


def machine(stored: RunFolder) -> Iterator[str]:
    """All trials ran where the header says, on a machine that there can be."""
    described = stored.header["environment"]
    server, generator = described["server_cpus"], described["generator_cpus"]
    if described["shared"] != bool(set(server) & set(generator)):
        yield "shared is not what the CPUs of server and generator make it"
    if len({*server, *generator}) > described["cpus"]:
        yield f"{described['cpus']} CPUs, and server and generator have more"
    machines = [found for record in stored.records if (found := record["machine"])]
    for name in ("server_cpus", "generator_cpus", "shared"):
        others = [found for found in machines if found[name] != described[name]]
        if others:
            yield f"{name} is {described[name]}, and another one in {len(others)} trials"
    stolen = any(
        record["machine"] and record["machine"]["steal_fraction"] for record in stored.records
    )
    if stolen and not described["hypervisor"]:
        yield "there is no hypervisor, and it took time"
    most = max((_most_bytes(record) for record in stored.records), default=0)
    if most > described["memory_bytes"]:
        yield f"a server held {most:,} bytes, of {described['memory_bytes']:,}"
    pythons = {record["server"]["python"] for record in stored.records} - {None}
    if len(pythons) > 1:
        yield f"the servers ran under {len(pythons)} interpreters"


def _most_bytes(record: Record) -> int:
    held, cost = record["footprint"], record["server_cost"]
    found = [held["connected"]["rss_bytes"]] if held else []
    return max([*found, cost["rss_bytes"] if cost else 0])


def limits(stored: RunFolder) -> Iterator[str]:
    """What was measured fits the limits that the header states; what was skipped for them, not."""
    limit = stored.header["environment"]["descriptors"]["hard"]
    for record in stored.records:
        clients = Cell.of(record["cell"]).workload.clients
        if limit >= 0 and (reason := lack_of_descriptors(clients, limit)):
            yield f"{cell_id(record)} was measured, and {reason}"
            break
    for skip in stored.header["plan"]["skipped"]:
        clients = Cell.of(skip["cell"]).workload.clients
        reason = lack_of_descriptors(clients, limit) if limit >= 0 else None
        if "descriptors" in skip["reason"] and skip["reason"] != reason:
            yield f"{Cell.of(skip['cell']).id} was skipped, and fits the limit of {limit:,}"


def calibration(stored: RunFolder) -> Iterator[str]:
    """An answer costs the generator about as much in a calibration as in a trial."""
    points = stored.header["calibration"]
    if [point["connections"] for point in points] != sorted(
        {point["connections"] for point in points}
    ):
        yield "the calibration has a number of clients twice, or out of order"
    costs_s = [cost for record in stored.records if (cost := generator_cost_s(record))]
    for point in points:
        if not 0 < point["busy_fraction"] <= 1 + CLOCKS or not (
            0 < point["cpu_fraction"] <= 1 + CLOCKS
        ):
            yield f"calibrated with {point['connections']} clients: more than a CPU"
        cost_s = point["busy_fraction"] / point["throughput_per_s"]
        if costs_s and cost_s * CHEAPER < min(costs_s):
            yield (
                f"calibrated with {point['connections']} clients an answer cost the generator"
                f" {cost_s * 1e6:.3g} us, and never less than {min(costs_s) * 1e6:.3g} in a trial"
            )


def generator_cost_s(record: Record) -> float | None:
    """What an answer cost the generator, as in a calibration: of a closed loop with short lines."""
    generator, seconds, count = record["generator"], window_s(record), answered(record)
    workload = Cell.of(record["cell"]).workload
    if not generator or not seconds or not count or generator["full"]:
        return None
    if not isinstance(workload, Requests) or not workload.is_back_to_back:
        return None
    if workload.message_bytes > SHORT_BYTES:
        return None
    return generator["busy_fraction"] * seconds / count


def holdings(stored: RunFolder) -> Iterator[str]:
    """A server has the same descriptors and threads of its own in every trial, and the same number
    more for each client."""
    own: dict[tuple[str, str], list[tuple[float, int]]] = {}
    later: dict[tuple[str, str], list[tuple[float, int]]] = {}
    held = [(number, record) for number, record in enumerate(stored.records, 1) if _holds(record)]
    for name in HELD:
        for number, record in held:
            server: str = record["server"]["name"]
            own.setdefault((server, name), []).append((_held(record, "empty", name), number))
        for number, record in held:
            server = record["server"]["name"]
            least = _usual_of_its_own(own[server, name])
            for what, value in _with_clients(record, name, least):
                later.setdefault((server, what), []).append((value, number))
    for (server, name), values in own.items():
        usual = _usual_of_its_own(values)
        allowed = (usual, usual + LEAVING)
        yield from _unusual(server, f"{name} without clients", values, allowed)
    for (server, what), values in later.items():
        yield from _unusual(server, what, values, (_most_common(values),))


def _unusual(
    server: str, what: str, values: list[tuple[float, int]], allowed: tuple[float, ...]
) -> Iterator[str]:
    for value, number in values:
        if value not in allowed:
            yield f"line {number}: {server} has {value:g} {what}, and usually {allowed[0]:g}"


def _most_common(values: list[tuple[float, int]]) -> float:
    usual, _ = Counter(value for value, _ in values).most_common(1)[0]
    return usual


def _usual_of_its_own(values: list[tuple[float, int]]) -> float:
    usual = _most_common(values)
    fewer = usual - LEAVING
    return fewer if fewer in [value for value, _ in values] else usual


def _holds(record: Record) -> bool:
    return (
        record["footprint"] is not None
        and not record["connections"]["lost"]
        and record["outcome"] == "measured"
    )


def _held(record: Record, when: Literal["empty", "connected"], name: str) -> int:
    footprint: Any = record["footprint"]
    count: int = footprint[when][name]
    return count


def _with_clients(record: Record, name: str, own: float) -> Iterator[tuple[str, float]]:
    """What is the same in all trials of one server: (what, how many)."""
    greeted, connected = record["connections"]["greeted"], _held(record, "connected", name)
    if greeted:
        yield f"{name} per client", (connected - own) / greeted
    cost: Any = record["server_cost"]
    if cost and connected != cost[name]:
        yield f"{name} more at the end", cost[name] - connected


CHECKS: tuple[Callable[[RunFolder], Iterator[str]], ...] = (
    machine,
    limits,
    calibration,
    holdings,
)
