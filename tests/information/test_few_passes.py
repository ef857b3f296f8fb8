from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaincinv

from entropilot.information._few_passes import FEW, rate_with_few_below
from entropilot.information._resampled_means import resampled_means

TAILS = (0.025, 0.05, 0.975, 1e-6, 0.5)


@given(st.integers(1, FEW + 20), st.integers(0, 10**6), st.sampled_from(TAILS))
@settings(deadline=None)
def test_agrees_with_the_inverse_of_the_incomplete_beta_function(a, extra, tail):
    n = a + extra
    found = float(rate_with_few_below(np.array([a]), np.array([n]), tail)[0])
    # 2e-10: of scipy's own error at n near 10^7, see the next test
    assert found == pytest.approx(float(betaincinv(a, n - a + 1, 1 - tail)), rel=2e-10)


@pytest.mark.parametrize(("a", "n"), [(1, 2), (2, 9_999_478), (7, 15), (20, 100), (64, 75_634)])
@pytest.mark.parametrize("tail", [0.025, 0.975])
def test_solves_the_equation_to_thirteen_digits(a, n, tail):
    found = float(rate_with_few_below(np.array([a]), np.array([n]), tail)[0])
    with mpmath.workdps(40):

        def gap(x):
            terms = (mpmath.binomial(n, i) * x**i * (1 - x) ** (n - i) for i in range(a))
            return sum(terms) - mpmath.mpf(tail)

        near = mpmath.mpf(found)
        root = mpmath.findroot(gap, (near * (1 - 1e-9), near * (1 + 1e-9)), solver="secant")
        assert abs(float(root / near - 1)) < 1e-13


def test_resampled_means_have_the_moments_of_the_bootstrap():
    values = np.random.default_rng(0).exponential(size=501)  # odd: the last draw is a half word
    means = resampled_means(values, 40_000, np.random.default_rng(1))
    stderr = values.std() / np.sqrt(501)
    assert means.mean() == pytest.approx(values.mean(), abs=4 * stderr / np.sqrt(40_000))
    assert means.std() == pytest.approx(stderr, rel=0.015)  # 4 standard errors of a spread


def test_every_place_is_drawn_equally_often():
    n = 7
    share = np.array(
        [resampled_means(np.eye(n)[i], 20_000, np.random.default_rng(2)).mean() for i in range(n)]
    )
    assert share.sum() == pytest.approx(1)  # one seed, the same draws for every place
    np.testing.assert_allclose(share, 1 / n, atol=4 * np.sqrt(6 / 49 / 140_000))
