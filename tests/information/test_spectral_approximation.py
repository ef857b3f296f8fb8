"""Estimates of the diffusion spectral entropy keep within the errors that they state."""

from __future__ import annotations

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, InputError
from entropilot.information.spectral_approximation import KernelSweep, dse_estimate


def points(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + (3 * rng.normal(size=(8, d)))[np.arange(n) % 8]


@pytest.mark.parametrize(("d", "sigma"), [(2, 1.0), (20, "median:1/3"), (64, 10.0)])
@pytest.mark.parametrize("t", [1, 2])
def test_both_ways_keep_within_their_errors(d: int, sigma: float | str, t: float) -> None:
    z = points(1300, d)
    exact = dse_estimate(z, sigma, t, method="exact")
    for method in ("nystrom", "slq"):
        found = dse_estimate(z, sigma, t, method=method)  # type: ignore[arg-type]
        assert abs(found.value - exact.value) <= 1.5 * found.error, (method, found)
        assert found.sigma == exact.sigma


def test_the_bounds_of_nystrom_close_with_its_rank() -> None:
    z = points(600, 5)
    errors = [dse_estimate(z, 3.0, method="nystrom", rank=r).error for r in (5, 20, 80, 320)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


def test_auto_is_exact_where_that_is_cheap() -> None:
    assert dse_estimate(points(200, 3), 1.0).method == "exact"


def test_a_sweep_is_the_product_with_the_kernel() -> None:
    z = points(1100, 4)
    v = np.random.default_rng(1).normal(size=(1100, 3))
    d = ((z[:, None] - z[None]) ** 2).sum(-1)
    expected = np.exp(-d / (2 * 2.0**2)) @ v
    np.testing.assert_allclose(KernelSweep(z, 2.0).sweep(v), expected, atol=2e-3)


def test_duplicates_and_equal_points() -> None:
    z = np.repeat(points(100, 3), 5, axis=0)
    exact = dse_estimate(z, 1.0, method="exact")
    for method in ("nystrom", "slq"):
        found = dse_estimate(z, 1.0, method=method)  # type: ignore[arg-type]
        assert abs(found.value - exact.value) <= 1.5 * found.error


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigurationError, match="method is 'chebyshev'"):
        dse_estimate(points(10, 2), method="chebyshev")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="probes = 1"):
        dse_estimate(points(10, 2), probes=1)
    with pytest.raises(ConfigurationError, match="t is 0"):
        dse_estimate(points(10, 2), t=0)
    with pytest.raises(InputError, match="not finite"):
        dse_estimate(np.full((4, 2), np.nan))
