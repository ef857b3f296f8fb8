"""PassUntil: draw answers until r of them pass, and so measure pass rates of 1e-5.

    K - r ~ NegativeBinomial(r, P):   P(K = k) = C(k-1, r-1) P^r (1-P)^(k-r)
    mle  = r / K                      biased upward: 11.5 x P at r = 1, P = 1e-5; 2.0 x P at r = 2
    mvue = (r-1) / (K-1)              unbiased, of minimum variance; needs r >= 2

Source: PassUntil (arXiv 2310.03262), section 3 and Theorem 1.
Departs from the paper: it uses r/K; the unbiased form is the default here. A run that meets the cap
is kept as censored, with an upper bound, and is never reported as a bare 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.counts import reject, whole_numbers
from entropilot.information.intervals import Floats, cluster_bootstrap_of

Draw = Callable[[int, np.random.Generator], Any]  # bool [n] in draw order, or (bool [n], texts)

IDENTICAL = 50  # so many equal answers from the start suggest a greedy or cached sampler


@dataclass(frozen=True)
class PassUntilResult:
    """What one or many instances gave; scalars for one, arrays [S] for many."""

    K: Any  # draws up to and with the r-th pass; k_max where censored
    passes: Any  # r, or fewer where censored
    r: int
    k_max: int

    @property
    def censored(self) -> Any:
        """True where the cap came before the r-th pass."""
        return np.asarray(self.passes) < self.r

    @property
    def mle(self) -> Any:
        """Maximum-likelihood estimate, passes / K; biased upward where not censored."""
        return np.asarray(self.passes, dtype=np.float64) / np.asarray(self.K)

    @property
    def mvue(self) -> Any:
        """Unbiased estimate (r-1)/(K-1); passes / k_max where censored; nan for r = 1.

        The two together are unbiased under the cap as well: each is the share of the paths to its
        stopping point that begin with a pass.
        """
        if self.r == 1:
            return np.where(self.censored, self.mle, np.nan)[()]
        draws = np.maximum(np.asarray(self.K) - 1, 1)
        return np.where(self.censored, self.mle, (self.r - 1) / draws)[()]

    @property
    def upper95(self) -> Any:
        """One-sided 95 % upper bound; 1 - 0.05^(1/k_max), about 3/k_max, after no pass."""
        return self._ends(0.9)[1]

    @property
    def ci(self) -> tuple[Any, Any]:
        """Exact 95 % interval: inverse sampling; Clopper-Pearson where censored.

        After no pass at all it runs from 0 to the one-sided bound.
        """
        low, high = self._ends(0.95)
        return low, np.where(np.asarray(self.passes) == 0, self.upper95, high)[()]

    def _ends(self, confidence: float) -> tuple[Floats, Floats]:
        from scipy.special import betaincinv  # costs 0.2 s to import

        tail = (1 - confidence) / 2
        passes, draws = np.broadcast_arrays(np.asarray(self.passes), np.asarray(self.K))
        pairs, where = np.unique(
            np.stack([passes.ravel(), draws.ravel()]), axis=1, return_inverse=True
        )
        s, k = pairs
        low = np.where(s == 0, 0.0, betaincinv(np.maximum(s, 1), k - s + 1, tail))
        # The last of K draws is a pass by design, so an uncensored upper end has s - 1 passes in
        # K - 1 draws; a censored one is Clopper-Pearson's.
        a = np.where(s >= self.r, s, s + 1)
        high = np.where(s == k, 1.0, betaincinv(a, np.maximum(k - s, 1), 1 - tail))
        where = where.reshape(draws.shape)
        return low[where][()], high[where][()]


class TaskRate(NamedTuple):
    """Pass rate of a task: the mean over its instances."""

    value: float
    stderr: float
    ci: tuple[float, float]
    n_censored: int
    draws: int  # answers drawn in all


def pass_until(
    sample: Draw,
    r: int = 2,
    k_max: int = 100_000,
    *,
    batch: int = 64,
    seed: int = 0,
    temperature: float | None = None,
) -> PassUntilResult:
    """Draw until ``r`` answers pass, or ``k_max`` are drawn.

    Args:
        sample: ``sample(n, rng)`` gives n verdicts, bool [n] in draw order (True = pass), or a pair
            (verdicts, texts). Answers of parallel workers must be put in the order of their draw,
            not of arrival: short answers arrive first and pass at another rate.
        r: passes to wait for, >= 1. 2 is the least that has an unbiased estimate.
        k_max: cap, >= r.
        batch: draws at a time. What a batch holds after the r-th pass is thrown away, since
            counting it would bias K.
        seed: of the Generator that is handed to ``sample``.
        temperature: of the sampler, if known; 0 means that draws are not random.

    Returns:
        Scalar result.

    Raises:
        InputError: for r < 1, k_max < r, batch < 1, or a sampler that returns another number of
            verdicts than it was asked for.

    Example:
        >>> found = pass_until(lambda n, rng: rng.random(n) < 0.1, r=2, seed=1)
        >>> int(found.passes), bool(found.censored), 0 < float(found.mvue) < 1
        (2, False, True)

    Source: arXiv 2310.03262, section 3.
    """
    _checked_design(r, k_max)
    if batch < 1:
        raise InputError(f"batch is {batch}; draw at least 1 answer at a time")
    rng = np.random.default_rng(seed)
    drawn, passes, first, is_same = 0, 0, None, temperature is None or temperature == 0
    while passes < r and drawn < k_max:
        size = min(batch, k_max - drawn)
        verdicts, texts = _verdicts(sample(size, rng), size)
        if texts is not None and is_same:
            first = texts[0] if first is None else first
            is_same = all(text == first for text in texts)
        where = np.flatnonzero(verdicts)
        needed = r - passes
        if len(where) >= needed:
            drawn, passes = drawn + int(where[needed - 1]) + 1, r
        else:
            drawn, passes = drawn + size, passes + len(where)
    if temperature == 0 or (is_same and first is not None and drawn >= IDENTICAL):
        warnings.warn(
            "draws are not random (temperature 0, or all answers identical); a pass rate needs "
            "temperature sampling without a cache",
            stacklevel=2,
        )
    return PassUntilResult(np.int64(drawn), np.int64(passes), r, k_max)


def pu_from_counts(K: ArrayLike, passes: ArrayLike, r: int, k_max: int) -> PassUntilResult:
    """Results from recorded counts of many instances at once.

    Args:
        K: [S] draws up to and with the r-th pass; k_max where the cap came first.
        passes: [S] or scalar, r or fewer.
        r: passes that were waited for.
        k_max: cap.

    Returns:
        Result with arrays [S] (scalars for scalars).

    Raises:
        InputError: with the index of a record with passes > K, more than r passes, K above k_max,
            or a run that stopped before both r passes and the cap.

    Example:
        >>> found = pu_from_counts([13, 1000], [2, 0], r=2, k_max=1000)
        >>> found.mvue.round(4).tolist(), found.censored.tolist()
        ([0.0833, 0.0], [False, True])
    """
    _checked_design(r, k_max)
    draws, hits = np.broadcast_arrays(whole_numbers(K, "K"), whole_numbers(passes, "passes"))
    reject(draws < 1, draws, "K counts draws, so it is at least 1")
    reject(hits < 0, hits, "passes can't be negative")
    reject(hits > draws, hits, "a record may not have more passes than K draws; are they swapped?")
    reject(
        hits > r,
        hits,
        f"passes may not exceed r = {r}; count only up to the r-th pass and drop the rest of the "
        f"batch",
    )
    reject(draws > k_max, draws, f"K may not exceed the cap k_max = {k_max}")
    reject(
        (hits < r) & (draws < k_max),
        draws,
        f"a record with fewer than r = {r} passes must have K = k_max = {k_max} draws; a run that "
        f"stopped early for another reason can't be used",
    )
    return PassUntilResult(draws[()], hits[()], r, k_max)


def stack_results(results: Sequence[PassUntilResult] | PassUntilResult) -> PassUntilResult:
    """Many results of one design as one result with arrays.

    Args:
        results: results with equal r and k_max; a single result with arrays is handed back.

    Raises:
        InputError: for an empty list, or designs that differ.

    Example:
        >>> one = pu_from_counts(13, 2, r=2, k_max=100)
        >>> stack_results([one, one]).K.tolist()
        [13, 13]
    """
    if isinstance(results, PassUntilResult):
        return PassUntilResult(
            np.atleast_1d(results.K), np.atleast_1d(results.passes), results.r, results.k_max
        )
    designs = {(x.r, x.k_max) for x in results}
    if len(designs) != 1:
        raise InputError(
            f"found {len(designs)} designs (r, k_max) {sorted(designs)}; expected one, so measure "
            f"all instances with the same r and k_max"
        )
    r, k_max = designs.pop()
    K = np.concatenate([np.atleast_1d(x.K) for x in results])
    passes = np.concatenate([np.atleast_1d(x.passes) for x in results])
    return PassUntilResult(K, passes, r, k_max)


def instance_rates(results: PassUntilResult, estimator: str = "mvue") -> NDArray[np.float64]:
    """Pass rate of every instance by a named estimator.

    Args:
        results: from ``pass_until`` or ``pu_from_counts``.
        estimator: "mvue" (unbiased) or "mle" (the paper's).

    Raises:
        InputError: for "mvue" with r = 1, or another name.

    Example:
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
        Value, standard error, interval, censored instances, and draws used.

    Raises:
        InputError: for "mvue" with r = 1.

    Example:
        >>> found = task_pu(pu_from_counts([13, 5, 40], 2, r=2, k_max=100))
        >>> round(found.value, 4), found.draws
        (0.1197, 58)
    """
    stacked = stack_results(results)
    rates = instance_rates(stacked, estimator)
    means: list[Floats] = []

    def mean(weights: Floats) -> Floats:
        means.append(weights @ rates / len(rates))
        return means[-1]

    found = cluster_bootstrap_of(
        mean,
        len(rates),
        rng=np.random.default_rng(seed),
        n_resamples=n_resamples,
        confidence=confidence,
    )
    spread = np.concatenate(means[1:])  # the first has weights of one
    return TaskRate(
        float(rates.mean()),
        float(spread.std(ddof=1)) if len(rates) > 1 else float("nan"),
        (float(found.low), float(found.high)),
        int(np.sum(stacked.censored)),
        int(np.sum(stacked.K)),
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

    Example:
        >>> value, _ = above_chance([0.25, 0.5], 0.25)
        >>> value.round(4).tolist()
        [0.0, 0.3333]
    """
    if not 0 <= chance < 1:
        raise InputError(f"chance is {chance}; expected the pass rate of guessing, in [0, 1)")
    rate = np.asarray(pu, dtype=np.float64)
    corrected = (rate - chance) / (1 - chance)
    return corrected, None if var is None else np.asarray(var, dtype=np.float64) / (1 - chance) ** 2


def _checked_design(r: int, k_max: int) -> None:
    if r < 1 or k_max < r:
        raise InputError(
            f"found r = {r}, k_max = {k_max}; expected r >= 1 passes and a cap of at least r draws"
        )


def _verdicts(drawn: Any, size: int) -> tuple[NDArray[np.bool_], Sequence[str] | None]:
    texts = None
    if isinstance(drawn, tuple):
        drawn, texts = drawn
    verdicts = np.asarray(drawn)
    if verdicts.shape != (size,) or verdicts.dtype != np.bool_:
        raise InputError(
            f"sample({size}, rng) gave {verdicts.dtype} values of shape {verdicts.shape}; expected "
            f"bool [{size}] in draw order"
        )
    return verdicts, texts
