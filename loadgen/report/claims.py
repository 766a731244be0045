"""The page of claims: what tutorials say, what was tried, and what came out; and a table of it."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loadgen.report.figure import Tested
from loadgen.report.words import markdown

EXPERIMENT = "claims"
PAGE_NAME = "claims.md"
FIGURE_NAME = "claims"

ABOUT = (
    "Verdicts and figures are written by the lab from the trials of a run. Brackets are 95 %"
    " confidence intervals: of ratios, over blocks (epochs) of servers that took turns; of shares,"
    " Wilson's, wider where blocks differ by more than chance allows. The ratios of all claims are"
    " claimed together (Holm's method), by the lab's rule of 3 %. Where the data do not decide, the"
    " verdict says so. All of it was measured over loopback, where nothing is lost and nothing is"
    " slow: what fails here fails elsewhere, and what holds here may not hold there."
)


def page(
    claims: Sequence[Tested],
    machine: str,
    *,
    charts: str | None,
    code: str | None = None,
    run: str = "",
) -> str:
    """The page, as Markdown.

    machine  where it was measured, in a sentence
    charts   the folder with the chart, as seen from the page; None: there is none
    code     the lab's folder, as seen from the page; None: files are named, and not linked
    run      the run's folder, as seen from the page; empty: it is that of the page
    """
    return "\n".join(_page(claims, machine, charts, code, run))


def beside(
    claims: Sequence[Tested],
    machine: str,
    *,
    page_path: Path,
    run: Path,
    lab: Path,
    has_chart: bool,
) -> str:
    """The page as it stands elsewhere than in the run's folder, with links from there."""
    folder = page_path.resolve().parent
    seen = {
        name: Path(os.path.relpath(path.resolve(), folder)).as_posix()
        for name, path in (("run", run), ("lab", lab))
    }
    return page(
        claims,
        machine,
        charts=f"{seen['run']}/charts" if has_chart else None,
        code=seen["lab"],
        run=seen["run"],
    )


def _page(
    claims: Sequence[Tested], machine: str, charts: str | None, code: str | None, run: str
) -> Iterator[str]:
    yield "# What tutorials say, tested"
    yield ""
    yield ABOUT
    yield ""
    where = f" [The run]({run}/report.md)." if run else ""
    yield f"Measured on: {machine}.{where}"
    yield ""
    yield from table(claims, lambda claim: f"[{claim.says}](#{claim.name})")
    if charts:
        yield ""
        yield f"![How often messages stick together]({charts}/{FIGURE_NAME}.svg)"
    for claim in claims:
        source = f"[{claim.source}]({code}/{claim.source})" if code else f"`{claim.source}`"
        yield from ("", f"## {claim.name}", "")
        yield f"*Tutorials say:* {claim.says}"
        yield ""
        yield f"*Tried:* {claim.tried} `python -m loadgen claim {claim.name}`"
        yield ""
        yield f"**{claim.verdict[0].upper()}{claim.verdict[1:]}.** {claim.sentence}"
        yield ""
        yield f"*Why:* {claim.why} ({source})"
    yield ""


def table(
    claims: Sequence[Tested], said: Callable[[Tested], str] = lambda claim: claim.says
) -> list[str]:
    """Claim and verdict, a line each, as Markdown.

    said  how a claim is written
    """
    rows = [("tutorials say", "here it is"), *((said(each), each.verdict) for each in claims)]
    return list(markdown(rows))
