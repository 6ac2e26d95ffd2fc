"""The report in real Chromium, opened from the disk: looked through, sorted, filtered, played, compared; and nothing complains."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.reports import NASTY, make_run

from benchmarks.browser import Watched, address, open_browser, why_not
from stages.tools import report

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The report of a run, beside another one in which nothing was said."""
    folder = tmp_path_factory.mktemp("browser")
    config = make_run(folder)
    other = folder / "other/results/tiny/valid_u"
    shutil.copytree(folder / "results/tiny/valid_u", other)
    shutil.rmtree(other / "predictions/video1")
    table = (other / "per_expression.csv").read_text(encoding="utf-8").splitlines()
    (other / "per_expression.csv").write_text("\n".join([table[0], *map(_worse, table[1:])]) + "\n", encoding="utf-8")
    words = ["tiny/valid_u", "--config", str(config), "--compare", str(other), "--out", str(folder / "site")]
    assert report.main(words) == 0
    yield folder / "site"
    shutil.rmtree(folder)


def _worse(line: str) -> str:
    """The line of the table with J&F of 0.25."""
    return re.sub(r"(,[\d.]+,[\d.]+),[\d.]+,(True|False)", r"\1,0.25,\2", line, count=1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Watched]:
    with open_browser() as watched:
        yield watched


@pytest.fixture
def watched(browser: Watched) -> Iterator[Watched]:
    """The browser's page; whatever went wrong on it fails the test."""
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []


def opened(watched: Watched, site: Path, page: str) -> Any:
    watched.page.goto("about:blank")  # an address that differs behind # alone is no new page
    watched.page.goto(address(site, page.partition("#")[0]) + page[len(page.partition("#")[0]) :])
    ready = {"expressions.html": "html[data-ready=table]", "videos/": "html[data-ready^=expression]"}
    for begin, selector in ready.items():
        if page.startswith(begin):
            watched.page.wait_for_selector(selector)
    return watched.page


def test_the_table_is_sorted_filtered_and_leads_to_the_videos(site: Path, watched: Watched) -> None:
    page = opened(watched, site, "expressions.html")
    column = "() => window.referee.grid.getData('active').map((row) => row.cost)"
    costs = page.evaluate(column)
    assert len(costs) == 12 and costs == sorted(costs, reverse=True), "failures first"
    page.get_by_label("Order", exact=True).select_option("asc")
    page.wait_for_function(f"() => {{ const c = ({column})(); return c.every((v, n) => !n || c[n - 1] <= v); }}")
    page.locator(".tabulator-col[tabulator-field=sentence]").click()
    page.wait_for_function("() => document.getElementById('sort').value === 'sentence'")
    page.get_by_label("Outcome", exact=True).select_option("false alarm")
    page.get_by_text("3 of 12 expressions").wait_for()
    assert page.locator(".tabulator-row .badge").all_inner_texts() == ["false alarm"] * 3
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Search", exact=True).fill("RED")
    page.get_by_text("3 of 12 expressions").wait_for()
    page.get_by_role("link", name=NASTY).click()
    page.wait_for_selector("html[data-ready='expression 0']")
    assert page.locator("#sentence").inner_text() == NASTY
    assert page.evaluate("() => window.broken") is None, "a sentence is never run"


def test_the_player_plays_steps_and_draws_the_right_pixels(site: Path, watched: Watched) -> None:
    page = opened(watched, site, "videos/video1.html#0")
    page.wait_for_function("() => window.referee.player.video.readyState >= 2")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => window.referee.player.frame > 1 && window.referee.player.video.currentTime > 0.1")
    page.get_by_role("button", name="Pause").click()
    page.evaluate("() => window.referee.player.show(0)")
    page.get_by_role("button", name="One frame on").click()
    assert page.locator("#time").inner_text().startswith("2 / ")
    drawn = "() => { const p = window.referee.player; return p.pixels(p.draw(p.frame)[0]).data.filter((v, n) => n % 4 === 3 && v).length; }"
    assert page.evaluate(drawn) == 14 * 14, "the square is tinted, and its outline is on its border"
    seen = "() => document.querySelector('#stage canvas').toDataURL()"
    tinted = page.evaluate(seen)
    page.get_by_label("overlay").uncheck()
    assert page.evaluate(drawn) == 0
    assert page.evaluate(seen) != tinted
    page.locator("#seek").press("o")
    assert page.evaluate(drawn) == 14 * 14 and page.evaluate(seen) == tinted
    areas = "() => window.referee.video.tracks.map((t) => Masks.union([t.masks[0]], 48, 64).reduce((a, b) => a + b))"
    assert page.evaluate(areas) == [196, 196, 196]


def test_candidates_weights_and_questions_are_shown(site: Path, watched: Watched) -> None:
    page = opened(watched, site, "videos/video0.html#1")
    assert page.locator("table.candidates tbody tr:not([hidden])").count() == 3
    page.get_by_label("show grid 2").check()
    assert page.locator("#candidate").is_checked()
    page.get_by_role("button", name="Why").first.click()
    assert "evidence.judge" in page.locator(".terms").first.inner_text()
    judge = page.locator("#asked > details").filter(has_text="judge")
    judge.locator("summary").first.click()
    first = judge.locator("details").first
    first.locator("summary").click()
    assert "does object 1 fit these words, yes or no: the green square" in first.inner_text()
    assert "81.9 %" in first.locator(".reply").first.inner_text()
    page.wait_for_function("() => document.querySelector('#asked img').naturalWidth > 0")
    agent = page.locator("#asked > details").filter(has_text="agent")
    agent.locator("summary").first.click()
    agent.get_by_text("The end: all are decided").first.wait_for()
    said = agent.inner_text()
    places = [
        said.index(words) for words in ("Round 1", "I think.", "no JSON object", "Round 2", "The end: all are decided")
    ]
    assert places == sorted(places)
    agent.locator("details").last.locator("summary").click()
    assert "round 2, as object 1: reject (−3.00) – another colour" in agent.inner_text()
    page.locator("#list button").last.click()
    page.wait_for_selector("html[data-ready='expression 3']")
    assert "a flying circle" in page.locator("#sentence").inner_text()


def test_two_runs_stand_side_by_side(site: Path, watched: Watched) -> None:
    page = opened(watched, site, "compare.html")
    assert "12 expressions are in both" in page.locator("main").inner_text()
    page.get_by_role("link", name="All expressions, by change").click()
    page.wait_for_selector("html[data-ready=table]")
    changes = page.evaluate("() => window.referee.grid.getData('active').map((row) => row.change)")
    assert changes == sorted(changes) and len(set(changes)) > 1
    opened(watched, site, "videos/video0.html#0")
    assert page.locator(".stage").count() == 2 and "other run 25.0" in page.locator("#about").inner_text()
    assert page.evaluate("() => window.referee.video.expressions.every((e) => e.otherMasks !== null)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(site: Path, watched: Watched, scheme: str) -> None:
    """WCAG 2.1 A and AA, by axe."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    watched.page.emulate_media(color_scheme=scheme)
    for name in ("index.html", "expressions.html", "compare.html", "videos/video0.html#0"):
        page = opened(watched, site, name)
        page.wait_for_function(f"() => document.documentElement.dataset.theme === '{scheme}'")
        if name.startswith("videos"):
            page.get_by_role("button", name="Why").first.click()
            page.locator("#asked > details > summary").last.click()
        options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "preload": False}
        found = axe.Axe().run(page, options=options).response["violations"]
        assert not found, [(name, v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found]


def test_light_and_dark_by_the_button(site: Path, watched: Watched) -> None:
    watched.page.emulate_media(color_scheme="light")
    page = opened(watched, site, "index.html")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Light or dark").press("Enter")
    assert page.evaluate(ground) != light
    dark = "() => [...document.querySelectorAll('figure svg text')].filter((t) => getComputedStyle(t).fill === 'rgb(0, 0, 0)').length"
    assert page.locator("figure svg text").count() > 20 and page.evaluate(dark) == 0, (
        "words of plots are not black on black"
    )
    page.get_by_role("button", name="Light or dark").press("Enter")
    assert page.evaluate(ground) == light
