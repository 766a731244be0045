"""The command line of the load generator: python -m loadgen COMMAND.

Exit status: 0 done; 1 it could not be done (one line says why), or what was looked at does not hold
(run, audit, doctor); 2 wrong command line; 130 Ctrl-C.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from loadgen import commands
from loadgen.commands import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        # As Ctrl-C: what was started is ended, and a run says how to go on with it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        status: int = options.run(options)
        sys.stdout.flush()  # what cannot be written is to be noticed here
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
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
        print(f"error: {error}", file=sys.stderr)
        return 1


def _drop_output() -> None:
    """What is left of it would fail once more at the end (library: signal, Note on SIGPIPE)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadgen", description=__doc__.splitlines()[0] if __doc__ else None
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
