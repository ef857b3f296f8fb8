"""Structure from a loss curve: the area above the final loss (prequential coding).

A model that learns online codes a data set for what its losses add up to. What is above the loss
that it ends with is the price of learning: an estimate of the program's length |P|, the epiplexity.

    S = sum_i n_i (l_i - L)          l_i before the update on batch i, L the loss of the final model

Paper: arXiv 2601.03220, Section 4 (prequential). Departs from the released code, whose final loss
is the running mean since the last log: that lags while the loss still falls; take a held-out loss.
It is an estimate, biased upwards by slow optimisation, and a difference of two upper bounds.
"""

from __future__ import annotations

import math
import warnings
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Floats = NDArray[np.float64]
BITS: Final = 1 / math.log(2)  # bits in a nat


def prequential_epiplexity(
    losses_nats: ArrayLike,
    tokens: ArrayLike,
    final_loss_nats: float,
    *,
    trapezoid: bool = False,
) -> float:
    """Bits of structure that an online learner paid for.

    Args:
        losses_nats: [n] mean loss of each batch in nats a token, measured before the update on it
            (after it, S comes out too small), on fresh data: a repeated epoch is no new data.
        tokens: [n] predicted tokens of each batch; with ``trapezoid``, tokens seen so far at each
            logged point, never falling.
        final_loss_nats: nats a token of the final model, best on held-out data.
        trapezoid: area under logged points, for a log that skips batches.

    Returns:
        S in bits; negative terms are kept, so a run that ends worse than it began gives S < 0, with
        a warning.

    Raises:
        InputError: lengths that differ, no losses, losses that are not finite, or bad counts.

    Examples:
        >>> round(prequential_epiplexity([1.0, 0.7, 0.5], [64, 64, 64], 0.5), 3)
        64.633
    """
    losses, counts = _checked(losses_nats, tokens, "losses_nats")
    if not math.isfinite(final_loss_nats):
        raise InputError(f"final_loss_nats is {final_loss_nats}; expected a finite loss in nats")
    above = losses - final_loss_nats
    if trapezoid:
        if np.any(np.diff(counts) < 0):
            raise InputError("tokens fall; with trapezoid=True they are tokens seen so far")
        nats = float(np.sum((above[1:] + above[:-1]) / 2 * np.diff(counts)))
    else:
        nats = float(above @ counts)
    if nats < 0:
        warnings.warn(
            f"S is negative ({nats * BITS:.4g} bits): the final loss {final_loss_nats:.4g} lies "
            f"above the losses of the run. Nothing was learned, or the final loss is of other data",
            stacklevel=2,
        )
    return nats * BITS


def requential_epiplexity(kl_nats: ArrayLike, tokens: ArrayLike) -> float:
    """Bits that a student needs to follow its teacher: the sum of their divergences.

        S = sum_i n_i KL_i           KL_i = mean over target tokens of KL(teacher || student)

    Args:
        kl_nats: [n] nats a token, before the student's update; >= 0.
        tokens: [n] sampled target tokens of each step.

    Returns:
        S in bits.

    Raises:
        InputError: lengths that differ, no steps, negative or infinite divergences.

    Examples:
        >>> round(requential_epiplexity([0.2, 0.1], [64, 64]), 3)
        27.7

    Source: arXiv 2601.03220, Section 4 (requential); overheads of its equation 9 are left out.
    """
    kl, counts = _checked(kl_nats, tokens, "kl_nats")
    if np.any(kl < 0):
        raise InputError(f"kl_nats has the value {kl.min():.4g}; a divergence is at least 0")
    return float(kl @ counts) * BITS


def _checked(values: ArrayLike, tokens: ArrayLike, name: str) -> tuple[Floats, Floats]:
    x, n = np.asarray(values, np.float64), np.asarray(tokens, np.float64)
    if x.ndim != 1 or x.shape != n.shape:
        raise InputError(
            f"{name} has shape {x.shape} and tokens {n.shape}; expected one of each a batch, [n]"
        )
    if len(x) == 0:
        raise InputError(f"{name} is empty; a run has at least one batch")
    if not np.isfinite(x).all():
        raise InputError(
            f"{name} has {int((~np.isfinite(x)).sum())} values that are not finite, the first at "
            f"batch {int(np.argmin(np.isfinite(x)))}; leave a run that diverged out"
        )
    if not (np.isfinite(n).all() and (n >= 0).all()):
        raise InputError("tokens has negative or infinite counts")
    return x, n
