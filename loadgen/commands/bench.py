"""python -m loadgen bench: measure many servers in a run that can be stopped and resumed."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadgen.commands import UsageError, UserError, arguments, keeping

if TYPE_CHECKING:
    from loadgen.experiments import Experiment
    from loadgen.machine.cpus import Pinning
    from loadgen.plan.plan import Plan, Profile
    from loadgen.store.runs import RunFolder
    from loadgen.store.schema import Calibration, Header, Record
    from loadgen.trial.cell import Cell

HELP = "Measure all servers, in shuffled blocks, and draw charts."

# How often cells are measured by slices, and how often those that have a trial of their own;
# and how much longer a run may take to measure again what has a wide interval.
MOST_BLOCKS = 1000
BLOCKS = {"quick": 3, "standard": 5, "full": 8}
TRIALS = {"quick": 1, "standard": 3, "full": 4}
EXTRA_TIME = {"quick": 0.0, "standard": 0.02, "full": 0.25}

# A machine that makes more than this share of the first rounds void is too busy.
TOO_BUSY = 0.2
FIRST_ROUNDS = 150  # of all servers

# What was chosen when a run began.
SETTLED = (
    *("quick", "full", "experiments", "servers", "python", "blocks", "seed", "out"),
    *("name", "note"),
)
# A run is measured on one machine: these must not differ when it is resumed.
SAME_MACHINE = ("cpu", "cpus", "kernel", "python", "server_cpus", "generator_cpus")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, how often, and where the run is kept."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a minute; no claims of significance")
    size.add_argument("--full", action="store_true", help="a fine grid; up to an hour")
    arguments.completed(
        parser.add_argument(
            "--experiments", type=arguments.names, metavar="A,B", help="only these: see `list`"
        ),
        arguments.some_of(arguments.experiment_names),
    )
    arguments.completed(
        parser.add_argument(
            "--servers",
            type=arguments.names,
            metavar="A,B",
            help="these, or `all` (default: those that `list` marks; all with --full)",
        ),
        arguments.some_of(arguments.server_names),
    )
    parser.add_argument(
        "--python",
        action="append",
        type=arguments.interpreter,
        metavar="PATH",
        help="an interpreter for the servers; may be repeated, to compare them",
    )
    parser.add_argument("--blocks", type=int, metavar="N", help="measure every cell N times")
    parser.add_argument("--seed", type=int, help="of order and schedules (default: from the clock)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the run")
    parser.add_argument("--name", type=arguments.name, help="of the run, for `runs` and its page")
    parser.add_argument("--note", type=arguments.note, help="what the run was made for")
    arguments.completed(
        parser.add_argument("--resume", type=Path, metavar="DIR", help="continue a stopped run"),
        arguments.run_folders,
    )
    parser.add_argument(
        "--retry-void",
        action="store_true",
        help="with --resume: measure again what did not count, in blocks that say so",
    )
    parser.add_argument("--json", action="store_true", help="print the figures, one line of JSON")
    parser.add_argument("--open", action="store_true", help="show the page in a browser at the end")


def run(options: argparse.Namespace) -> int:
    """Measure what is due, draw it and show it; 0 when any trial was measured. Raises UserError."""
    from loadgen import experiments
    from loadgen.analysis import run as analysis
    from loadgen.machine.cpus import choose_pinning
    from loadgen.machine.limits import raise_descriptor_limit
    from loadgen.plan.due import remaining_s, retries, seconds
    from loadgen.report import console
    from loadgen.report.html import HTML_NAME
    from loadgen.store import runs
    from loadgen.trial import trial

    if options.retry_void and not options.resume:
        raise UsageError("--retry-void goes with --resume DIR: the run in which something was void")
    console.to_stderr(options.json)
    if options.out:
        keeping.expect_new(options.out)
    descriptors = raise_descriptor_limit()
    cpus = choose_pinning()
    try:
        if options.resume:
            _expect_no_choice(options)
            stored = runs.load(options.resume)
            plan, records = _stored_plan(stored, descriptors), stored.records
        else:
            plan, records = _new_plan(options, descriptors), []
        left_s = remaining_s(plan, records, analysis.needs_more)
        if options.retry_void:
            void = list(retries(plan, records))
            left_s += sum(seconds(group) for _, _, group, _ in void)
            console.announce_retries(void)
        if left_s:
            _warn_of_load()
            trial.compile()
        folder = options.resume or _created(plan, cpus, options)
        console.announce(plan, folder, cpus, left_s)
        if left_s:
            _measure(plan, folder, cpus, left_s, again=options.retry_void)
        _film(plan, folder, cpus)
        keeping.draw(folder)
        measured = analysis.load(folder)
        headlines, findings = experiments.headlines_of(measured), experiments.findings(measured)
    except runs.ResultsError as error:
        raise UserError(str(error)) from error
    console.summarise(measured, headlines, findings)
    if options.json:
        keeping.print_figures(measured, headlines, findings)
    if options.open:
        keeping.show(folder / HTML_NAME)
    return 0 if any(record["outcome"] == "measured" for record in measured.records) else 1


# The plan: a new one, or that of a run that was stopped.


def _new_plan(options: argparse.Namespace, descriptors: int) -> "Plan":
    """What was asked for. Raises UserError when that is nothing, or nothing that there is."""
    import time

    from loadgen import experiments
    from loadgen.plan.plan import plan

    profile: Profile = "quick" if options.quick else "full" if options.full else "standard"
    usual = [arguments.ALL_SERVERS] if options.full else None
    chosen, servers = _experiments(options, profile), arguments.servers(options.servers or usual)
    if options.blocks is not None and not 0 < options.blocks <= MOST_BLOCKS:
        raise UsageError(f"--blocks is {options.blocks}: it must be from 1 to {MOST_BLOCKS}")
    seed = int(time.time()) if options.seed is None else options.seed
    if not 0 <= seed < 2**31:
        raise UsageError(f"--seed is {seed}: it must be from 0 to {2**31 - 1}")
    planned = plan(
        profile,
        [experiment.NAME for experiment in chosen],
        [model.name for model in servers],
        [
            cell
            for experiment in chosen
            for cell in experiments.cells(experiment.NAME, profile, servers, options.python or ())
        ],
        blocks=options.blocks or BLOCKS[profile],
        trials=options.blocks or TRIALS[profile],
        extra_time=0.0 if options.blocks else EXTRA_TIME[profile],
        seed=seed,
        descriptors=descriptors,
        pythons=options.python or (),
    )
    if not planned.cells:
        reasons = dict.fromkeys(skip.reason for skip in planned.skipped)
        why = "; ".join(reasons) or "these experiments do not use these servers"
        raise UserError(f"nothing to measure: every cell is skipped, see `list` ({why})")
    return planned


def _experiments(options: argparse.Namespace, profile: "Profile") -> "list[Experiment]":
    """Those that were named, or those that the profile has time for. Raises UsageError."""
    from loadgen import experiments

    named = experiments.BY_NAME
    usual: Sequence[str] = [name for name in experiments.ALL if name not in named]
    if profile == "quick":
        usual = experiments.QUICK
    if len(options.python or ()) < 2:  # one cannot be compared
        usual = [name for name in usual if name != "interpreters"]
    try:
        return [experiments.find(name) for name in options.experiments or usual]
    except KeyError as error:
        raise UsageError(error.args[0]) from error


def _expect_no_choice(options: argparse.Namespace) -> None:
    """Raises UsageError when something is chosen that a stopped run has settled."""
    for name in SETTLED:
        if getattr(options, name) is not None and getattr(options, name) is not False:
            raise UsageError(f"--{name} does not go with --resume: a run goes on as it was planned")


def _stored_plan(stored: "RunFolder", descriptors: int) -> "Plan":
    """The plan of a stopped run.

    Raises UserError when this is another machine or another state of the lab, or not all of it can
    be measured here any more.
    """
    from loadgen.plan import plan

    if stored.header["profile"] == "duel":
        raise UserError(f"{stored.path} is a duel, which is not continued: start another one")
    try:
        planned = plan.stored(stored.header)
    except ValueError as error:
        raise UserError(f"{stored.path} was planned by another lab: {error}") from error
    _expect_same_machine(stored.path, stored.header)
    _expect_same_lab(stored.path, stored.header)
    for cell in planned.cells:
        if reason := plan.why_not(cell, descriptors):
            raise UserError(
                f"{stored.path} has a cell that cannot be measured any more, {cell.id}: {reason}"
            )
    return planned


def _expect_same_machine(folder: Path, header: "Header") -> None:
    """Raises UserError when the run was begun on another machine, or pinned otherwise."""
    from loadgen.machine.cpus import choose_pinning
    from loadgen.machine.describe import describe_machine

    machine = {**describe_machine(), **choose_pinning().as_record()}
    begun: Mapping[str, Any] = header["environment"]
    if other := [name for name in SAME_MACHINE if machine[name] != begun.get(name)]:
        raise UserError(
            f"{folder} was begun on another machine ({', '.join(other)} differ): start a new run"
        )


def _expect_same_lab(folder: Path, header: "Header") -> None:
    """Raises UserError when the run was begun with other libraries or another commit."""
    from loadgen.store import provenance

    versions = provenance.versions()
    if other := [n for n in versions if versions[n] != header["versions"].get(n)]:
        raise UserError(
            f"{folder} was begun with other versions of {', '.join(other)}: start a new run"
        )
    commit, begun = provenance.git_commit(), header["git_commit"]
    if commit and begun and commit != begun:
        raise UserError(
            f"{folder} was begun with the lab at {begun} and this is {commit}: check that out, or"
            " start a new run"
        )


# The run: its folder, its trials, its report.


def _warn_of_load() -> None:
    from loadgen.machine import doctor

    load = doctor.watch_load()
    if not load.fine:
        print(f"warning: {load.state}: figures will be disturbed", file=sys.stderr)


def _created(plan: "Plan", cpus: "Pinning", options: argparse.Namespace) -> Path:
    """A new folder for the run, with all that is known before the first trial."""
    from loadgen.store import runs

    return runs.create(
        plan.profile,
        plan=plan.as_record(),
        seed=plan.seed,
        environment=keeping.environment(cpus),
        calibration=_calibration(cpus),
        folder=options.out,
        name=options.name,
        note=options.note,
    )


def _calibration(cpus: "Pinning") -> "list[Calibration]":
    """What the generator can reach here; nothing, with a warning, where the peer fails."""
    from loadgen.target.process import TargetError
    from loadgen.trial import calibrate

    try:
        reached = calibrate.measure_ceiling(cpus)
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


def _measure(
    plan: "Plan", folder: Path, cpus: "Pinning", left_s: float, *, again: bool = False
) -> None:
    """Run what is due; whoever stops it is told how to go on."""
    from loadgen.analysis.run import needs_more
    from loadgen.plan.execute import execute
    from loadgen.report import console

    try:
        measured = execute(plan, folder, cpus, needs_more, again=again)
        console.follow(plan, left_s, unless_too_busy(measured, folder))
    except KeyboardInterrupt:
        print(f"\nto continue: python -m loadgen bench --resume {folder}", file=sys.stderr)
        raise


def _film(plan: "Plan", folder: Path, cpus: "Pinning") -> None:
    """A film of each server that has none yet, for the page; one that fails is warned of."""
    from loadgen.film import folder as films
    from loadgen.film.shoot import shoot
    from loadgen.report import console
    from loadgen.target.process import TargetError
    from servers import catalog

    made, _ = films.read(folder)
    due = [catalog.find(name) for name in plan.servers if name not in made]
    console.announce_films(len(due))
    place = folder / films.FILMS_NAME
    place.mkdir(exist_ok=True)
    for model in due:
        try:
            films.write(shoot(model, cpus=cpus), place)
        except (TargetError, OSError) as error:
            print(f"warning: {model.name} has no film: {error}", file=sys.stderr)


def unless_too_busy(
    measured: "Iterable[tuple[Cell, Record]]", folder: Path
) -> "Iterator[tuple[Cell, Record]]":
    """The same, as long as the machine lets rounds count. Raises UserError, early, if not."""
    rounds = void = 0
    for cell, record in measured:
        yield cell, record
        if record["slices"] and rounds < FIRST_ROUNDS:
            rounds += len(record["slices"]["void"])
            void += sum(reason is not None for reason in record["slices"]["void"])
            if rounds >= FIRST_ROUNDS and void > TOO_BUSY * rounds:
                why = next(reason for reason in record["slices"]["void"] if reason)
                raise UserError(
                    f"this machine is too busy to measure: {void} of the first {rounds} rounds are"
                    f" void ({why}). Stop what else runs here, then:"
                    f" python -m loadgen bench --resume {folder}"
                )
