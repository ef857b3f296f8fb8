"""Token covariance of log-prob and advantage: which tokens spend the policy's entropy.

A policy-gradient step changes the entropy by minus the covariance of log-prob and advantage, to
first order. A token that is likely and good, or unlikely and bad, spends entropy; few tokens carry
most of it.

Source: The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models, arXiv
2505.22617, Sections 3 and 4.

Legend: B answers, T tokens, N tokens that count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.token_kernels import can_compile, flat, gap_products, masked_sum, n_true

TOPS: Final = (2e-4, 2e-3, 0.02, 0.2, 0.5, 1.0)  # Table 1
_ROUNDING: Final = 64  # units in the last place by which equal values may differ from their mean

Value = TypeVar("Value")


class TopCovariance(NamedTuple):
    """One row of ``covariance_summary``."""

    fraction: float  # of the tokens that count, those of largest covariance
    n_tokens: int
    mean: float  # their mean covariance


def token_covariance(logprob: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Each token's share of the covariance of log-prob and advantage.

        C_i = (logprob_i - mean_j logprob_j) (A_i - mean_j A_j)        means over all N tokens

    The mean of C over the N tokens is the covariance. Nothing is differentiated. Equal advantages
    give exactly 0.

    Args:
        logprob: [B, T] nats, of the current policy.
        advantages: [B, T], or [B, 1].
        mask: [B, T] bool, tokens that count.

    Returns:
        [B, T], 0 where the mask is False.

    Raises:
        InputError: shapes do not go together, no token counts, or a value that counts is not
            finite.

    Examples:
        >>> logprob, mask = torch.tensor([[-1.0, -3.0]]), torch.tensor([[True, True]])
        >>> token_covariance(logprob, torch.tensor([[2.0, 1.0]]), mask).tolist()
        [[0.5, 0.5]]

    Source: arXiv 2505.22617, equation 10. Departs from the reference code: the means are over the
    whole batch that is handed in, without 1e-8 in the denominator.
    """
    return covariance_and_mean(logprob, advantages, mask)[0]


def covariance_and_mean(logprob: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, float]:
    """``token_covariance`` and its mean over the tokens that count."""
    _check(logprob, advantages, mask)
    if can_compile(mask, logprob, advantages):
        return _compiled_covariance(logprob, advantages.expand(mask.shape), mask)
    n = mask.sum()
    gap = _centred("logprob", logprob, mask, n)
    covariance = gap.mul_(_centred("advantages", advantages, mask, n))
    return covariance, float(covariance.sum() / n)


def _compiled_covariance(logprob: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, float]:
    n = n_true(mask)
    a, b, counts = flat(logprob), flat(advantages), flat(mask)
    means = []
    for name, values in (("logprob", a), ("advantages", b)):
        means.append(np.float32(masked_sum(values, counts) / n))
        _check_mean(name, bool(np.isfinite(means[-1])))
    out = torch.empty(mask.shape)
    *most, total = gap_products(a, b, counts, *means, flat(out))
    least = [_ROUNDING * np.finfo(np.float32).eps * abs(float(mean)) for mean in means]
    if most[0] <= least[0] or most[1] <= least[1]:
        return out.zero_(), 0.0  # equal values; what is left is rounding of their mean
    return out, total / n


def covariance_summary(
    covariance: Tensor, mask: Tensor, tops: Sequence[float] = TOPS
) -> tuple[TopCovariance, ...]:
    """Mean covariance of the tokens of largest covariance: is the entropy spent by a few?

    Args:
        covariance: [B, T], of ``token_covariance``.
        mask: [B, T] bool, tokens that count.
        tops: fractions of the tokens that count, in (0, 1]; at least one token each.

    Returns:
        A row for each fraction.

    Raises:
        ConfigurationError: a fraction outside (0, 1].
        InputError: shapes differ, or no token counts.

    Examples:
        >>> covariance, mask = torch.tensor([[4.0, 1.0, 1.0, 0.0]]), torch.ones(1, 4).bool()
        >>> for row in covariance_summary(covariance, mask, (0.25, 1.0)):
        ...     print(row.fraction, row.n_tokens, row.mean)
        0.25 1 4.0
        1.0 4 1.5

    Source: arXiv 2505.22617, Table 1.
    """
    _check(covariance, covariance, mask)
    for fraction in tops:
        check_ratio("a top fraction", fraction)
    ordered = covariance.detach()[mask].double().sort(descending=True).values
    running = ordered.cumsum(0)
    counts = [quota(fraction, len(ordered)) for fraction in tops]
    return tuple(
        TopCovariance(fraction, n, float(running[n - 1]) / n)
        for fraction, n in zip(tops, counts, strict=True)
    )


def quota(ratio: float, n: int) -> int:
    """How many of n tokens a ratio chooses: floor(ratio n), at least 1.

    Examples:
        >>> quota(2e-4, 12_000), quota(2e-4, 10)
        (2, 1)
    """
    return max(int(ratio * n), 1)


def largest(values: Tensor, mask: Tensor, k: int) -> Tensor:
    """The k largest values where the mask is True; of equal ones, the first in row-major order.

    No sort: a selection of the k-th largest, then comparisons.

    Args:
        values: [B, T] float32 or float64; finite where the mask is True.
        mask: [B, T] bool with at least k True.
        k: >= 1.

    Returns:
        [B, T] bool.

    Examples:
        >>> largest(torch.tensor([[1.0, 3.0, 3.0]]), torch.ones(1, 3).bool(), 1).tolist()
        [[False, True, False]]
    """
    threshold = _kth_largest(_kept(values, mask), k)
    chosen = mask & (values.detach() > threshold)
    flat = chosen.view(-1)
    n_short = k - int(chosen.sum())
    equal = (mask & (values.detach() == threshold)).view(-1)
    flat[equal.nonzero()[:n_short, 0]] = True
    return chosen


def masked_quantile_of(values: Tensor, mask: Tensor, q: float) -> float:
    """The q-quantile of the values where the mask is True, with linear interpolation; no sort.

    Args:
        values: [B, T] float32 or float64; finite where the mask is True.
        mask: [B, T] bool, not all False.
        q: in [0, 1].

    Examples:
        >>> mask = torch.tensor([[True, True, False]])
        >>> masked_quantile_of(torch.tensor([[1.0, 2.0, 9.0]]), mask, 0.5)
        1.5
    """
    kept = _kept(values, mask)
    n = len(kept)
    position = q * (n - 1)
    low = int(position)
    start = _kth_largest(kept, n - low)
    end = _kth_largest(kept, max(n - low - 1, 1))
    return start + (end - start) * (position - low)


def check_ratio(name: str, ratio: float) -> None:
    """Reject a fraction of the tokens that is not one.

    Raises:
        ConfigurationError: ratio outside (0, 1].

    Examples:
        >>> check_ratio("ratio", 2e-4)
    """
    if not 0 < ratio <= 1:
        raise ConfigurationError(
            f"{name} is {ratio}; it is a fraction of the tokens, in (0, 1]. 0.2 percent is 2e-3"
        )


def from_alias(name: str, value: Value, default: Value, alias: str, given: Value | None) -> Value:
    """The value of a setting that may also be typed under the name it has in verl.

    Raises:
        ConfigurationError: both were given and differ.

    Examples:
        >>> from_alias("ratio", 2e-4, 2e-4, "clip_cov_ratio", 0.01)
        0.01
    """
    if given is None:
        return value
    if value not in (default, given):
        raise ConfigurationError(
            f"{name} is {value} and {alias} is {given}; they are one setting, so give one of them"
        )
    return given


def _kept(values: Tensor, mask: Tensor) -> Tensor:
    """[N] values where the mask is True."""
    if values.device.type == "cpu":  # four times as fast as torch's own indexing
        array: Any = values.detach().numpy()
        return torch.from_numpy(array[mask.numpy()])
    return values.detach()[mask]


def _kth_largest(values: Tensor, k: int) -> float:
    """By selection, not by a sort. Values [N] must hold no filler: many equal ones are slow."""
    if values.device.type == "cpu":
        array: Any = values.numpy()
        index = len(array) - k
        return float(np.partition(array, index)[index])
    return float(values.topk(k, sorted=False).values.min())


def _centred(name: str, values: Tensor, mask: Tensor, n: Tensor) -> Tensor:
    """Values minus their mean where the mask is True, 0 elsewhere."""
    wide = values.detach()
    wide = wide if wide.dtype == torch.float64 else wide.float()
    kept = torch.where(mask, wide, 0)  # a new tensor, changed in place from here
    mean = kept.sum() / n
    _check_mean(name, bool(torch.isfinite(mean)))
    gap = kept.sub_(mean).mul_(mask)
    low, high = gap.aminmax()
    if torch.maximum(-low, high) <= _ROUNDING * torch.finfo(gap.dtype).eps * mean.abs():
        return gap.zero_()  # equal values; what is left is rounding of their mean
    return gap


def _check_mean(name: str, is_finite: bool) -> None:
    if not is_finite:
        raise InputError(
            f"{name} has values that are nan or infinite where tokens count; what made them is "
            "broken"
        )


def _check(logprob: Tensor, advantages: Tensor, mask: Tensor) -> None:
    if logprob.ndim != 2 or logprob.shape != mask.shape:
        raise InputError(
            f"the values have shape {tuple(logprob.shape)} and the mask {tuple(mask.shape)}; both "
            "must be [B, T]"
        )
    if tuple(advantages.shape) not in ((mask.shape[0], 1), tuple(mask.shape)):
        raise InputError(
            f"advantages must be [B,T]; found {tuple(advantages.shape)} beside a mask of "
            f"{tuple(mask.shape)}. Give one number an answer as [B,1]"
        )
    if mask.dtype != torch.bool or not bool(mask.any()):
        raise InputError(
            f"the mask has dtype {mask.dtype} and {int(mask.sum())} tokens that count; expected "
            "bool with at least one True"
        )
