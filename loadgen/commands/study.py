"""python -m loadgen study: the page of a run, opened where its guided tour begins."""

import argparse
from pathlib import Path

from loadgen.commands import UserError, arguments, keeping

HELP = "Open the page of a run at its guided tour: a question, a film, what was measured."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    arguments.completed(
        parser.add_argument(
            "folder",
            nargs="?",
            type=Path,
            metavar="DIR",
            help="a run with films (default: the committed one)",
        ),
        arguments.run_folders,
    )


def run(options: argparse.Namespace) -> int:
    """Name the page, and open it. Raises UserError where there is none."""
    from loadgen.report.html import HTML_NAME
    from loadgen.target.interpreter import LAB

    folder = options.folder or LAB / "results" / "reference"
    page = folder / HTML_NAME
    if not page.is_file():
        raise UserError(f"{folder} has no {HTML_NAME}: python -m loadgen report {folder}")
    print(page)
    keeping.show(page, "tour")
    return 0
