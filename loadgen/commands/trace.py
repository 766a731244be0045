"""python -m loadgen trace: the system calls of servers, per request."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from loadgen.commands import UsageError, UserError, arguments

if TYPE_CHECKING:
    from loadgen.store.schema import SystemCalls
    from loadgen.trial.methods import Trace
    from servers.catalog import Model

OPTIONS = {"idle_connections": "--idle", "requests": "--requests"}

HELP = "Count the system calls of servers per request, by strace."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which servers, under which load."""
    arguments.completed(
        parser.add_argument("servers", nargs="*", metavar="SERVER", help="default: all of them"),
        arguments.one_of(arguments.server_names),
    )
    parser.add_argument("--requests", type=int, default=20, metavar="N", help="(default: 20)")
    parser.add_argument(
        "--idle", type=int, default=0, metavar="N", help="silent clients besides (default: 0)"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON per server")


def run(options: argparse.Namespace) -> int:
    """Trace one server after another; 0 when any could be. Raises UserError."""
    import json

    from loadgen.machine.limits import raise_descriptor_limit
    from loadgen.report import console
    from loadgen.target import strace
    from loadgen.trial.methods import Trace

    workload = Trace(idle_connections=options.idle, requests=options.requests)
    try:
        workload.check()
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"{OPTIONS[name]} {rest}") from error
    servers = arguments.servers(options.servers)
    if missing := strace.missing():
        raise UserError(f"skipped: {missing}")
    raise_descriptor_limit()
    traces = []
    for name, traced in _traces(servers, workload):
        traces.append((name, traced))
        if options.json:
            print(json.dumps({"server": name, "idle": options.idle, **traced}))
    if not options.json:
        console.show_traces(traces)
    return 0 if traces else 1


def _traces(servers: "list[Model]", workload: "Trace") -> "Iterator[tuple[str, SystemCalls]]":
    """The name and the trace of each server that can hold so many clients.

    Raises UserError when one cannot be traced.
    """
    import tempfile
    from pathlib import Path

    from loadgen.machine.cpus import choose_pinning
    from loadgen.trial import trial
    from loadgen.trial.cell import Cell
    from loadgen.trial.rig import SystemUnderTest

    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        for model in servers:
            if reason := model.missing() or workload.missing(model):
                print(f"skipped: {model.name}: {reason}", file=sys.stderr)
                continue
            cell = Cell(experiment="trace", server=model.name, workload=workload)
            system = SystemUnderTest(model=model)
            log = Path(folder) / f"{model.name}.log"
            record = trial.run(system, cell, cpus=choose_pinning(), log=log)
            traced = record["system_calls"]
            if traced is None:
                raise UserError(f"{model.name} could not be traced: {record['failure']}")
            yield model.name, traced
