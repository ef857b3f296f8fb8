"""What a comparison of two models' support says: plain results, ready to be shown or written.

``compare_support`` in ``support_compare.py`` makes them; the report renders them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import polars as pl

from entropilot.diagnosis.assessment import Interval
from entropilot.information.exchange import ExchangeTest

Rule = Literal["expected", "observed", "certified"]


class Pair(NamedTuple):
    """A quantity of both models, and the paired difference; intervals draw problems."""

    base: Interval
    new: Interval
    difference: Interval  # new less base


@dataclass(frozen=True)
class CurvePoint:
    """pass@k of both models at one k; the three share their resampled problems."""

    k: int
    base: Interval
    new: Interval
    difference: Interval  # new less base


@dataclass(frozen=True)
class SupportReport:
    """What two models reach with k samples, and whether the change could be noise."""

    verdict: str  # in plain words, without numbers
    headline: tuple[str, ...]  # the same, with them
    k: int
    rule: Rule
    confidence: float
    n_problems: int
    n_base: tuple[int, int]  # fewest and most samples of a problem
    n_new: tuple[int, int]
    missing_in_base: tuple[str, ...]  # problems of the other model alone, left out
    missing_in_new: tuple[str, ...]
    curve: tuple[CurvePoint, ...]
    crossing_k: float | None  # where the base overtakes
    counts: dict[str, float]  # P, E, S, O, U; expected counts under that rule
    metrics: dict[str, Interval | None]  # SRR, NDR, SDS, NSCR; None where 0/0
    null: float  # E, and S, that the base shows against itself
    exchange: ExchangeTest  # E and S against those of exchanged samples
    sign_p: float  # exact sign test of E against S; expected counts: of the first k samples
    token_entropy: Pair | None
    answer_entropy: Pair | None
    warnings: tuple[str, ...]
    problems: pl.DataFrame  # problem, c_base, n_base, c_new, n_new, category
