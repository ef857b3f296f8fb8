"""Averages and quantiles over the tokens that count, and checks of values that others measured.

Masks are made once, where the data come in, and are handed to every average: True = counts.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence

import numpy as np

from entropilot.errors import ConfigurationError, InputError
from entropilot.information._backend import Array, as_float, is_torch, namespace


def _masked(values: Array, valid: Array) -> tuple[Array, Array]:
    """Values as floats and the mask as bool of the same kind and shape."""
    values = as_float(values)
    if is_torch(values):
        valid = sys.modules["torch"].as_tensor(valid, device=values.device).bool()
    else:
        valid = np.asarray(valid).astype(bool)
    if tuple(valid.shape) != tuple(values.shape):
        raise InputError(
            f"valid has shape {tuple(valid.shape)}, the values {tuple(values.shape)}; "
            "there must be one flag a value"
        )
    return values, valid


def masked_mean(values: Array, valid: Array, *, axis: int | None = None) -> Array:
    """Mean over the valid values; 0 where none is valid, with a warning that counts those means.

        mean = sum(valid * values) / sum(valid)

    Invalid positions may hold anything, nan included. Gradients flow (and are 0 at invalid
    positions); an empty mean keeps the graph.

    Args:
        values: [...] numbers.
        valid: [...] bool, same shape; True = counts.
        axis: axis to average over, None for all values together.

    Returns:
        Mean, or array of means without ``axis``.

    Raises:
        InputError: shapes differ.

    Examples:
        >>> float(masked_mean([1.0, 3.0, float("nan")], [True, True, False]))
        2.0
    """
    values, valid = _masked(values, valid)
    xp = namespace(values)
    kept = xp.where(valid, values, xp.zeros_like(values))
    total = kept.sum() if axis is None else kept.sum(axis)
    count = valid.sum() if axis is None else valid.sum(axis)
    empty = int((count == 0).sum())
    if empty:
        of = "the mean" if axis is None else f"{empty} of {math.prod(count.shape)} means"
        warnings.warn(f"masked_mean: no valid value in {of}; set to 0", stacklevel=2)
    return total / count.clip(1)


def masked_variance(values: Array, valid: Array, *, unbiased: bool = True) -> Array:
    """Variance of the valid values, all pooled; 0 where fewer than two are valid.

        variance = sum(valid * (values - mean)^2) / (n - 1)        n without ``unbiased``

    Invalid positions may hold anything, nan included. Gradients flow.

    Args:
        values: [...] numbers.
        valid: [...] bool, same shape; True = counts.
        unbiased: divide by n - 1 (Bessel's correction) and not by n.

    Returns:
        Scalar.

    Raises:
        InputError: shapes differ.

    Examples:
        >>> float(masked_variance([1.0, 3.0, float("nan")], [True, True, False]))
        2.0
    """
    values, valid = _masked(values, valid)
    xp = namespace(values)
    n = int(valid.sum())
    kept = xp.where(valid, values, xp.zeros_like(values))
    if n < 2:
        return kept.sum() * 0
    gap = xp.where(valid, values - kept.sum() / n, xp.zeros_like(values))
    return (gap * gap).sum() / (n - 1 if unbiased else n)


def masked_quantile(values: Array, valid: Array, q: float | Sequence[float]) -> Array:
    """Quantiles of all valid values pooled together; nan where none is valid, with a warning.

    Linear interpolation between order statistics, as ``numpy.quantile``. Nothing is differentiated.
    Padding changes nothing, whatever it holds.

    Args:
        values: [...] numbers.
        valid: [...] bool, same shape; True = counts.
        q: one or several values in [0, 1].

    Returns:
        Scalar, or [len(q)].

    Raises:
        InputError: shapes differ, or a valid value is nan.
        ConfigurationError: q outside [0, 1].

    Examples:
        >>> float(masked_quantile([1.0, 2.0, 99.0], [True, True, False], 0.5))
        1.5
    """
    values, valid = _masked(values, valid)
    points = np.asarray(q, dtype=np.float64)
    if not ((points >= 0) & (points <= 1)).all():
        raise ConfigurationError(f"q is {q}; quantiles are in [0, 1]")
    xp = namespace(values)
    pool = xp.sort(values.detach()[valid])[0] if is_torch(values) else np.sort(values[valid])
    n = pool.shape[0]
    if n == 0:
        warnings.warn("masked_quantile: no valid value; the quantile is nan", stacklevel=2)
        pool, n = xp.full_like(values.reshape(-1)[:1], float("nan")), 1
        if pool.shape[0] == 0:
            pool = xp.full((1,), float("nan"), dtype=values.dtype)
    elif bool(xp.isnan(pool[-1:]).any()):
        raise InputError("a valid value is nan; leave it out of the mask, or repair its source")
    position = points * (n - 1)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, n - 1)
    weight = position - low
    if is_torch(values):
        torch = sys.modules["torch"]
        low, high = (torch.as_tensor(i, device=pool.device) for i in (low, high))
        weight = torch.as_tensor(weight, dtype=pool.dtype, device=pool.device)
    return pool[low] + (pool[high] - pool[low]) * weight


def check_entropy(entropy: Array, valid: Array | None = None, *, n_vocab: int = 0) -> None:
    """Reject entropies that can't be entropies: below 0, above ln V, or nan.

    A value of +1 or -1 in a padded position, averaged as if it were an entropy, has spoilt
    published curves. Pass the mask, or leave padding out.

    Args:
        entropy: [...] nats.
        valid: [...] bool; None = all count.
        n_vocab: V; 0 = unknown, then only the lower bound is checked.

    Raises:
        InputError: says how many values, the worst one, and what it probably is.

    Examples:
        >>> check_entropy([0.3, 1.2], n_vocab=50)
    """
    ceiling = math.log(n_vocab) if n_vocab else math.inf
    _check_range(
        entropy, valid, 0.0, ceiling, f"entropies are in [0, {ceiling:.4g}] nats",
        "Negative values are log-probs or padding sentinels: negate the one, mask the other",
    )  # fmt: skip


def check_logprob(logprob: Array, valid: Array | None = None) -> None:
    """Reject log-probabilities above 0 or nan; -inf is possible.

    Args:
        logprob: [...] nats.
        valid: [...] bool; None = all count.

    Raises:
        InputError: says how many values and the worst one.

    Examples:
        >>> check_logprob([-0.1, -float("inf"), 0.0])
    """
    _check_range(
        logprob, valid, -math.inf, 0.0, "natural-log probabilities are <= 0",
        "If these are probabilities, take np.log first; if it is padding (+1), mask it",
    )  # fmt: skip


def _check_range(
    values: Array, valid: Array | None, low: float, high: float, rule: str, mend: str
) -> None:
    values = as_float(values)
    if valid is not None:
        values, mask = _masked(values, valid)
        values = values[mask]
    slack = 1e-4  # rounding of float32 sums and of six printed decimals
    bad = ~((values >= low - slack) & (values <= high + slack))
    if bool(bad.any()):
        found = [float(x) for x in values[bad].reshape(-1)[:3]]
        raise InputError(
            f"{int(bad.sum())} of {math.prod(values.shape)} values are out of range (first: "
            f"{', '.join(f'{x:.4g}' for x in found)}); {rule}. {mend}"
        )
