"""Pass rate of a task from PassUntil on its instances, with an interval and the cost.

Source: PassUntil (arXiv 2310.03262), section 3; the correction for chance is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information._resampled_means import resampled_means
from entropilot.information.intervals import Floats, normal_quantile, percentile_interval
from entropilot.information.pass_until import PassUntilResult, stack_results


class TaskRate(NamedTuple):
    """Pass rate of a task: the mean over its instances; printed, it says what it cost."""

    value: float
    stderr: float
    ci: tuple[float, float]
    n_censored: int
    draws: int  # up to and with the r-th pass of each instance
    tokens: int | None = None  # of all answers drawn; None where a sampler did not report them

    def __str__(self) -> str:
        cost = f"{self.draws:,} draws"
        if self.tokens is not None:
            cost += f", {self.tokens:,} tokens"
        if self.n_censored:
            cost += f"; {self.n_censored:,} instances met the cap"
        return f"pass rate {self.value:.4g} [{self.ci[0]:.4g}, {self.ci[1]:.4g}] ({cost})"


def instance_rates(results: PassUntilResult, estimator: str = "mvue") -> NDArray[np.float64]:
    """Pass rate of every instance by a named estimator.

    Args:
        results: from ``pass_until`` or ``pu_from_counts``.
        estimator: "mvue" (unbiased) or "mle" (the paper's).

    Raises:
        InputError: for "mvue" with r = 1, or another name.

    Examples:
        >>> from entropilot.information import pu_from_counts
        >>> instance_rates(pu_from_counts([13], 2, r=2, k_max=100), "mle").round(4).tolist()
        [0.1538]
    """
    if estimator == "mle":
        return np.atleast_1d(results.mle)
    if estimator != "mvue":
        raise InputError(f"estimator is {estimator!r}; expected 'mvue' or 'mle'")
    if results.r < 2:
        raise InputError("the unbiased estimator needs r >= 2; use r=2 or estimator='mle'")
    return np.atleast_1d(results.mvue)


def task_pu(
    results: Sequence[PassUntilResult] | PassUntilResult,
    estimator: str = "mvue",
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> TaskRate:
    """Pass rate of a task, with the bootstrap over its instances.

    The spread over instances holds the noise of the draws already, so it is counted once. Instances
    that a random guess can hit must be left out beforehand.

    Args:
        results: one per instance, or one with arrays.
        estimator: "mvue" or "mle".
        n_resamples: resamples of the instances.
        confidence: in (0, 1).
        seed: of the bootstrap.

    Returns:
        Value, standard error, interval, censored instances, draws and tokens used; ``print`` it.

    Raises:
        InputError: for "mvue" with r = 1.

    Examples:
        >>> from entropilot.information import pu_from_counts
        >>> found = task_pu(pu_from_counts([13, 5, 40], 2, r=2, k_max=100))
        >>> round(found.value, 4), found.draws
        (0.1197, 58)
        >>> print(found)
        pass rate 0.1197 [0.02564, 0.25] (58 draws)
    """
    stacked = stack_results(results)
    rates = instance_rates(stacked, estimator)
    normal_quantile(confidence)
    if n_resamples < 2:
        raise InputError(f"n_resamples is {n_resamples}; a spread needs at least 2, 1000 are usual")
    spread = resampled_means(rates, n_resamples, np.random.default_rng(seed))
    low, high, _ = percentile_interval(spread, confidence)
    return TaskRate(
        float(rates.mean()),
        float(spread.std(ddof=1)) if len(rates) > 1 else float("nan"),
        (float(low), float(high)),
        int(np.sum(stacked.censored)),
        int(np.sum(stacked.K)),
        stacked.tokens,
    )


def above_chance(
    pu: ArrayLike, chance: float, var: ArrayLike | None = None
) -> tuple[Floats, Floats | None]:
    """Pass rate beyond random guessing, with its variance.

        (PU - chance) / (1 - chance),      variance / (1 - chance)^2

    Args:
        pu: pass rates.
        chance: of a random answer, in [0, 1).
        var: variances of ``pu``.

    Returns:
        Corrected rates, which are negative below chance, and variances (None without ``var``).

    Raises:
        InputError: for a chance outside [0, 1).

    Examples:
        >>> value, _ = above_chance([0.25, 0.5], 0.25)
        >>> value.round(4).tolist()
        [0.0, 0.3333]
    """
    if not 0 <= chance < 1:
        raise InputError(f"chance is {chance}; expected the pass rate of guessing, in [0, 1)")
    rate = np.asarray(pu, dtype=np.float64)
    corrected = (rate - chance) / (1 - chance)
    return corrected, None if var is None else np.asarray(var, dtype=np.float64) / (1 - chance) ** 2
