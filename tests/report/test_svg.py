"""Pieces of pictures."""

from __future__ import annotations

import itertools
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from entropilot.report import curves, figures
from entropilot.report.svg import Plot, element, text, ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_lie_inside_and_are_even(low: float, span: float, n: int) -> None:
    found = ticks(low, low + span, n)
    assert all(low - 1e-6 * span <= value <= low + span + 1e-6 * span for value in found)
    assert len(found) <= n + 2
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert all(gap == pytest.approx(gaps[0], rel=1e-3) for gap in gaps)


def test_text_is_escaped() -> None:
    assert str(text("<script>", 1.0, 2.0)) == '<text x="1" y="2">&lt;script&gt;</text>'
    assert 'x="&#34;&gt;"' in str(element("g", x='">'))
    assert str(element("g", Markup("<b/>"))) == "<g><b/></g>"


def test_what_lies_outside_is_drawn_at_the_edge() -> None:
    plot = Plot((0.0, 1.0), (0.0, 1.0))
    assert plot.x(2.0) == plot.x(1.0)
    assert plot.y(-1.0) == plot.y(0.0)


def test_every_picture_is_well_formed(assessment: Any) -> None:
    groups = assessment.groups
    drawn = [
        figures.overview(assessment.flagged, assessment.threshold, "a & b"),
        figures.roc(assessment.signals, assessment.signal),
        figures.bucket_bars(assessment.buckets, "x"),
        figures.prefix_curve(assessment.prefix, None),
        figures.timing_table(assessment.timing),
        figures.histogram("h", "x", (0.0, 1.0, 2.0), (3, 4)),
        figures.histogram("h", "x", (0.0, 1.0), (0,)),
        curves.pass_at_k(groups),
        curves.group_bar(0, 0, 0),
        curves.group_bar(3, 0, 4),
        *(curves.replay_curve(f"r{i}", replay) for i, replay in enumerate(assessment.replays)),
    ]
    for picture in drawn:
        root = ElementTree.fromstring(str(picture))
        names = [child.tag.rpartition("}")[2] for child in root][:2]
        assert names == ["title", "desc"]
        assert "nan" not in str(picture)


def test_a_dwarfing_bar_is_cut_and_counted() -> None:
    picture = str(figures.histogram("h", "x", tuple(map(float, range(6))), (9000, 5, 4, 3, 2)))
    assert "↑ 9,000" in picture
    assert "9,014 traces" in picture
