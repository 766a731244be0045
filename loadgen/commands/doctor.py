"""python -m loadgen doctor: is this machine fit to measure?"""

import argparse

HELP = "Look for what on this machine disturbs measurements; status 1: unfit."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to show it."""
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def run(options: argparse.Namespace) -> int:
    """Examine the machine, and show what was found; 0 when it is fit."""
    import dataclasses
    import json

    from loadgen.machine import doctor
    from loadgen.report import console

    findings = doctor.examine()
    if options.json:
        print(json.dumps([dataclasses.asdict(each) for each in findings], allow_nan=False))
    else:
        console.show_examination(findings)
    return 0 if doctor.fit(findings) else 1
