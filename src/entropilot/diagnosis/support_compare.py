"""Did training widen or narrow what a model can reach? Two models on the same problems.

Source: The Invisible Leash (arXiv 2507.14843) for the categories, the ratios and both entropies.
The intervals, the null counts and the exchange test that carries the verdict are ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Interval
from entropilot.diagnosis.support_entropy import answer_entropies, token_entropies
from entropilot.diagnosis.support_headline import support_headline
from entropilot.diagnosis.support_report import CurvePoint, Rule, SupportReport
from entropilot.diagnosis.support_samples import SupportSamples
from entropilot.diagnosis.support_warnings import support_warnings
from entropilot.errors import InputError, unknown_name
from entropilot.information.exchange import ExchangeTest, Reach, exchange_test
from entropilot.information.intervals import (
    Floats,
    bootstrap_weights,
    cluster_bootstrap,
    normal_quantile,
    percentile_interval,
)
from entropilot.information.pass_at_k import PassCurve, crossing_k, pass_at_k, pass_at_k_curve
from entropilot.information.support import (
    EXPANDED,
    METRICS,
    PRESERVED,
    null_support,
    sign_test,
    support_category,
    support_metrics,
    support_threshold,
)

Counts = NDArray[np.int64]

K: Final = 16  # budget where none is given and the samples allow it
N_RESAMPLES: Final = 10_000  # as the field reports
ALPHA: Final = 0.025  # each side of the exchange test: 5 % for both together
CATEGORIES: Final = ("preserved", "expanded", "shrunk", "out", "undecided")


def compare_support(
    base: SupportSamples,
    new: SupportSamples,
    *,
    k: int | None = None,
    rule: Rule = "expected",
    false_positive_rate: float = 0.0,
    confidence: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> SupportReport:
    """Compare the support of two models on the problems that both were asked.

        expected:  u, v = unbiased pass@k of base and new;  P = sum uv, E = sum (1-u)v, ...
        observed:  in support <=> a hit among the first k samples (the paper's working rule)
        certified: in or out only where the Clopper-Pearson interval says so, else undecided

    Args:
        base: samples of the model before.
        new: samples of the model after.
        k: budget; None takes 16, or the fewest samples of a problem where that is less.
        rule: of support. "expected" uses every sample, the other two are there to compare with
            published tables and to be strict.
        false_positive_rate: share of wrong answers that the judge lets pass, in [0, 1); for
            "observed", where a hit then needs more right ones than chance would give.
        confidence: of all intervals, which draw problems; in (0, 1).
        n_resamples: of the bootstrap.
        seed: of bootstrap and exchange test.

    Returns:
        ``SupportReport``. The verdict speaks of a change beyond noise where the exchange test
        rejects "both are the same model" at 2.5 % for shrunk, or for expanded problems.

    Raises:
        InputError: no problem in common, fewer than k samples, or an unknown rule.

    Examples:
        >>> from entropilot.diagnosis.support_samples import support_samples
        >>> def sampled(right):
        ...     return support_samples(pl.DataFrame({"problem": [f"q{i // 4}" for i in range(80)],
        ...         "correct": [i % 4 < right for i in range(80)]}))
        >>> report = compare_support(sampled(1), sampled(0), n_resamples=50)
        >>> report.verdict, report.counts["S"]
        ('shrinkage beyond noise', 20.0)

    Source: arXiv 2507.14843, sections 2 and 3.
    """
    normal_quantile(confidence)
    if rule not in get_args(Rule):
        raise InputError(unknown_name("rule", rule, get_args(Rule)))
    if false_positive_rate and rule != "observed":
        raise InputError(
            f"false_positive_rate is {false_positive_rate} with rule {rule!r}; it belongs to rule "
            "'observed', so use that, or correct the labels first"
        )
    table, missing_in_base, missing_in_new = _matched(base.frame, new.frame)
    cb, nb, cn, nn = (table[name].to_numpy().astype(np.int64) for name in table.columns[1:])
    budget = _budget(nb, nn, k)
    if rule == "observed":
        first = [_first_counts(x.frame, table, budget) for x in (base, new)]
        used = first[0], np.full(len(cb), budget), first[1], np.full(len(cb), budget)
    else:
        used = cb, nb, cn, nn
    reach = _reach(rule, budget, false_positive_rate)
    base_in, base_out = (np.asarray(x, dtype=np.float64) for x in reach(used[0], used[1]))
    new_in, new_out = (np.asarray(x, dtype=np.float64) for x in reach(used[2], used[3]))
    shares = np.stack(
        [base_in * new_in, base_out * new_in, base_in * new_out, base_out * new_out], 1
    )
    sums = shares.sum(axis=0)
    counts = dict(zip("PESO", sums.tolist(), strict=True))
    counts["U"] = max(len(cb) - float(sums.sum()), 0.0) if rule == "certified" else 0.0
    test = exchange_test(*used, reach, seed=seed)
    curve, crossing = _curves(cb, nb, cn, nn, budget, confidence, n_resamples, seed)
    verdict = _verdict(counts, test)
    matched = [x.frame.join(table.select("problem"), on="problem") for x in (base, new)]
    options: dict[str, Any] = {"confidence": confidence, "n_resamples": n_resamples, "seed": seed}
    alike = base.entropy_kind == new.entropy_kind
    entropy = token_entropies(*matched, **options) if alike else None
    report = SupportReport(
        verdict=verdict,
        headline=(),
        k=budget,
        rule=rule,
        confidence=confidence,
        n_problems=len(cb),
        n_base=(int(nb.min()), int(nb.max())),
        n_new=(int(nn.min()), int(nn.max())),
        missing_in_base=missing_in_base,
        missing_in_new=missing_in_new,
        curve=curve,
        crossing_k=crossing,
        counts=counts,
        metrics=_metrics(shares[:, :3], confidence, n_resamples, seed),
        null=float(null_support(used[0], used[1], budget)),
        exchange=test,
        sign_p=_sign_p(base.frame, new.frame, table, budget, None if rule == "expected" else sums),
        token_entropy=entropy,
        answer_entropy=answer_entropies(*matched, **options),
        warnings=support_warnings(base, new, *matched, k=budget, asked=k),
        problems=_categorised(table, shares, rule),
    )
    return replace(report, headline=support_headline(report))


def _matched(
    base: pl.DataFrame, new: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Counts of the problems that both have, in the base's order; and what each one lacks."""

    def counted(frame: pl.DataFrame, name: str) -> pl.DataFrame:
        right = pl.col("correct").sum().cast(pl.Int64).alias(f"c_{name}")
        samples = pl.len().cast(pl.Int64).alias(f"n_{name}")
        return frame.group_by("problem", maintain_order=True).agg(right, samples)

    first, second = counted(base, "base"), counted(new, "new")
    both = first.join(second, on="problem", how="inner", maintain_order="left")
    if not both.height:
        raise InputError(
            f"the two models share no problem: the base has ids such as {first['problem'][0]!r}, "
            f"the new model {second['problem'][0]!r}. Give both the same ids (--group-field)"
        )
    lacks = [
        tuple(a.join(b, on="problem", how="anti")["problem"].sort().to_list())
        for a, b in ((second, first), (first, second))
    ]
    return both, lacks[0], lacks[1]


def _budget(nb: Counts, nn: Counts, k: int | None) -> int:
    fewest = int(min(nb.min(), nn.min()))
    if k is None:
        return min(K, fewest)
    if not 1 <= k <= fewest:
        short = int(((nb < k) | (nn < k)).sum())
        raise InputError(
            f"k is {k}, but {short} of {len(nb)} problems have fewer labelled samples of a model "
            f"(the fewest is {fewest}); expected 1 <= k <= {fewest}. Draw more samples, or see "
            "pass_at_k_extrapolated for a model of what lies beyond"
        )
    return k


def _first_counts(frame: pl.DataFrame, table: pl.DataFrame, k: int) -> Counts:
    """Right ones among the first k samples of each problem."""
    first = frame.group_by("problem", maintain_order=True).agg(
        c=pl.col("correct").head(k).sum().cast(pl.Int64)
    )
    joined = table.select("problem").join(first, on="problem", how="left", maintain_order="left")
    return joined["c"].to_numpy().astype(np.int64)


def _sign_p(
    base: pl.DataFrame, new: pl.DataFrame, table: pl.DataFrame, k: int, sums: Floats | None
) -> float:
    if sums is not None:
        return sign_test(int(sums[1]), int(sums[2]))
    first, second = (_first_counts(x, table, k) > 0 for x in (base, new))
    return sign_test(int((~first & second).sum()), int((first & ~second).sum()))


def _reach(rule: Rule, k: int, false_positive_rate: float) -> Reach:
    """Share of a problem that is in support, and out of it, by its counts."""

    def expected(c: Counts, n: Counts) -> tuple[Floats, Floats]:
        u = np.asarray(pass_at_k(n, c, np.minimum(k, n)))
        return u, 1 - u

    # Against a model that is surely in: preserved means in, expanded (by that model) means out.
    def observed(c: Counts, n: Counts) -> tuple[Floats, Floats]:
        rate = false_positive_rate
        category = support_category(c, n, n, n, rule="observed", false_positive_rate=rate)
        return (category == PRESERVED).astype(np.float64), (category != PRESERVED).astype(
            np.float64
        )

    def certified(c: Counts, n: Counts) -> tuple[Floats, Floats]:
        eps = float(support_threshold(k, exact=True))
        category = support_category(c, n, n, n, rule="certified", eps=eps)
        return (category == PRESERVED).astype(np.float64), (category == EXPANDED).astype(np.float64)

    return {"expected": expected, "observed": observed, "certified": certified}[rule]


def _curves(
    cb: Counts,
    nb: Counts,
    cn: Counts,
    nn: Counts,
    budget: int,
    confidence: float,
    n_resamples: int,
    seed: int,
) -> tuple[tuple[CurvePoint, ...], float | None]:
    fewest = int(min(nb.min(), nn.min()))
    ks = np.array(sorted({*(1 << i for i in range(fewest.bit_length())), budget, fewest}))
    ks = ks[ks <= fewest]
    base, new = pass_at_k_curve(nb, cb, ks), pass_at_k_curve(nn, cn, ks)
    columns = np.concatenate(
        [base.per_problem, new.per_problem, new.per_problem - base.per_problem], axis=1
    )
    found = cluster_bootstrap(
        columns, rng=np.random.default_rng(seed), n_resamples=n_resamples, confidence=confidence
    )
    ends = [
        Interval(float(v), float(low), float(high))
        for v, low, high in zip(found.value, found.low, found.high, strict=True)
    ]
    m = len(ks)
    points = tuple(
        CurvePoint(int(k), ends[i], ends[m + i], ends[2 * m + i]) for i, k in enumerate(ks)
    )
    return points, crossing_k(PassCurve(*base), PassCurve(*new))


def _metrics(
    shares: Floats, confidence: float, n_resamples: int, seed: int
) -> dict[str, Interval | None]:
    """The four ratios; resamples in which one is 0/0 are left out of its interval."""
    values = support_metrics(*shares.sum(axis=0))
    weights = bootstrap_weights(len(shares), n_resamples, np.random.default_rng(seed))
    drawn = support_metrics(*np.concatenate([w @ shares for w in weights]).T)
    found: dict[str, Interval | None] = {}
    for name in METRICS:
        low, high, _ = percentile_interval(np.asarray(drawn[name]), confidence)
        value = float(values[name])
        found[name] = None if np.isnan(value) else Interval(value, float(low), float(high))
    return found


def _verdict(counts: dict[str, float], test: ExchangeTest) -> str:
    if counts["P"] + counts["E"] + counts["S"] == 0:
        return "undetermined"
    shrunk, expanded = test.p_shrunk <= ALPHA, test.p_expanded <= ALPHA
    if shrunk and expanded:
        return "shrinkage and expansion beyond noise"
    if shrunk:
        return "shrinkage beyond noise"
    return "expansion beyond noise" if expanded else "no change beyond noise"


def _categorised(table: pl.DataFrame, shares: Floats, rule: Rule) -> pl.DataFrame:
    """The category of each problem: the likeliest one under the expected rule."""
    best = shares.argmax(axis=1)
    if rule == "certified":
        best = np.where(shares.sum(axis=1) == 0, 4, best)
    return table.with_columns(category=pl.Series([CATEGORIES[i] for i in best], dtype=pl.String))
