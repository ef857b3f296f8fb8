"""Closed forms of neural collapse, beside direct minimisation of the same problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.collapse_geometry import (
    min_count_before_collapse,
    ufm_ce_balanced,
    ufm_mse,
    ufm_mse_bias,
    ufm_mse_bias_balanced,
)

Minimum = tuple[float, np.ndarray, np.ndarray]


def minimise(
    counts: list[int],
    lambda_w: float,
    lambda_h: float,
    depth: int = 1,
    *,
    bias: bool = False,
    loss: str = "mse",
    width: int = 8,
    starts: int = 2,
) -> Minimum:
    """Objective, classifier Gram and class means' Gram of the best of some L-BFGS runs."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    k, n = len(counts), len(labels)
    y = torch.nn.functional.one_hot(labels, k).double().T
    best: Minimum | None = None
    for start in range(starts):
        draw = torch.Generator().manual_seed(start)
        sizes = [(width, width)] * (depth - 1) + [(k, width)]
        ws = [torch.randn(s, generator=draw, dtype=torch.float64) * 0.4 for s in sizes]
        h = torch.randn(width, n, generator=draw, dtype=torch.float64) * 0.4
        b = torch.zeros(k, 1, dtype=torch.float64)
        free = [*ws, h, *([b] if bias else [])]
        for p in free:
            p.requires_grad_(True)
        solver = torch.optim.LBFGS(
            free, max_iter=600, history_size=20, tolerance_grad=1e-12, tolerance_change=1e-16,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def value(ws: Any = ws, h: Any = h, b: Any = b) -> torch.Tensor:
            out = h
            for w in ws:
                out = w @ out
            out = out + b
            fit = (
                (out - y).square().sum() / (2 * n)
                if loss == "mse"
                else torch.nn.functional.cross_entropy(out.T, labels)
            )
            decay = sum(w.square().sum() for w in ws) * lambda_w / 2
            return fit + decay + lambda_h / 2 * h.square().sum()

        def closure(value: Any = value, solver: Any = solver) -> torch.Tensor:
            solver.zero_grad()
            found = value()
            found.backward()
            return found

        solver.step(closure)
        with torch.no_grad():
            product = ws[0]
            for w in ws[1:]:
                product = w @ product
            means = torch.stack([h[:, labels == c].mean(1) for c in range(k)])
            found = float(value()), (product @ product.T).numpy(), (means @ means.T).numpy()
        best = found if best is None or found[0] < best[0] else best
    assert best is not None
    return best


def test_closed_forms_are_those_of_the_stationarity_equation(golden: Callable[[str], Any]) -> None:
    for row in golden("neural-collapse")["mse_nobias"]:
        s = ufm_mse(row["n"], row["lambda_W"], row["lambda_H"], row["M"])
        for found, expected in (
            (s.b, row["b"]),
            (s.b_threshold, row["b_threshold"]),
            (s.x, row["x"]),
            (s.S2, row["sW_prod_sq"]),
            (s.h_norm**2, row["h_norm_sq"]),
            (s.logit, row["wh"]),
            (s.layer_sv[0], row["layer_sv"]),
            (s.objective, row["objective"]),
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=0)


def test_cross_entropy_and_bias_are_the_golden_ones(golden: Callable[[str], Any]) -> None:
    case = golden("neural-collapse")
    for row in case["ce_balanced"]:
        c = ufm_ce_balanced(row["K"], row["n_per_class"], row["lambda_W"], row["lambda_H"])
        names = ("c", "logit_gap", "objective", "w_norm_sq", "h_norm_sq")
        for name in names:
            assert getattr(c, name) == pytest.approx(row[name], rel=1e-10)
    row = case["mse_bias_balanced"]
    s = ufm_mse_bias_balanced(row["K"], row["n_per_class"], row["lambda_W"], row["lambda_H"])
    np.testing.assert_allclose(s.S2, row["WWT_scale_times_centering"], rtol=1e-10)
    assert s.objective == pytest.approx(row["objective"], rel=1e-10)


@pytest.mark.parametrize(
    ("counts", "decay", "depth"),
    [([20, 10, 5, 5], 5e-4, 1), ([20, 10, 5, 1], 1e-2, 1), ([8, 4, 2, 2], 2e-3, 3)],
)
def test_mse_is_the_direct_minimum(counts: list[int], decay: float, depth: int) -> None:
    s = ufm_mse(counts, decay, decay, depth)
    objective, gram_w, gram_h = minimise(counts, decay, decay, depth)
    assert objective == pytest.approx(s.objective, rel=1e-6)
    np.testing.assert_allclose(gram_w, s.classifier_gram, atol=2e-3 * gram_w.max())
    np.testing.assert_allclose(gram_h, s.feature_gram, atol=2e-3 * gram_h.max())


@pytest.mark.parametrize("depth", [1, 2])
def test_imbalanced_mse_with_a_bias_is_the_direct_minimum(depth: int) -> None:
    counts = [16, 8, 4]
    s = ufm_mse_bias(counts, 1e-3, 1e-3, depth)
    objective, gram_w, gram_h = minimise(counts, 1e-3, 1e-3, depth, bias=True)
    assert objective == pytest.approx(s.objective, rel=1e-6)
    np.testing.assert_allclose(gram_w, s.classifier_gram, atol=2e-3 * gram_w.max())
    np.testing.assert_allclose(gram_h, s.feature_gram, atol=2e-3 * gram_h.max())


@pytest.mark.parametrize("depth", [1, 2])
def test_cross_entropy_is_the_direct_minimum(depth: int) -> None:
    s = ufm_ce_balanced(3, 8, 5e-3, 1e-3, depth)
    objective, gram_w, gram_h = minimise([8, 8, 8], 5e-3, 1e-3, depth, loss="ce")
    assert objective == pytest.approx(s.objective, rel=1e-6)
    assert gram_w[0, 0] == pytest.approx(s.w_norm_sq, rel=2e-3)
    assert gram_h[0, 0] == pytest.approx(s.h_norm_sq, rel=2e-3)


def test_layers_share_the_penalty_when_their_decay_differs() -> None:
    s = ufm_mse([20, 10, 5], [1e-3, 4e-3], 2e-3, depth=2)
    np.testing.assert_allclose(s.layer_sv.prod(0), s.w_norm, rtol=1e-12)
    np.testing.assert_allclose(1e-3 * s.layer_sv[0] ** 2, 4e-3 * s.layer_sv[1] ** 2, rtol=1e-12)


@given(
    st.lists(st.integers(1, 300), min_size=2, max_size=6),
    st.sampled_from([1, 2, 3, 6]),
    st.floats(-5, -1.5),
)
@settings(max_examples=60, deadline=None)
def test_longer_classes_have_more_samples_and_roots_are_stationary(
    counts: list[int], depth: int, log_decay: float
) -> None:
    s = ufm_mse(counts, 10**log_decay, 10**log_decay, depth)
    order = np.argsort(counts)
    assert np.all(np.diff(s.S2[order]) >= -1e-9 * s.S2.max())
    np.testing.assert_array_equal(s.collapsed, s.b >= s.b_threshold)
    x, b = s.x[~s.collapsed], s.b[~s.collapsed]
    np.testing.assert_allclose(b * (x**depth + 1) ** 2, depth * x ** (depth - 1), rtol=1e-9)
    n = np.asarray(counts) / (2 * sum(counts))
    assert s.objective <= n.sum() + 1e-12  # never above all zeros


def test_a_class_vanishes_at_its_smallest_count() -> None:
    for depth in (1, 3):
        counts = np.array([100, 100, 100, 12])
        low, high = 1e-8, 1.0
        for _ in range(200):  # the decay at which 12 samples are the limit
            middle = np.sqrt(low * high)
            below = min_count_before_collapse(312, middle, middle, depth) < 12
            low, high = (middle, high) if below else (low, middle)
        assert not ufm_mse(counts, low * 0.999, low * 0.999, depth).collapsed[3]
        assert ufm_mse(counts, low * 1.001, low * 1.001, depth).collapsed[3]


def test_at_the_threshold_a_deep_class_jumps() -> None:
    s = ufm_mse([100, 100, 100, 13], 1e-2, 1e-2, 3)
    living = s.x[~s.collapsed]
    assert np.all(living**3 >= 2 - 1e-9)  # x^M >= M - 1


def test_a_narrow_layer_keeps_the_largest_classes() -> None:
    with pytest.warns(UserWarning, match="width 2 is below"):
        s = ufm_mse([20, 5, 10], 1e-3, 1e-3, rank=2)
    assert s.rank_limited
    assert s.collapsed.tolist() == [False, True, False]
    objective, _, _ = minimise([20, 5, 10], 1e-3, 1e-3, width=2)
    assert objective == pytest.approx(s.objective, rel=1e-5)


@pytest.mark.parametrize("counts", [[5], [5, 0], [5, -1], [2.5, 3], ["a", "b"], [[1, 2]]])
def test_bad_counts_are_named(counts: Any) -> None:
    with pytest.raises(InputError, match="positive integers"):
        ufm_mse(counts, 1e-3, 1e-3)


def test_bad_decay_is_named() -> None:
    with pytest.raises(InputError, match="closed form needs positive decay"):
        ufm_mse([3, 3], 0.0, 1e-3)
    with pytest.raises(InputError, match="closed form needs positive decay"):
        ufm_ce_balanced(3, 5, 1e-3, -1.0)
    with pytest.raises(ConfigurationError, match="2 entries for depth 3"):
        ufm_mse([3, 3], [1e-3, 1e-3], 1e-3, depth=3)
    with pytest.raises(ConfigurationError, match="depth is 0"):
        ufm_mse([3, 3], 1e-3, 1e-3, depth=0)
