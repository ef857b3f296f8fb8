"""The report that ``entropilot diagnose`` writes, opened in a browser: hostile logs, large logs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe\u202c\u2066",
    "javascript:alert(3)",
    "data:text/html,<script>alert(4)</script>",
    "<svg/onload=alert(5)>",
    "' onmouseover='alert(6)",
    '"><iframe srcdoc="<script>alert(7)</script>">',
    "{{ 7*7 }} ${alert(8)} <!-- ]]>",
    "<style>*{display:none}</style>",
]
SHOWN = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "␛[31mred␛]0;title␇",
    "⟨RLO⟩gnp.exe⟨PDF⟩⟨LRI⟩",
    "javascript:alert(3)",
    "<style>*{display:none}</style>",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium on PATH; set CHROMIUM to one")
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=found, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a file; whatever the page complains of, asks for or tries to do fails the test."""
    trouble: list[str] = []
    contexts = []

    def open_file(path: Path, width: int = 1280) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', "
            "e => console.error('policy: ' + e.violatedDirective + ' ' + e.sample));"
        )
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: trouble.append(request.url))
        page.goto(path.as_uri())
        trouble.remove(path.as_uri())  # the page itself is the only thing that is asked for
        return page

    yield open_file
    assert trouble == []
    for context in contexts:
        context.close()


def hostile(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same answers with every text of them turned against the reader."""
    for number, row in enumerate(rows):
        bad = HOSTILE[number % len(HOSTILE)]
        row["id"] = f"{number}{bad}"
        row["problem_id"] = f"{number // 2}{bad}"
        row["model"] = row["choices"][0]["finish_reason"] = bad
        row["messages"] = [{"role": "user", "content": bad}]
        row["answer"] = row["reference"] = bad
        row["choices"][0]["message"]["content"] = bad
        for place, entry in enumerate(row["choices"][0]["logprobs"]["content"]):
            for rank, item in enumerate((entry, *entry["top_logprobs"])):
                text = HOSTILE[(place + max(rank - 1, 0)) % len(HOSTILE)]
                item["token"], item["bytes"] = text, list(text.encode())
    return rows


@pytest.fixture
def hostile_log(tmp_path: Path, answers: Any) -> Path:
    name = "<img src=x onerror=alert(9)>\x1b[31m\u202e.jsonl"
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in hostile(answers(40))))
    with path.open("a") as log:
        log.write('{"<script>alert(10)</script>": \x1b[31m broken\n')
    return path


@pytest.mark.parametrize("labels", [(), ("--labels", "passed_test")])
def test_hostile_text_is_shown_as_text(
    command: Any, opened: Any, hostile_log: Path, tmp_path: Path, labels: tuple[str, ...]
) -> None:
    ended = command("diagnose", hostile_log, "-o", "r.html", *labels)
    assert ended.code == 0, ended.err
    assert not set("\x1b\x07\u202e\u2066") & set(ended.err)
    page = opened(tmp_path / "r.html")
    assert (
        page.locator("img, iframe, object, embed, a[href^='javascript'], a[href^='data']").count()
        == 0
    )
    assert page.locator("script").count() == 3  # two blocks of data and the page's own
    heat = page.locator("#view-heat").inner_text().replace("\n", "")
    for text in SHOWN:
        assert text in heat
    assert page.locator("#flagged-rows .open").count() > 0
    for i in range(min(page.locator("#view-choice option").count(), 12)):
        page.locator("#view-choice").select_option(str(i))
        for token in range(0, 12, 5):
            page.locator("#view-heat .t").nth(token).hover()
    for index in range(page.locator("#flagged-rows .open").count()):
        page.locator("#flagged-rows .open").nth(index).click()
    page.locator("#filter-text").fill("<img src=x onerror=alert(2)>")
    said = page.locator("body").inner_text()
    assert "⟨RLO⟩.jsonl" in said
    assert not set("\x1b\x07\u202e\u2066") & set(page.content())
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_log_without_logprobs(command: Any, opened: Any, write_log: Any, tmp_path: Path) -> None:
    rows = [
        {
            "input": f"Q{i // 4}",
            "output": f"So #### {i % 3}",
            "gts": "1",
            "score": float(i % 3 == 1),
        }
        for i in range(40)
    ]
    command("diagnose", write_log("rollouts.jsonl", rows), "-o", "r.html")
    page = opened(tmp_path / "r.html", 390)
    assert page.locator("#traces, #timing, .viewer").count() == 0
    assert "no log-probabilities" in page.locator("#flagged").inner_text()
    links = page.locator("nav a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert all(page.locator(link).count() == 1 for link in links)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_ten_thousand_traces(command: Any, opened: Any, answers: Any, tmp_path: Path) -> None:
    rows = answers(10_000, n=20, k=3)
    (tmp_path / "large.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = command(
        "diagnose", "large.jsonl", "--labels", "passed_test", "--rate", 0.9, "-o", "r.html"
    )
    assert ended.code == 0, ended.err
    assert (tmp_path / "r.html").stat().st_size < 4_000_000
    page = opened(tmp_path / "r.html")
    said = page.locator("#page-said")
    whole = int(said.inner_text().rpartition(" ")[2].replace(",", ""))
    assert 8_900 <= whole <= 9_100
    assert page.evaluate("document.querySelectorAll('*').length") < 20_000
    for button in ("Score", "P(wrong)", "Trace", "Score"):
        page.get_by_role("button", name=button, exact=False).first.click()
    scores = page.locator("#flagged-rows .score")
    falling = [float(text) for text in scores.all_inner_texts()]
    assert falling in (sorted(falling), sorted(falling, reverse=True))
    page.locator("#page-last").click()
    assert f"of {whole:,}" in said.inner_text()
    page.locator("#filter-text").fill("p2499")
    assert page.locator("#flagged-rows tr").count() <= 4
    assert page.locator("#view-choice option").count() <= 60
