"""Terms that select say so once when a run has been the one without them."""

from __future__ import annotations

import warnings

import pytest
import torch

from entropilot.policy.covariance_clip import clip_cov
from entropilot.policy.discriminator import clip_b, clip_v
from entropilot.policy.entropy_change_weights import entropy_change_weights
from entropilot.policy.forking_tokens import forking_tokens
from entropilot.policy.idle_warning import IDLE_UPDATES, counted_idle
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import statistics_from_logits
from entropilot.policy.term import State


def test_warns_once_and_starts_again_after_an_effect() -> None:
    state: State = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3 * IDLE_UPDATES):
            state = counted_idle(state, False, term="x", why="Lower mu")
    assert [str(w.message) for w in caught] == [
        "the term 'x' has changed next to nothing for 100 updates: this run is the one without it. "
        "Lower mu"
    ]
    assert counted_idle(state, True, term="x", why="") == {"idle": 0}


@pytest.mark.parametrize(
    ("slot", "idle", "acting", "why"),
    [
        ("masks", clip_b(50.0), clip_b(0.1), "lower mu"),
        ("masks", clip_v(50.0), clip_v(0.1), "lower mu"),
        ("weights", entropy_change_weights(1.0), entropy_change_weights(0.5), "scale_quantile"),
        ("weights", forking_tokens(1.0), forking_tokens(0.2), "lower share"),
        ("surrogate", clip_cov(0.1, 1e8, 1e9), clip_cov(0.1, 0.2), "quantile:0.98"),
    ],
    ids=["clip-b", "clip-v", "steer", "forking", "clip-cov"],
)
def test_terms_count_updates_without_effect(
    slot: str, idle: object, acting: object, why: str
) -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 9, 20, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, 20, (8, 9), generator=g)
    old = statistics_from_logits(logits, tokens).logprob
    reward = torch.tensor([1.0, 0.0] * 4)
    rollouts = Rollouts(tokens, tokens >= 0, old, reward, torch.arange(8) // 4)
    for term, expected in ((idle, IDLE_UPDATES), (acting, 0)):
        objective = Objective(**{slot: term if slot == "surrogate" else (term,)})  # type: ignore[arg-type]
        now = statistics_from_logits(logits, tokens, wants=objective.needs)
        prepared = objective.prepare(rollouts)
        name = term.name  # type: ignore[attr-defined]
        state = objective.loss(prepared, now).state
        assert state[name] == {"idle": min(expected, 1)}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            output = objective.loss(prepared, now, {name: {"idle": IDLE_UPDATES - 1}})
        assert output.state[name] == {"idle": expected}
        assert [why in str(w.message) for w in caught] == [True] * (expected > 0)
