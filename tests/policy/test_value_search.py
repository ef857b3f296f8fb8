"""Step beam search with an oracle, with a random scorer, and its accounting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.value_search import Continuation, Tokens, best_of_k, value_beam_search

STEPS, P_RIGHT = 4, 0.6


def walker(seed: int) -> Any:
    """A policy that takes four steps, each right (1) with probability 0.6."""
    draw = np.random.default_rng(seed)

    def generate(texts: Sequence[Tokens], n: int) -> list[list[Continuation]]:
        return [
            [Continuation((int(draw.random() < P_RIGHT),), len(t) == STEPS) for _ in range(n)]
            for t in texts
        ]

    return generate


def oracle(texts: Sequence[Tokens]) -> list[float]:
    return [float(all(t[1:])) for t in texts]


def success(beam: int, value: Any, n: int = 400) -> float:
    found = value_beam_search(walker(beam), value, [[9]] * n, beam=beam)
    assert all(r.ended and len(r.tokens) == STEPS + 1 for r in found)
    return sum(oracle([r.tokens for r in found])) / n


def test_an_oracle_lifts_success_and_a_random_scorer_does_not() -> None:
    draw = np.random.default_rng(0)
    one, two, three = (success(beam, oracle) for beam in (1, 2, 3))
    chance = success(2, lambda texts: draw.random(len(texts)).tolist())
    assert one == pytest.approx(P_RIGHT**STEPS, abs=0.07)  # 3 standard errors of 400 draws
    assert two > one + 0.4
    assert three > two
    assert chance == pytest.approx(P_RIGHT**STEPS, abs=0.07)


def test_accounting_and_the_limit_of_steps() -> None:
    (result,) = value_beam_search(walker(0), oracle, [[9]], beam=3, max_steps=2)
    assert not result.ended
    assert len(result.tokens) == 3
    assert result.n_candidates == 3 + 9


def test_a_finished_text_leaves_the_beam_and_wins_only_by_its_value() -> None:
    def generate(texts: Sequence[Tokens], n: int) -> list[list[Continuation]]:
        ends = [Continuation((5,), True), Continuation((6,), False)]
        later = [Continuation((7,), True), Continuation((8,), True)]
        return [ends if len(t) == 1 else later for t in texts]

    def value(table: dict[int, float]) -> Any:
        return lambda texts: [table[t[-1]] for t in texts]

    (late,) = value_beam_search(generate, value({5: 0.5, 6: 0.1, 7: 0.9, 8: 0.2}), [[0]], beam=2)
    assert late.tokens == (0, 6, 7)
    assert late.n_candidates == 4
    (early,) = value_beam_search(generate, value({5: 0.95, 6: 0.1, 7: 0.9, 8: 0.2}), [[0]], beam=2)
    assert early.tokens == (0, 5)


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigurationError, match="beam is 0"):
        value_beam_search(walker(0), oracle, [[1]], beam=0)
    with pytest.raises(InputError, match="another number of steps"):
        value_beam_search(lambda texts, n: [], oracle, [[1]])
    for wrong in ([], [math.nan]):
        with pytest.raises(InputError, match="expected one each"):
            value_beam_search(walker(0), lambda texts, w=wrong: w, [[1]], beam=1)
    with pytest.raises(ConfigurationError, match="k is 0"):
        best_of_k(lambda k: [], oracle, 0)
    with pytest.raises(InputError, match="no action"):
        best_of_k(lambda k: [], oracle, 1)
