"""Empirical support: which right answers a model reaches with k samples, before and after.

Four categories of a problem: preserved (0, both models hit it), expanded (1, only the new one),
shrunk (2, only the base), out (3, neither); undecided (4) exists under the certified rule alone.

Source: The Invisible Leash (arXiv 2507.14843), sections 2 and 3. Intervals, the certified rule, the
null counts and the sign test are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.counts import checked_counts, whole_numbers
from entropilot.information.intervals import Floats, clopper_pearson, cluster_bootstrap_of
from entropilot.information.pass_at_k import pass_at_k

PRESERVED, EXPANDED, SHRUNK, OUT, UNDECIDED = range(5)
METRICS = ("SRR", "NDR", "SDS", "NSCR")


def support_threshold(k: ArrayLike, zeta: float = 0.05, exact: bool = False) -> Floats:
    """Largest probability that k draws without a hit leave possible, with confidence 1 - zeta.

        eps = -log(zeta) / k          exact: eps = 1 - zeta^(1/k)

    Args:
        k: draws, >= 1.
        zeta: in (0, 1).
        exact: the binomial bound instead of the Poisson one.

    Returns:
        eps, the shape of ``k``; the Poisson form exceeds 1 for very small k.

    Raises:
        InputError: for k < 1 or zeta outside (0, 1).

    Examples:
        >>> round(float(support_threshold(8192)), 6)
        0.000366
    """
    draws = whole_numbers(k, "k")
    if np.any(draws < 1) or not 0 < zeta < 1:
        raise InputError(f"found k = {k!r}, zeta = {zeta!r}; expected k >= 1 and zeta in (0, 1)")
    if exact:
        return np.asarray(-np.expm1(np.log(zeta) / draws))[()]
    return np.asarray(-np.log(zeta) / draws)[()]


def support_category(
    c_base: ArrayLike,
    n_base: ArrayLike,
    c_new: ArrayLike,
    n_new: ArrayLike,
    rule: str = "observed",
    *,
    eps: float | None = None,
    zeta: float = 0.05,
    false_positive_rate: float = 0.0,
) -> NDArray[np.int8]:
    """Category of each problem: 0 preserved, 1 expanded, 2 shrunk, 3 out, 4 undecided.

        observed:  in support <=> at least one hit
        certified: in <=> Clopper-Pearson low > eps;  out <=> high <= eps;  else undecided.
                   The interval has confidence 1 - 2 zeta, so that zero hits certify "out" at the
                   exact threshold of the same budget.

    Args:
        c_base: [Q] hits of the base.
        n_base: scalar or [Q] samples of the base.
        c_new: [Q] hits of the new model.
        n_new: scalar or [Q] samples of the new model; must equal ``n_base`` under "observed".
        rule: "observed" (the paper's working rule) or "certified".
        eps: probability threshold of "certified"; None takes the exact threshold of min(n).
        zeta: risk of a wrong certificate, each side.
        false_positive_rate: of the judge, f in [0, 1). A hit then needs more right verdicts than
            the 1 - zeta quantile of Binomial(n, f).

    Returns:
        [Q] int8.

    Raises:
        InputError: for budgets that differ under "observed", an unknown rule, or bad counts.

    Examples:
        >>> support_category([3, 0, 2, 0], 8, [5, 1, 0, 0], 8).tolist()
        [0, 1, 2, 3]
    """
    cb, nb = checked_counts(np.atleast_1d(np.asarray(c_base)), n_base, names=("c_base", "n_base"))
    cn, nn = checked_counts(np.atleast_1d(np.asarray(c_new)), n_new, names=("c_new", "n_new"))
    if cb.shape != cn.shape:
        raise InputError(
            f"the base has {len(cb)} problems and the new model {len(cn)}; match them by id first "
            f"(match_problems)"
        )
    if rule == "observed":
        if not np.array_equal(nb, nn):
            smallest = int(min(nb.min(), nn.min()))
            raise InputError(
                f"the models have different numbers of samples (up to {nb.max()} and {nn.max()}); "
                f"more samples alone find more hits, so use expected_support(c_base, c_new, "
                f"n_base, k={smallest}, n_new=n_new), or rule='certified'"
            )
        return _categories(
            _is_hit(cb, nb, false_positive_rate, zeta), _is_hit(cn, nn, false_positive_rate, zeta)
        )
    if rule != "certified":
        raise InputError(f"rule is {rule!r}; expected 'observed' or 'certified'")
    if eps is None:
        eps = float(support_threshold(int(min(nb.min(), nn.min())), zeta, exact=True))
    base_in, base_out = _certified(cb, nb, eps, zeta)
    new_in, new_out = _certified(cn, nn, eps, zeta)
    category = _categories(base_in, new_in)
    category[~((base_in | base_out) & (new_in | new_out))] = UNDECIDED
    return category


def support_metrics(P: ArrayLike, E: ArrayLike, S: ArrayLike) -> dict[str, Floats]:
    """The four ratios of preserved, expanded and shrunk counts.

        SRR = P/(P+S)   NDR = E/(P+E)   SDS = 2PE/(P^2 + 2PE + ES)   NSCR = (E-S)/(P+E+S)

    0/0 is nan, except that SDS is then 0. SDS is the harmonic mean of SRR and NDR.

    Args:
        P: preserved, counts or expected counts, >= 0.
        E: expanded.
        S: shrunk.

    Returns:
        "SRR" (support retained), "NDR" (new discovered), "SDS", "NSCR" (net change).

    Examples:
        >>> {k: round(float(v), 3) for k, v in support_metrics(2400, 36, 163).items()}
        {'SRR': 0.936, 'NDR': 0.015, 'SDS': 0.029, 'NSCR': -0.049}
    """
    p, e, s = (np.asarray(x, dtype=np.float64) for x in (P, E, S))
    with np.errstate(invalid="ignore", divide="ignore"):
        sds_bottom = p * p + 2 * p * e + e * s
        sds = np.where(sds_bottom == 0, 0.0, 2 * p * e / np.where(sds_bottom == 0, 1, sds_bottom))
        return {
            "SRR": p / (p + s),
            "NDR": e / (p + e),
            "SDS": sds[()],
            "NSCR": (e - s) / (p + e + s),
        }


def support_dynamics(
    category: ArrayLike,
    ci: str | None = "bootstrap",
    seed: int = 0,
    *,
    base: tuple[ArrayLike, ArrayLike, int] | None = None,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
) -> dict[str, Any]:
    """Counts of the categories, the four ratios with intervals, and whether it could be noise.

    Args:
        category: [Q] from ``support_category``.
        ci: "bootstrap" over problems, or None.
        seed: of the bootstrap.
        base: (c_base, n_base, k) of the base, to state the E and S that the same model would show
            against itself at budget k (``null_support``).
        confidence: in (0, 1).
        n_resamples: of the bootstrap.

    Returns:
        P, E, S, O, U (int); SRR, NDR, SDS, NSCR; ci: {metric: (low, high)} ({} if None);
        null_E, null_S (nan without ``base``); sign_p of the exact two-sided sign test of E against
        S; reason, not empty when ratios are nan.

    Raises:
        InputError: for categories outside 0..4, or none.

    Examples:
        >>> found = support_dynamics([0, 0, 0, 1, 2, 2, 3], seed=0)
        >>> found["P"], found["S"], round(found["NSCR"], 3), found["sign_p"]
        (3, 2, -0.167, 1.0)
    """
    kinds = whole_numbers(category, "category")
    if kinds.size == 0 or kinds.min() < 0 or kinds.max() > UNDECIDED:
        raise InputError(
            "category must hold at least one value, each in 0..4; take it from support_category"
        )
    if ci not in (None, "bootstrap"):
        raise InputError(f"ci is {ci!r}; expected 'bootstrap' or None")
    p, e, s, o, u = (int(x) for x in np.bincount(kinds, minlength=5))
    found: dict[str, Any] = {"P": p, "E": e, "S": s, "O": o, "U": u}
    found |= {name: float(value) for name, value in support_metrics(p, e, s).items()}
    found["ci"] = {}
    if ci == "bootstrap":
        one_hot = (kinds[:, None] == np.arange(3)).astype(np.float64)
        for name in METRICS:  # one seed: all four see the same resamples

            def statistic(weights: Floats, name: str = name) -> Floats:
                return support_metrics(*(weights @ one_hot).T)[name]

            ends = cluster_bootstrap_of(
                statistic,
                len(kinds),
                rng=np.random.default_rng(seed),
                n_resamples=n_resamples,
                confidence=confidence,
            )
            found["ci"][name] = (float(ends.low), float(ends.high))
    null = float("nan") if base is None else float(null_support(*base))
    found |= {"null_E": null, "null_S": null, "sign_p": sign_test(e, s)}
    found["reason"] = "" if p + e + s else "no problem is in the support of either model"
    return found


def sign_test(E: int, S: int) -> float:
    """Exact two-sided p-value of E against S under even odds, Binomial(E + S, 1/2).

    Args:
        E: expanded problems.
        S: shrunk problems.

    Returns:
        In (0, 1]; 1 when both are 0.

    Examples:
        >>> sign_test(1, 6)
        0.125
    """
    from scipy.special import bdtr  # costs 0.2 s to import

    checked_counts(min(E, S), max(E + S, 1), names=("E or S", "E + S"))
    return float(min(1.0, 2 * bdtr(min(E, S), E + S, 0.5))) if E + S else 1.0


def null_support(c: ArrayLike, n: ArrayLike, k: int, unbiased: bool = False) -> float:
    """E (and, equally, S) that a model shows against itself: problems with p near 1/k flicker.

        sum_i u_i (1 - u_i),  u_i = pass@k of problem i           (unbiased: sum_i fail@k - fail@2k)

    Args:
        c: [Q] hits.
        n: samples, >= k. At k = n, pass@k is 0 or 1, so u_i = 1 - (1 - c/n)^k is used.
        k: budget.
        unbiased: for two disjoint sets of k among the n; needs 2k <= n.

    Returns:
        Expected count of each of E and S.

    Examples:
        >>> round(null_support([0, 1, 8], 8, 4), 3)
        0.25
    """
    counts, trials = checked_counts(np.atleast_1d(np.asarray(c)), n)
    u = pass_at_k(trials, counts, k)
    if unbiased:
        return float((pass_at_k(trials, counts, 2 * k) - u).sum())
    u = np.where(trials == k, -np.expm1(k * np.log1p(-np.minimum(counts / trials, 1 - 1e-16))), u)
    return float((u * (1 - u)).sum())


def expected_support(
    c_base: ArrayLike, c_new: ArrayLike, n: ArrayLike, k: ArrayLike, n_new: ArrayLike | None = None
) -> dict[str, Any]:
    """Expected category counts at any budget k <= n, without drawing again.

        P = sum u v,  E = sum (1-u) v,  S = sum u (1-v),  O = sum (1-u)(1-v),
        u, v = unbiased pass@k of base and new model, whose samples are independent

    Args:
        c_base: [Q] hits of the base.
        c_new: [Q] hits of the new model.
        n: samples of the base (and of the new model unless ``n_new`` is given).
        k: scalar or [K] budgets.
        n_new: samples of the new model.

    Returns:
        P, E, S, O, SRR, NDR, SDS, NSCR, null_E: each the shape of ``k``.

    Raises:
        InputError: for k above a number of samples, or problem lists of different length.

    Examples:
        >>> found = expected_support([4, 1], [8, 0], 8, 1)
        >>> float(found["P"]), float(found["E"]), float(found["S"])
        (0.5, 0.5, 0.125)
    """
    cb, nb = checked_counts(np.atleast_1d(np.asarray(c_base)), n)
    cn, nn = checked_counts(np.atleast_1d(np.asarray(c_new)), n if n_new is None else n_new)
    if cb.shape != cn.shape:
        raise InputError(
            f"the base has {len(cb)} problems and the new model {len(cn)}; match them by id first "
            f"(match_problems)"
        )
    budgets = np.asarray(k)
    shape = (-1, *([1] * budgets.ndim))
    u = pass_at_k(nb.reshape(shape), cb.reshape(shape), budgets)
    v = pass_at_k(nn.reshape(shape), cn.reshape(shape), budgets)
    p, e = (u * v).sum(axis=0), ((1 - u) * v).sum(axis=0)
    s, o = (u * (1 - v)).sum(axis=0), ((1 - u) * (1 - v)).sum(axis=0)
    null = (u * (1 - u)).sum(axis=0)
    return {"P": p, "E": e, "S": s, "O": o, **support_metrics(p, e, s), "null_E": null}


@dataclass
class SupportMonitor:
    """Support of a model in training against its start, row by row.

    Args:
        c_base: [Q] hits of the start on a fixed set of problems.
        n_base: samples per problem.
        k: budget at which support is stated, <= samples at the start and later.

    Examples:
        >>> monitor = SupportMonitor([4, 1, 0], 8, k=2)
        >>> row = monitor.update(10, [8, 0, 0], 8)
        >>> row["step"], round(row["S"], 3), len(monitor.rows)
        (10, 0.25, 1)
    """

    c_base: ArrayLike
    n_base: ArrayLike
    k: int
    rows: list[dict[str, float]] = field(default_factory=list)

    def update(self, step: int, c: ArrayLike, n: ArrayLike) -> dict[str, float]:
        """Row of expected counts and ratios at this step, also appended to ``rows``."""
        found = expected_support(self.c_base, c, self.n_base, self.k, n_new=n)
        counts, trials = checked_counts(np.atleast_1d(np.asarray(c)), n)
        row = {"step": step, **{name: float(value) for name, value in found.items()}}
        row["pass_at_1"] = float((counts / trials).mean())
        row["pass_at_k"] = float(pass_at_k(trials, counts, self.k).mean())
        self.rows.append(row)
        return row


def _is_hit(
    c: NDArray[np.int64], n: NDArray[np.int64], false_positive_rate: float, zeta: float
) -> NDArray[np.bool_]:
    if not 0 <= false_positive_rate < 1:
        raise InputError(
            f"false_positive_rate is {false_positive_rate}; expected a share in [0, 1)"
        )
    if false_positive_rate == 0:
        return c > 0
    from scipy.stats import binom

    return np.asarray(c > binom.ppf(1 - zeta, n, false_positive_rate))


def _certified(
    c: NDArray[np.int64], n: NDArray[np.int64], eps: float, zeta: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    low, high = clopper_pearson(c, n, 1 - 2 * zeta)
    # The slack lets zero hits certify "out" at the exact threshold despite rounding.
    return np.asarray(low > eps), np.asarray(high <= eps * (1 + 1e-9))


def _categories(base: NDArray[np.bool_], new: NDArray[np.bool_]) -> NDArray[np.int8]:
    return np.select(
        [base & new, ~base & new, base & ~new], [PRESERVED, EXPANDED, SHRUNK], OUT
    ).astype(np.int8)
