"""python -m loadgen export: a run for other programs, as a table or as percentiles."""

import argparse
import sys
from pathlib import Path

from loadgen.commands import UsageError, UserError, arguments

HELP = "A run for other programs: a table of its trials, or HdrHistogram's percentiles."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, in which form."""
    arguments.completed(
        parser.add_argument("folder", type=Path, metavar="DIR", help="for example results/latest"),
        arguments.run_folders,
    )
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--csv", action="store_true", help="a row per trial, units in the names")
    form.add_argument(
        "--hgrm",
        action="store_true",
        help="a file per cell and latency, in nanoseconds, as plotters of HdrHistogram read them",
    )
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="of --csv a new file, of --hgrm a new folder"
    )


def run(options: argparse.Namespace) -> int:
    """Write it; 0 when there was anything to write. Raises UserError."""
    from loadgen.analysis import export, run
    from loadgen.store.runs import ResultsError

    if options.hgrm and not options.out:
        raise UsageError("--hgrm writes a file per cell: name a new folder for them by --out")
    if options.out and options.out.exists():
        raise UserError(f"{options.out} exists: name a new file or folder")
    try:
        stored = run.load(options.folder)
        # Before anything is made: cells of another lab are no cells here.
        if not stored.cells:
            raise UserError(f"{options.folder} holds no whole trial: there is nothing to export")
        if options.hgrm:
            options.out.mkdir(parents=True)
            written = 0
            for path in export.percentiles(stored, options.out):
                print(path)
                written += 1
            if not written:
                raise UserError(f"{options.folder} holds no latency of a valid trial")
        elif options.out:
            with options.out.open("x", encoding="utf-8", newline="") as stream:
                export.table(stored, stream)
        else:
            export.table(stored, sys.stdout)
    except ResultsError as error:
        raise UserError(str(error)) from error
    return 0
