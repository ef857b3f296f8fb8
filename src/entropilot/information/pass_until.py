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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information._few_passes import rate_with_few_below
from entropilot.information.counts import reject, whole_numbers
from entropilot.information.intervals import Floats

#: bool [n] in draw order; or (bool [n], texts); or (bool [n], texts or None, tokens [n])
Draw = Callable[[int, np.random.Generator], Any]

IDENTICAL = 50  # so many equal answers from the start suggest a greedy or cached sampler


@dataclass(frozen=True)
class PassUntilResult:
    """What one or many instances gave; scalars for one, arrays [S] for many."""

    K: Any  # draws up to and with the r-th pass; k_max where censored
    passes: Any  # r, or fewer where censored
    r: int
    k_max: int
    tokens: int | None = None  # of all answers drawn, thrown-away ones too; None: not reported

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
        return self._quantiles(lambda s, k: self._high(s, k, 0.05))

    @property
    def ci(self) -> tuple[Any, Any]:
        """Exact 95 % interval: inverse sampling; Clopper-Pearson where censored.

        After no pass at all it runs from 0 to the one-sided bound. Computed when asked for.
        """

        def both(s: NDArray[np.int64], k: NDArray[np.int64]) -> Floats:
            high = self._high(s, k, 0.025)
            high[s == 0] = -np.expm1(np.log(0.05) / k[s == 0])
            low = np.zeros(len(s))
            low[s > 0] = rate_with_few_below(s[s > 0], k[s > 0], 0.975)
            return np.stack([low, high])

        low, high = self._quantiles(both)
        return low, high

    def _high(self, s: NDArray[np.int64], k: NDArray[np.int64], tail: float) -> Floats:
        # The last of K draws is a pass by design, so an uncensored upper end has r - 1 passes in
        # K - 1 draws; a censored one is Clopper-Pearson's.
        is_done = s >= self.r
        high = np.ones(len(s))
        inside = s < k  # all draws passed: nothing excludes a rate of 1
        a, n = np.where(is_done, s, s + 1)[inside], np.where(is_done, k - 1, k)[inside]
        high[inside] = rate_with_few_below(a, n, tail)
        return high

    def _quantiles(
        self, ends: Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]
    ) -> NDArray[np.float64]:
        """``ends(passes, draws)`` [..., m] once for each distinct pair, spread over instances."""
        passes, draws = np.broadcast_arrays(
            np.asarray(self.passes, dtype=np.int64), np.asarray(self.K, dtype=np.int64)
        )
        width = self.k_max + 1
        pairs, where = np.unique(passes.ravel() * width + draws.ravel(), return_inverse=True)
        found = ends(*np.divmod(pairs, width))
        return np.asarray(found[..., where.reshape(draws.shape)][()])


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
            (verdicts, texts), or (verdicts, texts or None, tokens [n]) to count the cost. Answers
            of parallel workers must be put in the order of their draw, not of arrival: short
            answers arrive first and pass at another rate.
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

    Examples:
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
    tokens: int | None = None
    while passes < r and drawn < k_max:
        size = min(batch, k_max - drawn)
        verdicts, texts, lengths = _verdicts(sample(size, rng), size)
        if lengths is not None:
            tokens = (tokens or 0) + int(lengths.sum())
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
    return PassUntilResult(np.int64(drawn), np.int64(passes), r, k_max, tokens)


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

    Examples:
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

    Examples:
        >>> one = pu_from_counts(13, 2, r=2, k_max=100)
        >>> stack_results([one, one]).K.tolist()
        [13, 13]
    """
    if isinstance(results, PassUntilResult):
        return replace(results, K=np.atleast_1d(results.K), passes=np.atleast_1d(results.passes))
    designs = {(x.r, x.k_max) for x in results}
    if len(designs) != 1:
        raise InputError(
            f"found {len(designs)} designs (r, k_max) {sorted(designs)}; expected one, so measure "
            f"all instances with the same r and k_max"
        )
    r, k_max = designs.pop()
    K = np.concatenate([np.atleast_1d(x.K) for x in results])
    passes = np.concatenate([np.atleast_1d(x.passes) for x in results])
    costs = [x.tokens for x in results if x.tokens is not None]
    return PassUntilResult(K, passes, r, k_max, sum(costs) if len(costs) == len(results) else None)


def _checked_design(r: int, k_max: int) -> None:
    if r < 1 or k_max < r:
        raise InputError(
            f"found r = {r}, k_max = {k_max}; expected r >= 1 passes and a cap of at least r draws"
        )


def _verdicts(
    drawn: Any, size: int
) -> tuple[NDArray[np.bool_], Sequence[str] | None, NDArray[np.int64] | None]:
    texts, lengths = None, None
    if isinstance(drawn, tuple):
        drawn, texts, *more = drawn
        if more and more[0] is not None:
            lengths = whole_numbers(more[0], "tokens")
            if lengths.shape != (size,):
                raise InputError(
                    f"sample({size}, rng) gave token counts of shape {lengths.shape}; expected one "
                    f"for each of the {size} answers"
                )
    verdicts = np.asarray(drawn)
    if verdicts.shape != (size,) or verdicts.dtype != np.bool_:
        raise InputError(
            f"sample({size}, rng) gave {verdicts.dtype} values of shape {verdicts.shape}; expected "
            f"bool [{size}] in draw order"
        )
    return verdicts, texts, lengths
