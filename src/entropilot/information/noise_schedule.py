"""Noise schedules of diffusion models: what is left of the signal after t steps.

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps. Timesteps are counted from 0, as arrays are: entry t
of a schedule belongs to step t + 1 of the papers.

Source: DDPM (arXiv 2006.11239, linear) and Nichol & Dhariwal (arXiv 2102.09672, cosine).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError, unknown_name

Floats = NDArray[np.float64]
Schedule = Literal["linear", "cosine"]

COSINE_OFFSET = 0.008  # Nichol & Dhariwal, section 3.2
LARGEST_BETA = 0.999  # the same


def alpha_bar(
    schedule: Schedule = "linear",
    T: int = 1000,
    *,
    beta_first: float = 1e-4,
    beta_last: float = 0.02,
) -> Floats:
    """The product of 1 - beta over the steps so far, [T], falling.

    Args:
        schedule: ``"linear"`` in beta, or ``"cosine"``.
        T: number of steps.
        beta_first: of the linear schedule.
        beta_last: of the linear schedule.

    Raises:
        ConfigurationError: no such schedule, T below 1, or a beta outside (0, 1).

    Examples:
        >>> alpha_bar(T=1000)[[0, 999]].round(6).tolist()
        [0.9999, 4e-05]
    """
    if schedule not in get_args(Schedule):
        raise ConfigurationError(unknown_name("noise schedule", schedule, get_args(Schedule)))
    if T < 1:
        raise ConfigurationError(f"T is {T}; a schedule has at least one step")
    if schedule == "linear":
        if not (0 < beta_first < 1 and 0 < beta_last < 1):
            raise ConfigurationError(
                f"betas run from {beta_first} to {beta_last}; they must lie between 0 and 1"
            )
        beta: Floats = np.linspace(beta_first, beta_last, T)
        return np.asarray(np.cumprod(1 - beta), dtype=np.float64)
    angle = (np.arange(T + 1) / T + COSINE_OFFSET) / (1 + COSINE_OFFSET) * np.pi / 2
    left = np.cos(angle) ** 2
    return np.cumprod(1 - np.minimum(1 - left[1:] / left[:-1], LARGEST_BETA))


def checked_schedule(abar: ArrayLike) -> Floats:
    """A schedule as float64, or an error that names its first bad step.

    Raises:
        InputError: not a row of falling numbers inside (0, 1).

    Examples:
        >>> checked_schedule([0.9, 0.5]).tolist()
        [0.9, 0.5]
    """
    found = np.asarray(abar, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise InputError(f"alpha_bar has shape {found.shape}; expected [T], one number a step")
    bad = ~((found > 0) & (found < 1))
    if bad.any():
        t = int(np.argmax(bad))
        raise InputError(
            f"alpha_bar is {found[t]:g} at t = {t}; it must lie between 0 and 1. Betas are turned "
            "into it by np.cumprod(1 - beta)"
        )
    rises = np.diff(found) >= 0
    if rises.any():
        t = int(np.argmax(rises)) + 1
        raise InputError(f"alpha_bar does not fall at t = {t}; steps add noise, so it must fall")
    return found


def signal_to_noise(abar: ArrayLike) -> Floats:
    """SNR_t = abar_t / (1 - abar_t), [T].

    Raises:
        InputError: see ``checked_schedule``.

    Examples:
        >>> signal_to_noise([0.5, 0.2]).tolist()
        [1.0, 0.25]
    """
    found = checked_schedule(abar)
    return found / (1 - found)
