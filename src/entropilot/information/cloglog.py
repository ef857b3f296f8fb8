"""Complementary log-log regression of counts: the likelihood behind the pass-rate scaling law."""

from __future__ import annotations

import numpy as np

from entropilot.information.intervals import Floats


def log_minus_log_start(passes: Floats, draws: Floats) -> Floats:
    """log(-log p) of smoothed rates, a start that exists for 0 passes too.

    Args:
        passes: counts.
        draws: counts, >= passes.

    Examples:
        >>> round(float(log_minus_log_start(np.array(0.0), np.array(9.0))), 3)
        1.097
    """
    return np.asarray(np.log(-np.log(np.clip((passes + 0.5) / (draws + 1), 1e-12, 1 - 1e-12))))


def fit_cloglog(x: Floats, passes: Floats, draws: Floats) -> tuple[Floats, Floats]:
    """Maximum likelihood of p = exp(-exp(b0 + b1 x)) by Fisher scoring, for many data sets at once.

        log L = sum_i passes_i log p_i + (draws_i - passes_i) log(1 - p_i)

    It is concave in (b0, b1), so halving a step that does not raise it suffices.

    Args:
        x: [n] covariate, not all equal.
        passes: [B, n] passes of each data set.
        draws: [B, n] draws, >= passes.

    Returns:
        (b0, b1) [B, 2], and the Fisher information there [B, 2, 2].

    Examples:
        >>> passes, draws = np.array([[10.0, 50.0]]), np.full((1, 2), 100)
        >>> coef, _ = fit_cloglog(np.array([0.0, 1.0]), passes, draws)
        >>> np.exp(-np.exp(coef[0] @ [[1, 1], [0, 1]])).round(3).tolist()
        [0.1, 0.5]
    """

    def likelihood(coef: Floats) -> Floats:
        rate = np.exp(np.clip(coef[:, :1] + coef[:, 1:] * x, -700, 6.5))  # -log p
        return np.asarray((-passes * rate + (draws - passes) * np.log(-np.expm1(-rate))).sum(1))

    centre = float(x.mean())
    z = (x - centre) / max(float(x.std()), 1e-300)
    design = np.stack([np.ones_like(z), z], 1)  # [n, 2], well conditioned
    start = log_minus_log_start(passes, draws)
    coef = start @ np.linalg.pinv(design).T
    x, original = z, x
    value = likelihood(coef)
    information = np.zeros((len(coef), 2, 2))
    for _ in range(100):
        rate = np.exp(np.clip(coef @ design.T, -700, 6.5))
        odds = 1 / np.expm1(np.maximum(rate, 1e-300))  # p / (1 - p)
        gradient = ((-passes + (draws - passes) * odds) * rate) @ design
        weight = draws * rate * rate * odds  # Fisher information of the linear predictor
        information = np.einsum("bn,ni,nj->bij", weight, design, design)
        ridge = 1e-9 * np.trace(information, axis1=1, axis2=2)[:, None, None] * np.eye(2)
        step = np.linalg.solve(information + ridge, gradient[..., None])[..., 0]
        step = np.clip(step, -3, 3)
        size = np.ones((len(coef), 1))
        for _ in range(30):
            trial = likelihood(coef + size * step)
            worse = ~(trial >= value - 1e-12 * np.abs(value))
            if not worse.any():
                break
            size = np.where(worse[:, None], size / 2, size)
        coef = coef + size * step
        value = likelihood(coef)
        if np.abs(size * step).max() < 1e-11:
            break
    scale = max(float(original.std()), 1e-300)
    back = np.array([[1.0, -centre / scale], [0.0, 1 / scale]])  # coef of x = back @ coef of z
    forth = np.linalg.inv(back)
    return coef @ back.T, np.einsum("ki,bkl,lj->bij", forth, information, forth)
