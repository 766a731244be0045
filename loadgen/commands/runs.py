"""python -m loadgen runs: which runs there are; which may go; what they are called."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.commands import UsageError, UserError, arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadgen.store.shelf import Stored

HELP = "List stored runs, delete old ones, rename one."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where they are, and what is to be done."""
    parser.add_argument(
        "--in",
        dest="parent",
        type=Path,
        metavar="DIR",
        default=Path("results"),
        help="(default: results)",
    )
    parser.add_argument(
        "--prune",
        type=int,
        metavar="KEEP",
        help="delete all but the newest KEEP; never those that are committed, or latest",
    )
    parser.add_argument(
        "--older-than",
        type=arguments.seconds,
        metavar="TIME",
        help="delete those that are older, such as 30d; with --prune, of those alone",
    )
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    arguments.completed(
        parser.add_argument(
            "--rename",
            nargs=2,
            metavar=("RUN", "NAME"),
            help="call its folder otherwise; what the run says of itself stays",
        ),
        arguments.run_folders,
    )
    parser.add_argument("--json", action="store_true", help="print the list, one JSON array")


def run(options: argparse.Namespace) -> int:
    """Do one of the three; 0 when it is done. Raises UserError."""
    from loadgen.report import console
    from loadgen.store import shelf
    from loadgen.store.runs import ResultsError

    prunes = options.prune is not None or options.older_than is not None
    if options.json + prunes + bool(options.rename) > 1:
        raise UsageError("--json, --rename and --prune go one at a time")
    if options.prune is not None and options.prune < 0:
        raise UsageError(f"--prune is {options.prune}: how many are to be kept, 0 or more")
    if options.older_than is not None and not options.older_than >= 0:
        raise UsageError(f"--older-than is {options.older_than}: it must be 0 or more")
    try:
        if options.rename:
            name, new = options.rename
            beside = options.parent / name
            print(f"now {shelf.rename(beside if beside.exists() else Path(name), new)}")
            return 0
        found = shelf.stored(options.parent)
        if prunes:
            return _prune(found, options)
    except ResultsError as error:
        raise UserError(str(error)) from error
    if options.json:
        _print(found)
    else:
        console.show_runs(found, options.parent)
    return 0


def _prune(found: "Sequence[Stored]", options: argparse.Namespace) -> int:
    """Delete what may go, once it was agreed to. Raises ResultsError and UserError."""
    from datetime import UTC, datetime

    from loadgen.report import console
    from loadgen.report.units import plural, size
    from loadgen.store import shelf

    going = shelf.disposable(found, options.prune or 0, options.older_than or 0, datetime.now(UTC))
    for each in found:
        if each.kept == "latest" and each not in going:
            print(f"kept: {each.path}, because `latest` points at it")
        if each.problem:
            print(f"kept: {each.path}, because it cannot be read: look at it yourself")
    if not going:
        print("nothing to delete")
        return 0
    console.show_runs(going, options.parent)
    total = f"{plural(len(going), 'run')}, {size(sum(each.size_bytes for each in going))}"
    if not options.yes and not _agreed(f"delete {total}? [y/N] "):
        print("nothing was deleted")
        return 1
    for each in going:
        shelf.delete(each)
    print(f"deleted {total}")
    return 0


def _agreed(question: str) -> bool:
    """Raises UserError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UserError("nobody is here to be asked: say --yes to delete them")
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _print(found: "Sequence[Stored]") -> None:
    import dataclasses
    import json

    told = [
        {
            **dataclasses.asdict(each),
            "path": str(each.path),
            "created_at": each.created_at and each.created_at.isoformat(timespec="seconds"),
        }
        for each in found
    ]
    print(json.dumps(told, allow_nan=False))
