"""python -m loadgen run: one trial, of a server of ours or of one that somebody else started."""

import argparse
import sys
from typing import TYPE_CHECKING

from loadgen.commands import UsageError, UserError, arguments
from servers import common
from servers.protocol import MAX_LINE_BYTES

if TYPE_CHECKING:
    from loadgen.trial.trial import Subject
    from loadgen.workload.workload import Workload

HELP = "Measure once, and print a summary or the record; status 1: not valid."

# The options behind the fields of a workload: its complaints name fields, and people type options.
OPTIONS = {
    "connections": "--connections",
    "idle_connections": "--idle",
    "message_bytes": "--message-bytes",
    "warmup_s": "--warmup",
    "duration_s": "--duration",
    "offered_per_s": "--rate",
    "arrivals": "--arrivals",
    "seed": "--seed",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which server, and under which load."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--server", metavar="NAME", help="a server of ours: see `list`")
    which.add_argument(
        "--connect",
        metavar="HOST:PORT",
        type=arguments.host_and_port,
        help="one that somebody else started",
    )
    parser.add_argument("--connections", type=int, default=1, help="clients that send (default: 1)")
    parser.add_argument("--idle", type=int, default=0, help="clients that are silent (default: 0)")
    parser.add_argument(
        "--message-bytes", type=int, default=16, help="a request, with its newline (default: 16)"
    )
    parser.add_argument("--duration", type=float, default=1.0, metavar="S", help="(default: 1)")
    parser.add_argument("--warmup", type=float, default=0.3, metavar="S", help="(default: 0.3)")
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
    parser.add_argument("--json", action="store_true", help="print the record, one line of JSON")


def _work(text: str) -> str:
    common.work(text)  # refuses what the server would
    return text


def run(options: argparse.Namespace) -> int:
    """Measure once; 0 when the trial is valid. Raises UserError."""
    import json
    import tempfile
    from pathlib import Path

    from loadgen.machine import environment
    from loadgen.report import console
    from loadgen.trial import trial

    workload = _workload(options)
    subject = _subject(options)
    _expect_descriptors(subject, workload)
    cpus = environment.pinning()
    if cpus.shared:
        print("warning: one CPU for server and generator: figures say little", file=sys.stderr)
    trial.compile()
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        record = trial.run(subject, workload, cpus=cpus, log=Path(folder) / "server.log")
    if options.json:
        print(json.dumps(record, allow_nan=False))
    else:
        console.show_trial(record)
    return 0 if record["verdict"]["valid"] else 1


def _workload(options: argparse.Namespace) -> "Workload":
    """The load that was asked for. Raises UsageError when there is no such load."""
    from loadgen.workload.workload import Workload

    workload = Workload(
        connections=options.connections,
        idle_connections=options.idle,
        message_bytes=options.message_bytes,
        warmup_s=options.warmup,
        duration_s=options.duration,
        mode="closed" if options.rate is None else "open",
        offered_per_s=options.rate,
        arrivals=options.arrivals or (None if options.rate is None else "poisson"),
        seed=options.seed,
    )
    try:
        workload.validate()
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"{OPTIONS[name]} {rest}") from error
    return workload


def _subject(options: argparse.Namespace) -> "Subject":
    """The server that was asked for. Raises UserError when it cannot be measured."""
    from loadgen.trial.trial import Subject

    if options.connect:
        if options.work:
            raise UsageError("--work does not go with --connect: it is an option of our servers")
        return Subject(address=arguments.resolve(options.connect))
    [variant] = arguments.servers([options.server])
    if missing := variant.missing():
        raise UserError(f"{variant.name} cannot run here: {missing}")
    words: list[str] = []
    if options.work:
        words += ["--work", options.work]
    if options.message_bytes > MAX_LINE_BYTES:
        words += ["--max-line", str(options.message_bytes)]
    return Subject(variant=variant, options=tuple(words))


def _expect_descriptors(subject: "Subject", workload: "Workload") -> None:
    """Raises UserError when no process may hold as many clients as one of them will have to."""
    from loadgen.clients import crowd
    from loadgen.machine import environment

    if subject.variant:  # our server holds all of them
        clients = workload.connections + workload.idle_connections
    else:  # its owner sees to its limit; silent clients have processes of their own
        clients = max(workload.connections, min(workload.idle_connections, crowd.PER_PROCESS))
    if lack := environment.lack_of_descriptors(clients, environment.raise_descriptor_limit()):
        raise UserError(f"a process with {clients:,} clients {lack}")
