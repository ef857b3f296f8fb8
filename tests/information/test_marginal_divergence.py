"""Change of the marginals by a step of noise, schedules, Frechet distance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.information.frechet import frechet_distance
from entropilot.information.marginal_divergence import (
    gaussian_step_kl,
    mixture_step_kl,
    sample_step_kl,
)
from entropilot.information.noise_schedule import alpha_bar, checked_schedule, signal_to_noise

ABAR = alpha_bar()
RNG = np.random.default_rng(0)


def test_the_linear_schedule_is_the_golden_one(golden: Callable[[str], Any]) -> None:
    want = golden("denoising-curriculum")["linear_schedule"]
    for t, value in want["alpha_bar"].items():
        assert ABAR[int(t)] == pytest.approx(value, rel=1e-12)


def exact_gaussian(mean: float, std: float, t: int) -> float:
    """In fifty digits."""
    with mpmath.workdps(50):
        first, last = mpmath.mpf("1e-4"), mpmath.mpf("0.02")
        product, left = mpmath.mpf(1), []
        for i in range(t + 1):
            product *= 1 - (first + (last - first) * i / 999)
            left.append(product)
        a, b = left[t - 1], left[t]
        va, vb = (x * mpmath.mpf(str(std)) ** 2 + 1 - x for x in (a, b))
        shift = (mpmath.sqrt(a) - mpmath.sqrt(b)) ** 2
        kl = (mpmath.log(vb / va) + va / vb - 1) / 2 + mpmath.mpf(mean) ** 2 * shift / (2 * vb)
        return float(kl)


def test_gaussians_are_the_golden_ones_and_exact(golden: Callable[[str], Any]) -> None:
    for case in golden("denoising-curriculum")["gaussian"]:
        index = np.array(case["index"])
        found = gaussian_step_kl(case["mean"], case["std"], ABAR)[index - 1]
        # the golden numbers carry the cancellation of double arithmetic, about 1e-17
        np.testing.assert_allclose(found, case["kl"], rtol=1e-8, atol=5e-17)
        exact = [exact_gaussian(case["mean"], case["std"], int(t)) for t in index]
        np.testing.assert_allclose(found, exact, rtol=1e-11)


def test_mixtures_are_the_golden_ones_by_both_methods(golden: Callable[[str], Any]) -> None:
    for case in golden("denoising-curriculum")["mixture"]:
        k = len(case["means"])
        weights = np.full(k, 1 / k)
        found = mixture_step_kl(weights, case["means"], case["std"], ABAR, case["index"])
        np.testing.assert_allclose(found.value, case["kl"], rtol=1e-6, atol=1e-14)
        drawn = mixture_step_kl(
            weights, case["means"], case["std"], ABAR, case["index"], "monte_carlo", n=5000
        )
        assert (abs(drawn.value - found.value) <= 4 * drawn.stderr).all()
        assert (drawn.stderr <= 0.3 * found.value).all()


def test_a_mixture_of_one_is_a_gaussian() -> None:
    t = np.array([1, 100, 900])
    want = gaussian_step_kl(0.7, 0.3, ABAR)[t - 1]
    np.testing.assert_allclose(mixture_step_kl([1.0], [0.7], 0.3, ABAR, t).value, want, rtol=1e-8)
    plane = mixture_step_kl([1.0], [[0.7, 0.0]], 0.3, ABAR, t, "monte_carlo", n=100_000)
    want = gaussian_step_kl(0.7, 0.3, ABAR, dim=2)[t - 1]
    np.testing.assert_allclose(plane.value, want, rtol=0.03)


@given(st.floats(0.02, 3), st.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_dimensions_add_and_white_noise_never_changes(std: float, dim: int) -> None:
    one = gaussian_step_kl(0.0, std, ABAR)
    assert (one >= 0).all()
    np.testing.assert_allclose(gaussian_step_kl(0.0, std, ABAR, dim), dim * one)
    assert not gaussian_step_kl(0.0, 1.0, ABAR, dim).any()


def test_samples_of_a_gaussian_have_its_divergence() -> None:
    x = RNG.normal(size=(400, 1))
    x = 0.5 * (x - x.mean()) / x.std(ddof=1)
    want = gaussian_step_kl(0.0, 0.5, ABAR)
    np.testing.assert_allclose(sample_step_kl(x, ABAR), want, rtol=1e-9)
    np.testing.assert_allclose(
        sample_step_kl(x + 2, ABAR), gaussian_step_kl(2.0, 0.5, ABAR), rtol=1e-9
    )
    wide = np.concatenate([x, RNG.permutation(x)], 1)
    both = sample_step_kl(wide, ABAR, [1, 500])
    assert both.shape == (2,)
    one = sample_step_kl(wide, ABAR, [1, 500], dims=1)
    assert (one < both).all()


def test_divergence_is_that_of_full_matrices() -> None:
    x = RNG.normal(size=(200, 3)) @ RNG.normal(size=(3, 3)) + [1.0, 0.0, -2.0]
    cov, mean = np.cov(x, rowvar=False), x.mean(0)
    a, b = ABAR[399], ABAR[400]
    ca, cb = (v * cov + (1 - v) * np.eye(3) for v in (a, b))
    gap = (np.sqrt(b) - np.sqrt(a)) * mean
    inverse = np.linalg.inv(cb)
    want = 0.5 * (
        np.trace(inverse @ ca)
        + gap @ inverse @ gap
        - 3
        + np.linalg.slogdet(cb)[1]
        - np.linalg.slogdet(ca)[1]
    )
    assert sample_step_kl(x, ABAR, 400, dims=None) == pytest.approx(want, rel=1e-8)


def test_frechet_distance() -> None:
    x = RNG.normal(size=(300, 5)) @ RNG.normal(size=(5, 5))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    y = RNG.normal(size=(200, 5))
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)
    assert frechet_distance(x, x + 2.0) == pytest.approx(20, rel=1e-9)
    a, b = x[:, :1], y[:, :1]
    want = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(want, rel=1e-9)
    with pytest.raises(InputError, match="same features"):
        frechet_distance(x, y[:, :3])
    with pytest.raises(InputError, match="at least 2 samples"):
        frechet_distance(x[:1], y)
    y[3, 0] = np.inf
    with pytest.raises(BrokenNumbersError, match="sample 3 of b"):
        frechet_distance(x, y)


def test_schedules() -> None:
    cosine = alpha_bar("cosine", 100)
    t = np.arange(1, 90)
    angle = (t / 100 + 0.008) / 1.008 * np.pi / 2
    want = np.cos(angle) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(cosine[t - 1], want, rtol=1e-9)
    assert (np.diff(signal_to_noise(cosine)) < 0).all()
    with pytest.raises(ConfigurationError, match="did you mean 'cosine'"):
        alpha_bar("cosin")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="at least one step"):
        alpha_bar(T=0)
    with pytest.raises(ConfigurationError, match="betas run"):
        alpha_bar(beta_last=1.5)
    with pytest.raises(InputError, match=r"1\.2 at t = 1"):
        checked_schedule([0.9, 1.2])
    with pytest.raises(InputError, match="does not fall at t = 2"):
        signal_to_noise([0.9, 0.5, 0.6])
    with pytest.raises(InputError, match=r"expected \[T\]"):
        checked_schedule([])


def test_bad_mixtures_and_samples() -> None:
    with pytest.raises(InputError, match=r"sum to 1; they sum to 0\.7"):
        mixture_step_kl([0.5, 0.2], [0, 1], 0.1, ABAR, 1)
    with pytest.raises(InputError, match=r"expected \[K\]"):
        mixture_step_kl([1.0], [0, 1], 0.1, ABAR, 1)
    with pytest.raises(InputError, match="stds are"):
        mixture_step_kl([0.5, 0.5], [0, 1], [0.1, 0.0], ABAR, 1)
    for t in (0, 1000, 1.5):
        with pytest.raises(InputError, match="from 1 to 999"):
            mixture_step_kl([1.0], [0.0], 0.1, ABAR, t)
    with pytest.raises(ConfigurationError, match="monte_carlo"):
        mixture_step_kl([1.0], [[0.0, 1.0]], 0.1, ABAR, 1)
    with pytest.raises(ConfigurationError, match="unknown method"):
        mixture_step_kl([1.0], [0.0], 0.1, ABAR, 1, "exact")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="at least 2 draws"):
        mixture_step_kl([1.0], [0.0], 0.1, ABAR, 1, "monte_carlo", n=1)
    with pytest.raises(InputError, match="dim 0"):
        gaussian_step_kl(0.0, 1.0, ABAR, 0)
    with pytest.raises(InputError, match="at least 2 samples"):
        sample_step_kl([[1.0, 2.0]], ABAR)
    with pytest.raises(BrokenNumbersError, match="sample 1"):
        sample_step_kl([[1.0], [np.nan]], ABAR)
    with pytest.raises(InputError, match="dims is 0"):
        sample_step_kl([[1.0], [2.0]], ABAR, dims=0)
    with pytest.raises(InputError, match="whole numbers"):
        sample_step_kl([[1.0], [2.0]], ABAR, 0)
