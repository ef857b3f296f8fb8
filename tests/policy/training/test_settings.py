"""Settings of training and warm-up: ranges and schedules."""

from __future__ import annotations

from typing import Any

import pytest

from entropilot.errors import ConfigurationError
from entropilot.policy.training.settings import TrainSettings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": -1}, "steps is -1; it must be at least 0"),
        ({"n_prompts": 0}, "n_prompts is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"n_prompts": 1, "n_answers": 2, "n_updates": 3}, "only 2 answers"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_values_out_of_range_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TrainSettings(**change)


def test_cosine_falls_to_a_tenth() -> None:
    settings = TrainSettings(steps=100, learning_rate=1.0, schedule="cosine", warm_up=10)
    rates = [settings.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(1.0)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert settings.rate_at(100) == pytest.approx(0.1)
