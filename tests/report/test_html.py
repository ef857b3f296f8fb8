"""The one-file report: safe, bounded, complete."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entropilot.report.html import Meta, render_html, write_html
from entropilot.report.payload import TOKEN_BUDGET, script_json


class Page(HTMLParser):
    """The elements of a page, its text, and what a browser would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.risky: list[tuple[str, str]] = []
        self.policy = ""
        self.blocks: list[tuple[str, dict[str, Any], str]] = []
        self._open: tuple[str, dict[str, Any]] | None = None
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        if "id" in named:
            self.ids.append(str(named["id"]))
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(named["content"])
        for name, value in attrs:
            fetches = name in ("src", "srcset", "data", "action", "formaction", "poster")
            links = name in ("href", "xlink:href") and not str(value).startswith("#")
            if name.startswith("on") or name == "style" or fetches or links:
                self.risky.append((name, str(value)))
        if tag in ("script", "style"):
            self._open = (tag, named)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.blocks.append((*self._open, data))
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if self._open and tag == self._open[0]:
            self._open = None

    def data(self, name: str) -> Any:
        return next(json.loads(text) for _, a, text in self.blocks if a.get("id") == name)


@pytest.fixture(scope="module")
def page(assessment: Any, measures: Any, reading: Any) -> Page:
    meta = Meta("<i>Title</i>", "today", "0", "entropilot diagnose '<x>'", ["</style>.jsonl"])
    return Page(render_html(assessment, measures=measures, reading=reading, meta=meta))


def test_the_policy_allows_only_our_style_and_script(page: Page) -> None:
    assert "default-src 'none'" in page.policy
    assert "unsafe" not in page.policy
    for tag in ("style", "script"):
        [text] = [t for name, a, t in page.blocks if name == tag and "type" not in a]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.policy


def test_nothing_is_fetched_and_no_handler_is_inline(page: Page) -> None:
    assert page.risky == []
    assert not {"img", "iframe", "object", "embed", "link", "b", "i", "base"} & set(page.tags)
    assert page.tags.count("script") == 3


def test_hostile_text_is_text(page: Page) -> None:
    assert "</script><img src=x onerror=alert(1)>" in page.text
    assert "<b>unexpected</b>" in page.text
    assert "{{ 7*7 }}" in page.text  # no template is evaluated twice
    assert "⟨RLO⟩evil" in page.text
    whole = page.text + "".join(text for _, _, text in page.blocks)
    assert not set(whole) & {"\x1b", "\x07", "\x00", "\u202e", "\u2066", "\u2028"}


def test_ids_are_unique(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_pictures_have_names(page: Page) -> None:
    assert page.tags.count("desc") == page.tags.count("title") - 1 >= 12
    assert "roc-title" in page.ids


def test_the_script_never_writes_html() -> None:
    script = (files("entropilot.report") / "static" / "report.js").read_text()
    ways = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(")
    assert not [way for way in ways if way in script]


def test_the_table_data_agree_with_the_assessment(page: Page, assessment: Any) -> None:
    rows = page.data("flagged-data")
    assert len(rows["id"]) == assessment.flagged.height
    assert rows["score"][3] == round(1000 * assessment.flagged["score"][3])
    timing = rows["timing"]
    assert [timing["values"][i] for i in timing["at"]] == assessment.flagged["timing"].to_list()
    assert rows["view"][0] == 0
    assert rows["view"][-1] == -1


def test_script_json_can_not_end_its_element() -> None:
    value = {"a": "</script><!--\u2028&", "b": None}
    written = str(script_json(value))
    assert not set(written) & set("<>&\u2028")
    assert json.loads(written) == value


@pytest.mark.slow
def test_ten_thousand_traces_stay_small(make_assessment: Any) -> None:
    assessment, measures = make_assessment(10_000, 60)
    text = render_html(assessment, measures=measures)
    assert len(text.encode()) < 3_000_000
    views = Page(text).data("views-data")
    assert len(views["traces"]) == 60
    assert sum(len(trace["entropy"]) for trace in views["traces"]) <= TOKEN_BUDGET
    long = next(trace for trace in views["traces"] if trace["n"] == 900)
    assert len(long["entropy"]) < 900
    assert len(long["curve"]["instability"]) <= 400


def test_nothing_to_say(empty: Any) -> None:
    page = Page(render_html(empty))
    assert "No trace is flagged." in page.text
    assert "Without labels that can’t be said" in page.text


def test_without_labels(assessment: Any, measures: Any) -> None:
    unlabelled = replace(
        assessment,
        n_labelled=0,
        n_wrong=0,
        signals=tuple(replace(s, auc=None, roc=(), note="no labels") for s in assessment.signals),
        prefix=(),
        buckets=(),
        timing=None,
        groups=None,
        replays=(),
        flagged=assessment.flagged.with_columns(correct=None, p_wrong=None, p_wrong_low=None),
    )
    page = Page(render_html(unlabelled, measures=measures))
    assert "Without labels that can’t be said" in page.text
    assert not {"roc-title", "signals", "timing", "problems"} & set(page.ids)
    assert "wrong of those" not in page.text
    assert "P(wrong)" not in page.text


def test_without_tokens_no_viewer_stands_empty(assessment: Any, make_traces: Any) -> None:
    traces, _ = make_traces([0, 0])
    bare = replace(
        assessment,
        n_tokens=0,
        signal="",
        threshold=None,
        flagged=assessment.flagged.head(0),
        exemplars=traces.take(np.array([1])),
        signals=assessment.signals[:1],
        prefix=(),
        buckets=(),
        timing=None,
    )
    page = Page(render_html(bare))
    assert "the log holds no log-probabilities to flag them by" in page.text
    assert "so there is no such signal to test" in page.text
    assert not {"traces", "timing"} & set(page.ids)
    assert "problems" in page.ids


def test_numbers_that_are_not_known(assessment: Any, measures: Any) -> None:
    nan = float("nan")
    frame = assessment.flagged.with_columns(
        score=nan, p_wrong=nan, p_wrong_low=None, p_wrong_high=None, peak_position=nan,
        peak_token=None, peak_step=None, timing=None, reason=None, group=None,
    )  # fmt: skip
    text = render_html(replace(assessment, flagged=frame, threshold=nan), measures=measures)
    assert "nan" not in Page(text).text.replace("nats", "")


def test_writing_is_all_or_nothing(assessment: Any, measures: Any, tmp_path: Path) -> None:
    path = write_html(tmp_path / "new" / "report.html", assessment, measures=measures)
    before = path.read_bytes()
    assert before.startswith(b"<!doctype html>")
    with pytest.raises(AttributeError):
        write_html(path, None, measures=measures)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def _colours(css: str) -> Iterator[tuple[str, dict[str, str]]]:
    light, dark = css.split("@media (prefers-color-scheme: dark)")[:2]
    dark = dark.split("@media")[0]
    base = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,8})", light))
    yield "light", base
    yield "dark", base | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,8})", dark))


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) > 4 else "".join(2 * c for c in colour[1:])
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_text_is_legible_in_light_and_dark() -> None:
    css = (files("entropilot.report") / "static" / "report.css").read_text()
    for theme, colours in _colours(css):
        pairs = [(c, "paper") for c in ("ink", "soft", "faint", "wrong", "right", "signal")]
        pairs += [(c, "raised") for c in ("ink", "soft")]
        pairs += [(f"on-h{i}", f"h{i}") for i in range(1, 9)]
        pairs += [(f"on-a{i}", f"a{i}") for i in range(7)]
        for text, ground in pairs:
            assert _contrast(colours[text], colours[ground]) >= 4.5, (theme, text, ground)


def test_colour_levels_are_ordered_by_lightness() -> None:
    css = (files("entropilot.report") / "static" / "report.css").read_text()
    for theme, colours in _colours(css):
        found = [_luminance(colours[name]) for name in ("paper", *(f"h{i}" for i in range(1, 9)))]
        assert found == sorted(found, reverse=theme == "light")  # legible without colour vision
