"""The command line of the load generator: python -m loadgen COMMAND.

Exit status: 0 done; 1 it could not be done (one line says why), or what was looked at does not hold
(run, audit, doctor); 2 wrong command line; 130 Ctrl-C.
Heavy imports happen where they are used, so that --help answers at once.
"""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from servers import catalog, common
from servers.protocol import MAX_LINE_BYTES

if TYPE_CHECKING:
    from loadgen.machine.environment import Pinning
    from loadgen.plan.runner import Plan
    from loadgen.store.results import Header
    from loadgen.trial.trial import Subject
    from loadgen.workload.workload import Workload


class UserError(Exception):
    """What the user has to know, in one line."""

    status = 1


class UsageError(UserError):
    """The command line asks for what there is not."""

    status = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        # As Ctrl-C: what was started is ended, and a run says how to go on with it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        status = int(options.command(options) or 0)
        sys.stdout.flush()  # what cannot be written is to be noticed here
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("loadgen", "servers"):
            raise
        print(
            f"error: {error.name} is not installed here:"
            " run `make setup`, then .venv/bin/python -m loadgen",
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:
        _drop_output()  # whoever read it has left
        return 1
    except OSError as error:
        _drop_output()
        print(f"error: {error}", file=sys.stderr)
        return 1


def _drop_output() -> None:
    """What is left of it would fail once more at the end (library: signal, Note on SIGPIPE)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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

    run = command(
        "run", _run, "Measure once, and print a summary or the record; status 1: not valid."
    )
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
    run.add_argument(
        "--rate", type=float, metavar="R", help="open loop: requests per second over all clients"
    )
    run.add_argument(
        "--arrivals", choices=("poisson", "constant"), help="of an open loop (default: poisson)"
    )
    run.add_argument(
        "--work", type=_work, metavar="KIND:TIME", help="per answer of ours: cpu:100us, sleep:10ms"
    )
    run.add_argument("--seed", type=int, default=0, help="of the schedule (default: 0)")
    run.add_argument("--json", action="store_true", help="print the record, one line of JSON")

    bench = command("bench", _bench, "Measure all servers, in shuffled blocks, and draw charts.")
    size = bench.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a minute; no claims of significance")
    size.add_argument("--full", action="store_true", help="a fine grid; up to an hour")
    bench.add_argument("--experiments", type=_names, metavar="A,B", help="only these: see `list`")
    bench.add_argument("--servers", type=_names, metavar="A,B", help="only these: see `list`")
    bench.add_argument("--blocks", type=int, metavar="N", help="measure every cell N times")
    bench.add_argument("--seed", type=int, help="of order and schedules (default: from the clock)")
    bench.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the run")
    bench.add_argument("--resume", type=Path, metavar="DIR", help="continue a stopped run")

    report = command("report", _report, "Redraw the charts of a run from what it stored.")
    report.add_argument("folder", type=Path, metavar="DIR", help="for example results/latest")

    compare = command("compare", _compare, "Two runs, cell by cell, with intervals and ties.")
    compare.add_argument("first", type=Path, metavar="DIR_A")
    compare.add_argument("second", type=Path, metavar="DIR_B")
    compare.add_argument("--json", action="store_true", help="print one JSON object")

    audit = command(
        "audit", _audit, "Derive every figure of a run anew; status 1: some do not hold."
    )
    audit.add_argument("folder", type=Path, metavar="DIR", help="for example results/latest")

    calibrate = command(
        "calibrate", _calibrate, "The generator against the leanest peer: what it can measure."
    )
    calibrate.add_argument("--json", action="store_true", help="print one JSON array")

    command(
        "doctor", _doctor, "Look for what on this machine disturbs measurements; status 1: unfit."
    )

    trace = command("trace", _trace, "Count the system calls of servers per request, by strace.")
    trace.add_argument("servers", nargs="*", metavar="SERVER", help="default: all of them")
    trace.add_argument("--requests", type=int, default=20, metavar="N", help="(default: 20)")
    trace.add_argument(
        "--idle", type=int, default=0, metavar="N", help="silent clients besides (default: 0)"
    )
    trace.add_argument("--json", action="store_true", help="one line of JSON per server")

    command("list", _list, "Show servers and experiments, and what would be skipped.")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return host.strip("[]"), int(port)


def _work(text: str) -> str:
    common.work(text)  # refuses what the server would
    return text


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing")
    return names


def _run(options: argparse.Namespace) -> int:
    import json
    import tempfile

    from loadgen.clients import crowd
    from loadgen.machine import environment
    from loadgen.report import console
    from loadgen.trial import trial
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
    _check(workload)
    subject = _subject(options)
    # In one process: a server of ours holds everybody, silent clients have processes of their own.
    together = max(options.connections, min(options.idle, crowd.PER_PROCESS))
    if subject.variant:
        together = options.connections + options.idle
    if lack := environment.lack_of_descriptors(together, environment.raise_descriptor_limit()):
        raise UserError(f"a process with {together:,} clients {lack}")
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


# As people type what the workload calls otherwise.
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


def _check(workload: "Workload") -> None:
    try:
        workload.validate()
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"{OPTIONS[name]} {rest}") from error


def _subject(options: argparse.Namespace) -> "Subject":
    from loadgen.trial.trial import Subject

    if options.connect:
        if options.work:
            raise UsageError("--work does not go with --connect: it is an option of our servers")
        return Subject(address=_reached(options.connect))
    try:
        variant = catalog.find(options.server)
    except KeyError as error:
        raise UsageError(error.args[0]) from error
    if missing := variant.missing():
        raise UserError(f"{variant.name} cannot run here: {missing}")
    words: list[str] = []
    if options.work:
        words += ["--work", options.work]
    if options.message_bytes > MAX_LINE_BYTES:
        words += ["--max-line", str(options.message_bytes)]
    return Subject(variant=variant, options=tuple(words))


CONNECT_S = 5.0


def _reached(address: tuple[str, int]) -> tuple[str, int]:
    """The numeric address at which somebody listens, of all that a name stands for."""
    from loadgen.report.units import endpoint

    try:
        with socket.create_connection(address, CONNECT_S) as sock:
            host, port, *_ = sock.getpeername()
            return host, port
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: no name at all (idna)
        raise UserError(f"nobody is called {address[0]!r} here") from error
    except ConnectionRefusedError as error:
        raise UserError(f"nobody listens at {endpoint(address)}") from error
    except OSError as error:
        raise UserError(f"cannot connect to {endpoint(address)}: {error}") from error


# How often every cell is measured, and how much longer a run may take to measure again what has a
# wide interval.
MOST_BLOCKS = 1000
BLOCKS = {"quick": 1, "standard": 3, "full": 4}
SPARE = {"quick": 0.0, "standard": 0.1, "full": 0.0}


# A run is measured on one machine: these must not differ when it is resumed.
SAME_MACHINE = ("cpu", "cpus", "kernel", "python", "server_cpus", "generator_cpus")


def _bench(options: argparse.Namespace) -> int:
    from loadgen.analysis import analysis
    from loadgen.machine import environment
    from loadgen.plan import runner
    from loadgen.report import console, report
    from loadgen.store import results
    from loadgen.target import target
    from loadgen.trial import trial

    descriptors = environment.raise_descriptor_limit()
    cpus = environment.pinning()
    try:
        if options.resume:
            folder = options.resume
            plan = _stored_plan(options, descriptors)
            left_s = runner.remaining_s(plan, results.load(folder).records)
        else:
            plan = _new_plan(options, descriptors)
            left_s = runner.remaining_s(plan, [])
        if left_s:
            _warn_of_load()
            trial.compile()
        if not options.resume:
            folder = results.create(
                plan.profile,
                plan=plan.as_record(),
                seed=plan.seed,
                environment={
                    **environment.describe(),
                    **cpus.as_record(),
                    "server_environment": target.SERVER_ENVIRONMENT,
                    "calibration": _ceiling(cpus),
                },
                folder=options.out,
            )
        console.announce(plan, folder, cpus, left_s)
        try:
            if left_s:
                console.follow(left_s, runner.execute(plan, folder, cpus))
        except KeyboardInterrupt:
            print(f"\nto continue: python -m loadgen bench --resume {folder}", file=sys.stderr)
            raise
        report.write(folder)
        run = analysis.load(folder)
        console.summarise(run, report.findings(run))
    except results.ResultsError as error:
        raise UserError(str(error)) from error
    return 0 if any(record["outcome"] == "measured" for record in run.records) else 1


def _warn_of_load() -> None:
    from loadgen.machine import doctor

    load = doctor.watch_load()
    if not load.fine:
        print(f"warning: {load.state}: figures will be disturbed", file=sys.stderr)


def _ceiling(cpus: "Pinning") -> list[dict[str, Any]]:
    """What the generator can reach here; nothing, with a warning, where the peer fails."""
    from loadgen.target.target import TargetError
    from loadgen.trial import calibrate

    try:
        reached = calibrate.reach(cpus)
    except TargetError as error:
        print(f"warning: the generator's own limit is not known: {error}", file=sys.stderr)
        return []
    share = min((point["cpu_fraction"] for point in reached), default=1.0)
    if share < calibrate.CPU_WANTED and not cpus.shared:
        print(
            f"warning: the generator got {share:.0%} of its CPU while its own limit was measured:"
            " the limit is too low",
            file=sys.stderr,
        )
    return reached


def _new_plan(options: argparse.Namespace, descriptors: int) -> "Plan":
    import time

    from loadgen import experiments
    from loadgen.plan import runner

    profile: experiments.Profile = (
        "quick" if options.quick else "full" if options.full else "standard"
    )
    usual = experiments.QUICK if profile == "quick" else experiments.ALL
    try:
        chosen = [experiments.find(name) for name in options.experiments or usual]
        servers = (
            [catalog.find(name) for name in options.servers]
            if options.servers
            else list(catalog.VARIANTS)
        )
    except KeyError as error:
        raise UsageError(error.args[0]) from error
    seed = int(time.time()) if options.seed is None else options.seed
    if options.blocks is not None and not 0 < options.blocks <= MOST_BLOCKS:
        raise UsageError(f"--blocks is {options.blocks}: it must be from 1 to {MOST_BLOCKS}")
    if not 0 <= seed < 2**31:
        raise UsageError(f"--seed is {seed}: it must be from 0 to {2**31 - 1}")
    plan = runner.plan(
        profile,
        chosen,
        servers,
        blocks=options.blocks or BLOCKS[profile],
        spare=0.0 if options.blocks else SPARE[profile],
        seed=seed,
        descriptors=descriptors,
    )
    if not plan.cells:
        reasons = dict.fromkeys(skip.reason for skip in plan.skipped)
        why = "; ".join(reasons) or "these experiments do not use these servers"
        raise UserError(f"nothing to measure: every cell is skipped, see `list` ({why})")
    return plan


def _stored_plan(options: argparse.Namespace, descriptors: int) -> "Plan":
    """The plan of a stopped run. Raises UserError when this lab would not plan the same cells, or
    this is another machine or another state of the lab."""
    from loadgen import experiments
    from loadgen.plan import runner
    from loadgen.store import results

    for name in ("quick", "full", "experiments", "servers", "blocks", "seed", "out"):
        if getattr(options, name) not in (None, False):
            raise UsageError(f"--{name} does not go with --resume: a run goes on as it was planned")
    header = results.load(options.resume).header
    stored = header["plan"]
    try:
        plan = runner.plan(
            cast("experiments.Profile", header["profile"]),
            [experiments.find(name) for name in stored["experiments"]],
            [catalog.find(name) for name in stored["servers"]],
            blocks=stored["blocks"],
            spare=stored["spare"],
            seed=header["seed"],
            descriptors=descriptors,
        )
    except KeyError as error:
        raise UserError(f"{options.resume} was planned by another lab: {error.args[0]}") from error
    _expect_the_same(options.resume, header)
    if [cell.id for cell in plan.cells] != stored["cells"]:
        raise UserError(
            f"{options.resume} has other cells than this lab would run (another version, or another"
            " descriptor limit): start a new run"
        )
    return plan


def _expect_the_same(folder: Path, header: "Header") -> None:
    """Raises UserError when the machine, the libraries or the lab are not those of the run."""
    from loadgen.machine import environment
    from loadgen.store import results

    machine = {**environment.describe(), **environment.pinning().as_record()}
    if other := [n for n in SAME_MACHINE if machine[n] != header["environment"].get(n)]:
        raise UserError(
            f"{folder} was begun on another machine ({', '.join(other)} differ): start a new run"
        )
    versions = results.versions()
    if other := [n for n in versions if versions[n] != header["versions"].get(n)]:
        raise UserError(
            f"{folder} was begun with other versions of {', '.join(other)}: start a new run"
        )
    commit, begun = results.git_commit(), header["git_commit"]
    if commit and begun and commit != begun:
        raise UserError(
            f"{folder} was begun with the lab at {begun} and this is {commit}: check that out, or"
            " start a new run"
        )


def _report(options: argparse.Namespace) -> int:
    from loadgen.report import report
    from loadgen.store import results

    try:
        if not results.load(options.folder).records:
            raise UserError(f"{options.folder} holds no whole trial: there is nothing to draw")
        for path in report.write(options.folder):
            print(path)
    except results.ResultsError as error:
        raise UserError(str(error)) from error
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    import json

    from loadgen.engine import engine
    from loadgen.machine import environment
    from loadgen.report import console
    from loadgen.target.target import TargetError
    from loadgen.trial import calibrate

    environment.raise_descriptor_limit()
    engine.compile()
    try:
        reached = calibrate.reach(environment.pinning())
    except TargetError as error:
        raise UserError(str(error)) from error
    if options.json:
        print(json.dumps(reached, allow_nan=False))
    else:
        console.show_reach(reached)
    return 0


def _compare(options: argparse.Namespace) -> int:
    import json

    from loadgen.analysis import analysis, compare
    from loadgen.report import console
    from loadgen.store import results

    try:
        first, second = analysis.load(options.first), analysis.load(options.second)
        found = compare.compare(first, second)
    except results.ResultsError as error:
        raise UserError(str(error)) from error
    if options.json:
        print(json.dumps(found.as_record(), allow_nan=False))
    else:
        console.show_comparison(found)
    return 0


def _audit(options: argparse.Namespace) -> int:
    from loadgen.analysis import audit
    from loadgen.store import results

    try:
        problems = audit.examine(options.folder)
    except results.ResultsError as error:
        raise UserError(str(error)) from error
    for problem in problems:
        print(problem)
    print(f"{len(problems)} things do not hold" if problems else "everything holds")
    return 1 if problems else 0


def _doctor(_: argparse.Namespace) -> int:
    from loadgen.machine import doctor
    from loadgen.report import console

    findings = doctor.examine()
    console.show_examination(findings)
    return 0 if doctor.fit(findings) else 1


def _trace(options: argparse.Namespace) -> int:
    import json
    import tempfile

    from loadgen.machine import environment
    from loadgen.report import console
    from loadgen.target import trace
    from loadgen.target.target import TargetError

    for name, value, low in (("requests", options.requests, 1), ("idle", options.idle, 0)):
        if not low <= value <= trace.MOST:
            raise UsageError(f"--{name} is {value}: it must be from {low} to {trace.MOST:,}")
    try:
        servers = [catalog.find(name) for name in options.servers] or list(catalog.VARIANTS)
    except KeyError as error:
        raise UsageError(error.args[0]) from error
    if missing := trace.missing():
        raise UserError(f"skipped: {missing}")
    environment.raise_descriptor_limit()
    traces = []
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        for variant in servers:
            if reason := trace.why_not(variant, options.idle):
                print(f"skipped: {variant.name}: {reason}", file=sys.stderr)
                continue
            try:
                traced = trace.run(
                    variant.name,
                    log=Path(folder) / f"{variant.name}.log",
                    cpus=set(environment.pinning().server),
                    requests=options.requests,
                    idle=options.idle,
                )
            except (trace.TraceError, TargetError, OSError) as error:
                raise UserError(f"{variant.name} could not be traced: {error}") from error
            traces.append((variant.name, traced))
            if options.json:
                print(json.dumps({"server": variant.name, "idle": options.idle, **traced}))
    if not options.json:
        console.show_traces(traces)
    return 0 if traces else 1


def _list(_: argparse.Namespace) -> int:
    from loadgen import experiments
    from loadgen.machine import environment
    from loadgen.plan import runner
    from loadgen.report import console

    chosen = [experiments.find(name) for name in experiments.ALL]
    plan = runner.plan(
        "full",
        chosen,
        catalog.VARIANTS,
        blocks=1,
        spare=0,
        seed=0,
        descriptors=environment.raise_descriptor_limit(),
    )
    console.show_list(catalog.VARIANTS, chosen, plan.skipped)
    return 0


if __name__ == "__main__":
    sys.exit(main())
