"""The interactive page, without a browser: what is in it, and what is not."""

import base64
import gzip
import json
import math
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pages
import pytest
import records
from command_line import expect_error
from harness import ROOT, expect_said

from loadgen import __main__, experiments
from loadgen.analysis import catalog
from loadgen.analysis import run as analysis
from loadgen.experiments import headlines
from loadgen.film import folder as films
from loadgen.report.figure import Figure, Panel, Point, Series
from loadgen.report.html import HTML_NAME, chart, pack, sources, write
from loadgen.report.html.table import tables
from loadgen.store.runs import HEADER_NAME
from servers.catalog import MODELS

REFERENCE = ROOT / "results" / "reference"
MOST_BYTES, MOST_S = 8_000_000, 10.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference run, with films."""
    copy = tmp_path_factory.mktemp("run") / "reference"
    shutil.copytree(REFERENCE, copy)
    pages.add_films(copy, ["poll", "epoll"])
    return copy


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return pages.write_page(folder).read_text()


def unpacked(page: str) -> bytes:
    """A page without its compression, which another version of zlib may do in other bytes."""

    def plain(packed: re.Match[str]) -> str:
        return packed[1] + gzip.decompress(base64.b64decode(packed[2])).decode()

    return re.sub(r'(<script type="text/plain" id="[^"]+">)([^<]+)', plain, page).encode()


class Reader(HTMLParser):
    """What a browser would see: text, addresses that it would load, and scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self._in: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster") or (tag == "link" and name == "href"):
                self.loads.append(value or "")
            elif name == "href":
                self.links.append(value or "")
            elif name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on"), f"{name} of {tag} runs a script"

    def handle_endtag(self, tag: str) -> None:
        self._in.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if self._in and self._in[-1] not in ("script", "style"):
            self.texts.append(data)


def test_the_committed_page_is_that_of_its_run_and_has_every_film() -> None:
    reels, broken = films.read(REFERENCE)
    assert broken == {}
    assert reels.keys() == {model.name for model in MODELS}
    expect_said(unpacked((REFERENCE / HTML_NAME).read_text()), unpacked(pages.page_of(REFERENCE)))


def test_the_same_run_gives_the_same_bytes_soon_and_small_enough_for_a_mail(folder: Path) -> None:
    began = time.process_time()
    once = pages.write_page(folder).read_bytes()
    assert time.process_time() - began < MOST_S
    assert pages.write_page(folder).read_bytes() == once
    assert len(once) < MOST_BYTES


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    seen = Reader(page)
    assert seen.loads
    assert all(address.startswith("data:") for address in seen.loads)
    assert not [link for link in seen.links if re.match(r"\w+:|//", link)]
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page


def test_links_lead_to_places_of_the_page_or_to_files_of_the_run(page: str, folder: Path) -> None:
    seen = Reader(page)
    assert len(seen.ids) == len(set(seen.ids))
    for link in seen.links:
        if link.startswith("#"):
            assert link[1:] in seen.ids, link
        else:
            assert (folder / link).exists(), link


def test_every_question_has_its_section_and_every_model_its_own(page: str, folder: Path) -> None:
    stored, seen = analysis.load(folder), Reader(page)
    for section in experiments.report(stored).sections:
        assert f"q-{section.name}" in seen.ids
        for words in (section.question, section.hypothesis):
            assert " ".join(words.split()) in seen.text
        for clause in write.clauses(section.finding):
            assert " ".join(clause.split()) in seen.text
    for name in {data.server for data in stored.cells.values()}:
        assert f"m-{name}" in seen.ids
        line = stored.catalog.find(name)
        assert line is not None
        assert line.idea in seen.text
    for place in ("answer", "which", "sides", "films", "about"):
        assert place in seen.ids


def test_the_first_screen_says_what_is_decided_and_folds_what_is_not(
    page: str, folder: Path
) -> None:
    outcomes = headlines.by_outcome(analysis.load(folder))
    assert {kind for kind, _ in outcomes} >= {"faster", "unresolved"}
    first = page[page.index('id="answer"') : page.index('id="which"')]
    folded = first[first.index("<details>") : first.index("</details>")]
    for kind, sentence in outcomes:
        assert sentence in first
        assert (sentence in folded) is (kind == "unresolved")


@pytest.mark.parametrize("log", [False, True])
def test_chart_and_table_have_the_points_of_the_figure(log: bool) -> None:
    points = (Point(1, 1234.5, 1200, 1300), Point(10, 20.25, 10, 50, hollow=True), Point(100, 3e5))
    panel = Panel("x", "y", (Series("epoll", points), Series("theory", points)), x_log=log)
    shown = catalog.of_lines(
        {
            "name": model.name, "family": model.family, "idea": "", "waits": "", "cost": "",
            "breaks": "", "colour": model.colour, "marker": model.marker, "sleeps": True,
        }
        for model in MODELS
    )  # fmt: skip
    figure = Figure("name", "title", (panel,), "caption")
    graph = chart.graphs(figure, shown)
    line, other = graph["panels"][0]["data"]
    assert (line["x"], line["y"]) == ([1, 10, 100], [1234.5, 20.25, 3e5])
    assert (line["error_y"]["arrayminus"][0], line["error_y"]["array"][0]) == (34.5, 65.5)
    assert (line["meta"], other["meta"]) == ("epoll", "")
    assert [server["name"] for server in graph["servers"]] == ["epoll"]
    assert line["marker"]["symbol"][1].endswith("-open")
    (table,) = tables(figure)
    assert table.rows[0] == (
        "epoll",
        "1.23k [1.2k, 1.3k]",
        "20.2 [10, 50] (no valid trial)",
        "300k",
    )


def test_zero_has_a_place_on_a_log_axis() -> None:
    points = (Point(0, 5), Point(1000, 4))
    panel = Panel("x", "y", (Series("a", points),), x_log=True, y_log=True)
    graph = chart.graphs(Figure("n", "t", (panel,), ""), catalog.of_lines([]))
    axis = graph["panels"][0]["layout"]["xaxis"]
    assert axis["ticktext"] == ["0", "1k"]
    assert all(math.isfinite(end) for end in axis["range"])


def test_findings_are_cut_between_clauses_and_never_within_brackets() -> None:
    finding = "A is 1.5 [1, 2] times b (x; y. z); c is 2. D follows."
    assert list(write.clauses(finding)) == [
        "A is 1.5 [1, 2] times b (x; y. z);",
        "c is 2.",
        "D follows.",
    ]


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ([], ""),
        (["Beside 5 epoll answers 4.0 [3.9, 4.1] times as many requests as poll."],
         "Beside 5 epoll answers 4.0 times as many requests as poll"),
        # Of several the largest ratio, and what continues a sentence with its beginning.
        (["with A it gives 0.9 [0.8, 1.0] times as many;", "with B 0.1 [0.1, 0.1] times as many."],
         "With A it gives 0.9 times as many; with B 0.1 times as many"),
        (["A takes 2.0 times as long.", "B takes 0.1 times as long (theory: 1)."],
         "B takes 0.1 times as long (theory: 1)"),
        ([f"{'A' * write.LONGEST_TITLE} takes long."], ""),
    ],
)  # fmt: skip
def test_titles_say_what_was_found_without_intervals(said: list[str], title: str) -> None:
    assert write.stated(said) == title


def test_json_on_the_page_cannot_end_its_element() -> None:
    value = {"</script><script>": "<!-- & \u2028 é"}
    text = str(pack.as_json(value))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


HOSTILE = "<script>hit=1</script><img/src=x/onerror=hit=2>'\"&"


def hostile_run(folder: Path, name: str = HOSTILE + "x" * 10_000) -> Path:
    """A run in which everything that is text is hostile."""
    rows = [
        records.record(server, connections=clients, block=block, throughput_per_s=speed)
        for block in range(3)
        for clients in (1, 64)
        for server, speed in (("epoll", 2000.0 + block), (name, 1000.0), (name + "2", 900.0))
    ]
    records.write_run(folder, rows, environment={"cpu": HOSTILE})
    header: dict[str, Any] = json.loads((folder / HEADER_NAME).read_text())
    line = header["catalog"][0]
    for each in (name, name + "2"):
        hostile = dict.fromkeys(("family", "idea", "waits", "breaks"), HOSTILE)
        header["catalog"].append({**line, **hostile, "name": each, "colour": "#D55E00"})
    (folder / HEADER_NAME).write_text(json.dumps(header))
    (folder / "servers" / "epoll_server.py").write_text(f"# {HOSTILE}\n</script>\n")
    pages.add_films(folder, ["epoll"], log=HOSTILE)
    return folder


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    page = pages.write_page(hostile_run(tmp_path / "run")).read_text()
    seen = Reader(page)
    assert HOSTILE in seen.text
    assert seen.tags.count("script") == page.count("<script")
    assert "<script>hit" not in page
    assert "img" not in seen.tags


def test_a_run_with_void_trials_only_says_so(tmp_path: Path) -> None:
    rows = [
        records.record(server, block=block, steal=0.5)
        for server in ("poll", "epoll")
        for block in range(2)
    ]
    seen = Reader(pages.write_page(records.write_run(tmp_path / "run", rows)).read_text())
    assert "This run decides none of the comparisons" in seen.text
    assert rows[0]["verdict"]["reasons"][0] in seen.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "its film is not JSON"),
        ("[" * 100_000, "its film is not JSON"),
        ('{"server": 1}', "its film is not in the form of one"),
    ],
)
def test_a_film_that_cannot_be_read_is_named(tmp_path: Path, content: str, said: str) -> None:
    folder = records.sound_run(tmp_path / "run")
    (folder / "films").mkdir()
    (folder / "films" / "epoll.json.gz").write_bytes(gzip.compress(content.encode()))
    assert said in Reader(pages.write_page(folder).read_text()).text


@pytest.mark.parametrize("cut", [1, 12, 60])
def test_a_film_that_is_cut_off_is_named(tmp_path: Path, cut: int) -> None:
    folder = records.sound_run(tmp_path / "run")
    pages.add_films(folder, ["epoll"])
    path = folder / "films" / "epoll.json.gz"
    path.write_bytes(path.read_bytes()[:cut])
    said = "its film is not whole, or not compressed"
    assert said in Reader(pages.write_page(folder).read_text()).text


def test_a_film_with_fields_of_another_day_is_shown(tmp_path: Path) -> None:
    folder = records.sound_run(tmp_path / "run")
    pages.add_films(folder, ["epoll"])
    path = folder / "films" / "epoll.json.gz"
    film = json.loads(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(json.dumps({**film, "director": "unknown"}).encode()))
    assert 'id="reel-epoll"' in pages.write_page(folder).read_text()


def test_a_run_without_its_sources_has_a_page_all_the_same(tmp_path: Path) -> None:
    folder = records.sound_run(tmp_path / "run")
    shutil.rmtree(folder / "servers")
    shutil.rmtree(folder / "charts")
    assert "m-epoll" in Reader(pages.write_page(folder).read_text()).ids


def test_a_page_that_cannot_be_written_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = records.sound_run(tmp_path / "run")
    (folder / "report.html").mkdir()
    assert "cannot write" in expect_error(capsys, 1, "report", folder)


def test_report_opens_the_page_or_says_that_there_is_no_browser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = records.sound_run(tmp_path / "run")
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    assert __main__.main(["report", str(folder), "--open"]) == 0
    assert opened == [(folder / "report.html").as_uri()]
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "report.html")
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    assert __main__.main(["report", str(folder), "--open"]) == 0
    assert "no browser was found here" in capsys.readouterr().err


def _light(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_sources_can_be_read_on_every_ground(page: str) -> None:
    """WCAG 2, 1.4.3: 4.5 at least, also where a line is marked, runs or waits."""
    grounds = re.findall(r":root \{(.*?)\}", page, re.DOTALL)[:2]
    assert len(grounds) == 2
    for ground, name in zip(grounds, (sources.LIGHT, sources.DARK), strict=True):
        papers = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", ground))
        inks = re.findall(r"color: (#[0-9A-Fa-f]{6})", sources.style(name))
        inks += [papers["ink"], papers["faint"]]
        for ink in inks:
            for paper in ("paper", "panel", "marked", "runs", "waits"):
                low, high = sorted((_light(ink), _light(papers[paper])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ink, paper)
