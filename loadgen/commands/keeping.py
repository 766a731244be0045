"""What commands that store a run have in common: where it is measured, and its report."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from loadgen.commands import UserError

if TYPE_CHECKING:
    from loadgen.machine.cpus import Pinning
    from loadgen.store.schema import Environment


def expect_new(folder: Path) -> None:
    """Raises UserError, before anything is measured, where no run can be stored."""
    from loadgen.store import runs

    try:
        runs.expect_new(folder)
    except runs.ResultsError as error:
        raise UserError(str(error)) from error


def environment(cpus: "Pinning") -> "Environment":
    """The machine, and how it is used."""
    from loadgen.machine.describe import describe_machine

    machine = {**describe_machine(), **cpus.as_record()}
    return cast("Environment", machine)


def draw(folder: Path) -> None:
    """Write the report, in a process of its own: the one that measures does not load Matplotlib.

    Raises UserError.
    """
    drawn = subprocess.run(
        [sys.executable, "-m", "loadgen", "report", folder],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if drawn.returncode:
        said = drawn.stderr.strip().splitlines() or [f"status {drawn.returncode}"]
        reason = said[-1].removeprefix("error: ")
        raise UserError(f"the report of {folder} could not be drawn: {reason}")
