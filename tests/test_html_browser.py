"""The interactive page in a real browser: it draws, listens, asks for nothing, and is open to all.

Chromium comes from the distribution (`make browser`); where there is none, these tests are skipped.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import harness
import pages
import pytest
import records
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from test_html import hostile_run

from loadgen.report.html import HTML_NAME, sources

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed here: make browser"
)
SERVERS = ("blocking", "threaded", "poll", "epoll")
# What counts as passed: WCAG 2.0 to 2.2 at level AA, and good practice for landmarks and headings.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=1000 * harness.settings.deadline_s)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with lines, rows, tables, sources and films."""
    folder = tmp_path_factory.mktemp("run") / "small"
    rows = [
        records.record(
            server, connections=clients, block=block, throughput_per_s=1000.0 * (2 + number) + block
        )
        for block in range(3)
        for clients in (1, 8, 64)
        for number, server in enumerate(SERVERS)
    ]
    records.report(records.write_run(folder, rows))
    pages.add_films(folder, SERVERS)
    return pages.write_page(folder)


class Watched:
    """A page with whatever went wrong on it."""

    def __init__(self, browser: Browser, path: Path, **look: object) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **look})
        self.context.set_default_timeout(1000 * harness.settings.deadline_s)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda said: self.wrong.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on(
            "request",
            lambda request: (
                None
                if request.url == path.as_uri() or request.url.startswith("data:")
                else self.wrong.append(f"asked for {request.url}")
            ),
        )
        self.page.goto(path.as_uri())

    def everything(self) -> None:
        """Unfold and draw all of it."""
        self.page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
        for figure in self.page.locator("figure.chart").all():
            figure.scroll_into_view_if_needed()
            expect(figure.locator(".canvas .main-svg").first).to_be_attached()
        self.page.locator("#films").scroll_into_view_if_needed()
        for player in self.page.locator(".player").all():
            expect(player.locator(".buttons")).to_be_attached()


@pytest.fixture
def opened(browser: Browser, made: Path) -> Iterator[Watched]:
    watched = Watched(browser, made)
    yield watched
    watched.context.close()
    assert watched.wrong == []


def shown_lines(figure: Locator) -> int:
    """How many lines a chart shows, once it is drawn."""
    expect(figure.locator(".scatterlayer .trace").first).to_be_attached()
    return figure.locator(".scatterlayer .trace").count()


def test_everything_is_drawn_without_an_error_or_a_request(opened: Watched) -> None:
    opened.everything()
    page = opened.page
    for section in ("answer", "which", "q-throughput", "models", "sides", "films", "about"):
        assert page.locator(f"section#{section} h2").inner_text()
    assert page.locator("figure.chart").count() >= 3
    assert page.locator("article.model").count() == len(SERVERS)
    texts = page.locator("#q-throughput .canvas text").all_text_contents()
    assert "busy clients" in texts


def test_a_click_hides_a_model_and_another_brings_one_out(opened: Watched) -> None:
    figure = opened.page.locator("#q-throughput figure.chart").first
    figure.scroll_into_view_if_needed()
    hide = figure.get_by_role("button", name="Hide poll")
    expect(hide).to_have_attribute("aria-pressed", "false")
    before = shown_lines(figure)
    hide.click()
    expect(hide).to_have_attribute("aria-pressed", "true")
    expect(figure.locator(".scatterlayer .trace")).to_have_count(before - 1)
    figure.get_by_role("button", name="epoll: bring out", exact=True).click()
    strokes = figure.locator(".scatterlayer .trace path.js-line").evaluate_all(
        "(lines) => lines.map((line) => getComputedStyle(line).stroke)"
    )
    grey = "rgb(164, 164, 173)"
    assert len(set(strokes) - {grey}) == 1
    assert strokes.count(grey) == len(strokes) - 1
    figure.get_by_role("button", name="Show all").click()
    expect(figure.locator(".scatterlayer .trace")).to_have_count(before)


def test_the_keyboard_is_enough(opened: Watched) -> None:
    figure = opened.page.locator("#q-throughput figure.chart").first
    figure.scroll_into_view_if_needed()
    hide = figure.get_by_role("button", name="Hide poll")
    hide.focus()
    opened.page.keyboard.press("Enter")
    expect(hide).to_have_attribute("aria-pressed", "true")
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Space")
    expect(hide).to_have_attribute("aria-pressed", "false")
    expect(figure.get_by_role("button", name="poll: bring out", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )


def test_a_point_tells_its_figures(opened: Watched) -> None:
    figure = opened.page.locator("#q-throughput figure.chart").first
    figure.scroll_into_view_if_needed()
    figure.locator(".scatterlayer .points path").last.hover(force=True)
    told = figure.locator(".hoverlayer .hovertext")
    expect(told).to_contain_text("answers per second: 5k [5k, 5k]")


@pytest.mark.parametrize(("one", "other"), [("poll", "epoll"), ("threaded", "blocking")])
def test_side_by_side_shows_both_sources_and_marks_what_differs(
    opened: Watched, made: Path, one: str, other: str
) -> None:
    found = sources.read(made.parent, [one, other])
    sides = opened.page.locator("#sides")
    sides.locator("select[name=one]").select_option(one)
    sides.locator("select[name=other]").select_option(other)
    rows = sides.locator("table.code tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [row.className, ...[...row.cells].map((c) => c.textContent)])"
    )
    for column, name in ((1, one), (3, other)):
        lines = [row[column + 1] for row in rows if row[column]]
        assert lines == found[name].split("\n")
        assert [int(row[column]) for row in rows if row[column]] == [*range(1, len(lines) + 1)]
    for marked, number, line, other_number, other_line in rows:
        differs = (line, bool(number)) != (other_line, bool(other_number))
        assert bool(marked) is differs
    figures = sides.locator("table").first.inner_text()
    assert re.search(rf"({one} : {other}|{other} : {one}) = \d", figures)


def test_which_one_answers_from_the_run(opened: Watched) -> None:
    which = opened.page.locator("#which")
    which.locator("select[name=busy]").select_option("8")
    shown = which.locator(".situation:visible")
    expect(shown).to_have_count(1)
    expect(shown.locator(".best")).to_contain_text("epoll")
    expect(shown).to_contain_text("5,001/s")
    expect(shown).to_contain_text("Exactly this load was measured")


def test_a_film_steps_plays_and_jumps_to_the_next_wait(opened: Watched) -> None:
    details = opened.page.locator("details.film[data-film=epoll]")
    details.locator("summary").click()
    player = details.locator(".player")
    clock, current = player.locator(".clock"), player.locator(".code li[data-at]")
    expect(clock).to_contain_text("0.000 ms of 30.000 ms")
    numbers = "(lines) => lines.map((line) => [...line.parentNode.children].indexOf(line) + 1)"
    assert current.evaluate_all(numbers) == [3]
    player.get_by_role("button", name="One step forward").click()
    expect(clock).to_contain_text("1.000 ms of")
    expect(player.locator(".status")).to_contain_text("client 1: 1.000 ms arrives")
    player.get_by_role("button", name="To the next time a server waits").click()
    expect(clock).to_contain_text("3.000 ms of")
    expect(player.locator(".asking .waits")).to_contain_text("sleeps 20.000 ms: epoll(")
    expect(player.locator(".kernel")).to_contain_text("1 client")
    player.get_by_role("button", name="To the next time a server waits").click()
    asking = player.locator(".asking .waits")
    expect(asking).to_contain_text("sleeps to the end of the film: epoll(")
    expect(player.locator(".kernel .some")).to_contain_text("7 bytes")
    player.get_by_role("button", name="One step back").click()
    player.get_by_role("button", name="One step back").click()
    expect(clock).to_contain_text("26.000 ms of")
    assert current.evaluate_all(numbers) == [5]
    player.get_by_role("button", name="To the start").click()
    expect(clock).to_contain_text("0.000 ms of")
    player.get_by_role("combobox", name="Speed").select_option("real time")
    player.get_by_role("button", name="Play").click()
    expect(clock).to_contain_text("30.000 ms of 30.000 ms")
    expect(player.get_by_role("button", name="Play")).to_have_text("Play")


def test_the_tour_asks_then_plays_then_answers(opened: Watched) -> None:
    stop = opened.page.locator("#t-threaded")
    expect(stop.locator(".asks")).to_contain_text("?")
    expect(stop.locator(".facts")).to_be_hidden()
    stop.get_by_text("Watch blocking beside threaded").click()
    expect(stop.locator(".stage")).to_have_count(2)
    stop.get_by_role("button", name="One step forward").click()
    expect(stop.locator(".clock")).to_contain_text("1.000 ms of")
    stop.get_by_text("The answer").click()
    expect(stop.locator(".facts")).to_contain_text("requests per second")
    assert opened.page.locator("#tour li > h3").all_inner_texts() == [
        "blocking",
        "threaded after blocking",
        "poll after select",
        "epoll after poll",
    ]


def test_two_films_run_on_one_clock(opened: Watched) -> None:
    films = opened.page.locator("#films")
    films.scroll_into_view_if_needed()
    films.locator("select[name=one]").select_option("blocking")
    films.locator("select[name=other]").select_option("threaded")
    expect(films.locator(".stage")).to_have_count(2)
    films.get_by_role("button", name="To the next time a server waits").click()
    expect(films.locator(".stage").first.locator(".waits")).to_contain_text("blocking(")
    expect(films.locator(".stage").last.locator(".waits")).to_contain_text("threaded(")


@pytest.fixture
def reference(browser: Browser) -> Iterator[Watched]:
    """The page of the committed run."""
    watched = Watched(browser, harness.ROOT / "results" / "reference" / HTML_NAME)
    yield watched
    watched.context.close()
    assert watched.wrong == []


def test_poll_and_epoll_differ_in_who_keeps_the_list(reference: Watched) -> None:
    """All three clients have come, and both servers wait."""
    films = reference.page.locator("#films")
    films.scroll_into_view_if_needed()
    poll, epoll = films.locator(".stage").nth(0), films.locator(".stage").nth(1)
    for _ in range(6):
        films.get_by_role("button", name="To the next time a server waits").click()
    expect(poll.locator(".kernel")).to_contain_text("list kept between calls: none")
    told = "list kept between calls: listener, client 1, client 2, client 3"
    expect(epoll.locator(".kernel")).to_contain_text(told)
    # What is under way has not been filled in.
    expect(epoll.locator(".asking .waits")).to_contain_text(re.compile(r"epoll_wait\(\d+, …, "))
    expect(poll.locator(".asking .waits")).to_contain_text("<client 3>")


def test_no_advice_is_given_for_loads_that_the_advised_cannot_bear(reference: Watched) -> None:
    which = reference.page.locator("#which")
    which.locator("select[name=silent]").select_option("5000")
    which.locator("select[name=work]").select_option("cpu")
    shown = which.locator(".situation:visible")
    expect(shown.locator(".best")).to_be_hidden()
    expect(shown.locator(".both")).to_contain_text("beside 5,000 silent connections")
    expect(shown.locator(".nearest")).to_contain_text("Your load was not measured")
    taken = shown.locator(".both").inner_text().partition(":")[0]
    assert taken.startswith("Take ")
    assert not {"select", "poll", "nonblocking", "blocking"} & set(re.findall(r"\w+", taken))


@pytest.mark.parametrize("place", ["q-load", "q-receive_size", "m-epoll", "sides", "films"])
def test_links_lead_where_they_say(reference: Watched, place: str) -> None:
    """On a page of which nothing has been drawn yet, and of which much is drawn on the way."""
    page = reference.page
    page.locator(f"nav a[href='#{place}']").click()
    for figure in page.locator("figure.chart").all()[:6]:
        expect(figure.locator(".panel").first).to_be_attached()
    expect(page.locator(f"#{place} h2, #{place} h3").first).to_be_in_viewport()
    top = f"document.getElementById('{place}').getBoundingClientRect().top"
    harness.wait_until(lambda: abs(page.evaluate(top)) < 8, f"{place} is at the top")


def test_hostile_names_and_log_lines_run_no_script(browser: Browser, tmp_path: Path) -> None:
    watched = Watched(browser, pages.write_page(hostile_run(tmp_path / "run")))
    watched.everything()
    page = watched.page
    page.locator("#sides, #which").first.scroll_into_view_if_needed()
    for figure in page.locator("figure.chart").all():
        figure.locator(".points path").first.hover(force=True)
    for section in ("#tour", "#models"):
        player = page.locator(f"{section} details.film .player")
        for _ in range(5):
            player.get_by_role("button", name="One step forward").click()
        expect(player.locator(".log")).to_contain_text("<script>")
    assert page.evaluate("typeof hit") == "undefined"
    assert page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    watched.context.close()
    assert watched.wrong == []


@pytest.mark.parametrize("look", ["light", "dark"])
def test_everybody_can_use_it(browser: Browser, made: Path, look: str) -> None:
    watched = Watched(browser, made, color_scheme=look)
    watched.everything()
    found = Axe().run(watched.page, options=RULES)
    watched.context.close()
    assert not [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in found.response["violations"]
    ]


@pytest.mark.parametrize("width", [360, 768])
def test_it_fits_narrow_screens(browser: Browser, made: Path, width: int) -> None:
    watched = Watched(browser, made, viewport={"width": width, "height": 800})
    watched.everything()
    assert watched.page.evaluate("document.documentElement.scrollWidth") == width
    watched.context.close()
    assert watched.wrong == []


def test_printed_it_is_light_and_shows_its_charts(browser: Browser, made: Path) -> None:
    watched = Watched(browser, made, color_scheme="dark")
    page = watched.page
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#q-throughput .canvas .main-svg").first).to_be_attached()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    ink = page.locator("#q-throughput .ytick text").first
    assert ink.evaluate("(text) => getComputedStyle(text).fill") == "rgb(85, 85, 92)"
    assert page.locator("nav").is_hidden()
    watched.context.close()
    assert watched.wrong == []


def test_without_scripts_there_are_a_picture_and_tables(browser: Browser, made: Path) -> None:
    watched = Watched(browser, made, java_script_enabled=False)
    picture = watched.page.locator("#answer img")
    assert picture.get_attribute("alt")
    assert picture.evaluate("(image) => image.naturalWidth > 0")
    assert watched.page.locator("noscript p.notice").is_visible()
    assert watched.page.locator("#q-throughput table").count() >= 4
    watched.context.close()
    assert watched.wrong == []
