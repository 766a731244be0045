"""Several runs against the first of them: a chart of what changed most, and a page."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadgen.analysis.compare import Change, Comparison, ratio_of
from loadgen.analysis.estimate import MINIMUM_BLOCKS
from loadgen.analysis.run import Run
from loadgen.report.figure import Figure, Panel, Point, Series
from loadgen.report.naming import named
from loadgen.report.page import harmless, markdown, plain
from loadgen.report.units import count, plural
from loadgen.store.runs import ResultsError

PAGE_NAME = "compare.md"
CHART_NAME = "compare"
# So many rows of a chart can be read.
DRAWN = 20
# So much of the name of a run fits on an axis, beside another one.
SHOWN = 32
TONES = {"faster": "#0072B2", "slower": "#D55E00", "equal": "#555555", "unresolved": "#999999"}
WORDS = {
    "faster": "faster",
    "slower": "slower",
    "equal": "equal within 3 %",
    "unresolved": "not resolved",
}
FIGURES = {
    "throughput_per_s": "requests per second",
    "cpu_us_per_request": "CPU per request",
    "knee_per_s": "knee",
}
# How far a chart reaches in which nothing is decided: its intervals are wide.
UNDECIDED_RANGE = (0.0, 2.0)
HOW_TO_READ = (
    "Each dot is a figure of the second run divided by that of the first, with its 95 % confidence"
    " interval: blue is faster, red is slower, grey is not decided. More is better of what is per"
    " second, less of everything else. The largest changes that are decided come first."
)

Compared = Sequence[tuple[Run, Comparison]]


def write(first: Run, others: Compared, lines: Sequence[str], folder: Path) -> list[Path]:
    """Write page and charts into a new folder; returns the files, the page first.

    lines   what else the page says, as its first paragraphs

    Raises ResultsError when it cannot be written.
    """
    from loadgen.report import svg

    page = folder / PAGE_NAME
    try:
        folder.mkdir(parents=True)
        drawn = [
            svg.save(figure(first, run, found, _name(number)), folder, first.catalog)
            for number, (run, found) in enumerate(others, start=1)
            if found.changes
        ]
        page.write_text(harmless(_page(first, others, lines)), encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"cannot write to {folder}: {error.strerror}") from error
    return [page, *drawn]


def figure(first: Run, second: Run, found: Comparison, name: str = CHART_NAME) -> Figure:
    """The largest changes that are decided, a row each; or what is not, where nothing is."""
    changes = (found.differing or found.changes)[:DRAWN]
    kinds = [change.claim.kind for change in found.changes]
    return Figure(
        name=name,
        title=f"Of {plural(len(kinds), 'figure')} {kinds.count('faster')} became better and"
        f" {kinds.count('slower')} worse; {kinds.count('unresolved')} are not resolved",
        panels=(
            Panel(
                f"{_short(second)}, relative to {_short(first)}",
                "",
                tuple(_row(first, change) for change in changes),
                kind="ratios",
                x_range=None if found.differing else UNDECIDED_RANGE,
            ),
        ),
        caption=HOW_TO_READ,
        panel_height_in=1.2 + 0.3 * len(changes),
    )


def figure_name(name: str) -> str:
    """A metric in words: throughput_per_s => requests per second, service_p50_us => service p50."""
    return FIGURES.get(name) or name.removesuffix("_us").replace("_", " ")


def _short(run: Run) -> str:
    name = run.path.name
    return name if len(name) <= SHOWN else f"{name[: SHOWN - 1]}…"


def _name(number: int) -> str:
    return CHART_NAME if number == 1 else f"{CHART_NAME}-{number}"


def _row(first: Run, change: Change) -> Series:
    claim = change.claim
    known = claim.n >= MINIMUM_BLOCKS and math.isfinite(claim.high) and claim.low > 0
    low, high = (claim.low, claim.high) if known else (None, None)
    point = Point(0, claim.ratio, low, high, not known)
    label = f"{named(first.cells[change.cell].cell)}: {figure_name(change.figure)}"
    return Series(label, (point,), f"{claim.ratio:.2f}", tone=TONES[claim.kind])


def _page(first: Run, others: Compared, lines: Sequence[str]) -> Iterator[str]:
    yield "# What differs between runs"
    yield ""
    yield f"All are compared with {told(first)}."
    for line in lines:
        yield from ("", plain(line))
    for number, (run, found) in enumerate(others, start=1):
        yield from ("", f"## {plain(run.path.name)}", "", f"This is {told(run)}.", "")
        kinds: list[str] = [change.claim.kind for change in found.changes]
        yield ", ".join(f"{kinds.count(kind)} {word}" for kind, word in WORDS.items()) + (
            f"; {plural(len(found.alone), 'cell')} only in one of the two runs."
        )
        for difference in found.differences:
            yield from ("", f"Not the same: {plain(difference)}.")
        if not found.changes:
            continue
        yield from ("", f"![{plain(run.path.name)}]({_name(number)}.svg)", "", HOW_TO_READ, "")
        head = ("cell", "figure", "first", "second", "ratio", "")
        rows = [
            (
                plain(named(first.cells[change.cell].cell)),
                figure_name(change.figure),
                count(change.first.value),
                count(change.second.value),
                str(ratio_of(change.claim)),
                WORDS[change.claim.kind],
            )
            for change in found.changes
        ]
        yield from markdown([head, *rows])
        for cell in found.alone:
            yield from ("", f"Only in one of the two: {plain(cell)}")
    yield ""


def told(run: Run) -> str:
    """A run in words: its folder, and what it was called."""
    name, note = run.header["name"], run.header["note"]
    called = f", called {plain(name)}" if name else ""
    said = f" ({plain(note)})" if note else ""
    return f"{plain(str(run.path))}{called}{said}, of {run.header['created_at'][:10]}"
