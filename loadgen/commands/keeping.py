"""What commands that store a run have in common: where it is measured, and its report."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from loadgen.commands import UserError

if TYPE_CHECKING:
    from loadgen.analysis.run import Run
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


def show(page: Path, section: str = "") -> None:
    """Open a page in a browser, at one of its sections; where there is none, say so, and where the
    page is."""
    import webbrowser

    anchor = f"#{section}" if section else ""
    try:
        opened = webbrowser.open(f"{page.resolve().as_uri()}{anchor}")
    except (webbrowser.Error, OSError):
        opened = False
    if not opened:
        print(f"no browser was found here: open {page} in one", file=sys.stderr)


def print_figures(
    run: "Run", headlines: Sequence[str], findings: Sequence[tuple[str, str]]
) -> None:
    """What a run says and its figures, one line of JSON."""
    import json

    from loadgen.analysis.figures import figures

    header = run.header
    told = {
        "folder": str(run.path),
        "created_at": header["created_at"],
        "profile": header["profile"],
        "name": header["name"],
        "note": header["note"],
        "trials": len(run.records),
        "invalid": sum(not record["verdict"]["valid"] for record in run.records),
        "headlines": list(headlines),
        "findings": dict(findings),
        "cells": figures(run),
    }
    print(json.dumps(told, allow_nan=False))
