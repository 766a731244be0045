"""python -m loadgen calibrate: what the generator itself can do on this machine."""

import argparse

from loadgen.commands import UserError

HELP = "The generator against the leanest peer: what it can measure."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to show it."""
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def run(options: argparse.Namespace) -> int:
    """Measure the ceiling, and show it. Raises UserError."""
    import json

    from loadgen.engine import requests
    from loadgen.machine.cpus import choose_pinning
    from loadgen.machine.limits import raise_descriptor_limit
    from loadgen.report import console
    from loadgen.target.process import TargetError
    from loadgen.trial import calibrate

    raise_descriptor_limit()
    requests.compile()
    try:
        reached = calibrate.measure_ceiling(choose_pinning())
    except TargetError as error:
        raise UserError(str(error)) from error
    if options.json:
        print(json.dumps(reached, allow_nan=False))
    else:
        console.show_ceiling(reached)
    return 0
