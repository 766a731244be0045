"""The command line of the load generator: python -m loadgen COMMAND.

Exit status: 0 done, 1 it could not be done (one line says why), 2 wrong command line, 130 Ctrl-C.
Heavy imports happen where they are used, so that --help answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from servers import catalog

if TYPE_CHECKING:
    from loadgen.trial import Subject
    from loadgen.workload import Workload


class UserError(Exception):
    """What the user has to know, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left; nothing can be said
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadgen", description=__doc__.splitlines()[0] if __doc__ else None
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, call: Callable[[argparse.Namespace], int | None], help: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=call)
        return sub

    run = command("run", _run, "Measure once, and print a summary or the record.")
    which = run.add_mutually_exclusive_group(required=True)
    which.add_argument("--server", metavar="NAME", help="a server of ours: see `list`")
    which.add_argument(
        "--connect", metavar="HOST:PORT", type=_address, help="one that somebody else started"
    )
    run.add_argument("--connections", type=int, default=1, help="clients that send (default: 1)")
    run.add_argument("--idle", type=int, default=0, help="clients that are silent (default: 0)")
    run.add_argument(
        "--message-bytes", type=int, default=16, help="a request, with its newline (default: 16)"
    )
    run.add_argument("--duration", type=float, default=1.0, metavar="S", help="(default: 1)")
    run.add_argument("--warmup", type=float, default=0.3, metavar="S", help="(default: 0.3)")
    run.add_argument("--json", action="store_true", help="print the record, one line of JSON")

    bench = command("bench", _bench, "Measure all servers, in shuffled blocks, and draw charts.")
    size = bench.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a minute; no claims of significance")
    size.add_argument("--full", action="store_true", help="a fine grid; up to an hour")
    bench.add_argument("--experiments", type=_names, metavar="A,B", help="only these: see `list`")
    bench.add_argument("--servers", type=_names, metavar="A,B", help="only these: see `list`")
    bench.add_argument("--seed", type=int, help="of order and schedules (default: from the clock)")
    bench.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the run")
    bench.add_argument("--resume", type=Path, metavar="DIR", help="continue a stopped run")

    report = command("report", _report, "Redraw the charts of a run from what it stored.")
    report.add_argument("folder", type=Path, metavar="DIR", help="for example results/latest")

    command("list", _list, "Show servers and experiments, and what would be skipped.")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return host.strip("[]"), int(port)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run(options: argparse.Namespace) -> int:
    import json
    import tempfile

    from loadgen import console, engine, environment, trial
    from loadgen.workload import Workload

    workload = Workload(
        connections=options.connections,
        idle_connections=options.idle,
        message_bytes=options.message_bytes,
        warmup_s=options.warmup,
        duration_s=options.duration,
    )
    _check(workload)
    subject = _subject(options)
    descriptors = environment.raise_descriptor_limit()
    needed = workload.connections + 64
    if needed > descriptors:
        raise UserError(
            f"{workload.connections:,} connections need {needed:,} descriptors and the limit is"
            f" {descriptors:,}: raise `ulimit -Hn` or use fewer"
        )
    cpus = environment.pinning()
    if cpus.shared:
        print("warning: one CPU for server and generator: figures say little", file=sys.stderr)
    engine.compile()
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        record = trial.run(subject, workload, cpus=cpus, log=Path(folder) / "server.log")
    if options.json:
        print(json.dumps(record, allow_nan=False))
    else:
        console.show_trial(record)
    return 0 if record["outcome"] == "measured" else 1


def _check(workload: "Workload") -> None:
    try:
        workload.validate()
    except ValueError as error:
        raise UserError(str(error)) from error


def _subject(options: argparse.Namespace) -> "Subject":
    from loadgen.trial import Subject

    if options.connect:
        return Subject(address=options.connect)
    try:
        variant = catalog.find(options.server)
    except KeyError as error:
        raise UserError(error.args[0]) from error
    if missing := variant.missing():
        raise UserError(f"{variant.name} cannot run here: {missing}")
    return Subject(variant=variant)


def _bench(options: argparse.Namespace) -> int:
    from loadgen import console, engine, environment, results, runner

    descriptors = environment.raise_descriptor_limit()
    cpus = environment.pinning()
    try:
        if options.resume:
            plan = _stored_plan(options, descriptors)
            folder = options.resume
        else:
            plan = _new_plan(options, descriptors)
            folder = results.create(
                plan.profile,
                plan=plan.as_record(),
                seed=plan.seed,
                environment={**environment.describe(), **cpus.as_record()},
                folder=options.out,
            )
        console.announce(plan, folder, cpus)
        engine.compile()
        stopped = console.follow(plan, folder, runner.execute(plan, folder, cpus))
        run = results.load(folder)
    except results.ResultsError as error:
        raise UserError(str(error)) from error
    if stopped:
        print(f"stopped; continue with: python -m loadgen bench --resume {folder}")
        return 130
    _draw(folder)
    console.summarise(folder)
    return 0 if any(record["outcome"] == "measured" for record in run.records) else 1


def _report(options: argparse.Namespace) -> int:
    from loadgen import results

    try:
        _draw(options.folder)
    except results.ResultsError as error:
        raise UserError(str(error)) from error
    return 0


def _list(options: argparse.Namespace) -> int:
    return 0


if __name__ == "__main__":
    sys.exit(main())
