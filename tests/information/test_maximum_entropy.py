from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from entropilot.errors import InputError
from entropilot.information import (
    entropy_from_logits,
    feasibility,
    gaussian_entropy,
    maxent,
    maxent_ladder,
    relative_entropy,
    temperature_for_entropy,
)

DIE = np.arange(1.0, 7.0)
STATES = np.arange(5.0)


def test_golden_dice(golden):
    for row in golden("statmech")["die"]:
        made = maxent(DIE, row["mean"])
        assert made.lam[0] == pytest.approx(row["lagrange"], rel=1e-10, abs=1e-12)
        assert made.log_z == pytest.approx(row["logZ"], rel=1e-10)
        assert made.entropy == pytest.approx(row["entropy_nats"], rel=1e-10)
        assert made.cov[0, 0] == pytest.approx(row["variance"], rel=1e-10)
        np.testing.assert_allclose(made.p, row["p"], rtol=1e-10)
        assert 0 <= made.gap < 1e-15


def test_golden_levels_of_an_oscillator(golden):
    # The cut at level n leaves exp(-beta n): 1000 levels are beyond rounding for these betas.
    for row in golden("statmech")["oscillator"]:
        made = maxent(np.arange(1000.0), row["mean"])
        assert made.lam[0] == pytest.approx(row["beta"], rel=1e-10)
        assert made.entropy == pytest.approx(row["entropy_nats"], rel=1e-10)
        assert made.lam[0] ** 2 * made.cov[0, 0] == pytest.approx(row["heat_capacity"], rel=1e-10)


def test_golden_gaussians_in_closed_form_and_on_a_grid(golden):
    for row in golden("statmech")["gaussian_entropy_nats"]:
        assert gaussian_entropy(row["var"]) == pytest.approx(row["entropy"], rel=1e-12)
        x, dx = np.linspace(-12, 12, 2401, retstep=True)
        x = x * np.sqrt(row["var"])
        weights = np.full(len(x), dx * np.sqrt(row["var"]))
        made = maxent(np.stack([x, x**2], 1), [0.0, row["var"]], weights)
        assert made.entropy == pytest.approx(row["entropy"], abs=1e-10)


def problems(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(4, 40)), int(rng.integers(1, 4))
    return rng.standard_normal((n, m)) * 10 ** rng.uniform(-3, 3, m), rng.dirichlet(
        np.ones(n)
    ), rng.uniform(0.1, 3, n)  # fmt: skip


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_targets_are_met_and_gibbs_relations_hold(seed):
    f, truth, prior = problems(seed)
    target = truth @ f
    made = maxent(f, target, prior)
    assert made.p.sum() == pytest.approx(1)
    np.testing.assert_allclose((made.mean - target) / np.abs(f).max(0), 0, atol=1e-11)
    assert made.entropy == pytest.approx(made.log_z + made.lam @ target, abs=1e-9)
    assert made.gap < 1e-12
    # no other distribution with these means has a larger entropy
    assert (
        -relative_entropy(truth, prior / prior.sum()) + np.log(prior.sum()) <= made.entropy + 1e-9
    )
    h = 1e-5 * np.sqrt(made.cov[0, 0])
    up, down = (maxent(f, target + s * h * np.eye(len(target))[0], prior) for s in (1, -1))
    assert (up.entropy - down.entropy) / (2 * h) == pytest.approx(
        made.lam[0], rel=1e-4, abs=1e-3 / h
    )


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_slope_of_the_mean_is_minus_the_covariance(seed):
    f, truth, prior = problems(seed)
    made = maxent(f, truth @ f, prior)
    step = 1e-6 / np.sqrt(np.diag(made.cov))
    for a in range(f.shape[1]):
        shifted = []
        for sign in (1, -1):
            lam = made.lam + sign * step[a] * np.eye(len(made.lam))[a]
            w = np.log(prior) - f @ lam
            p = np.exp(w - w.max())
            shifted.append(p @ f / p.sum())
        slope = -(shifted[0] - shifted[1]) / (2 * step[a])
        size = np.sqrt(made.cov[a, a] * np.diag(made.cov))
        np.testing.assert_allclose(slope / size, made.cov[a] / size, atol=1e-6)


def test_equals_a_general_optimiser_on_the_primal():
    f = np.stack([STATES, STATES**2], 1)
    found = minimize(
        lambda p: float(p @ np.log(p)), np.full(5, 0.2), method="SLSQP", bounds=[(1e-9, 1)] * 5,
        constraints=[{"type": "eq", "fun": lambda p: np.append(p @ f - [1.5, 3.5], p.sum() - 1)}],
        options={"ftol": 1e-14},
    )  # fmt: skip
    np.testing.assert_allclose(maxent(f, [1.5, 3.5]).p, found.x, atol=1e-6)


def test_states_without_prior_weight_stay_out_and_labels_do_not_matter():
    made = maxent(DIE, 4.5, [0, 1, 1, 1, 1, 1])
    assert made.p[0] == 0
    doubled = maxent(DIE, 4.5, [0, 2, 2, 2, 2, 2])
    np.testing.assert_allclose(doubled.p, made.p, atol=1e-14)
    assert doubled.entropy == pytest.approx(made.entropy + np.log(2))


def test_indistinguishable_particles_divide_by_n_factorial():
    # Labelled particles on two sites, against counts with prior 1/(n! (N-n)!).
    N = 6
    n = np.arange(N + 1.0)
    factorial = np.array([np.prod(np.arange(1, k + 1)) for k in range(N + 1)])
    labelled = np.array([[b >> k & 1 for k in range(N)] for b in range(2**N)]).sum(1)
    apart = maxent(labelled, 2.0)
    alike = maxent(n, 2.0, 1 / (factorial * factorial[::-1]))
    np.testing.assert_allclose(np.bincount(labelled, apart.p), alike.p, atol=1e-12)
    assert apart.log_z - alike.log_z == pytest.approx(np.log(factorial[-1]))


def test_soft_targets_give_way_in_proportion_to_their_multiplier():
    made = maxent(STATES, 1.0, soft=0.3)
    assert made.mean[0] - 1.0 == pytest.approx(0.09 * made.lam[0], rel=1e-9)
    assert 1.0 < made.mean[0] < 2.0
    assert maxent(STATES, 1.0, soft=1e-9).lam[0] == pytest.approx(maxent(STATES, 1.0).lam[0])
    outside = maxent(STATES, 9.0, soft=0.5)
    assert not outside.feasible
    assert outside.mean[0] < 4
    assert made.feasible


def test_a_soft_target_beside_an_exact_one():
    made = maxent(np.stack([STATES, STATES**2], 1), [1.5, 8.0], soft=[0.0, 1.0])
    assert made.mean[0] == pytest.approx(1.5, abs=1e-11)
    assert made.mean[1] - 8.0 == pytest.approx(made.lam[1], rel=1e-9)


def test_dependent_features_share_their_multiplier_and_are_reported():
    f = np.stack([STATES, 2 * STATES], 1)
    made = maxent(f, [1.0, 2.0])
    assert made.null_space.shape == (2, 1)
    assert np.ptp(f @ made.null_space) < 1e-12
    np.testing.assert_allclose(made.p, maxent(STATES, 1.0).p, atol=1e-12)


def test_each_rung_of_the_ladder_tells_what_the_entropy_falls():
    f = [STATES, STATES**2, STATES == 3]
    made = maxent_ladder(f, [1.8, 4.5, 0.25])
    np.testing.assert_allclose(made.information, -np.diff(made.entropy), atol=1e-10)
    assert made.entropy[0] == pytest.approx(np.log(5))
    assert (np.diff(made.entropy) <= 1e-12).all()


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        (DIE, 7.0, r"no distribution has the target of feature 0: every state has -1 x feature 0"),
        (DIE, 6.0, "on the boundary .* a multiplier diverges"),
        (np.stack([STATES, STATES**2], 1), [2.0, 1.0], "feature 0 and feature 1 together"),
        (np.stack([STATES, 2 * STATES], 1), [1.0, 3.0], "feature 0 and feature 1 together"),
        (np.ones(3), 2.0, "no distribution has the target of feature 0"),
        (DIE, [1.0, 2.0], "expected .n, m. and .m."),
        (DIE, np.nan, "targets holds nan at index"),
        ([1.0, np.inf], 1.0, "features holds inf at index"),
        (np.zeros((0, 1)), [1.0], "expected .n, m. and .m."),
    ],
)
def test_bad_targets_are_named(features, targets, message):
    with pytest.raises(InputError, match=message):
        maxent(features, targets)


def test_only_the_constraints_that_contradict_each_other_are_named():
    rng = np.random.default_rng(0)
    other = rng.standard_normal(5)
    f = np.stack([other, STATES, STATES**2], 1)
    with pytest.raises(InputError, match="charge and spread together") as caught:
        maxent(f, [0.0, 2.0, 1.0], names=["noise", "charge", "spread"])
    assert "noise" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"prior": [1, -1, 1, 1, 1, 1]}, "0 or more"),
        ({"prior": np.zeros(6)}, "some above 0"),
        ({"prior": [1, 1]}, r"prior has shape \(2,\)"),
        ({"soft": -1.0}, "standard errors"),
        ({"tol": 0.0}, "tol = 0"),
        ({"names": ["a", "b"]}, "names has shape"),
    ],
)
def test_bad_settings_are_named(words, message):
    with pytest.raises(InputError, match=message):
        maxent(DIE, 3.0, **words)


def test_bad_ladders_and_covariances():
    with pytest.raises(InputError, match="as many of one"):
        maxent_ladder([DIE], [])
    with pytest.raises(InputError, match="not positive definite"):
        gaussian_entropy([[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(InputError, match="symmetric square"):
        gaussian_entropy([[1.0, 2.0]])


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_programme_agrees_with_how_the_target_was_made(seed):
    f, truth, _ = problems(seed)
    assert feasibility(f, truth @ f).place == "inside"
    corner = int(np.argmax(f[:, 0]))
    assert feasibility(f, f[corner]).place == "boundary"
    beyond = f[corner] + 0.1 * (f[corner] - truth @ f)
    found = feasibility(f, beyond)
    assert found.place == "outside"
    assert (f @ found.direction).min() > beyond @ found.direction


def test_temperature_gives_the_entropy():
    logits = np.random.default_rng(0).standard_normal(1000) * 3
    for wanted in (0.01, 1.0, 4.0, 6.5, 6.9):
        t = temperature_for_entropy(logits, wanted)
        assert float(entropy_from_logits(logits / t)) == pytest.approx(wanted, rel=1e-9)
    assert temperature_for_entropy([0.0, 1.0, -np.inf], 0.5) > 0


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        ([0.0, 1.0], 0.8, "expected strictly between 0 .* 0.693"),
        ([1.0, 1.0, 0.0], 0.5, "between 0.693"),
        ([np.nan, 1.0], 0.5, "finite numbers or -inf"),
        ([-np.inf], 0.5, "every logit is -inf"),
    ],
)
def test_an_entropy_that_no_temperature_gives(logits, target, message):
    with pytest.raises(InputError, match=message):
        temperature_for_entropy(logits, target)
