"""python -m loadgen duel: a few servers against the first of them, until it is decided."""

import argparse
import math
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.commands import UsageError, UserError, arguments, keeping
from loadgen.commands.run import OPTIONS
from servers import catalog
from servers.protocol import MAX_LINE_BYTES

if TYPE_CHECKING:
    from loadgen.machine.cpus import Pinning
    from loadgen.plan.plan import Plan
    from loadgen.store.schema import Record
    from loadgen.trial.cell import Cell
    from loadgen.trial.methods import Slices
    from loadgen.trial.rig import SystemUnderTest

HELP = "Compare servers with the first one named, for about 20 s; status 1: some failed."
EPILOG = """\
for example: python -m loadgen duel epoll poll 'epoll --work cpu:20us' --precision 1%
             python -m loadgen duel epoll 127.0.0.1:8000 --server-command './mine --port 0'
"""

# Of an epoch: long enough that starting processes is no large part of it.
EPOCH_S = 2.0
# A schedule needs time to show what it has in store.
OPEN_SLICE_S = 0.1
PRECISIONS = (0.001, 0.5)
TIME_LIMITS_S = (1.0, 3600.0)
SEEDS = (0, 2**31 - 1)


@dataclass(frozen=True)
class Entrant:
    """A contestant as it was named; what it asks of the command line of our server is `options`."""

    system: "SystemUnderTest"
    options: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Does it take the options of our servers?"""
        return self.system.model is not None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Who takes part, under which load, and when to stop."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    arguments.intermixed(parser)
    arguments.completed(
        parser.add_argument(
            "contestants",
            nargs="*",
            metavar="CONTESTANT",
            help="a server of `list`, with options as one quoted word; or HOST:PORT of a running"
            " one",
        ),
        arguments.one_of(arguments.server_names),
    )
    parser.add_argument(
        "--server-command",
        action="append",
        default=[],
        metavar="COMMAND",
        help="any other server, which prints `listening on HOST:PORT`; may be repeated",
    )
    parser.add_argument(
        "--connections", type=int, default=64, help="clients that send (default: 64)"
    )
    parser.add_argument("--idle", type=int, default=0, help="clients that are silent (default: 0)")
    parser.add_argument(
        "--message-bytes", type=int, default=16, help="a request, with its newline (default: 16)"
    )
    parser.add_argument(
        "--rate", type=float, metavar="R", help="open loop: requests per second over all clients"
    )
    parser.add_argument("--work", metavar="KIND:TIME", help="per answer of ours: cpu:100us")
    parser.add_argument(
        "--precision",
        type=precision,
        default=0.02,
        metavar="P",
        help="stop when every ratio is known to +-P (default: 2%%)",
    )
    parser.add_argument(
        "--time-limit",
        type=arguments.seconds,
        default=20.0,
        metavar="TIME",
        help="begin nothing that would end later, once there are three epochs (default: 20s)",
    )
    parser.add_argument("--seed", type=int, help="of order and schedules (default: from the clock)")
    parser.add_argument("--json", action="store_true", help="print the ratios, one line of JSON")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the run")


def precision(text: str) -> float:
    """The type of an option: 2% or 0.02. Raises argparse.ArgumentTypeError."""
    low, high = PRECISIONS
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none: it is from {low:.1%} to {high:.0%}, such as 2% or 0.02"
        )
    return value


def run(options: argparse.Namespace) -> int:
    """Let them take turns until it is decided; 0 when nobody failed and every ratio has an
    interval. Raises UserError."""
    from loadgen.analysis.duel import FIRST_EPOCHS, called
    from loadgen.machine.cpus import choose_pinning
    from loadgen.plan.rehearsal import rehearse, with_rounds
    from loadgen.store import runs
    from loadgen.trial import trial

    seed = int(time.time()) if options.seed is None else options.seed
    _expect_within("--time-limit", options.time_limit, TIME_LIMITS_S)
    _expect_within("--seed", seed, SEEDS)
    entrants = parse(options.contestants, options.server_command)
    workload = _workload(options, entrants)
    _expect_descriptors(entrants, workload)
    if options.out:
        keeping.expect_new(options.out)
    cpus = choose_pinning()
    if cpus.shared:
        print("warning: one CPU for server and generator: figures say little", file=sys.stderr)
    trial.compile()
    systems, failed = _ready(_cells(entrants, workload))
    rehearsed = rehearse(
        systems,
        workload,
        cpus=cpus,
        seed=seed,
        epoch_s=min(EPOCH_S, options.time_limit / FIRST_EPOCHS),
    )
    failed |= rehearsed.failed
    for cell, reason in failed.items():
        print(f"{called(cell)} takes no part: {reason}", file=sys.stderr)
    fit = {
        with_rounds(cell, rehearsed.rounds): system
        for cell, system in systems.items()
        if cell not in failed
    }
    if len(fit) < 2:
        raise UserError("fewer than two servers are left: there is nothing to compare")
    skipped = [(with_rounds(cell, rehearsed.rounds), reason) for cell, reason in failed.items()]
    plan = _plan(list(fit), skipped, options.precision, seed)
    try:
        folder = runs.create(
            plan.profile,
            plan=plan.as_record(),
            seed=seed,
            environment=keeping.environment(cpus),
            folder=options.out,
            is_latest=False,
        )
        records = _measure(plan, folder, cpus, fit, options)
    except runs.ResultsError as error:
        raise UserError(str(error)) from error
    is_complete = _tell(plan, records, options)
    keeping.draw(folder)
    print(f"stored in {folder}", file=sys.stderr if options.json else sys.stdout)
    return 0 if is_complete and not failed else 1


# Who takes part, under which load.


def parse(contestants: Sequence[str], commands: Sequence[str]) -> list[Entrant]:
    """The contestants as they were named, in this order. Raises UsageError."""
    entrants = [*map(_entrant, contestants), *map(_other_server, commands)]
    if len(entrants) < 2:
        raise UsageError(f"a duel takes two contestants or more: {len(entrants)} named")
    for label, times in Counter(each.system.name for each in entrants).items():
        if times > 2:
            raise UsageError(f"{label} is named {times} times: twice is enough")
    return entrants


def _entrant(text: str) -> Entrant:
    """A server of the catalog with its options, or an address."""
    from loadgen.target.address import Address
    from loadgen.trial.rig import SystemUnderTest

    words = _words(text)
    name, *rest = words
    if not rest and ":" in name:
        try:
            return Entrant(SystemUnderTest(address=Address.parse(name), label=name))
        except ValueError as error:
            raise UsageError(str(error)) from error
    try:
        model = catalog.find(name)
    except KeyError as error:
        raise UsageError(error.args[0]) from error
    if model.connectionless:
        raise UsageError(f"{name} has no connections, which a duel needs")
    python, options = sys.executable, list[str]()
    left = iter(rest)
    for word in left:
        option, equals, value = word.partition("=")
        if option != "--python":
            options.append(word)
        elif found := value if equals else next(left, ""):
            python = found
        else:
            raise UsageError(f"{text!r}: --python takes an interpreter")
    system = SystemUnderTest(model=model, python=python, label=" ".join(words))
    return Entrant(system, tuple(options))


def _other_server(text: str) -> Entrant:
    from loadgen.trial.rig import SystemUnderTest

    return Entrant(SystemUnderTest(command=tuple(_words(text)), label=text.strip()))


def _words(text: str) -> list[str]:
    """As a shell would split it. Raises UsageError."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a command line: {error}") from error
    if not words:
        raise UsageError(f"{text!r} names nothing")
    return words


def _workload(options: argparse.Namespace, entrants: Sequence[Entrant]) -> "Slices":
    """The load that was asked for. Raises UsageError when there is no such load."""
    from loadgen.trial.methods import Slices

    strangers = [each.system.name for each in entrants if not each.is_ours]
    if options.work and strangers:
        raise UsageError(f"--work does not go with {strangers[0]}: it is an option of our servers")
    workload = Slices(
        connections=options.connections,
        idle_connections=options.idle,
        message_bytes=options.message_bytes,
        offered_per_s=options.rate,
        arrivals=None if options.rate is None else "poisson",
        work=options.work,
        max_line_bytes=max(MAX_LINE_BYTES, options.message_bytes),
        rounds=1,
    )
    if options.rate is not None:
        workload = replace(workload, duration_s=OPEN_SLICE_S)
    try:
        workload.check()
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"{OPTIONS.get(name, f'--{name}')} {rest}") from error
    if not options.connections:
        raise UsageError("--connections is 0: somebody has to ask")
    return workload


def _expect_within(name: str, value: float, limits: tuple[float, float]) -> None:
    low, high = limits
    if not low <= value <= high:
        raise UsageError(f"{name} is {value:g}: it must be from {low:g} to {high:g}")


def _expect_descriptors(entrants: Sequence[Entrant], workload: "Slices") -> None:
    """Raises UserError when no process may hold as many clients as one of them will have to: we
    hold those that ask, of everybody, and a server all of its own."""
    from loadgen.machine.limits import lack_of_descriptors, raise_descriptor_limit

    clients = max(len(entrants) * workload.connections, workload.clients)
    if lack := lack_of_descriptors(clients, raise_descriptor_limit()):
        raise UserError(f"a process with {clients:,} clients {lack}")


def _cells(entrants: Sequence[Entrant], workload: "Slices") -> dict["Cell", "SystemUnderTest"]:
    from loadgen.trial.cell import Cell

    found: dict[Cell, SystemUnderTest] = {}
    for entrant in entrants:
        cell = Cell(
            experiment="duel",
            server=entrant.system.name,
            workload=workload,
            options=entrant.options,
        )
        found[replace(cell, replica=1) if cell in found else cell] = entrant.system
    return found


def _ready(
    systems: Mapping["Cell", "SystemUnderTest"],
) -> tuple[dict["Cell", "SystemUnderTest"], dict["Cell", str]]:
    """Those that there are, addresses as numbers; and why there are not the others."""
    from loadgen.target import interpreter
    from loadgen.target.interpreter import InterpreterError

    ready: dict[Cell, SystemUnderTest] = {}
    failed: dict[Cell, str] = {}
    for cell, system in systems.items():
        try:
            if system.model:
                missing = interpreter.examine(system.python).missing[system.model.name]
                if missing:
                    raise UserError(f"it cannot run here: {missing}")
            address = system.address and arguments.resolve(system.address)
        except (UserError, InterpreterError) as error:
            failed[cell] = str(error)
        else:
            transport = address.transport if address else cell.workload.transport
            reached = replace(cell, workload=replace(cell.workload, transport=transport))
            ready[reached] = replace(system, address=address)
    return ready, failed


# The duel.


def _plan(
    cells: Sequence["Cell"], skipped: Sequence[tuple["Cell", str]], wanted: float, seed: int
) -> "Plan":
    """Three epochs, and more as the first stage says: `analysis.duel`."""
    from loadgen.analysis.estimate import MINIMUM_BLOCKS, MOST_EPOCHS
    from loadgen.plan.plan import Plan, Skip

    return Plan(
        "duel",
        ("duel",),
        tuple(dict.fromkeys(cell.server for cell in cells)),
        MINIMUM_BLOCKS,
        MINIMUM_BLOCKS,
        MOST_EPOCHS / MINIMUM_BLOCKS - 1,
        seed,
        tuple(cells),
        tuple(Skip(cell, reason) for cell, reason in skipped),
        wanted,
    )


def _measure(
    plan: "Plan",
    folder: Path,
    cpus: "Pinning",
    systems: Mapping["Cell", "SystemUnderTest"],
    options: argparse.Namespace,
) -> list["Record"]:
    """Epoch by epoch, shown as they come."""
    from loadgen.analysis import duel
    from loadgen.plan.execute import execute
    from loadgen.report.board import Board

    began_s = time.monotonic()

    def needs_more(group: object, records: Sequence["Record"], planned: int) -> bool:
        del group, planned  # all are one group, and the first stage is a duel's own
        epochs = len({record["block"] for record in records})
        wanted = duel.epochs_wanted(duel.contestants(plan.cells, records), options.precision)
        ends_s = (time.monotonic() - began_s) * (epochs + 1) / epochs
        return epochs < wanted and ends_s <= options.time_limit

    records: list[Record] = []
    with Board(duel.metrics(plan.cells[0].workload), to_stderr=options.json) as board:
        for _, record in execute(plan, folder, cpus, needs_more, systems.__getitem__):
            records.append(record)
            epochs, rest = divmod(len(records), len(plan.cells))
            if rest:
                continue
            for text in duel.excluded(records[-len(plan.cells) :]):
                board.note(f"epoch {epochs}: {text}")
            duellists = duel.contestants(plan.cells, records)
            wanted = max(epochs, duel.epochs_wanted(duellists, options.precision))
            board.show(epochs, wanted, duellists, duel.scores(duellists, options.precision))
    return records


def _tell(plan: "Plan", records: Sequence["Record"], options: argparse.Namespace) -> bool:
    """Say what came out; is there nothing to complain of?"""
    import json

    from loadgen.analysis import duel
    from loadgen.experiments.duel import sentence

    duellists = duel.contestants(plan.cells, records)
    found = duel.scores(duellists, options.precision)
    if options.json:
        print(json.dumps({"ratios": [each.as_record() for each in found]}, allow_nan=False))
    else:
        for each in found:
            print(sentence(each))
    if text := duel.void(records):
        print(text, file=sys.stderr if options.json else sys.stdout)
    complaints = duel.complaints(duellists, found)
    for text in complaints:
        print(text, file=sys.stderr)
    return not complaints
