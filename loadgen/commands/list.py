"""python -m loadgen list: servers and experiments, and what would be skipped here."""

import argparse

from servers import catalog

HELP = "Show servers and experiments, and what would be skipped."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(_: argparse.Namespace) -> int:
    """Plan everything there is, and show it."""
    from loadgen import experiments
    from loadgen.machine.limits import raise_descriptor_limit
    from loadgen.plan.plan import Skip, why_not
    from loadgen.report import console

    chosen = {name: experiments.find(name) for name in experiments.ALL}
    descriptors = raise_descriptor_limit()
    skipped = [
        Skip(cell, reason)
        for name in chosen
        for cell in experiments.cells(name, "full", catalog.MODELS)
        if (reason := why_not(cell, descriptors))
    ]
    questions = {name: experiment.QUESTION for name, experiment in chosen.items()}
    console.show_list(catalog.MODELS, questions, skipped)
    return 0
