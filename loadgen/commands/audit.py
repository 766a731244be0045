"""python -m loadgen audit: derive every figure of a run again."""

import argparse
from pathlib import Path

from loadgen.commands import UserError

HELP = "Derive every figure of a run anew; status 1: some do not hold."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="for example results/latest")


def run(options: argparse.Namespace) -> int:
    """Print what does not hold, a line each; 0 when all does. Raises UserError."""
    from loadgen import experiments
    from loadgen.analysis import audit
    from loadgen.analysis.run import Run
    from loadgen.report import redraw
    from loadgen.store import runs

    try:
        stored = runs.load(options.folder)
    except runs.ResultsError as error:
        raise UserError(str(error)) from error
    run = Run(stored.path, stored.header, stored.records)
    try:
        problems = [*audit.examine(stored), *redraw.differences(run, experiments.report)]
    except ValueError as error:  # a workload, a time or an order that no lab wrote
        problems = [f"the run cannot be checked: {error}"]
    for problem in problems:
        print(problem)
    print(f"{len(problems)} things do not hold" if problems else "everything holds")
    return 1 if problems else 0
