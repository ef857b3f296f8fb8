"""The view of one trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.report.tokens import LEVELS, levels, shown_ranges, span_levels, trace_view
from entropilot.traces.measures import token_measures


def test_a_view_has_what_the_trace_has(make_traces: Any) -> None:
    traces, measures = make_traces([13, 40])
    view = trace_view(traces, 1, measures)
    assert len(view) == 40
    assert view.correct is False
    assert np.isnan(view.divergence[0])
    assert view.peak == int(np.nanargmax(view.instability))
    assert dict(view.facts)["Tokens"] == "40"
    start = int(traces.tokens.offsets[1])
    np.testing.assert_allclose(view.surprisal, -traces.tokens.logprob[start:], rtol=1e-6)


def test_alternatives_hold_the_token_taken_once(make_traces: Any) -> None:
    traces, measures = make_traces([13, 40])
    view = trace_view(traces, 1, measures, n_alternatives=3)
    for t, alternatives in enumerate(view.alternatives):
        assert sum(other.taken for other in alternatives) == 1
        assert 3 <= len(alternatives) <= 4
        taken = next(other for other in alternatives if other.taken)
        assert -np.log(taken.probability) == pytest.approx(view.surprisal[t], rel=1e-5)


def test_a_long_trace_keeps_the_alternatives_that_are_shown(make_traces: Any) -> None:
    traces, measures = make_traces([13, 400])
    view = trace_view(traces, 1, measures, most_tokens=100)
    shown = {t for a, b in shown_ranges(400, view.peak, 100) for t in range(a, b)}
    assert {t for t, others in enumerate(view.alternatives) if others} == shown
    assert len(view) == 400


def test_a_character_in_two_tokens_takes_the_higher_level(make_traces: Any) -> None:
    traces, measures = make_traces([13])
    view = trace_view(traces, 0, measures)
    split = next(i for i, span in enumerate(view.spans) if span.last > span.first)
    span = view.spans[split]
    of_token = levels(view.entropy)
    assert span_levels(view)[split] == max(of_token[span.first], of_token[span.last])
    assert len(set(of_token[span.first : span.last + 1])) <= 2


def test_short_and_empty_traces(make_traces: Any) -> None:
    traces, measures = make_traces([13, 1, 0])
    one, none = (trace_view(traces, row, measures) for row in (1, 2))
    assert (len(one), one.peak) == (1, None)
    assert (len(none), none.peak, none.spans) == (0, None, ())


def test_the_real_measures_fit_the_protocol(make_traces: Any) -> None:
    traces, _ = make_traces([13, 20])
    view = trace_view(traces, 1, token_measures(traces))
    np.testing.assert_allclose(view.instability, view.entropy + view.divergence, rtol=1e-6)


@given(st.integers(0, 3000), st.integers(0, 2999), st.integers(4, 900))
def test_shown_ranges_hold_the_peak_and_keep_the_cap(n: int, peak: int, cap: int) -> None:
    place = peak if peak < n else None
    ranges = shown_ranges(n, place, cap)
    positions = [t for start, stop in ranges for t in range(start, stop)]
    assert positions == sorted(set(positions))
    assert len(positions) == min(n, cap)
    assert all(0 <= t < n for t in positions)
    assert place is None or place in positions


def test_levels_rise() -> None:
    for measure, edges in LEVELS.items():
        assert list(edges) == sorted(edges)
        assert levels(np.array([0.0, *edges]), measure).tolist() == list(range(9))
