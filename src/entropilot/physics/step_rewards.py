"""Rewards for the choice of a time step: accurate and cheap, in the forms of arXiv 2502.12809."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError

Array = NDArray[np.float64]
Weights = tuple[float, float, float]

WEIGHTS: Final[Weights] = (3000.0, 0.0, 4.0)
_LEAST: Final = 1e-3  # |log10 error| below which the accuracy term is held
_LARGEST: Final = 1e6  # of a reward

OPTIONS: Final = (0, 2, 3, 4, 5, 6)


def step_reward(
    error: Array,
    before: Array,
    number: Array,
    mu: Array,
    *,
    option: int = 5,
    weights: Weights = WEIGHTS,
) -> Array:
    """Reward of a decision, by the relative energy error that it left.

    Option 5 is the published one: positive where the error is below 1e-10, fading as 1/number, plus
    a term for cheap steps that is 1 at mu = 1e-4 and 4 at mu = 0.1. |log10 error| is held above
    1e-3 and the reward within 1e6, which the reference does not do.

    Args:
        error: [n] relative energy errors since the start; their size counts.
        before: [n] those of the decision before.
        number: [n] of the decision, from 1.
        mu: [n] step over collision time.
        option: 0, 2, 3, 4, 5 or 6.
        weights: of accuracy, of its change, and of cost.

    Raises:
        ConfigurationError: no such option; lists the valid ones.

    Examples:
        >>> one = np.ones(1)
        >>> round(float(step_reward(1e-12 * one, one, 2 * one, 1e-4 * one)[0]), 6)
        2.736111
    """
    if option not in OPTIONS:
        raise ConfigurationError(
            f"reward option {option!r}; expected one of {', '.join(map(str, OPTIONS))}"
        )
    now, last = (np.log10(np.maximum(np.abs(d), 1e-20)) for d in (error, before))
    now = np.where(np.abs(now) < _LEAST, np.where(now < 0, -_LEAST, _LEAST), now)
    cheap = weights[2] / np.abs(np.log10(mu))
    change = weights[1] * (now - last)
    made = {
        0: -weights[0] * np.abs((now + 8) / now**2 / number) - change + cheap,
        2: -(weights[0] * now + change) * cheap,
        3: -weights[0] * now + cheap,
        4: -weights[0] * (now + 8) / number - change + cheap,
        5: -weights[0] * (now + 10) / (np.abs(now) ** 3 * number) + cheap,
        6: -weights[0] * np.tanh(now + 10) / number + cheap,
    }[option]
    return np.asarray(np.clip(made, -_LARGEST, _LARGEST))
