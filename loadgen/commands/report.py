"""python -m loadgen report: the page and the charts of a run, from what it stored."""

import argparse
from pathlib import Path

from loadgen.commands import UserError

HELP = "Redraw the charts of a run from what it stored."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="for example results/latest")


def run(options: argparse.Namespace) -> int:
    """Draw, and print the names of the files. Raises UserError."""
    from loadgen import experiments
    from loadgen.analysis import run
    from loadgen.report import page
    from loadgen.store.runs import ResultsError

    try:
        stored = run.load(options.folder)
        if not stored.records:
            raise UserError(f"{options.folder} holds no whole trial: there is nothing to draw")
        for path in page.write(stored, experiments.report(stored)):
            print(path)
    except ResultsError as error:
        raise UserError(str(error)) from error
    return 0
