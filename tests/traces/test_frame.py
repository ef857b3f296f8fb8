"""One row of numbers a trace: columns, definitions, and nulls where a number is undefined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.traces.frame import FRAME_SCHEMA, FULL_COLUMNS, trace_frame
from entropilot.traces.measures import token_measures
from entropilot.traces.steps.splitting import split_steps
from entropilot.traces.table import Traces, empty_traces

Make = Callable[..., Traces]

COLUMNS = [
    "id",
    "group",
    "source",
    "line",
    "correct",
    "reward",
    "answer",
    "reference",
    "finish_reason",
    "model",
    "temperature",
    "logprobs_kind",
    "n_characters",
    "n_tokens",
    "n_steps",
    "k",
    "entropy_mean",
    "entropy_max",
    "entropy_first",
    "entropy_last",
    "entropy_lower_mean",
    "entropy_upper_mean",
    "surprisal_mean",
    "probability_min",
    "jsd_mean",
    "mass_mean",
    "mass_min",
    "instability_peak",
    "peak_token",
    "peak_position",
    "peak_step",
    "instability_peak_10",
    "instability_peak_20",
    "instability_peak_50",
    "instability_peak_100",
    "instability_peak_lambda_0",
    "instability_peak_lambda_05",
    "instability_peak_lambda_2",
    "timing",
    "entropy_think_mean",
    "entropy_answer_mean",
    "step_first_entropy_mean",
]


def measured(traces: Traces) -> pl.DataFrame:
    return trace_frame(traces, token_measures(traces, 1000))


def test_columns_are_those_that_reports_expect() -> None:
    assert list(FRAME_SCHEMA) == COLUMNS
    frame = measured(empty_traces())
    assert dict(frame.schema) == FRAME_SCHEMA


@given(st.lists(st.integers(0, 130), min_size=1, max_size=4), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_numbers_are_as_defined(make_traces: Make, lengths: list[int], seed: int) -> None:
    pieces = [[b"a", b"\n", b" b", b" c"] * 40] * len(lengths)
    texts = [p[:n] for p, n in zip(pieces, lengths, strict=True)]
    traces = split_steps(make_traces(texts, seed=seed), "line")
    m, frame = token_measures(traces, 1000), measured(traces)
    assert traces.steps is not None
    for i, row in enumerate(frame.iter_rows(named=True)):
        mine = slice(traces.tokens.offsets[i], traces.tokens.offsets[i + 1])
        h, d = m.entropy[mine], m.jsd[mine]
        assert row["n_tokens"] == lengths[i]
        assert row["n_steps"] == traces.steps.lengths[i]
        if not lengths[i]:
            assert row["entropy_mean"] is row["k"] is row["mass_min"] is None
            continue
        assert row["k"] == 4
        near = pytest.approx  # sums in another order
        assert row["entropy_mean"] == near(h.mean())
        assert (row["entropy_max"], row["entropy_first"]) == (h.max(), h[0])
        assert row["entropy_last"] == h[-1]
        assert row["entropy_lower_mean"] == near(m.entropy_lower[mine].mean())
        assert row["entropy_upper_mean"] == near(m.entropy_upper[mine].mean())
        assert row["surprisal_mean"] == near(m.surprisal[mine].mean())
        assert row["probability_min"] == near(np.exp(-m.surprisal[mine].max()))
        assert row["mass_mean"] == near(m.mass[mine].mean())
        assert row["mass_min"] == m.mass[mine].min()
        first = traces.steps.start[traces.steps.offsets[i] : traces.steps.offsets[i + 1]]
        assert row["step_first_entropy_mean"] == near(m.entropy[first].mean())
        if lengths[i] < 2:
            assert row["instability_peak"] is row["timing"] is row["peak_step"] is None
            continue
        assert row["jsd_mean"] == near(d[1:].mean())
        value = d + h
        assert row["instability_peak"] == np.nanmax(value)
        assert row["peak_token"] == np.nanargmax(value)
        rho = row["peak_token"] / lengths[i]
        assert row["peak_position"] == rho
        early, late = rho < 0.25, rho >= 0.5
        assert row["timing"] == ("early" if early else "late" if late else "middle")
        for w in (10, 20, 50, 100):
            assert row[f"instability_peak_{w}"] == np.nanmax(value[:w])
        for name, lam in (("0", 0.0), ("05", 0.5), ("2", 2.0)):
            assert row[f"instability_peak_lambda_{name}"] == np.nanmax(d + lam * h)
        place = traces.tokens.offsets[i] + row["peak_token"]
        step = row["peak_step"] + traces.steps.offsets[i]
        assert traces.steps.start[step] <= place < traces.steps.stop[step]


def test_phases_have_their_own_means(make_traces: Make) -> None:
    text = [b"<think>", b"a", b"</think>", b"b", b"c"]
    traces = split_steps(make_traces([text, [b"x", b"y"]]), "think")
    h = token_measures(traces).entropy
    frame = measured(traces)
    assert frame["entropy_think_mean"][0] == pytest.approx(h[:3].mean())
    assert frame["entropy_answer_mean"][0] == pytest.approx(h[3:5].mean())
    assert frame["entropy_think_mean"][1] is None


def test_steps_that_were_not_made_are_null(make_traces: Make) -> None:
    row = measured(make_traces([[b"a"] * 3])).row(0, named=True)
    assert row["n_steps"] is row["peak_step"] is row["step_first_entropy_mean"] is None


def test_unknown_vocabulary_gives_no_upper_bound(make_traces: Make) -> None:
    traces = make_traces([[b"a"] * 3])
    frame = trace_frame(traces, token_measures(traces))
    assert frame["entropy_upper_mean"][0] is None


def test_full_entropies_add_columns(make_traces: Make) -> None:
    traces = make_traces([[b"a"] * 3, [b"a"]])
    h = np.array([1.0, 2.0, 1.5, 3.0], np.float32)
    d = np.array([np.nan, 0.1, 0.5, np.nan], np.float32)
    full = replace(traces, tokens=replace(traces.tokens, entropy=h, jsd=d))
    frame = measured(full)
    assert frame.columns == [*COLUMNS, *FULL_COLUMNS]
    assert frame["entropy_full_mean"].to_list() == [1.5, 3.0]
    assert frame["entropy_full_max"].to_list() == [2.0, 3.0]
    assert frame["instability_peak_full"].to_list() == [pytest.approx(2.1), None]


def test_lists_of_one_entry_have_no_peak(make_traces: Make) -> None:
    row = measured(make_traces([[b"a"] * 3], k=1)).row(0, named=True)
    assert row["k"] == 1
    assert row["entropy_mean"] is row["instability_peak"] is None
    assert row["entropy_lower_mean"] is not None


def test_measures_of_other_traces_are_rejected(make_traces: Make) -> None:
    with pytest.raises(InputError, match="measure these traces"):
        trace_frame(make_traces([[b"a"] * 3]), token_measures(make_traces([[b"a"] * 4])))
