"""Run folder => charts and a page that shows them, from the stored trials alone.

No server is started here: whoever has the folder can draw all of it again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from loadgen import experiments
from loadgen.analysis import analysis
from loadgen.report import charts
from loadgen.report.charts import Figure
from loadgen.store.results import ResultsError

CHARTS_NAME = "charts"
PAGE_NAME = "report.md"
QUICK = "A quick run: one block, no intervals, no claims of significance."


def write(folder: Path, into: Path | None = None) -> list[Path]:
    """Draw every chart of a run, and the page that shows them; returns the files, the page first.

    into   another folder than that of the run

    Raises ResultsError.
    """
    run = analysis.load(folder)
    into = into or folder
    page = into / PAGE_NAME
    try:
        figures = {
            name: experiments.find(name).figures(run)
            for name in run.header["plan"]["experiments"]
            if run.of(name)
        }
        drawn = [
            path
            for shown in figures.values()
            for figure in shown
            for path in charts.save(_marked(figure, run), into / CHARTS_NAME)
        ]
        page.write_text("\n".join(_page(run, figures)))
    except KeyError as error:
        raise ResultsError(f"{folder} was measured by another lab: {error.args[0]}") from error
    except OSError as error:
        raise ResultsError(f"cannot write to {into}: {error.strerror}") from error
    return [page, *drawn]


def _marked(figure: Figure, run: analysis.Run) -> Figure:
    if run.header["profile"] != "quick":
        return figure
    return replace(figure, caption=f"{figure.caption} {QUICK}")


def machine(run: analysis.Run) -> str:
    """Where a run was measured, in one sentence."""
    found = run.header["environment"]
    virtual = " of a virtual machine" if found["hypervisor"] else ""
    return (
        f"{found['cpu']}, {found['cpus']} CPUs{virtual}, {found['system']}"
        f" {found['kernel'].split('-')[0]}, Python {found['python']}, server on CPU"
        f" {_listed(found['server_cpus'])}, generator on CPU {_listed(found['generator_cpus'])}"
    )


def _listed(cpus: Sequence[int]) -> str:
    return ", ".join(map(str, cpus))


def _page(run: analysis.Run, figures: Mapping[str, Sequence[Figure]]) -> Iterator[str]:
    """The lines of the page."""
    invalid = [record for record in run.records if not record["verdict"]["valid"]]
    quick = f" {QUICK}" if run.header["profile"] == "quick" else ""
    yield "# What a run found"
    yield ""
    yield (
        f"{len(run.records):,} trials of {run.header['created_at'][:10]}, {len(invalid):,} of them"
        f" not valid, which are listed below and count not. {machine(run)}. Brackets are 95 %"
        f" intervals over blocks.{quick}"
    )
    for name, finding in experiments.findings(run):
        experiment = experiments.find(name)
        yield from ("", f"## {name}", "", f"**{experiment.QUESTION}**", "", finding, "")
        yield f"Expected was: {experiment.HYPOTHESIS}"
        for figure in figures[name]:
            yield from ("", f"![{figure.title}]({CHARTS_NAME}/{figure.name}.svg)")
    if invalid:
        yield from ("", "## Trials that were not valid", "")
        reasons = Counter(
            (record["cell"], "; ".join(record["verdict"]["reasons"])) for record in invalid
        )
        for (cell, reason), count in sorted(reasons.items()):
            yield f"- `{cell}`{f', {count} times' if count > 1 else ''}: {reason}"
    yield ""
