# PYTHON_ARGCOMPLETE_OK
"""The command line of the load generator: python -m loadgen COMMAND.

Exit status: 0 done; 1 it could not be done (one line says why), or what was looked at does not hold
(run, audit, doctor); 2 wrong command line; 3 a regression (compare); 130 Ctrl-C.
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from loadgen import commands
from loadgen.commands import UserError
from servers import catalog

LONGEST_ERROR = 800


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what might follow
        import argcomplete

        argcomplete.autocomplete(parser)
    if words and words[0] not in commands.ALL and words[0][:1] != "-":
        parser.error(catalog.unknown("command", words[0], commands.ALL))
    options = parser.parse_args(words)
    try:
        # As Ctrl-C: what was started is ended, and a run says how to go on with it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        status: int = options.run(options)
        sys.stdout.flush()  # what cannot be written is to be noticed here
        return status
    except UserError as error:
        print(f"error: {_line(error)}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("loadgen", "servers"):
            raise
        print(
            f"error: {error.name} is not installed here:"
            " run `make setup`, then .venv/bin/python -m loadgen",
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:
        _drop_output()  # whoever read it has left
        return 1
    except OSError as error:
        _drop_output()
        print(f"error: {_line(error)}", file=sys.stderr)
        return 1


def _line(error: Exception) -> str:
    """What an error says, in one line that can be read, whatever names are in it."""
    text = " ".join(str(error).splitlines())
    ends = LONGEST_ERROR // 2
    return text if len(text) <= LONGEST_ERROR else f"{text[:ends]} ... {text[-ends:]}"


def _drop_output() -> None:
    """What is left of it would fail once more at the end (library: signal, Note on SIGPIPE)."""
    with suppress(io.UnsupportedOperation):  # it is no file, and nothing is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Version(argparse.Action):
    """Looked up when it is asked for: that takes longer than all the rest of `--help`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it, in a line, and exit."""
        import platform
        from importlib import metadata

        from loadgen.store import provenance
        from loadgen.store.schema import SCHEMA

        version, commit = metadata.version("io-lab"), provenance.git_commit()
        at = f" at {commit.removesuffix('-dirty')[:12]}" if commit else ""
        changed = ", changed since" if commit and commit.endswith("-dirty") else ""
        print(
            f"io-lab {version}{at}{changed}; runs of schema {SCHEMA},"
            f" {platform.python_implementation()} {platform.python_version()}"
        )
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadgen", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="what this is"
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in commands.ALL:
        command = commands.find(name)
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
