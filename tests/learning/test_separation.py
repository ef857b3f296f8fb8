"""Logistic descent and perceptrons: golden values, limits, bounds, bad input."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.learning import _separation_kernels as kernels
from entropilot.learning.logistic_descent import logistic_gd, run_descent
from entropilot.learning.perceptrons import batch_perceptron, perceptron
from entropilot.learning.separation_data import radius, signed_samples
from entropilot.learning.separation_margin import (
    bound_normalized,
    is_separable,
    iteration_bound,
    margin,
)
from entropilot.learning.step_size_sweep import step_size_sweep

TWO = [[1, -1], [-1, -4]], [1, -1]


def lower_bound_set(n: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.full((n, 2), -1.0)
    x[:, 0] = -0.5
    x[0, 0] = 0.5
    return x, np.where(np.arange(n) == 0, 1, -1)


def gaussian(seed: int, n: int = 40, d: int = 5, gap: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    u = rng.normal(size=d)
    u /= np.linalg.norm(u)
    x = rng.normal(size=(n, d))
    y = np.where(x @ u > 0, 1, -1)
    return x + gap * y[:, None] * u, y


def check_rows(rows: list[dict[str, Any]], found: Any) -> None:
    for row in rows:
        t = row["t"]
        np.testing.assert_allclose(found.iterates[t], row["theta"], rtol=1e-10, atol=1e-13)
        for name in ("loss", "grad_norm", "beta", "min_margin"):
            small = name in ("loss", "grad_norm", "beta") and row["loss"] < 1e-20
            tol = 1e-6 if small else 1e-10
            assert found.trace[name][t] == pytest.approx(row[name], rel=tol, abs=1e-300), name
        assert (found.trace["min_margin"][t] > 0) == row["solved"]


def test_two_points_are_golden(golden: Callable[[str], Any]) -> None:
    case = golden("lr-perceptron")["two_point"]
    for gamma, rows in case["runs"].items():
        found = logistic_gd(case["A"], case["y"], float(gamma), record="iterates")
        assert (found.iterations, found.separated) == (2, True)
        check_rows(rows, found)


def test_small_set_is_golden(golden: Callable[[str], Any]) -> None:
    case = golden("lr-perceptron")["small"]
    for key, normalized in (("lr_gd", False), ("normalized_lr_gd", True)):
        for gamma, rows in case[key].items():
            found = logistic_gd(
                case["A"], case["y"], float(gamma), normalized=normalized, stop=None,
                max_iter=len(rows) - 1, record="iterates",
            )  # fmt: skip
            assert len(found.trace["loss"]) == len(rows)
            check_rows(rows, found)
    for key, found in (
        ("batch_perceptron", batch_perceptron(case["A"], case["y"], record="iterates")),
        ("normalized_batch_perceptron", batch_perceptron(case["A"], case["y"], normalized=True)),
        ("perceptron_lowest_index", perceptron(case["A"], case["y"])),
    ):
        assert found.iterations == case[key]["iterations"], key
        theta = np.array(case[key]["theta"])
        got = found.iterates if theta.ndim == 2 else found.theta
        np.testing.assert_allclose(got, theta, rtol=1e-10, atol=1e-14)


def test_counts_on_the_lower_bound_set_are_golden(golden: Callable[[str], Any]) -> None:
    for row in golden("lr-perceptron")["lower_bound_dataset"]:
        n = row["n"]
        x, y = lower_bound_set(n)
        assert batch_perceptron(x, y).iterations == row["batch_perceptron"]
        assert row["batch_perceptron"] == math.floor(0.3 * n + 0.2) + 1
        assert logistic_gd(x, y, 100.0).iterations == row["lr_gd_100"]
        for gamma, count in row["normalized_lr_gd"].items():
            assert logistic_gd(x, y, float(gamma), normalized=True).iterations == count
        found = batch_perceptron(x, y, normalized=True)
        assert found.iterations == row["normalized_batch_perceptron"]


def test_trace_agrees_with_plain_numpy() -> None:
    x, y = gaussian(1, n=37)
    found = logistic_gd(x, y, 3.0, record="iterates", max_iter=9, stop=None)
    for t, theta in enumerate(found.iterates):
        m = y * (x @ theta)
        w = 1 / (1 + np.exp(m))
        entropy = -(w * np.log(w) + (1 - w) * np.log1p(-w)).mean()
        assert found.trace["mean_binary_entropy"][t] == pytest.approx(entropy, rel=1e-10)
        assert found.trace["error_rate"][t] == (m <= 0).mean()
        if t < 9:
            step = theta + 3.0 * (w * y) @ x / len(x)
            np.testing.assert_allclose(found.iterates[t + 1], step, rtol=1e-11)


def test_gradient_is_that_of_the_loss() -> None:
    x, y = gaussian(2, n=11, d=3)
    theta, eps = np.array([0.3, -0.2, 0.9]), 1e-6

    def loss(at: np.ndarray) -> float:
        return float(logistic_gd(x, y, 1.0, theta0=at, max_iter=0, stop=None).trace["loss"][0])

    step = logistic_gd(x, y, 1.0, theta0=theta, max_iter=1, stop=None).theta - theta
    slopes = [(loss(theta + eps * e) - loss(theta - eps * e)) / (2 * eps) for e in np.eye(3)]
    np.testing.assert_allclose(step, [-s for s in slopes], atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_large_steps_follow_the_batch_perceptron(seed: int) -> None:
    x, y = gaussian(seed)
    limit = batch_perceptron(x, y, record="iterates").iterates[:21]
    run = logistic_gd(x, y, 1e4, record="iterates", stop=None, max_iter=len(limit) - 1)
    assert np.abs(run.iterates / 1e4 - limit).max() < 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 30.0, 1e4]))
def test_no_count_exceeds_its_bound(seed: int, gamma: float) -> None:
    x, y = gaussian(seed, n=20, d=3, gap=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all samples may fall into one class
        for found, bound in (
            (batch_perceptron(x, y), iteration_bound(x, y, "batch_perceptron")),
            (
                batch_perceptron(x, y, normalized=True),
                iteration_bound(x, y, "normalized_batch_perceptron"),
            ),
            *(
                (perceptron(x, y, order=order), iteration_bound(x, y, "perceptron"))
                for order in ("lowest_index", "worst_margin", "random")
            ),
            (
                logistic_gd(x, y, gamma, normalized=True),
                iteration_bound(x, y, "normalized_logistic_gd", gamma),
            ),
        ):
            assert found.separated
            assert found.iterations <= bound


def test_a_normalised_step_is_no_longer_than_gamma_r_even_where_weights_vanish() -> None:
    x, y = gaussian(3)
    z = signed_samples(x, y)
    theta0 = 1e6 * perceptron(x, y).theta  # weights of exp(-3e5) are 0 in float64
    found = logistic_gd(x, y, 2.0, normalized=True, theta0=theta0, max_iter=1, stop=None)
    moved = found.theta - theta0
    assert 0 < np.linalg.norm(moved) <= 2.0 * radius(z) * (1 + 1e-6)
    worst = z[(z @ theta0).argmin()]
    np.testing.assert_allclose(moved, 2.0 * worst, rtol=1e-3, atol=1e-6)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = lower_bound_set(100)
    whole = logistic_gd(x, y, 100.0, record="iterates")
    monkeypatch.setattr("entropilot.learning.logistic_descent._CHUNK", 7 * x.size)
    parts = logistic_gd(x, y, 100.0, record="iterates")
    np.testing.assert_array_equal(whole.iterates, parts.iterates)
    np.testing.assert_array_equal(whole.trace["loss"], parts.trace["loss"])


def test_stops_and_limits() -> None:
    x, y = gaussian(4)
    by_loss = logistic_gd(x, y, 10.0, stop="loss", tol=0.05, record="trace")
    assert by_loss.trace["loss"][-1] <= 0.05 < by_loss.trace["loss"][-2]
    by_grad = logistic_gd(x, y, 10.0, stop="grad", tol=0.02, record="trace")
    assert by_grad.trace["grad_norm"][-1] <= 0.02 < by_grad.trace["grad_norm"][-2]
    with pytest.warns(UserWarning, match="not separated after 3 updates"):
        cut = logistic_gd(*lower_bound_set(1000), 100.0, max_iter=3, record="trace")
    assert (cut.iterations, len(cut.trace["loss"])) == (3, 4)
    assert "Not separated" in cut.summary()
    assert logistic_gd(x, y, 1.0, max_iter=5, stop=None).iterations == 5


def test_labels_of_0_and_1_float32_and_bias() -> None:
    x, y = gaussian(5)
    one = logistic_gd(x, y, 1.0)
    two = logistic_gd(x, (y + 1) // 2, 1.0)
    np.testing.assert_array_equal(one.theta, two.theta)
    single = logistic_gd(x.astype(np.float32), y, 1.0)
    assert single.theta.dtype == np.float32
    np.testing.assert_allclose(single.theta, one.theta, rtol=1e-3, atol=1e-4)
    assert len(logistic_gd(x, y, 1.0, bias=True).theta) == x.shape[1] + 1


def test_random_order_is_the_seeds() -> None:
    x, y = gaussian(6)
    runs = [perceptron(x, y, order="random", seed=s).theta for s in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    traced = perceptron(x, y, order="random", seed=1, record="trace")
    np.testing.assert_array_equal(traced.theta, runs[0])
    assert len(traced.trace["loss"]) == traced.iterations + 1
    assert traced.trace["error_rate"][-1] == 0


@pytest.mark.parametrize("seed", range(4))
def test_margin_is_that_of_the_hard_margin_svm(seed: int) -> None:
    svm = pytest.importorskip("sklearn.svm")
    x, y = gaussian(seed, n=300, d=8, gap=0.1)
    found = margin(x, y)
    assert 0 < found.upper - found.lower <= 1e-8 * np.linalg.norm(x, axis=1).max() or (
        found.lower == pytest.approx(found.upper, rel=1e-10)
    )
    z = signed_samples(x, y)  # through zero: the same set and its mirror image
    fit = svm.SVC(C=1e10, kernel="linear", tol=1e-8).fit(
        np.vstack([z, -z]), np.repeat([1, -1], len(z))
    )
    assert found.lower == pytest.approx(1 / np.linalg.norm(fit.coef_), rel=1e-4)
    assert (z @ found.direction).min() == pytest.approx(found.lower)
    assert is_separable(x, y)


def test_margin_of_inseparable_data_is_not_positive() -> None:
    x = np.array(list(itertools.product([-1.0, 1.0], repeat=2)))
    y = np.where(x[:, 0] * x[:, 1] > 0, 1, -1)
    assert margin(x, y).lower <= 0
    assert not is_separable(x, y)
    with pytest.raises(InputError, match="not linearly separable"):
        iteration_bound(x, y, "perceptron")
    with pytest.warns(UserWarning, match="is_separable"):
        assert not logistic_gd(x + 0.1, y, 1.0, max_iter=50).separated


@pytest.mark.parametrize("normalized", [False, True])
def test_sweep_is_the_single_runs(normalized: bool) -> None:
    x, y = gaussian(7, n=60)
    gammas = [0.1, 1.0, 10.0, 1e4]
    found = step_size_sweep(x, y, gammas, normalized=normalized, bias=True)
    for i, gamma in enumerate(gammas):
        one = logistic_gd(x, y, gamma, normalized=normalized, record="trace", bias=True)
        assert found.iterations[i] == one.iterations
        assert found.peak_loss[i] == pytest.approx(one.trace["loss"].max())
        assert found.margin[i] == pytest.approx(one.margin)
        np.testing.assert_allclose(found.theta[i], one.theta, rtol=1e-9)
    assert f"{found.fastest:g}" in found.summary()
    short = step_size_sweep(x, y, [1e-3], max_iter=0)
    assert not short.separated[0]
    assert "No step size" in short.summary()
    assert math.isnan(short.fastest)


def test_summary_says_that_a_rising_loss_is_no_failure() -> None:
    assert "no sign of failure" in logistic_gd(*TWO, 100.0, record="trace").summary()
    assert "fell from" in logistic_gd(*TWO, 1.0, record="trace").summary()
    assert logistic_gd(*TWO, 1.0).summary().startswith("Separated after 2")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[1.0, 2.0], [0.0, 1.0]], [3, 7], "values 3, 7"),
        ([[1.0], [2.0]], ["a", "b"], "values a, b"),
        ([[1.0], [2.0], [3.0]], [0, 1, 2], "expected the two values"),
        ([[np.nan, 2.0], [0.0, 1.0]], [1, -1], r"X\[0, 0\] is nan"),
        ([[1.0, 2.0], [0.0, 0.0], [1.0, 1.0]], [1, -1, 1], "sample 1 is all zeros"),
        ([[1.0, 2.0], [3.0, 1.0], [1.0, 2.0]], [1, 1, -1], "samples 0 and 2 are equal"),
        (np.empty((0, 2)), [], "at least one sample"),
        ([1.0, 2.0], [1, -1], "n samples, d features"),
        ([[1.0], [2.0]], [1], "one label for each of 2"),
    ],
)
def test_bad_samples_are_named(x: Any, y: Any, message: str) -> None:
    for run in (
        lambda: logistic_gd(x, y, 1.0),
        lambda: batch_perceptron(x, y),
        lambda: perceptron(x, y),
        lambda: step_size_sweep(x, y, [1.0]),
    ):
        with pytest.raises(InputError, match=message):
            run()


def test_equal_samples_are_named_in_their_own_group() -> None:
    x = np.array([[1.0, 2.0], [1.0, 2.0], [5.0, 1.0], [-5.0, -1.0], [5.0, 1.0]])
    assert logistic_gd(x[:4], [1, 1, 1, -1], 1.0).separated  # mirror images agree
    with pytest.raises(InputError, match="samples 2 and 4 are equal"):
        logistic_gd(x, [1, 1, 1, -1, -1], 1.0)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: logistic_gd(*TWO, 0.0), "step_size is 0"),
        (lambda: logistic_gd(*TWO, -1.0), "step_size is -1"),
        (lambda: logistic_gd(*TWO, np.nan), "step_size is nan"),
        (lambda: logistic_gd(*TWO, 1.0, stop="loss"), "needs tol"),
        (lambda: logistic_gd(*TWO, 1.0, stop="los", tol=1), "did you mean 'loss'"),
        (lambda: logistic_gd(*TWO, 1.0, record="traces"), "did you mean 'trace'"),
        (lambda: logistic_gd(*TWO, 1.0, max_iter=-1), "max_iter is -1"),
        (lambda: batch_perceptron(*TWO, theta0=[0.0, 1.0]), "first_step='full'"),
        (lambda: batch_perceptron(*TWO, first_step="whole"), "first_step"),
        (lambda: perceptron(*TWO, order="rand"), "did you mean 'random'"),
        (lambda: step_size_sweep(*TWO, [1.0, -2.0]), "positive"),
        (lambda: iteration_bound(*TWO, "logistic_gd"), "no bound at a finite step size"),
        (lambda: iteration_bound(*TWO, "normalized_logistic_gd"), "step_size is None"),
        (lambda: iteration_bound(*TWO, "perceptrons"), "did you mean 'perceptron'"),
    ],
)
def test_bad_settings_say_the_mend(run: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run()


def test_warnings_and_overflow() -> None:
    with pytest.warns(UserWarning, match="all labels are 1"):
        assert logistic_gd([[1, 2], [2, 1]], [1, 1], 1.0).separated  # integers are converted
    x, y = gaussian(8)
    with pytest.warns(UserWarning, match="float32"):
        logistic_gd(x.astype(np.float32), y, 1e7)
    with pytest.raises(BrokenNumbersError, match="overflowed"):
        logistic_gd(np.array(TWO[0]) * 1e200, TWO[1], 1e200)
    with pytest.raises(InputError, match="theta0 has shape"):
        logistic_gd(*TWO, 1.0, theta0=[1.0])
    full = batch_perceptron(*TWO, theta0=[0.0, 1.0], first_step="full")
    assert full.separated


def test_bound_falls_to_the_perceptrons() -> None:
    assert bound_normalized(100, 1.0, 0.1, 1e9) == pytest.approx(100.0, rel=1e-3)
    z = signed_samples(*TWO)
    run = run_descent(z, np.zeros(2), 1.0, kernels.BATCH, max_iter=9, stop=1, first=0.5)
    assert run.theta.tolist() == [1.0, 0.25]
