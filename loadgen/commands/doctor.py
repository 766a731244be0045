"""python -m loadgen doctor: is this machine fit to measure?"""

import argparse

HELP = "Look for what on this machine disturbs measurements; status 1: unfit."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(_: argparse.Namespace) -> int:
    """Examine the machine, and show what was found; 0 when it is fit."""
    from loadgen.machine import doctor
    from loadgen.report import console

    findings = doctor.examine()
    console.show_examination(findings)
    return 0 if doctor.fit(findings) else 1
