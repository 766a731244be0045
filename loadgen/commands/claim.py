"""python -m loadgen claim: put one sentence of the tutorials to the test."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.commands import UsageError, UserError, keeping

if TYPE_CHECKING:
    from loadgen.analysis.run import Run
    from loadgen.claims.claim import Claim
    from loadgen.claims.evidence import Evidence
    from loadgen.trial.cell import Cell

HELP = "Test what tutorials say, one claim at a time; without a name: list the claims."
EPILOG = """\
for example: python -m loadgen claim sticking
             python -m loadgen claim --run results/reference-claims --page docs/claims.md
"""

# As often are cells measured, and programs run: fewer give no interval.
BLOCKS = 3
SEED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which claim, or which run."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of those that are listed")
    parser.add_argument(
        "--run",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="measure nothing: say what a stored run decides",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--page", type=Path, metavar="FILE", help="of that run: write the page of all claims there"
    )
    instead.add_argument("--json", action="store_true", help="print one line of JSON per claim")


def run(options: argparse.Namespace) -> int:
    """List, or measure and judge, or judge what is stored; 0 when it could be done, whatever came
    out. Raises UserError."""
    from loadgen import claims

    try:
        chosen = claims.find(options.name) if options.name else None
    except KeyError as error:
        raise UsageError(error.args[0]) from error
    if options.page and (options.folder is None or chosen):
        raise UsageError("--page takes all claims of a run: --run DIR, and no NAME")
    if options.folder:
        return _of_run(options, chosen)
    if chosen is None:
        _list(as_json=options.json)
        return 0
    return _measure(chosen, as_json=options.json)


def _list(*, as_json: bool) -> None:
    from loadgen import claims

    width = max(map(len, claims.ALL))
    for name in claims.ALL:
        says = claims.find(name).says
        print(json.dumps({"claim": name, "says": says}) if as_json else f"{name:{width}}  {says}")


def _of_run(options: argparse.Namespace, chosen: "Claim | None") -> int:
    """What a stored run says. Raises UserError."""
    from loadgen.analysis import run as analysis
    from loadgen.experiments import claims as experiment
    from loadgen.report import claims as pages
    from loadgen.report import page
    from loadgen.store.runs import ResultsError
    from loadgen.target.interpreter import LAB

    try:
        stored = analysis.load(options.folder)
        found = experiment.found(stored)
    except ResultsError as error:
        raise UserError(str(error)) from error
    if not found:
        raise UserError(
            f"{options.folder} has tested no claims: bench --experiments {experiment.NAME}"
        )
    if options.page:
        text = pages.beside(
            experiment.tested(stored),
            page.machine(stored),
            page_path=options.page,
            run=options.folder,
            lab=LAB,
            has_chart=bool(experiment.figures(stored)),
        )
        options.page.write_text(text)
        return 0
    for each in found:
        if chosen is None or each.claim.name == chosen.name:
            _tell(each, as_json=options.json)
    return 0


def _tell(found: "Evidence", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.as_record(), allow_nan=False))
        return
    verdict = found.verdict()
    print(f"{found.claim.name}: {found.claim.says}")
    print(f"  {verdict}")
    print(f"  {verdict.sentence}")


def _measure(claim: "Claim", *, as_json: bool) -> int:
    """Measure what decides a claim, in a run that is not kept, and say what came out."""
    import tempfile

    from loadgen.claims import evidence
    from loadgen.machine.limits import raise_descriptor_limit
    from loadgen.report import console

    console.to_stderr(as_json)
    descriptors = raise_descriptor_limit()
    cells = _cells(claim)
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        run = _measured(cells, Path(folder) / "run", descriptors)
    (found,) = evidence.of_run(run, [claim])
    _tell(found, as_json=as_json)
    return 0


def _cells(claim: "Claim") -> "list[Cell]":
    """Those of its own, and those that it looks at in another experiment, if that is there."""
    from dataclasses import replace

    from loadgen import experiments
    from loadgen.claims import cells as shared
    from loadgen.claims import evidence
    from servers import catalog

    found = evidence.cells_of([claim])
    wanted = {
        cell.id: cell.experiment
        for compared in claim.compares().values()
        for cell in (compared.one, compared.other)
        if cell.experiment != shared.EXPERIMENT
    }
    for name in dict.fromkeys(wanted.values()):
        if name not in experiments.ALL:
            continue
        planned = experiments.cells(name, "quick", catalog.MODELS)
        found += [cell for cell in planned if replace(cell, replica=0).id in wanted]
    return found


def _measured(cells: "list[Cell]", folder: Path, descriptors: int) -> "Run":
    """A run of these. Raises UserError."""
    from loadgen.analysis import run as analysis
    from loadgen.machine.cpus import choose_pinning
    from loadgen.plan.execute import execute
    from loadgen.plan.plan import plan
    from loadgen.report import console
    from loadgen.store import runs
    from loadgen.trial import trial

    cpus = choose_pinning()
    planned = plan(
        "standard",
        list(dict.fromkeys(cell.experiment for cell in cells)),
        list(dict.fromkeys(cell.server for cell in cells)),
        cells,
        blocks=BLOCKS,
        trials=BLOCKS,
        extra_time=0.0,
        seed=SEED,
        descriptors=descriptors,
    )
    console.show_skipped(planned.skipped)
    if any(cell.workload.together for cell in planned.cells):
        if cpus.shared:
            print("warning: one CPU for server and generator: figures say little", file=sys.stderr)
        trial.compile()
    try:
        runs.create(
            planned.profile,
            plan=planned.as_record(),
            seed=planned.seed,
            environment=keeping.environment(cpus),
            folder=folder,
        )
        console.follow(
            planned,
            planned.total_s(),
            execute(planned, folder, cpus, lambda *_: False),
        )
        return analysis.load(folder)
    except runs.ResultsError as error:
        raise UserError(str(error)) from error
