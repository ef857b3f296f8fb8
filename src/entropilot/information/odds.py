"""Odds ratios of 2 x 2 tables that are compared within strata only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import InputError
from entropilot.information.counts import reject
from entropilot.information.intervals import normal_quantile


@dataclass(frozen=True)
class MantelHaenszel:
    """A common odds ratio over strata, with its interval; nan, and a reason, where undefined."""

    odds_ratio: float
    low: float
    high: float
    n_strata: int  # strata that carry information
    reason: str = ""


def mantel_haenszel(tables: ArrayLike, confidence: float = 0.95) -> MantelHaenszel:
    """Common odds ratio of 2 x 2 tables over strata, with the Robins-Breslow-Greenland interval.

        OR = sum R / sum S,   R_i = a_i d_i / n_i,  S_i = b_i c_i / n_i
        var(log OR) = sum P R / 2(sum R)^2 + sum (P S + Q R) / 2(sum R)(sum S)
                      + sum Q S / 2(sum S)^2
        P_i = (a_i + d_i) / n_i,  Q_i = (b_i + c_i) / n_i

    Args:
        tables: [S, 2, 2] counts ((a, b), (c, d)) of S strata, >= 0: rows are exposed and not,
            columns are event and not.
        confidence: in (0, 1).

    Returns:
        Odds ratio and ends; nan and a reason where no stratum compares anything. 0 or inf without
        an interval when one of the two sums is 0.

    Raises:
        InputError: for another shape, or negative counts.

    Examples:
        >>> found = mantel_haenszel([[[10, 5], [4, 9]], [[8, 2], [6, 7]]])
        >>> round(found.odds_ratio, 3), found.n_strata
        (4.57, 2)

    Source: Mantel and Haenszel (1959); Robins, Breslow and Greenland, Biometrics 42 (1986), 311.
    """
    z = normal_quantile(confidence)
    t = np.asarray(tables, dtype=np.float64)
    if t.ndim == 2:
        t = t[None]
    if t.ndim != 3 or t.shape[1:] != (2, 2):
        raise InputError(
            f"tables has shape {t.shape}; expected [strata, 2, 2] counts, one 2 x 2 table a stratum"
        )
    reject(~(t >= 0), t, "a table holds counts, which are 0 or more")
    t = t[t.sum(axis=(1, 2)) > 0]
    n = t.sum(axis=(1, 2))
    a, b, c, d = t[:, 0, 0], t[:, 0, 1], t[:, 1, 0], t[:, 1, 1]
    r, s = a * d / n, b * c / n
    p, q = (a + d) / n, (b + c) / n
    total_r, total_s = float(r.sum()), float(s.sum())
    n_strata = int(((r > 0) | (s > 0)).sum())
    nan = float("nan")
    if n_strata == 0:
        return MantelHaenszel(
            nan, nan, nan, 0, "no stratum has both rows and both outcomes to compare"
        )
    if total_r == 0 or total_s == 0:
        ratio = 0.0 if total_r == 0 else float("inf")
        return MantelHaenszel(
            ratio, nan, nan, n_strata, "a cell is 0 in every stratum, so there is no interval"
        )
    variance = (
        float(p @ r) / (2 * total_r**2)
        + float(p @ s + q @ r) / (2 * total_r * total_s)
        + float(q @ s) / (2 * total_s**2)
    )
    ratio, half = total_r / total_s, z * float(np.sqrt(variance))
    return MantelHaenszel(ratio, ratio * np.exp(-half), ratio * np.exp(half), n_strata)
