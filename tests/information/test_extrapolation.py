from __future__ import annotations

import numpy as np
import pytest

from entropilot.errors import InputError
from entropilot.information import pass_at_k_curve, pass_at_k_extrapolated

KS = [1, 4, 16, 64, 256]


def test_more_samples_confirm_the_extrapolation():
    rng = np.random.default_rng(0)
    rates = rng.beta(0.4, 3, 800)
    few = pass_at_k_extrapolated(16, rng.binomial(16, rates), KS, n_resamples=60)
    truth = (1 - (1 - rates[:, None]) ** np.array(KS)).mean(axis=0)
    assert (few.low < truth).all()
    assert (truth < few.high).all()
    assert few.alpha == pytest.approx(0.4, rel=0.2)  # 3 standard errors at this size
    assert (np.diff(few.mean) > 0).all()


def test_within_n_it_is_close_to_the_unbiased_estimate():
    rng = np.random.default_rng(1)
    c = rng.binomial(32, rng.beta(0.7, 0.9, 500))
    model = pass_at_k_extrapolated(32, c, [1, 8, 32], n_resamples=2).mean
    np.testing.assert_allclose(model, pass_at_k_curve(32, c, [1, 8, 32]).mean, atol=0.01)


def test_equal_rates_do_not_run_away():
    found = pass_at_k_extrapolated(1000, np.full(50, 500), [10], n_resamples=2)
    assert float(found.mean[0]) == pytest.approx(1 - 0.5**10, abs=1e-3)


def test_unequal_numbers_of_samples_are_taken():
    found = pass_at_k_extrapolated([4, 8, 8], [1, 2, 8], [16], n_resamples=5)
    assert 0 < float(found.mean[0]) < 1


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (4, [0, 0], 8, "0 of 8 samples on 2 problems are right"),
        (4, [4, 4], 8, "needs right and wrong ones"),
        (1, [0, 1], 8, "2 samples a problem"),
        (4, [1, 2], 0, "at least 1 answer"),
        (4, [1, 5], 8, "may not exceed"),
    ],
)
def test_bad_input(n, c, k, message):
    with pytest.raises(InputError, match=message):
        pass_at_k_extrapolated(n, c, k)
