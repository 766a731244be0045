"""python -m loadgen report: the pages and the charts of a run, from what it stored."""

import argparse
from pathlib import Path

from loadgen.commands import UserError, arguments, keeping

HELP = "Redraw the charts and the pages of a run from what it stored."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    arguments.completed(
        parser.add_argument("folder", type=Path, metavar="DIR", help="for example results/latest"),
        arguments.run_folders,
    )
    parser.add_argument(
        "--json", action="store_true", help="print the figures, one line of JSON, and draw nothing"
    )
    parser.add_argument("--open", action="store_true", help="show the page in a browser")


def run(options: argparse.Namespace) -> int:
    """Draw, and print the names of the files; or print the figures. Raises UserError."""
    from loadgen import experiments
    from loadgen.analysis import run
    from loadgen.store.runs import ResultsError

    try:
        stored = run.load(options.folder)
        if not stored.records:
            raise UserError(f"{options.folder} holds no whole trial: there is nothing to draw")
        if options.json:
            headlines = experiments.headlines_of(stored)
            keeping.print_figures(stored, headlines, experiments.findings(stored))
            return 0
        from loadgen.experiments import book
        from loadgen.film import folder as films
        from loadgen.report import page  # which draws
        from loadgen.report.html import write

        report = experiments.report(stored)
        drawn = page.write(stored, report)
        reels, broken = films.read(stored.path)
        shown = book.book(stored, report, {*reels, *broken})
        interactive = write.write(stored, shown, reels, broken)
    except ResultsError as error:
        raise UserError(str(error)) from error
    for path in (*drawn, interactive):
        print(path)
    if options.open:
        keeping.show(interactive)
    return 0
