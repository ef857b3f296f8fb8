"""Utility of reasoning steps: golden values, laws, and what bad input is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.traces.inspection import (
    answer_tokens,
    decide,
    entropy_trajectory,
    leak_step,
    utility_steps,
)
from entropilot.traces.utility import (
    Trajectory,
    align,
    answer_entropy_of_span,
    select_chain,
    summarise_trajectory,
    trajectory_of_spans,
    verdict_of,
)
from entropilot.traces.utility_report import group_report

EXACT = {"rtol": 0, "atol": 1e-10}  # golden values have 40 digits; double precision here

levels = st.lists(st.floats(0.0, 10.0), min_size=2, max_size=12)


def trajectory(h: Sequence[float], **changes: Any) -> Trajectory:
    """A trajectory of one answer token with the given entropies."""
    values = np.array(h, dtype=float)
    fields = {
        "h": values,
        "nll": values,
        "per_token": values[:, None],
        "lower": values,
        "upper": values,
        "step_tokens": (5,) * (len(h) - 1),
        "leak_step": None,
        "which": "gold",
        "connector": " is ",
        "answer": "7",
    }
    return Trajectory(**(fields | changes))


def test_golden_trajectory(golden: Callable[[str], Any]) -> None:
    wanted = golden("reasoning-utility")["trajectory"]
    spans = []
    for step in wanted["steps"]:
        with np.errstate(divide="ignore"):
            logits = np.log(np.array(step["dists"]))
        span = answer_entropy_of_span(logits, wanted["gold_token_ids"])
        np.testing.assert_allclose(span.tokens, step["token_entropies"], **EXACT)
        np.testing.assert_allclose(span.nll, step["cross_entropy_gold"], **EXACT)
        spans.append(span)
    found = trajectory_of_spans(spans, connector=" is ", answer="7")
    np.testing.assert_allclose(found.h, wanted["H"], **EXACT)
    np.testing.assert_allclose(found.total, [s["H_sum"] for s in wanted["steps"]], **EXACT)
    np.testing.assert_allclose(found.utility, wanted["information_gain"], **EXACT)
    drop = summarise_trajectory(found)["drop"]
    np.testing.assert_allclose(drop, wanted["total_reduction"], **EXACT)


def test_golden_alignment(golden: Callable[[str], Any]) -> None:
    for case in golden("reasoning-utility")["alignment"]:
        np.testing.assert_allclose(align([case["y"]])[0], case["cubic_spline_not_a_knot"], **EXACT)
        slope = summarise_trajectory(case["y"])["slope"]
        np.testing.assert_allclose(slope, case["ols_slope_normalised"], **EXACT)


@given(levels)
def test_gains_add_up_to_the_drop(h: list[float]) -> None:
    found = trajectory(h)
    assert found.utility.sum() == pytest.approx(h[0] - h[-1], abs=1e-12)
    summary = summarise_trajectory(found)
    assert 0 <= summary["monotone_fraction"] <= 1
    assert min(h) - 1e-9 <= summary["area"] <= max(h) + 1e-9


@given(levels, st.floats(-3, 3))
def test_a_shift_changes_no_slope(h: list[float], shift: float) -> None:
    one, other = summarise_trajectory(h), summarise_trajectory(np.array(h) + shift)
    for name in ("slope", "drop", "early_drop", "drop_before_last"):
        assert one[name] == pytest.approx(other[name], abs=1e-8)


@given(levels)
def test_the_spline_meets_the_ends(h: list[float]) -> None:
    row = align([h], grid=7)[0]
    assert row[[0, -1]] == pytest.approx([h[0], h[-1]], abs=1e-9)


@given(st.lists(st.floats(-8, 8), min_size=6, max_size=6), st.integers(2, 6))
def test_truncated_lists_bound_the_truth(logits: list[float], k: int) -> None:
    x = np.array([logits])
    full = answer_entropy_of_span(x, [3])
    logp = x - np.log(np.exp(x).sum())
    ids = np.argsort(-logp, axis=-1, kind="stable")[:, :k]
    listed = (ids, np.take_along_axis(logp, ids, -1))
    for mode in ("lump", "bounds"):
        span = answer_entropy_of_span(listed, [3], mode=mode, vocab_size=6)
        assert span.lower - 1e-9 <= full.mean <= span.upper + 1e-9
    assert span.lower - 1e-9 <= span.mean <= span.upper + 1e-9
    if 3 in ids:
        assert span.nll == pytest.approx(full.nll)
    else:
        assert np.isnan(span.nll)


def test_bounds_of_gains_follow_from_bounds_of_entropies() -> None:
    found = trajectory([2.0, 1.0], lower=np.array([1.5, 0.8]), upper=np.array([2.5, 1.4]))
    low, high = found.utility_bounds
    np.testing.assert_allclose([low, high], [[0.1], [1.7]])


def test_a_chain_without_steps() -> None:
    summary = summarise_trajectory([1.5])
    assert summary["n_steps"] == 0
    assert summary["drop"] == 0
    assert np.isnan(summary["slope"])
    assert np.isnan(align([[1.5]])).all()


def test_verdicts_and_selection() -> None:
    assert verdict_of(-0.5, 0.19, 2.0) == "flat"  # less than a tenth is lost
    assert summarise_trajectory([1.0, 1.2, 1.5])["verdict"] == "rising"
    assert select_chain([[2.0, 1.0], [2.0, 0.3], [0.1, 0.0999]]) == 1
    assert select_chain([]) is None


def test_steps_of_a_chain() -> None:
    chain = "He pays 3 * 4 = 12.\n\nThen he pays 5 more.\n\nOK\n\nThat is 12 + 5 = 17.\n\n#### 17"
    assert utility_steps(chain) == [
        "He pays 3 * 4 = 12.",
        "Then he pays 5 more.",
        "OK\nThat is 12 + 5 = 17.",
    ]
    assert utility_steps(r"We add the two numbers." "\n" r"\boxed{17}") == [
        "We add the two numbers."
    ]
    assert utility_steps("He pays 3 now. Then he pays 4 more.\nA: 7") == [
        "He pays 3 now.",
        "Then he pays 4 more.",
    ]
    assert utility_steps("He pays three dollars.\nDone", "line") == ["He pays three dollars.\nDone"]
    assert utility_steps("A: 18") == []
    assert utility_steps("") == []


@pytest.mark.parametrize(
    ("answer", "step", "is_leak"),
    [
        ("18", "so 118 eggs", False),
        ("18", "so 18.5 eggs", False),
        ("18", "so 0.18 eggs", False),
        ("18", "so $18.", True),
        ("1250", "that is 1,250 dollars", True),
        ("1,250", "that is 1250 dollars", True),
        ("x+1", "hence (x+1)", True),
    ],
)
def test_the_answer_counts_as_a_whole(answer: str, step: str, is_leak: bool) -> None:
    assert leak_step(["Nothing here.", step], answer) == (2 if is_leak else None)


class Letters:
    """An inspector over 256 bytes that expects a letter again once it was read."""

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def logits(self, ids: Sequence[int], last: int) -> np.ndarray[Any, Any]:
        rows = []
        for end in range(len(ids) - last, len(ids)):
            counts = np.bincount(ids[: end + 1], minlength=256)
            rows.append(np.log(counts + 0.01))
        return np.array(rows)


def test_a_trajectory_reads_longer_and_longer_prefixes() -> None:
    inspector = Letters()
    found = entropy_trajectory(inspector, "Q?", ["77", "7 7777"], "7", connector="\nA ")
    for k, text in enumerate(["Q?\nA ", "Q?\n77\nA ", "Q?\n77\n7 7777\nA "]):
        row = inspector.logits(inspector.tokenize(text), 1)
        p = np.exp(row) / np.exp(row).sum()
        assert found.h[k] == pytest.approx(-(p * np.log(p)).sum(), abs=1e-9)
        assert found.nll[k] == pytest.approx(-np.log(p[0, ord("7")]), abs=1e-9)
    assert found.step_tokens == (3, 7)
    assert (found.leak_step, found.which, found.n_steps) == (2, "gold", 2)


class Pairs(Letters):
    """Merges a space with the digit after it, as some tokenizers do."""

    def tokenize(self, text: str) -> list[int]:
        ids: list[int] = []
        raw = text.encode()
        for i, byte in enumerate(raw):
            if i and raw[i - 1] == 32 and 48 <= byte < 58:
                ids[-1] = 200 + byte - 48
            else:
                ids.append(byte)
        return ids


def test_a_border_that_a_token_crosses_is_moved() -> None:
    assert answer_tokens(Letters().tokenize, "\nA ", "18") == ([10, 65, 32], [49, 56])
    assert answer_tokens(Pairs().tokenize, "\nA ", "18") == ([10, 65], [201, 56])


def test_bad_requests_are_named() -> None:
    inspector = Letters()
    bad: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        (("", ["s"], "7"), {}, "question is empty"),
        (("q", ["s"], " "), {}, "answer is empty"),
        (("q", [[1, 2]], "7"), {}, "step 1 is list; give texts, not token ids"),
        (("q", ["so 18"], "8"), {"which": "own"}, "'8' does not stand in the chain"),
    ]
    for arguments, options, message in bad:
        with pytest.raises(InputError, match=message):
            entropy_trajectory(inspector, *arguments, **options)
    with pytest.raises(ConfigurationError, match="did you mean 'gold'"):
        entropy_trajectory(inspector, "q", ["s"], "7", which="golt")  # type: ignore[arg-type]


def test_bad_spans_are_named() -> None:
    with pytest.raises(InputError, match=r"an answer of \(2,\) tokens has .* shape \(1, 4\)"):
        answer_entropy_of_span(np.zeros((1, 4)), [0, 1])
    with pytest.raises(InputError, match="at least one token"):
        answer_entropy_of_span(np.zeros((0, 4)), [])
    with pytest.raises(ConfigurationError, match="mode is 'full' for truncated lists"):
        answer_entropy_of_span((np.zeros((1, 2), int), np.zeros((1, 2))), [0])
    with pytest.raises(ConfigurationError, match="mode is 'lump' for logits"):
        answer_entropy_of_span(np.zeros((1, 2)), [0], mode="lump")
    one, two = (answer_entropy_of_span(np.zeros((m, 4)), [0] * m) for m in (1, 2))
    with pytest.raises(InputError, match=r"spans of lengths \[1, 2\]"):
        trajectory_of_spans([one, two], connector=" ", answer="7")
    with pytest.raises(InputError, match="trajectory 1 has values"):
        align([[1.0, 0.5], [1.0, np.nan]])


def test_a_long_answer_warns() -> None:
    span = answer_entropy_of_span(np.zeros((33, 4)), [0] * 33)
    with pytest.warns(UserWarning, match="more than 32 tokens"):
        trajectory_of_spans([span], connector=" ", answer="a proof")


def test_a_report_compares_like_with_like() -> None:
    falling, rising = trajectory([2.0, 1.0, 0.2]), trajectory([2.0, 2.1, 2.4])
    chains = [falling, rising] * 4
    right = [True, False] * 4
    report = group_report(chains, right, problem=[0, 0, 1, 1, 2, 2, 3, 3], n_resamples=50)
    assert report.aucs["-drop"].value == 1.0
    assert report.aucs["-drop_before_last"].value == 1.0
    curve = report.curve(right=True)
    assert curve is not None
    assert (curve.n, curve.n_steps, curve.n_tokens) == (4, 2.0, 10.0)
    np.testing.assert_allclose(curve.mean, align([falling])[0])
    bits = group_report(chains, right, unit="bits", n_resamples=50).curve(right=True)
    assert bits is not None
    np.testing.assert_allclose(bits.mean, curve.mean / np.log(2))
    with pytest.raises(InputError, match="mix answer modes or connectors"):
        group_report([falling, trajectory([1.0, 0.5], which="own")], [True, False])
    with pytest.raises(InputError, match="1 trajectories have 2 labels"):
        group_report([falling], [True, False])
    with pytest.raises(ConfigurationError, match="unknown unit 'nat'"):
        group_report([falling], [True], unit="nat")


def test_categories_have_their_own_curves() -> None:
    chains = [trajectory([2.0, h]) for h in (0.1, 0.5, 1.0, 1.5)]
    report = group_report(
        chains, [True, False, True, False], category=["a", "a", "b", "b"], n_resamples=20
    )
    assert {(c.category, c.right, c.n) for c in report.curves} == {
        ("all", True, 2),
        ("all", False, 2),
        ("a", True, 1),
        ("a", False, 1),
        ("b", True, 1),
        ("b", False, 1),
    }


def test_online_rule() -> None:
    assert decide([]) == "continue"
    assert decide([1.0, 0.04]) == "continue"  # once is not enough
    assert decide([1.0, 0.04, 0.2, 0.04]) == "continue"
    assert decide([1.0, 0.04, 0.04]) == "stop"
    assert decide([2.0, 2.0, 2.0, 2.0]) == "prune"  # flat and unsettled
    assert decide([2.0, 1.9, 1.8, 1.7]) == "continue"
    assert decide([0.5, 0.6, 0.7, 0.8]) == "continue"  # rising, but settled enough
    with pytest.raises(ConfigurationError, match="window is out of range"):
        decide([1.0], window=1)
