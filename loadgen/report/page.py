"""The report of a run: its charts, and a page that shows them beside what was found.

What is shown comes in as values, a `Section` per experiment. No server is started here: whoever has
the run folder can draw all of it again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from loadgen.analysis.run import Run
from loadgen.report import claims, svg
from loadgen.report.figure import REFERENCE, Report
from loadgen.report.naming import named
from loadgen.report.words import markdown as markdown
from loadgen.store.runs import ResultsError
from loadgen.trial.cell import Cell

CHARTS_NAME = "charts"
PAGE_NAME = "report.md"
CLAIMED = (
    "These comparisons were named before the run, and are claimed together: the chance that any of"
    " them is wrong is 5 % (Holm's method). *Times as many* is said where the 95 % interval lies"
    " beyond 3 %, *equal within 3 %* where the 90 % interval lies within; what is neither is not"
    " resolved. All that follows is exploratory: one comparison in twenty is a false alarm."
)
STANDINGS = (
    "What each does as a multiple of what the reference does in the same comparison, with its 95 %"
    " confidence interval; more CPU per request is worse. Conversations are those of clients that"
    " connect for every request."
)


def plain(text: str) -> str:
    """A text for `harmless`, in which it is nothing but text: neither markup nor a new line."""
    return "".join(f"\\{each}" if each in "\\`*_[]|#~" else each for each in " ".join(text.split()))


def harmless(lines: Iterable[str]) -> str:
    """The lines of a page, in which nothing can be a tag: names and reasons may come from servers
    that somebody else wrote, and from runs that somebody else stored."""
    return "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;")


def write(run: Run, report: Report, into: Path | None = None) -> list[Path]:
    """Draw every chart of a run, and the page that shows them, and the page of claims if it has
    tested any; returns the files, the pages first.

    into   another folder than that of the run

    Raises ResultsError.
    """
    into = into or run.path
    page = into / PAGE_NAME
    try:
        drawn = [
            svg.save(figure, into / CHARTS_NAME, run.catalog)
            for section in report.sections
            for figure in section.figures
        ]
        page.write_text(harmless(_page(run, report)))
        pages = [page]
        if report.claims:
            pages.append(into / claims.PAGE_NAME)
            is_drawn = any(path.stem == claims.FIGURE_NAME for path in drawn)
            charts = CHARTS_NAME if is_drawn else None
            pages[-1].write_text(claims.page(report.claims, machine(run), charts=charts))
    except OSError as error:
        raise ResultsError(f"cannot write to {into}: {error.strerror}") from error
    return [*pages, *drawn]


def machine(run: Run) -> str:
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


def _page(run: Run, report: Report) -> Iterator[str]:
    """The lines of the page."""
    invalid = [record for record in run.records if not record["verdict"]["valid"]]
    excluded = (
        f"{len(invalid):,} of them were invalid; they are listed below and excluded"
        if invalid
        else "All of them were valid"
    )
    yield "# What a run found"
    yield ""
    for told in filter(None, (run.header["name"], run.header["note"])):
        yield from (f"> {plain(told)}", "")
    yield (
        f"{len(run.records):,} trials, measured on {run.header['created_at'][:10]}. {excluded}."
        f" {machine(run)}. Brackets are 95 % confidence intervals over blocks."
    )
    if report.headlines:
        yield from ("", "## In short", "")
        yield from (f"- {sentence}" for sentence in report.headlines)
        yield from ("", CLAIMED)
    if report.precision:
        yield from ("", report.precision)
    if report.standings:
        yield from ("", f"## Every server, relative to {REFERENCE}", "", STANDINGS, "")
        yield from markdown(report.standings)
    for section in report.sections:
        yield from ("", f"## {section.name}", "", f"**{section.question}**", "")
        yield from (section.finding, "", f"We expected: {section.hypothesis}")
        for figure in section.figures:
            yield from ("", f"![{figure.title}]({CHARTS_NAME}/{figure.name}.svg)")
        if section.name == claims.EXPERIMENT and report.claims:
            yield from ("", f"[Claim by claim]({claims.PAGE_NAME})")
    if invalid:
        yield from ("", "## Invalid trials", "")
        reasons = Counter(
            (named(Cell.of(record["cell"])), "; ".join(record["verdict"]["reasons"]))
            for record in invalid
        )
        for (cell, reason), count in sorted(reasons.items()):
            told = f"{cell}{f', {count} times' if count > 1 else ''}: {reason}"
            yield f"- {' '.join(told.splitlines())}"
    yield ""
