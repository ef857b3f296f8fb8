from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from entropilot.errors import InputError
from entropilot.information import exchange_test, pass_at_k


def hit(c, n):
    return c > 0, c == 0


def expected(k):
    def reach(c, n):
        u = pass_at_k(n, c, k)
        return u, 1 - u

    return reach


def test_one_problem_is_fisher():
    # 3 right among 8 of both; all 3 in the new model: P(base has 0) = C(4,0) C(4,3) / C(8,3)
    found = exchange_test([0], 4, [3], 4, hit, n_exchanges=20_000)
    truth = hypergeom.pmf(0, 8, 3, 4)
    assert (found.expanded, found.shrunk) == (1, 0)
    assert found.p_expanded == pytest.approx(truth, abs=4 * np.sqrt(truth / 20_000))
    assert found.null_expanded == pytest.approx(truth, abs=4 * np.sqrt(truth / 20_000))
    assert found.p_shrunk == 1


@pytest.mark.parametrize("reach", [hit, expected(4)])
def test_same_model_is_seldom_called_different(reach):
    rng = np.random.default_rng(0)
    rates = rng.beta(0.3, 2, 60)
    p = np.array(
        [
            exchange_test(
                rng.binomial(8, rates), 8, rng.binomial(8, rates), 8, reach, n_exchanges=200, seed=i
            )[4:]
            for i in range(300)
        ]
    )
    # A p-value of an exact test is at most u with chance u; 0.03 is 2.5 standard errors at 300.
    for u in (0.05, 0.2):
        assert ((p <= u).mean(axis=0) < u + 0.05).all()


def test_unequal_numbers_of_samples_and_a_planted_loss():
    rng = np.random.default_rng(1)
    rates = rng.uniform(0.05, 0.3, 200)
    base, new = rng.binomial(16, rates), rng.binomial(32, np.where(np.arange(200) < 80, 0, rates))
    found = exchange_test(base, 16, new, 32, expected(16))
    assert found.p_shrunk < 0.01
    assert found.p_expanded > 0.5
    assert found.p_net < 0.01
    assert found.null_shrunk < found.shrunk


def test_nothing_to_exchange():
    found = exchange_test([0, 4], 4, [0, 4], 4, hit)
    assert found == (0, 0, 0, 0, 1, 1, 1)


def test_bad_input():
    with pytest.raises(InputError, match="the same problems"):
        exchange_test([1], 4, [1, 2], 4, hit)
    with pytest.raises(InputError, match="at least 1 exchange"):
        exchange_test([1], 4, [1], 4, hit, n_exchanges=0)
    with pytest.raises(InputError, match="c_new may not exceed n_new"):
        exchange_test([1], 4, [5], 4, hit)
