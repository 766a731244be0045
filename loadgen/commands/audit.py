"""python -m loadgen audit: derive every figure of a run again."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.commands import UserError, arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadgen.analysis.run import Run
    from loadgen.store.schema import Header
    from loadgen.trial.cell import Cell

HELP = "Derive every figure of a run anew; status 1: some do not hold."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    arguments.completed(
        parser.add_argument("folder", type=Path, metavar="DIR", help="for example results/latest"),
        arguments.run_folders,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what does not hold, a line each, and the hash that stands for the run; 0 when all
    holds. Raises UserError."""
    import json

    from loadgen import experiments
    from loadgen.analysis import audit
    from loadgen.analysis.audit import quoted, whole
    from loadgen.analysis.run import Run
    from loadgen.report import redraw
    from loadgen.store import chain, runs

    try:
        stored = runs.load(options.folder)
    except runs.ResultsError as error:
        raise UserError(str(error)) from error
    run = Run(stored.path, stored.header, stored.records)
    quotes = quoted.quotes_of(stored, quoted.readmes_about(stored.path))
    try:
        problems = [
            *audit.examine(stored, planned_cells),
            # An older lab's were others, and only that lab knows which.
            *(() if whole.is_older(stored) else asked_for(stored.header)),
            *redraw.differences(run, experiments.report),
        ]
    except ValueError as error:  # a workload, a time or an order that no lab wrote
        problems = [f"the run cannot be checked: {error}"]
    problems += quoted.differences(stored, quotes)
    if options.json:
        record = {
            "folder": str(stored.path),
            "records": len(stored.records),
            "problems": problems,
            "last_hash": chain.last(stored.raw_header, stored.raw_records),
            "quoted": quoted.sentence(stored, quotes),
            "reference_against_itself": against_itself(run),
        }
        print(json.dumps(record, allow_nan=False))
        return 1 if problems else 0
    for problem in problems:
        print(problem)
    if told := against_itself(run):
        print(told)
    print(quoted.sentence(stored, quotes))
    print(f"{len(problems)} things do not hold" if problems else "everything holds")
    return 1 if problems else 0


def planned_cells(header: "Header") -> "list[Cell]":
    """Which cells the experiments of a run measure, by its profile and its servers.

    Raises KeyError for an experiment or a server that this lab does not know, ValueError for such
    a profile.
    """
    from loadgen import experiments
    from loadgen.plan.plan import stored
    from servers import catalog

    plan = stored(header)
    models = [catalog.find(name) for name in plan.servers]
    return [
        cell
        for name in plan.experiments
        for cell in experiments.cells(name, plan.profile, models, plan.pythons)
    ]


def asked_for(header: "Header") -> "Iterator[str]":
    """The numbers of blocks and of trials, and the time for more, are those of the profile, or were
    asked for."""
    from loadgen.commands.bench import BLOCKS, EXTRA_TIME, TRIALS

    profile, plan = header["profile"], header["plan"]
    if profile not in BLOCKS:
        return  # which is said already
    found = plan["blocks"], plan["trials"], plan["extra_time"]
    # Who asks for a number of blocks gets as many trials, and no more than these: bench --blocks.
    asked = plan["blocks"], plan["blocks"], 0.0
    if found not in ((BLOCKS[profile], TRIALS[profile], EXTRA_TIME[profile]), asked):
        blocks, trials, extra_time = found
        yield (
            f"{blocks} blocks, {trials} trials and {extra_time:g} of the time for more are none of"
            f" {profile}"
        )


def against_itself(run: "Run") -> str | None:
    """How often the reference server was told apart from itself, from the stored slices; None in a
    run in which it does not take part twice."""
    from loadgen.experiments import trust
    from loadgen.experiments.tools import REFERENCE, counted
    from loadgen.store.runs import ResultsError

    try:
        known = trust.identical(run)
    except ResultsError:
        return None  # a cell of another lab, which is said already
    # In a run of few epochs each pair is one comparison, and in a longer one it is several.
    claims = [claim for each in known for claim in each.parts or (each.found,)]
    if not claims:
        return None
    differ = sum(claim.differs for claim in claims)
    return f"{REFERENCE} against itself: {counted(len(claims), 'comparison')}, {differ} differ"
