"""The page as one file: values, charts, sources, films and libraries put into one template."""

import base64
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from plotly import offline

from loadgen.analysis.catalog import Catalog
from loadgen.analysis.run import Run
from loadgen.film.film import Film
from loadgen.report.figure import Figure, Section
from loadgen.report.html import HTML_NAME, chart, pack, sources
from loadgen.report.html.table import Table, tables
from loadgen.report.html.values import Book, Card
from loadgen.report.page import CHARTS_NAME, CLAIMED, PAGE_NAME
from loadgen.store.runs import HEADER_NAME, TRIALS_NAME, ResultsError

HEADLINE_FIGURES = ("idle", "throughput")  # the first that a run has stands on the first screen
LONGEST_TITLE = 190  # a longer finding stands below, and the title says what is drawn
SCRIPTS = ("page.js", "charts.js", "which.js", "sides.js", "player.js")


@dataclass(frozen=True)
class Shown:
    """A figure on the page."""

    name: str
    title: str
    told: str
    caption: str
    graph: dict[str, Any]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Part:
    """A section on the page."""

    section: Section
    said: tuple[str, ...]
    figures: tuple[Shown, ...]
    trials: int


def write(run: Run, book: Book, films: Mapping[str, Film], broken: Mapping[str, str]) -> Path:
    """Write the page into the folder of the run; returns its path. Raises ResultsError."""
    path = run.path / HTML_NAME
    try:
        path.write_text(text(run, book, films, broken), encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}") from error
    return path


def text(run: Run, book: Book, films: Mapping[str, Film], broken: Mapping[str, str]) -> str:
    """The page. The same run gives the same text.

    films   by server
    broken  why some others cannot be shown, by server
    """
    parts = tuple(_part(run, section) for section in book.report.sections)
    found = sources.read(run.path, [card.name for card in book.cards])
    lines = {name: source.split("\n") for name, source in found.items()}
    pairs = list(itertools.combinations(found, 2))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("loadgen.report.html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    headline = _headline(parts)
    environment.filters["marked"] = _marked
    environment.globals |= {"json": pack.as_json, "packed": pack.packed, "tables": tables}
    return environment.get_template("report.html.j2").render(
        book=book,
        run_name=run.path.resolve().name,
        created=run.header["created_at"][:10],
        profile=run.header["profile"],
        commit=run.header["git_commit"],
        trials=len(run.records),
        raw=_raw(run),
        header_name=HEADER_NAME,
        markdown_name=PAGE_NAME,
        claimed=CLAIMED.replace("*", ""),
        headline=headline,
        picture=_address(run.path / CHARTS_NAME / f"{headline.name}.svg") if headline else "",
        parts=parts,
        cards=book.cards,
        lanes={card.name: _lane(card, run.catalog) for card in book.cards if card.lane},
        lane_tables={card.name: _lane_tables(card) for card in book.cards if card.lane},
        sources={name: sources.highlighted(source) for name, source in found.items()},
        refilmed=[name for name in films if films[name]["source"] != found.get(name)],
        films={name: _reel(film, found.get(name)) for name, film in films.items()},
        broken=broken,
        sides=_sides(book, lines, pairs),
        style=_asset("page.css"),
        light=sources.style(sources.LIGHT),
        dark=sources.style(sources.DARK),
        script="\n".join(_asset(name) for name in SCRIPTS),
        plotly=pack.packed(offline.get_plotlyjs()),
    )


def _asset(name: str) -> str:
    return (resources.files("loadgen.report.html") / "assets" / name).read_text(encoding="utf-8")


def _raw(run: Run) -> str:
    """The file of the trials, beside the page."""
    packed = f"{TRIALS_NAME}.gz"
    return packed if (run.path / packed).exists() else TRIALS_NAME


def _part(run: Run, section: Section) -> Part:
    said = tuple(clauses(section.finding))
    elsewhere = {figure.finding for figure in section.figures}
    first = stated([clause for clause in said if clause not in elsewhere])
    figures = [
        _shown(run, figure, stated([figure.finding]) or (first if number == 0 else ""))
        for number, figure in enumerate(section.figures)
    ]
    measured = [data for data in run.cells.values() if data.cell.experiment == section.name]
    return Part(section, said, tuple(figures), sum(len(data.records) for data in measured))


def _shown(run: Run, figure: Figure, said: str) -> Shown:
    graph = chart.graphs(figure, run.catalog)
    return Shown(
        name=figure.name,
        title=said or figure.title,
        told=figure.title,
        caption=graph.pop("caption"),
        graph=graph,
        tables=tuple(tables(figure)),
    )


def _address(picture: Path) -> str:
    """A picture that svg.py drew, inside the page; empty where there is none."""
    try:
        content = picture.read_bytes()
    except OSError:
        return ""
    # What Matplotlib writes before the picture, and line ends that mean nothing in it.
    small = re.sub(rb"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", b"", content, flags=re.DOTALL)
    return f"data:image/svg+xml;base64,{base64.b64encode(small).decode('ascii')}"


def _marked(text: str) -> Markup:
    """A text whose words in backticks are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _headline(parts: tuple[Part, ...]) -> Shown | None:
    """The one picture of the first screen."""
    by_name = {part.section.name: part for part in parts if part.figures}
    first = next((name for name in HEADLINE_FIGURES if name in by_name), None)
    part = by_name[first] if first else next(iter(by_name.values()), None)
    return part.figures[0] if part else None


def clauses(finding: str) -> Iterator[str]:
    """A finding in pieces that can be read one at a time: at semicolons and ends of sentences, but
    not within brackets."""
    depth, start = 0, 0
    for at, letter in enumerate(finding):
        depth += (letter in "([") - (letter in ")]")
        ends_here = letter == ";" or (letter == "." and finding[at + 1 : at + 2] == " ")
        if depth == 0 and ends_here and at + 1 < len(finding):
            piece = finding[start:at].strip()
            yield f"{piece}{'.' if letter == '.' else ';'}"
            start = at + 1
    if piece := finding[start:].strip():
        yield piece


def stated(said: Sequence[str]) -> str:
    """The title of a chart: what was found, without intervals; of several things the largest ratio.
    Empty where none is short enough.

    said  a finding in clauses
    """
    options: list[str] = []
    sentence: list[str] = []
    for clause in said:
        sentence.append(clause)
        if not clause.endswith(";"):
            whole = _brief(" ".join(sentence))
            options += [whole] if len(whole) <= LONGEST_TITLE else map(_brief, sentence)
            sentence = []
    short = [option for option in options if 0 < len(option) <= LONGEST_TITLE]
    return max(short, key=_largest_ratio, default="")


def _brief(text: str) -> str:
    """A finding without intervals, which stand below it."""
    text = re.sub(r" \[[^\]]*\]", "", text)
    text = re.sub(r" \(\d[^()]*\)", "", text).strip().rstrip(".;")
    return text[:1].upper() + text[1:] if text[:5].lower() in ("when ", "with ") else text


def _largest_ratio(text: str) -> float:
    ratios = [
        float(x.replace(",", "")) for x in re.findall(r"(\d[\d.,]*) times (?:as|the|few)", text)
    ]
    return max((abs(math.log(ratio)) for ratio in ratios if ratio > 0), default=0.0)


def _lane(card: Card, catalog: Catalog) -> dict[str, Any]:
    """Who waited for whom under one server, and what the bars mean."""
    panels = [chart.lanes_of(panel, catalog) for panel in (card.lane, card.key) if panel]
    return {"panels": panels, "columns": 2, "servers": []}


def _lane_tables(card: Card) -> list[Table]:
    return tables(Figure("", "", (card.lane,), "")) if card.lane else []


def _reel(film: Film, source: str | None) -> str:
    """A film as the player takes it; its source only where it is not that of the run."""
    reel: dict[str, Any] = dict(film)
    if film["source"] == source:
        reel["source"] = None
    return pack.packed(str(pack.as_json(reel)))


def _sides(
    book: Book, lines: Mapping[str, list[str]], pairs: list[tuple[str, str]]
) -> dict[str, Any]:
    """What two servers are set side by side with: their sources, calls and figures."""
    calls = {card.name: card.calls for card in book.cards}
    asked = {name: [call for call, _ in made] for name, made in calls.items()}

    def aligned(texts: Mapping[str, list[str]]) -> dict[str, Any]:
        return _by_pair({(a, b): sources.aligned(texts[a], texts[b]) for a, b in pairs})

    return {
        "names": list(lines),
        "sources": aligned(lines),
        "calls": calls,
        "asked": aligned(asked),
        "measures": [
            {
                "label": measure.label,
                "values": measure.values,
                "ratios": _by_pair(
                    {
                        pair: [*(float(f"{x:.4g}") for x in found[:3]), found[3]]
                        for pair, found in measure.ratios.items()
                    }
                ),
            }
            for measure in book.measures
        ],
    }


def _by_pair(found: Mapping[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
    """(one, other) => value, as JSON has it."""
    table: dict[str, dict[str, Any]] = {}
    for (one, other), value in found.items():
        table.setdefault(one, {})[other] = value
    return table
