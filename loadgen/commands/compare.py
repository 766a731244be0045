"""python -m loadgen compare: two runs, cell by cell."""

import argparse
from pathlib import Path

from loadgen.commands import UserError

HELP = "Two runs, cell by cell, with intervals: faster, slower, equal or not resolved."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs, and how to show what differs."""
    parser.add_argument("first", type=Path, metavar="DIR_A")
    parser.add_argument("second", type=Path, metavar="DIR_B")
    parser.add_argument("--all", action="store_true", help="show what does not differ, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Compare; 0 whatever differs. Raises UserError."""
    import json

    from loadgen.analysis import compare, run
    from loadgen.report import console
    from loadgen.store.runs import ResultsError

    try:
        found = compare.compare(run.load(options.first), run.load(options.second))
    except ResultsError as error:
        raise UserError(str(error)) from error
    if options.json:
        print(json.dumps(found.as_record(), allow_nan=False))
    else:
        console.show_comparison(found, options.all)
    return 0
