"""The entropy-performance law: golden fit, forecast with its rivals, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import fit_entropy_law, fit_entropy_line, forecast_entropy_law


def test_fit_is_the_least_squares_answer(golden: Callable[[str], Any]) -> None:
    case = golden("cov-clip")["entropy_performance_fit"]
    exact = fit_entropy_law(case["entropy"], case["reward_exact"])
    assert (exact.a, exact.b) == pytest.approx((case["a"], case["b"]), rel=1e-12)
    assert exact.rmse < 1e-12
    assert exact.r2 == pytest.approx(1)
    noisy = fit_entropy_law(case["entropy"], case["reward_noisy"])
    found = (noisy.a, noisy.b, noisy.ceiling, noisy.rmse)
    expected = tuple(case[f"ls_{name}"] for name in ("a", "b", "ceiling", "rmse"))
    assert found == pytest.approx(expected, rel=1e-12)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(0, 8), st.floats(0.05, 3))
def test_exact_data_give_their_coefficients_back(
    a: float, b: float, start: float, width: float
) -> None:
    H = np.linspace(start, start + width, 7)
    law = fit_entropy_law(H, b - a * np.exp(H))
    assert law.predict(H) == pytest.approx(b - a * np.exp(H), abs=1e-9 * np.exp(start + width))
    assert law.ceiling == law.b - law.a


def test_weights_count_points() -> None:
    rng = np.random.default_rng(0)
    H, R = rng.uniform(0.2, 1, 6), rng.uniform(0, 1, 6)
    counts = np.array([1, 3, 0, 2, 1, 1])
    weighted = fit_entropy_law(H, R, counts)
    repeated = fit_entropy_law(np.repeat(H, counts), np.repeat(R, counts))
    for name in ("a", "b", "ceiling", "rmse", "r2"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-12)


def test_residuals_are_orthogonal_and_line_is_numpys() -> None:
    rng = np.random.default_rng(1)
    H, R = rng.uniform(0.2, 2, 40), rng.uniform(0, 1, 40)
    law = fit_entropy_law(H, R)
    left = R - law.predict(H)
    assert abs(left.sum()) < 1e-12
    assert abs(left @ np.exp(H)) < 1e-11
    assert law.r2 == pytest.approx(1 - left @ left / ((R - R.mean()) @ (R - R.mean())))
    line = fit_entropy_line(H, R)
    assert (-line.slope, line.intercept) == pytest.approx(tuple(np.polyfit(H, R, 1)))


def test_constant_reward_has_no_r2() -> None:
    law = fit_entropy_law([0.1, 0.5, 0.9], [0.3, 0.3, 0.3])
    assert law.a == pytest.approx(0, abs=1e-15)
    assert np.isnan(law.r2)


def test_forecast_compares_the_law_with_both_rivals() -> None:
    H = np.linspace(1.2, 0.1, 12)
    R = 0.9 - 0.25 * np.exp(H)
    R[5] += 0.01
    found = forecast_entropy_law(H, R, 6)
    law = fit_entropy_law(H[:6], R[:6])
    assert found.law == law
    assert found.rmse == pytest.approx(np.sqrt(np.mean((law.predict(H[6:]) - R[6:]) ** 2)))
    assert found.last_error == pytest.approx(float(law.predict(H[-1])) - R[-1])
    assert found.last_value_rmse == pytest.approx(np.sqrt(np.mean((R[5] - R[6:]) ** 2)))
    line = np.polyval(np.polyfit(H[:6], R[:6], 1), H[6:])
    assert found.line_rmse == pytest.approx(np.sqrt(np.mean((line - R[6:]) ** 2)))
    assert found.rmse < found.line_rmse < found.last_value_rmse


@pytest.mark.parametrize(
    ("H", "R", "weights", "message"),
    [
        ([0.1, 0.2], [1, 2], None, "2 points with a weight above 0"),
        ([0.1, 0.2, 0.3], [1, 2, 3], [1, 1, 0], "2 points"),
        ([0.4, 0.4, 0.4], [1, 2, 3], None, "all entropies are equal"),
        ([0.4, 0.4, 0.4, 0.9], [1, 2, 3, 4], [1, 1, 1, 0], "all entropies are equal"),
        ([0.4, 0.4, 0.4 + 1e-17], [1, 2, 3], None, "all entropies are equal"),
        ([0.1, 0.2, 0.3], [1, 2], None, "one of each a point"),
        ([0.1, np.nan, 0.3], [1, 2, 3], None, r"H\[1\] is nan"),
        ([0.1, 0.2, 0.3], [1, 2, np.inf], None, r"R\[2\] is inf"),
        ([-0.1, 0.2, 0.3], [1, 2, 3], None, "negate them"),
        ([0.1, 0.2, 0.3], [1, 2, 3], [1, 1, -1], "weights are >= 0"),
    ],
)
def test_bad_points_are_refused(H: Any, R: Any, weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_entropy_law(H, R, weights)
    with pytest.raises(ValueError, match=message):
        fit_entropy_line(H, R, weights)


@pytest.mark.parametrize("n_first", [2, 5, -1])
def test_forecast_needs_points_on_both_sides(n_first: int) -> None:
    with pytest.raises(InputError, match=f"n_first is {n_first} of 5"):
        forecast_entropy_law(np.linspace(0.1, 1, 5), np.arange(5), n_first)
