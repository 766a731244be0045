"""What all trials of a run have in common: its machine, its generator, and what a server holds."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

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
# One in so many is no exception.
OFTEN = 4
# Lines below this cost the generator what a calibration's cost.
SHORT_BYTES = 64


def machine(stored: RunFolder) -> Iterator[str]:
    """All trials ran where the header says, on a machine that there can be."""
    described = stored.header["environment"]
    server, generator = described["server_cpus"], described["generator_cpus"]
    if described["shared"] != bool(set(server) & set(generator)):
        yield "shared is not what the CPUs of server and generator make it"
    if len({*server, *generator}) > described["cpus"]:
        yield f"{described['cpus']} CPUs, and server and generator have more"
    machines = [
        found
        for record in stored.records
        if (found := record["machine"]) and Cell.of(record["cell"]).workload.server_cpus == 1
    ]
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
    yield from interpreters(stored)


def interpreters(stored: RunFolder) -> Iterator[str]:
    """An interpreter is the same in all trials that name it."""
    found: dict[str | None, set[tuple[object, ...]]] = {}
    for record in stored.records:
        server = record["server"]
        if server["python"] is not None:
            told = server["python"], server["implementation"], server["gil"]
            found.setdefault(record["cell"]["python"], set()).add(told)
    for named, versions in found.items():
        if len(versions) > 1:
            yield f"{named or 'the interpreter of the lab'} was {len(versions)} different ones"


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
    """A server that is started alike has the same descriptors and threads of its own in every
    trial, and the same number more for each client; at times those of the client that tried it
    first are not gone yet."""
    found: dict[tuple[str, str], list[tuple[int, Record]]] = {}
    for number, record in enumerate(stored.records, start=1):
        whole = record["outcome"] == "measured" and not record["connections"]["lost"]
        for name in ("fds", "threads") if record["footprint"] and whole else ():
            found.setdefault((started(record), name), []).append((number, record))
    for (server, name), trials in found.items():
        each = per_client(name, trials)
        held = [(number, value) for number, record in trials for value in own(name, record, each)]
        usual = least_of_many([value for _, value in held])
        for number, value in held:
            if not usual <= value <= usual + 1:
                yield f"line {number}: {server} has {value} {name} of its own, usually {usual}"


def started(record: Record) -> str:
    """What a server's own descriptors and threads depend on, in words: how it was started, and how
    many CPUs it had, since some have a worker for each."""
    cell = Cell.of(record["cell"])
    under = f" under {cell.python}" if cell.python else ""
    cpus = cell.workload.server_cpus
    on = f" on {cpus} CPUs" if cpus > 1 else ""
    return f"{' '.join((cell.server, *cell.options))}{under}{on}"


def per_client(name: str, trials: Sequence[tuple[int, Record]]) -> int:
    """How many more of something a server holds for each client, in most of its trials."""
    slopes = Counter(
        round((held["connected"][name] - held["empty"][name]) / greeted)  # type: ignore[literal-required]
        for _, record in trials
        if (held := record["footprint"]) and (greeted := record["connections"]["greeted"])
    )
    return slopes.most_common(1)[0][0] if slopes else 0


def own(name: str, record: Record, each: int) -> Iterator[int]:
    """What a server held besides what its clients need: without them, with them, at the end."""
    held, cost = record["footprint"], record["server_cost"]
    needed = each * record["connections"]["greeted"]
    if held:
        yield held["empty"][name]  # type: ignore[literal-required]
        yield held["connected"][name] - needed  # type: ignore[literal-required]
    if cost and held:
        yield cost[name] - needed  # type: ignore[literal-required]


def least_of_many(values: Sequence[int]) -> int:
    """The smallest that is no exception."""
    often = [value for value, times in Counter(values).items() if times >= len(values) / OFTEN]
    return min(often or values)


CHECKS: tuple[Callable[[RunFolder], Iterator[str]], ...] = (
    machine,
    limits,
    calibration,
    holdings,
)
