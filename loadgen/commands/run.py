"""python -m loadgen run: one trial, of a server of ours or of one that somebody else started."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.commands import UsageError, UserError, arguments
from servers import catalog, command_line
from servers.protocol import MAX_LINE_BYTES

if TYPE_CHECKING:
    from loadgen.trial.methods import Requests
    from loadgen.trial.rig import SystemUnderTest

HELP = "Measure once, and print a summary or the record; status 1: invalid."

# The options behind the fields of a workload: its complaints name fields, and people type options.
OPTIONS = {
    "connections": "--connections",
    "idle_connections": "--idle",
    "message_bytes": "--message-bytes",
    "warmup_s": "--warmup",
    "duration_s": "--duration",
    "max_line_bytes": "--message-bytes",
    "offered_per_s": "--rate",
    "arrivals": "--arrivals",
    "transport": "--transport",
    "protocol": "--protocol",
    "idle_timeout_s": "--idle-timeout",
}
# What a server of ours is asked to listen on: see `Method`.
TRANSPORTS = ("ipv4", "ipv6", "unix")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which server, and under which load."""
    which = parser.add_mutually_exclusive_group(required=True)
    arguments.completed(
        which.add_argument("--server", metavar="NAME", help="a server of ours: see `list`"),
        arguments.one_of(arguments.server_names),
    )
    which.add_argument(
        "--connect",
        metavar="ADDRESS",
        type=arguments.host_and_port,
        help="one that somebody else started: HOST:PORT or unix:PATH",
    )
    parser.add_argument(
        "--transport", choices=TRANSPORTS, help="between clients and ours (default: ipv4)"
    )
    parser.add_argument(
        "--protocol", choices=("hello", "http"), default="hello", help="(default: hello)"
    )
    parser.add_argument(
        "--idle-timeout", type=float, metavar="S", help="after so much silence ours lets go"
    )
    parser.add_argument(
        "--udp", action="store_true", help="by datagrams: `udp`, `udp_batched`, or --connect"
    )
    parser.add_argument(
        "--python", type=arguments.interpreter, metavar="PATH", help="the interpreter of ours"
    )
    parser.add_argument("--connections", type=int, default=1, help="clients that send (default: 1)")
    parser.add_argument("--idle", type=int, default=0, help="clients that are silent (default: 0)")
    parser.add_argument(
        "--message-bytes", type=int, default=16, help="a request, with its newline (default: 16)"
    )
    parser.add_argument(
        "--duration", type=arguments.seconds, default=1.0, metavar="TIME", help="(default: 1s)"
    )
    parser.add_argument(
        "--warmup", type=arguments.seconds, default=0.3, metavar="TIME", help="(default: 300ms)"
    )
    parser.add_argument(
        "--rate", type=float, metavar="R", help="open loop: requests per second over all clients"
    )
    parser.add_argument(
        "--arrivals", choices=("poisson", "constant"), help="of an open loop (default: poisson)"
    )
    parser.add_argument(
        "--work", type=_work, metavar="KIND:TIME", help="per answer of ours: cpu:100us, sleep:10ms"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the schedule (default: 0)")
    parser.add_argument(
        "--raw", type=Path, metavar="FILE", help="keep the stamps of every request (NumPy archive)"
    )
    parser.add_argument("--json", action="store_true", help="print the record, one line of JSON")


def _work(text: str) -> str:
    command_line.work(text)  # refuses what the server would
    return text


def run(options: argparse.Namespace) -> int:
    """Measure once; 0 when the trial is valid. Raises UserError."""
    import json
    import tempfile

    from loadgen.machine.cpus import choose_pinning
    from loadgen.report import console
    from loadgen.trial import trial
    from loadgen.trial.cell import Cell

    if options.raw and not options.raw.parent.is_dir():
        raise UserError(f"{options.raw.parent} is not a folder: make it first")
    workload, system = _workload(options), _system(options)
    if system.address and not options.udp:  # a name may stand for any address
        workload = replace(workload, transport=system.address.transport)
    cell = Cell(experiment="run", server=system.name, workload=workload, python=options.python)
    _expect_descriptors(system, workload)
    cpus = choose_pinning()
    if cpus.shared:
        print("warning: one CPU for server and generator: figures say little", file=sys.stderr)
    trial.compile()
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        log = Path(folder) / "server.log"
        record = trial.run(system, cell, cpus=cpus, log=log, seed=options.seed, raw=options.raw)
    if options.json:
        print(json.dumps(record, allow_nan=False))
    else:
        console.show_trial(record)
    return 0 if record["verdict"]["valid"] else 1


def _workload(options: argparse.Namespace) -> "Requests":
    """The load that was asked for. Raises UsageError when there is no such load."""
    from loadgen.trial.methods import Requests
    from loadgen.workload.load import SEEDS, check_number

    workload = Requests(
        connections=options.connections,
        idle_connections=options.idle,
        message_bytes=options.message_bytes,
        warmup_s=options.warmup,
        duration_s=options.duration,
        offered_per_s=options.rate,
        arrivals=options.arrivals or (None if options.rate is None else "poisson"),
        work=options.work,
        transport="udp" if options.udp else options.transport or "ipv4",
        protocol=options.protocol,
        idle_timeout_s=options.idle_timeout,
        max_line_bytes=max(MAX_LINE_BYTES, options.message_bytes),
    )
    if options.udp and options.transport:
        raise UsageError("--transport does not go with --udp: those are for streams")
    try:
        workload.check()
        check_number("seed", options.seed, SEEDS, whole=True)
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"{OPTIONS.get(name, f'--{name}')} {rest}") from error
    return workload


def _system(options: argparse.Namespace) -> "SystemUnderTest":
    """The server that was asked for. Raises UserError when it cannot be measured."""
    from loadgen.target import interpreter
    from loadgen.trial.rig import SystemUnderTest

    if options.connect:
        if options.work:
            raise UsageError("--work does not go with --connect: it is an option of our servers")
        if options.python:
            raise UsageError("--python does not go with --connect: it is for our servers")
        if options.transport:
            raise UsageError("--transport does not go with --connect: the address says it")
        if options.idle_timeout is not None:
            raise UsageError("--idle-timeout does not go with --connect: it is for our servers")
        return SystemUnderTest(address=arguments.resolve(options.connect, by_datagrams=options.udp))
    try:
        model = catalog.find(options.server)
    except KeyError as error:
        raise UsageError(error.args[0]) from error
    if model.connectionless and not options.udp:
        raise UsageError(f"{model.name} has no connections: it needs --udp")
    if options.udp and not model.connectionless:
        raise UsageError(f"--udp does not go with {model.name}, which needs connections")
    python = options.python or sys.executable
    if missing := interpreter.examine(python).missing[model.name]:
        raise UserError(f"{model.name} cannot run here: {missing}")
    return SystemUnderTest(model=model)


def _expect_descriptors(system: "SystemUnderTest", workload: "Requests") -> None:
    """Raises UserError when no process may hold as many clients as one of them will have to."""
    from loadgen.clients import background
    from loadgen.machine.limits import lack_of_descriptors, raise_descriptor_limit

    if system.model:  # our server holds all of them
        clients = workload.clients
    else:  # its owner sees to its limit; silent clients have processes of their own
        clients = max(workload.connections, min(workload.idle_connections, background.PER_PROCESS))
    if lack := lack_of_descriptors(clients, raise_descriptor_limit()):
        raise UserError(f"a process with {clients:,} clients {lack}")
