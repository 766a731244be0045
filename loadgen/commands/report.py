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
