"""python -m loadgen compare: runs, cell by cell, against the first of them."""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.commands import UserError, arguments, keeping

if TYPE_CHECKING:
    from loadgen.analysis.compare import Comparison
    from loadgen.analysis.run import Run

HELP = (
    "Runs against the first of them, cell by cell, largest changes first; status 3: a regression."
)

REGRESSED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs, and how to show what differs."""
    for name, metavar, more in (("first", "DIR_A", {}), ("others", "DIR_B", {"nargs": "+"})):
        arguments.completed(
            parser.add_argument(name, type=Path, metavar=metavar, **more),  # type: ignore[arg-type]
            arguments.run_folders,
        )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--all", action="store_true", help="show all changes, and what is in one run only"
    )
    shown.add_argument(
        "--only-differs", action="store_true", help="show what is faster or slower, all of it"
    )
    parser.add_argument(
        "--fail-on-regression",
        type=percent,
        metavar="PERCENT",
        help="status 3 where a figure is worse by more than that, its whole interval included",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder: a page with a chart")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def percent(text: str) -> float:
    """The type of an option: 5 or 5% is 0.05. Raises argparse.ArgumentTypeError."""
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not from 0 to 100 per cent, such as 5%")
    return value


def run(options: argparse.Namespace) -> int:
    """Compare; 0 whatever differs, or 3 for a regression that was asked about. Raises UserError."""
    import json

    from loadgen.analysis import compare, run
    from loadgen.report import console
    from loadgen.store.runs import ResultsError

    if options.out:
        keeping.expect_new(options.out)
    try:
        first = run.load(options.first)
        found = [(other, compare.compare(first, other)) for other in map(run.load, options.others)]
        limit = options.fail_on_regression
        judged = [] if limit is None else list(judgement(found, limit))
        if options.out:
            from loadgen.report import comparing

            paths = comparing.write(first, found, judged, options.out)
    except ResultsError as error:
        raise UserError(str(error)) from error
    if options.json:
        told = {
            "first": str(options.first),
            "others": [{"run": str(other.path), **each.as_record(limit)} for other, each in found],
        }
        print(json.dumps(told, allow_nan=False))
    else:
        most = None if options.all or options.only_differs else console.MOST_CHANGES
        for other, each in found:
            if len(found) > 1:
                console.show_lines([f"{other.path}, compared with {first.path}:"])
            console.show_comparison(each, most, only_differs=options.only_differs)
        console.show_lines(judged)
        if options.out:
            console.show_lines([f"written: {paths[0]}"])
    return REGRESSED if limit is not None and regressions(found, limit) else 0


def regressions(found: "Sequence[tuple[Run, Comparison]]", limit: float) -> int:
    """How many figures are worse by more than this share, beyond doubt."""
    return sum(change.worse_than(limit) == "yes" for _, each in found for change in each.changes)


def judgement(found: "Sequence[tuple[Run, Comparison]]", limit: float) -> Iterator[str]:
    """What may be said of a limit such as 0.05, in words: a line for each regression, and one for
    what is none and what cannot be told."""
    from loadgen.analysis.compare import ratio_of

    for other, each in found:
        of = {kind: [c for c in each.changes if c.worse_than(limit) == kind] for kind in KINDS}
        for change in of["yes"]:
            least = 1 - change.claim.high if change.more_is_faster else change.claim.low - 1
            how = "less" if change.more_is_faster else "more"
            yield (
                f"regression: {change.cell}: {change.figure} is {ratio_of(change.claim)} times"
                f" that of the first run: at least {100 * least:.3g} % {how}, where"
                f" {100 * limit:g} % are allowed"
            )
        yield (
            f"{other.path}: of {len(each.changes)} figures {len(of['yes'])} are worse by more than"
            f" {100 * limit:g} %, {len(of['no'])} are not, and of {len(of['unknown'])} the interval"
            " contains that limit or is not known: those are no regressions, and no proof of none."
            " Of what lies just at the limit one in forty is called worse by chance"
        )


KINDS = ("yes", "no", "unknown")
