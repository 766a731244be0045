"""python -m loadgen trace: the system calls of servers, per request."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from loadgen.commands import UsageError, UserError, arguments

if TYPE_CHECKING:
    from servers.catalog import Variant

HELP = "Count the system calls of servers per request, by strace."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which servers, under which load."""
    parser.add_argument("servers", nargs="*", metavar="SERVER", help="default: all of them")
    parser.add_argument("--requests", type=int, default=20, metavar="N", help="(default: 20)")
    parser.add_argument(
        "--idle", type=int, default=0, metavar="N", help="silent clients besides (default: 0)"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON per server")


def run(options: argparse.Namespace) -> int:
    """Trace one server after another; 0 when any could be. Raises UserError."""
    import json

    from loadgen.machine import environment
    from loadgen.report import console
    from loadgen.target import trace

    for name, value, low in (("requests", options.requests, 1), ("idle", options.idle, 0)):
        if not low <= value <= trace.MOST:
            raise UsageError(f"--{name} is {value}: it must be from {low} to {trace.MOST:,}")
    servers = arguments.servers(options.servers)
    if missing := trace.missing():
        raise UserError(f"skipped: {missing}")
    environment.raise_descriptor_limit()
    traces = []
    for name, traced in _traces(servers, options.requests, options.idle):
        traces.append((name, traced))
        if options.json:
            print(json.dumps({"server": name, "idle": options.idle, **traced}))
    if not options.json:
        console.show_traces(traces)
    return 0 if traces else 1


def _traces(
    servers: "list[Variant]", requests: int, idle: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the trace of each server that can hold so many clients.

    Raises UserError when one cannot be traced.
    """
    import tempfile
    from pathlib import Path

    from loadgen.machine import environment
    from loadgen.target import trace
    from loadgen.target.target import TargetError

    cpus = set(environment.pinning().server)
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        for variant in servers:
            if reason := trace.why_not(variant, idle):
                print(f"skipped: {variant.name}: {reason}", file=sys.stderr)
                continue
            log = Path(folder) / f"{variant.name}.log"
            try:
                traced = trace.run(variant.name, log=log, cpus=cpus, requests=requests, idle=idle)
            except (trace.TraceError, TargetError, OSError) as error:
                raise UserError(f"{variant.name} could not be traced: {error}") from error
            yield variant.name, traced
