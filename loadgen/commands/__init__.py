"""One file per subcommand: its options, its errors, its exit status.

A command is a module with
    HELP                    what it does, in one line
    add_arguments(parser)   its options
    run(options)            does it, and returns the exit status

Heavy imports happen inside `run` and its helpers, so that `--help` answers at once.
"""

import argparse
import importlib
from typing import Protocol, cast

# As `--help` lists them.
ALL = (
    "run",
    "bench",
    "duel",
    "claim",
    "report",
    "compare",
    "export",
    "audit",
    "runs",
    "calibrate",
    "doctor",
    "trace",
    "film",
    "study",
    "quiz",
    "list",
)


class Command(Protocol):
    """The form that every command's module has."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its options."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit status. Raises UserError."""


def find(name: str) -> Command:
    """The command of that name, one of ALL."""
    return cast(Command, importlib.import_module(f"{__name__}.{name}"))


class UserError(Exception):
    """What the user has to know, in one line."""

    status = 1


class UsageError(UserError):
    """The command line asks for what there is not."""

    status = 2
