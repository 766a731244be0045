"""python -m loadgen film: how a server waits, recorded step by step."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.commands import UsageError, UserError

if TYPE_CHECKING:
    from loadgen.film.film import Film

HELP = "Record what a server does in a fixed scene: its lines, its system calls, its clients."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which servers, and how it is shown."""
    parser.add_argument("server", metavar="NAME", help="a server of ours: see `list`")
    parser.add_argument("--against", metavar="NAME", help="a second one, beside it")
    parser.add_argument("--text", action="store_true", help="print a transcript")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder of NAME.json.gz (default: .)",
    )


def run(options: argparse.Namespace) -> int:
    """Record, and print or store. Raises UserError."""
    from loadgen.film import folder, transcript

    films = [_film(name) for name in (options.server, options.against) if name]
    if options.text:
        lines = transcript.lines(*films) if len(films) == 1 else transcript.columns(*films)
        print("\n".join(lines))
        return 0
    if not options.output.is_dir():
        raise UserError(f"{options.output} is not a folder: make it first")
    for film in films:
        print(folder.write(film, options.output))
    return 0


def _film(name: str) -> "Film":
    from loadgen.film.shoot import shoot
    from loadgen.machine.cpus import choose_pinning
    from loadgen.target.process import TargetError
    from servers import catalog

    try:
        model = catalog.find(name)
    except KeyError as error:
        raise UsageError(error.args[0]) from error
    if missing := model.missing():
        raise UserError(f"{name} cannot run here: {missing}")
    try:
        return shoot(model, cpus=choose_pinning())
    except TargetError as error:
        raise UserError(f"{name} could not be filmed: {error}") from error
