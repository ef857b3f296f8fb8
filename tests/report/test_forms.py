"""JSON, Markdown and the terminal say the same as the page."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from entropilot.report import (
    assessment_json,
    exemplar_views,
    heatmap,
    print_assessment,
    print_trace,
    render_markdown,
    write_json,
    write_markdown,
)
from entropilot.report.terminal import STYLES

KEYS = [
    "schema", "title", "made", "version", "command", "sources", "headline", "counts", "signal",
    "threshold", "flagged", "signals", "prefix", "buckets", "timing", "groups", "replays",
    "histograms", "exemplars", "next_steps", "notes", "reading",
]  # fmt: skip


def test_json_keys_are_stable(assessment: Any, reading: Any) -> None:
    plain = assessment_json(assessment, reading=reading)
    assert list(plain) == KEYS
    assert plain["schema"] == "entropilot/assessment/1"
    assert set(plain["flagged"][0]) == {
        "id", "group", "correct", "score", "p_wrong", "p_wrong_low", "p_wrong_high", "peak_token",
        "peak_step", "peak_position", "timing", "reason",
    }  # fmt: skip
    assert set(plain["signals"][0]) == {"name", "label", "auc", "n_right", "n_wrong", "roc", "note"}
    assert set(plain["signals"][0]["auc"]) == {"value", "low", "high"}
    assert set(plain["replays"][0]) == {
        "policy", "signal", "baseline", "random", "curve", "chosen", "threshold", "verdict",
    }  # fmt: skip
    assert plain["reading"]["skipped"][0].startswith("a.jsonl, line 3")


def test_json_is_ascii_and_has_no_nan(assessment: Any, empty: Any, tmp_path: Path) -> None:
    text = write_json(tmp_path / "a.json", assessment).read_text()
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["counts"]["flagged"] == 64
    assert json.loads(write_json(tmp_path / "b.json", empty).read_text())["threshold"] is None


def test_markdown_shows_hostile_text(assessment: Any, reading: Any, tmp_path: Path) -> None:
    text = write_markdown(tmp_path / "a.md", assessment, reading=reading).read_text()
    assert text.startswith("# Trace report\n")
    assert "<b>" not in text.replace(r"\<b\>", "")
    assert r"trace-\<b\>0\</b\>⟨RLO⟩" in text
    rows = [line for line in text.splitlines() if line.startswith("| onestep")]
    assert rows
    assert all(line.count("|") == 10 for line in rows)
    assert "The first 20 of 64." in text


def test_markdown_of_nothing(empty: Any) -> None:
    assert "No trace is flagged." in render_markdown(empty)


def _printed(**options: Any) -> tuple[Console, StringIO]:
    out = StringIO()
    return Console(file=out, width=80, force_terminal=True, **options), out


def test_the_terminal_gets_no_control_code(assessment: Any, measures: Any) -> None:
    console, out = _printed(color_system=None)
    for view in exemplar_views(assessment, measures):
        print_trace(view, console)
    print_assessment(assessment, console)
    said = out.getvalue()
    assert "␛[31mred␛[0m␇" in said
    assert "😀" in said
    assert not {"\x07", "\x00", "\u202e"} & set(said)
    bare = said.replace("\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[2m", "")
    assert "\x1b" not in bare.replace("\x1b[1;4m", "")


def test_the_heatmap_colours_and_marks_the_peak(assessment: Any, measures: Any) -> None:
    view = exemplar_views(assessment, measures)[1]
    text = heatmap(view)
    assert text.plain == "".join(span.text for span in view.spans)
    peaks = [span for span in text.spans if "underline" in str(span.style)]
    assert len(peaks) == 1
    assert {str(span.style) for span in text.spans} & set(STYLES[1:])


def test_a_long_trace_is_cut_and_says_so(assessment: Any, measures: Any) -> None:
    view = next(v for v in exemplar_views(assessment, measures) if len(v) == 900)
    assert "tokens not shown" in heatmap(view, cap=100).plain


def test_markup_in_names_is_not_obeyed(assessment: Any) -> None:
    hostile = assessment.flagged.with_columns(id=pl.lit("[red]x[/red]"))
    console, out = _printed(color_system=None)
    print_assessment(replace(assessment, flagged=hostile), console)
    assert "[red]x[/red]" in out.getvalue()


@pytest.mark.parametrize("name", ["assessment", "empty"])
def test_print_assessment_of_anything(name: str, request: pytest.FixtureRequest) -> None:
    console, out = _printed()
    print_assessment(request.getfixturevalue(name), console)
    assert "Traceback" not in out.getvalue()
