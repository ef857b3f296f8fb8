"""Clip-Cov: leave a few of the tokens that spend the most entropy out of the update.

Source: arXiv 2505.22617, Section 4.2, and the merged form in verl, ``clip_cov``.
Departs from the reference code: covariances are over the whole batch handed in, not over what one
device holds; log-ratios are clamped at +-20.

Legend: B answers, T tokens, N tokens that count.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError
from entropilot.policy.covariance import (
    check_ratio,
    covariance_and_mean,
    from_alias,
    masked_quantile_of,
    quota,
)
from entropilot.policy.idle_warning import counted_idle
from entropilot.policy.surrogates import NEEDS, clipped_ratio_loss, log_ratio_mean, ratio_metrics
from entropilot.policy.term import Applied, State, Term, View
from entropilot.policy.token_kernels import can_compile, flat, n_true, places_between

Bound = float | str
RATIO: Final = 2e-4
LB: Final = 1.0
UB: Final = 5.0
_IDLE: Final = (
    "No token's covariance lies between lb and ub: set lb to a quantile, such as 'quantile:0.98', "
    "where advantages are not all 0"
)


class _Choice(NamedTuple):
    dropped: Tensor  # [B, T] bool
    n_candidates: int
    n_dropped: int
    lb: float
    covariance: float  # mean over the tokens


def clip_cov_mask(
    logprob: Tensor,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    ratio: float = RATIO,
    lb: Bound = LB,
    ub: float = UB,
    eps_low: float = 1.0,
    eps_high: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Tokens that stay in the update; the others were drawn among those of large covariance.

        candidates: lb < C < ub, and the ratio clip has not stopped the token
        quota      = max(floor(ratio N), 1)
        dropped    = all candidates, or so many of them drawn without replacement

    Nothing is differentiated.

    Args:
        logprob: [B, T] nats, of the current policy.
        old_logprob: [B, T] nats.
        advantages: [B, T], or [B, 1].
        mask: [B, T] bool, tokens that count.
        ratio: in (0, 1]; fraction of the tokens that is dropped at most.
        lb: covariance above which a token is a candidate, or "quantile:0.98" for that quantile of
            the batch. The scale depends on the model: far above the mean.
        ub: covariance below which it is one.
        eps_low: width of the ratio clip below 1.
        eps_high: width above 1.
        generator: of the draw, which is a permutation of the candidates in row-major order.

    Returns:
        [B, T] bool, False where the mask is.

    Raises:
        ConfigurationError: a setting out of its range.
        InputError: see ``token_covariance``.

    Examples:
        >>> logprob, mask = torch.tensor([[-0.1, -2.0, -0.1]]), torch.ones(1, 3).bool()
        >>> advantages = torch.tensor([[1.0, -2.0, 1.0]])
        >>> clip_cov_mask(logprob, logprob, advantages, mask, lb=1.5).tolist()
        [[True, False, True]]

    Source: arXiv 2505.22617, equations 11 and 12.
    """
    _check(ratio, lb, ub, eps_low, eps_high)
    _, stopped = clipped_ratio_loss(
        logprob.detach(), old_logprob, advantages, mask, eps_low=eps_low, eps_high=eps_high
    )
    return mask & ~_choose(logprob, advantages, mask, stopped, ratio, lb, ub, generator).dropped


def clip_cov_loss(
    logprob: Tensor,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    ratio: float = RATIO,
    lb: Bound = LB,
    ub: float = UB,
    eps_low: float = 1.0,
    eps_high: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """PPO's clipped surrogate, times 0 at the dropped tokens; the denominator keeps them.

        l = max(-A r, -A clip(r, 1 - eps_low, 1 + eps_high)) keep        no dual clip

    Args:
        logprob: [B, T] nats, with gradient.
        old_logprob: [B, T] nats.
        advantages: [B, T], or [B, 1].
        mask: [B, T] bool, tokens that count.
        ratio: see ``clip_cov_mask``, as the rest.
        lb: lower bound of candidates.
        ub: upper bound of candidates.
        eps_low: width of the ratio clip below 1.
        eps_high: width above 1.
        generator: of the draw.

    Returns:
        Loss [B, T], 0 where the mask is False, and metrics: clip_fraction (dropped, of N),
        approx_kl, n_candidates, n_dropped, lb (as a number), covariance (mean).

    Raises:
        ConfigurationError: a setting out of its range.
        InputError: see ``token_covariance``.

    Examples:
        >>> logprob, mask = torch.tensor([[-0.1, -2.0, -0.1]]), torch.ones(1, 3).bool()
        >>> advantages = torch.tensor([[1.0, -2.0, 1.0]])
        >>> clip_cov_loss(logprob, logprob, advantages, mask, lb=1.5)[0].tolist()
        [[-1.0, 0.0, -1.0]]

    Source: arXiv 2505.22617, equation 12. The paper's listing keeps the value of dropped tokens and
    detaches it; here, as in the code, the value is 0 too. The gradient is the same.
    """
    _check(ratio, lb, ub, eps_low, eps_high)
    loss, stopped = clipped_ratio_loss(
        logprob, old_logprob, advantages, mask, eps_low=eps_low, eps_high=eps_high
    )
    choice = _choose(logprob, advantages, mask, stopped, ratio, lb, ub, generator)
    n = n_true(mask)
    metrics = {
        "clip_fraction": choice.n_dropped / n,
        "approx_kl": -log_ratio_mean(logprob, old_logprob, mask),
        "n_candidates": float(choice.n_candidates),
        "n_dropped": float(choice.n_dropped),
        "lb": choice.lb,
        "covariance": choice.covariance,
    }
    return loss.masked_fill(choice.dropped, 0), metrics


def clip_cov(
    ratio: float = RATIO,
    lb: Bound = LB,
    ub: float = UB,
    eps_low: float = 1.0,
    eps_high: float = 1.0,
    *,
    clip_cov_ratio: float | None = None,
    clip_cov_lb: Bound | None = None,
    clip_cov_ub: float | None = None,
) -> Term:
    """Surrogate term of Clip-Cov; see ``clip_cov_loss``.

    When this does nothing: no token has a covariance between the bounds (``clip-cov/n_candidates``
    is 0), as with advantages that are all equal, or with bounds of a model of another scale; then
    it is PPO with its own, loose ratio clip of [0, 2], which is itself a change. Unlike KL-Cov it
    acts on the first update of a rollout batch too. Too few dropped tokens, or a choice made anew
    on each part of the batch, delay the loss of entropy but do not stop it: watch
    ``clip-cov/dropped_fraction``. 100 updates in a row without a dropped token warn.

    Args:
        ratio: in (0, 1]; fraction of the tokens that is dropped at most. Raising it holds more
            entropy.
        lb: covariance above which tokens are candidates, or "quantile:0.98". Raising it spares
            more tokens.
        ub: covariance below which they are.
        eps_low: width of the ratio clip below 1, in [0, 1].
        eps_high: width above 1.
        clip_cov_ratio: verl's name of ratio.
        clip_cov_lb: verl's name of lb.
        clip_cov_ub: verl's name of ub.

    Returns:
        The term. Metrics: ``clip-cov/n_candidates``, ``clip-cov/n_dropped``,
        ``clip-cov/dropped_fraction``, ``clip-cov/lb``, ``clip-cov/covariance`` (mean over the
        tokens), and those of the surrogate.

    Raises:
        ConfigurationError: a setting out of its range, or given twice.

    Examples:
        >>> clip_cov(clip_cov_ratio=0.02).settings["ratio"]
        0.02
    """
    ratio = from_alias("ratio", ratio, RATIO, "clip_cov_ratio", clip_cov_ratio)
    lb = from_alias("lb", lb, LB, "clip_cov_lb", clip_cov_lb)
    ub = from_alias("ub", ub, UB, "clip_cov_ub", clip_cov_ub)
    _check(ratio, lb, ub, eps_low, eps_high)
    settings = {"ratio": ratio, "lb": lb, "ub": ub, "eps_low": eps_low, "eps_high": eps_high}

    def apply(view: View, state: State) -> Applied:
        logprob, old, mask = view.policy.logprob, view.rollouts.old_logprob, view.mask
        loss, stopped = clipped_ratio_loss(
            logprob, old, view.advantages, mask, eps_low=eps_low, eps_high=eps_high
        )
        metrics = ratio_metrics(view, stopped)
        if not bool(mask.any()):  # nothing to choose from
            return Applied(loss, state, metrics)
        choice = _choose(logprob, view.advantages, mask, stopped, ratio, lb, ub, view.generator)
        found: dict[str, float | Tensor] = {
            "clip-cov/n_candidates": float(choice.n_candidates),
            "clip-cov/n_dropped": float(choice.n_dropped),
            "clip-cov/dropped_fraction": choice.n_dropped / n_true(mask),
            "clip-cov/lb": choice.lb,
            "clip-cov/covariance": choice.covariance,
        }
        idle = counted_idle(state, choice.n_dropped > 0, term="clip-cov", why=_IDLE)
        return Applied(loss.masked_fill(choice.dropped, 0), idle, {**metrics, **found})

    return Term("clip-cov", apply, needs=NEEDS, settings=settings)


def _choose(
    logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    stopped: Tensor,
    ratio: float,
    lb: Bound,
    ub: float,
    generator: torch.Generator | None,
) -> _Choice:
    covariance, mean = covariance_and_mean(logprob, advantages, mask)
    low = lb if isinstance(lb, float | int) else masked_quantile_of(covariance, mask, _quantile(lb))
    n = n_true(mask)
    places = _candidates(covariance, mask, stopped, low, ub)
    drawn = places
    if len(places) > 0:
        device = "cpu" if generator is None else generator.device
        order = torch.randperm(len(places), generator=generator, device=device)
        drawn = places[order[: quota(ratio, n)].to(places.device)]
    dropped = torch.zeros_like(mask).reshape(-1)
    dropped[drawn] = True
    return _Choice(dropped.reshape(mask.shape), len(places), len(drawn), float(low), mean)


def _candidates(
    covariance: Tensor, mask: Tensor, stopped: Tensor, low: float, high: float
) -> Tensor:
    """Places of the candidates in the flattened batch, rising."""
    if can_compile(mask, covariance):
        arrays = (flat(x) for x in (covariance, mask, stopped))
        return torch.from_numpy(places_between(*arrays, np.float32(low), np.float32(high)))
    found = mask & ~stopped & (covariance > low) & (covariance < high)
    return found.reshape(-1).nonzero()[:, 0]


def _quantile(lb: str) -> float:
    kind, _, number = lb.partition(":")
    try:
        q = float(number)
    except ValueError:
        q = -1.0
    if kind != "quantile" or not 0 <= q < 1:
        raise ConfigurationError(
            f'lb is {lb!r}; expected a number, or "quantile:q" with q in [0, 1), such as '
            '"quantile:0.98"'
        )
    return q


def _check(ratio: float, lb: Bound, ub: float, eps_low: float, eps_high: float) -> None:
    check_ratio("ratio", ratio)
    if isinstance(lb, str):
        _quantile(lb)
    elif not lb < ub:
        raise ConfigurationError(
            f"lb is {lb} and ub is {ub}; candidates lie between them, so lb must be below ub"
        )
    if not (0 <= eps_low <= 1 and eps_high >= 0):
        raise ConfigurationError(
            f"clip widths are eps_low={eps_low}, eps_high={eps_high}; eps_low is in [0, 1] and "
            "eps_high >= 0"
        )
