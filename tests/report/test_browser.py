"""The report in a real browser: it works, and hostile text stays text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from entropilot.report.html import render_html

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@dataclass
class Watched:
    """A page, and everything that it complained of or tried to do."""

    page: Any
    trouble: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def report(assessment: Any, measures: Any, reading: Any, tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_html(assessment, measures=measures, reading=reading), encoding="utf-8")
    return path


def _opened(browser: Any, path: Path, **options: Any) -> Iterator[Watched]:
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    watched = Watched(context.new_page())
    page = watched.page
    page.on("console", lambda message: watched.trouble.append(message.text))
    page.on("pageerror", lambda error: watched.trouble.append(str(error)))
    page.on("dialog", lambda dialog: (watched.trouble.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: watched.trouble.append(request.url))
    page.goto(path.as_uri())
    watched.trouble.remove(path.as_uri())  # the page itself is the only thing that is asked for
    yield watched
    assert watched.trouble == []
    context.close()


@pytest.fixture
def watched(browser: Any, report: Path) -> Iterator[Watched]:
    yield from _opened(browser, report)


def test_hostile_text_stays_text(watched: Watched) -> None:
    page = watched.page
    heat = page.locator("#view-heat").inner_text()
    assert "</script><img src=x onerror=alert(1)>" in heat
    assert "␛[31mred␛[0m␇⟨RLO⟩evil⟨PDF⟩" in heat
    assert page.locator("img, iframe, #view-heat b").count() == 0
    assert "<script>alert(9)</script>" in page.locator("#view-said").inner_text()
    assert page.locator("#flagged-rows .open").first.inner_text() == "trace-<b>0</b>⟨RLO⟩"


def test_the_policy_is_enforced(watched: Watched) -> None:
    page = watched.page
    blocked = page.evaluate(
        """() => {
          try { document.body.innerHTML += '<i>x</i>'; return 'written'; }
          catch (error) { return error.name; }
        }"""
    )
    assert blocked == "TypeError"  # trusted types refuse HTML from strings
    assert any("TrustedHTML" in said or "trusted" in said.lower() for said in watched.trouble)
    watched.trouble.clear()


def test_the_table_pages_sorts_and_filters(watched: Watched) -> None:
    page = watched.page
    rows, said = page.locator("#flagged-rows tr"), page.locator("#page-said")
    assert rows.count() == 20
    assert said.inner_text() == "1 to 20 of 64"
    page.locator("#page-last").click()
    assert said.inner_text() == "61 to 64 of 64"
    assert page.locator("#page-next").is_disabled()

    scores = page.locator("#flagged-rows .score")
    page.get_by_role("button", name="Score").click()
    rising = [float(text) for text in scores.all_inner_texts()]
    assert rising == sorted(rising)
    page.get_by_role("button", name="Score").click()
    falling = [float(text) for text in scores.all_inner_texts()]
    assert falling == sorted(falling, reverse=True)
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Score")

    page.locator("#filter-verdict").select_option("wrong")
    assert set(page.locator("#flagged-rows .outcome").all_inner_texts()) == {"wrong"}
    page.locator("#filter-timing").select_option("late")
    assert set(page.locator("#flagged-rows .time").all_inner_texts()) == {"late"}
    page.locator("#filter-text").fill("no such trace")
    assert said.inner_text() == "No trace matches."
    page.locator("#filter-text").fill("")
    page.locator("#filter-verdict").select_option("")
    page.locator("#filter-timing").select_option("")
    assert said.inner_text() == "1 to 20 of 64"


def test_a_row_opens_its_trace(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("button", name="trace-00001").click()
    assert page.locator("#view-choice").input_value() == "1"
    assert page.locator("#view-heat").inner_text().strip().startswith("Ben has 3 boxes")
    page.locator("#flagged-rows .open").nth(15).click()
    assert "are not in this file" in page.locator("#view-notice").inner_text()


def test_pointing_at_a_token_shows_its_alternatives(watched: Watched) -> None:
    page = watched.page
    page.locator("#view-choice").select_option("1")
    page.locator("#view-heat .t").nth(4).hover()
    detail = page.locator("#detail")
    assert "token 4 of 40" in detail.inner_text()
    assert page.locator("#detail .taken").count() == 1
    assert page.locator("#detail .alts li").count() >= 8
    for name in ("entropy", "surprisal", "divergence", "instability"):
        assert name in detail.inner_text()


def test_a_character_in_two_tokens_lists_both(watched: Watched) -> None:
    watched.page.locator("#view-heat .t", has_text="😀").hover()
    said = watched.page.locator("#detail").inner_text()
    assert "One character in 2 tokens: ⟨0xF0⟩⟨0x9F⟩ ⟨0x98⟩⟨0x80⟩" in said


def test_the_keyboard_walks_through_tokens(watched: Watched) -> None:
    page = watched.page
    page.locator("#view-choice").select_option("1")
    page.locator("#view-heat .t").first.click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "token 2 of 40" in page.locator("#detail").inner_text()
    assert page.evaluate("document.activeElement.dataset.k") == "2"
    page.keyboard.press("End")
    assert "token 39 of 40" in page.locator("#detail").inner_text()
    assert page.locator("#view-heat [tabindex='0']").count() == 1


def test_every_trace_and_measure_can_be_shown(watched: Watched) -> None:
    page = watched.page
    for i in range(page.locator("#view-choice option").count()):
        page.locator("#view-choice").select_option(str(i))
        for measure in ("surprisal", "divergence", "instability", "entropy"):
            page.locator("#view-measure").select_option(measure)
    page.locator("#view-choice").select_option("3")
    assert "holds no tokens" in page.locator("#view-heat").inner_text()
    page.locator("#view-choice").select_option("4")
    assert "tokens not shown" in page.locator("#view-heat").inner_text()


@pytest.mark.parametrize("width", [360, 390, 768])
def test_narrow_screens_do_not_scroll_sideways(browser: Any, report: Path, width: int) -> None:
    for watched in _opened(browser, report, viewport={"width": width, "height": 800}):
        wide = watched.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width


def test_dark_differs_from_light(browser: Any, report: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        for watched in _opened(browser, report, color_scheme=scheme):
            style = "getComputedStyle(document.body).backgroundColor"
            grounds.append(watched.page.evaluate(style))
    assert grounds == ["rgb(253, 252, 250)", "rgb(21, 23, 26)"]


def test_without_script_the_findings_stand(browser: Any, report: Path) -> None:
    for watched in _opened(browser, report, java_script_enabled=False):
        page = watched.page
        assert "64 of 256 traces look failing" in page.locator("h1").inner_text()
        assert page.locator("#flagged-rows tr").count() == 20
        assert page.locator(".no-script .heat").first.is_visible()
        assert not page.locator(".viewer").is_visible()
        assert page.locator("#roc-title").count() == 1


def test_ten_thousand_rows(browser: Any, make_assessment: Any, tmp_path: Path) -> None:
    assessment, measures = make_assessment(10_000, 60)
    path = tmp_path / "large.html"
    path.write_text(render_html(assessment, measures=measures), encoding="utf-8")
    for watched in _opened(browser, path):
        page = watched.page
        assert page.locator("#flagged-rows tr").count() == 20
        page.locator("#filter-text").fill("onestep-2499-3")
        assert page.locator("#flagged-rows tr").count() == 1


def test_nothing_at_all(browser: Any, empty: Any, tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    path.write_text(render_html(empty), encoding="utf-8")
    for watched in _opened(browser, path):
        assert "No trace is flagged" in watched.page.locator("#flagged").inner_text()
