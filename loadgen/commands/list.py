"""python -m loadgen list: servers and experiments, and what would be skipped here."""

import argparse

from servers import catalog

HELP = "Show servers and experiments, and what would be skipped."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(_: argparse.Namespace) -> int:
    """Plan everything there is, and show it."""
    from loadgen import experiments
    from loadgen.machine import environment
    from loadgen.plan import runner
    from loadgen.report import console

    chosen = [experiments.find(name) for name in experiments.ALL]
    plan = runner.plan(
        "full",
        chosen,
        catalog.VARIANTS,
        blocks=1,
        spare=0,
        seed=0,
        descriptors=environment.raise_descriptor_limit(),
    )
    console.show_list(catalog.VARIANTS, chosen, plan.skipped)
    return 0
