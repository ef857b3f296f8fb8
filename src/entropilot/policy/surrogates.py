"""Per-token losses of policy-gradient methods: PPO's clip, dual clip, GSPO, CISPO, plain.

Legend: B answers, T tokens. Each returns a loss [B, T] to be minimised; values where the mask is
False are 0. Advantages and old log-probs are constants.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError
from entropilot.policy.term import Applied, State, Term, View
from entropilot.policy.token_kernels import (
    can_compile,
    clipped_surrogate,
    flat,
    log_ratio_sum,
    n_true,
)

LOG_RATIO_LIMIT: Final = 20.0  # as verl's plain loss; nothing else passes it
NEEDS: Final = frozenset({"logprob"})


def log_ratio(logprob: Tensor, old_logprob: Tensor, mask: Tensor) -> Tensor:
    """log(pi / pi_old), clamped at +-20, 0 off the mask.

    Examples:
        >>> log_ratio(torch.tensor([[-1.0]]), torch.tensor([[-1.5]]), torch.tensor([[True]])).item()
        0.5
    """
    gap = torch.where(mask, logprob, 0) - torch.where(mask, old_logprob, 0)
    return gap.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def clipped_ratio_loss(
    logprob: Tensor,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    eps_low: float = 0.2,
    eps_high: float = 0.2,
    dual_clip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate, with dual clip where asked.

        r = exp(logprob - old_logprob)
        l = max(-A r, -A clip(r, 1 - eps_low, 1 + eps_high))
        A < 0 and dual clip c:  l = min(l, -A c)

    Args:
        logprob: [B, T] nats, with gradient.
        old_logprob: [B, T] nats.
        advantages: [B, T].
        mask: [B, T] bool.
        eps_low: width of the clip below 1.
        eps_high: width above 1; DAPO's clip-higher is 0.28.
        dual_clip: c > 1, or None for none. verl always has 3.0; TRL's ``delta`` is c when it is
            above 1 + eps_high.

    Returns:
        Loss [B, T] and which tokens the clip has stopped, [B, T] bool.

    Examples:
        >>> new, old, mask = torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log(), [[True]]
        >>> clipped_ratio_loss(new, old, torch.ones(1, 1), torch.tensor(mask))[0].item()
        -1.2000000476837158

    Source: PPO, arXiv 1707.06347, equation 7; dual clip, arXiv 1912.09729; clip-higher, arXiv
    2503.14476.
    """
    if can_compile(mask, logprob, old_logprob, advantages) and not (
        old_logprob.requires_grad or advantages.requires_grad
    ):
        bounds = (1 - eps_low, 1 + eps_high, torch.inf if dual_clip is None else dual_clip)
        apply: Any = _ClippedRatio.apply
        found: tuple[Tensor, Tensor] = apply(logprob, old_logprob, advantages, mask, bounds)
        return found
    advantage = torch.where(mask, advantages, 0)
    ratio = log_ratio(logprob, old_logprob, mask).exp()
    free = -advantage * ratio
    clipped = -advantage * ratio.clamp(1 - eps_low, 1 + eps_high)
    loss = torch.maximum(free, clipped)
    stopped = mask & (clipped > free)
    if dual_clip is not None:
        bound = -advantage * dual_clip
        loss = torch.where(advantage < 0, torch.minimum(loss, bound), loss)
    return loss, stopped


def log_ratio_mean(logprob: Tensor, old_logprob: Tensor, mask: Tensor) -> float:
    """Mean of ``log_ratio`` over the tokens that count, without gradient.

    Examples:
        >>> new, old = torch.tensor([[-1.0, -1.0]]), torch.tensor([[-1.5, -9.0]])
        >>> log_ratio_mean(new, old, torch.tensor([[True, False]]))
        0.5
    """
    n = n_true(mask)
    if not can_compile(mask, logprob, old_logprob):
        return float(log_ratio(logprob.detach(), old_logprob, mask).sum()) / n
    arrays = (flat(x) for x in (logprob, old_logprob, mask))
    return float(log_ratio_sum(*arrays, np.float32(LOG_RATIO_LIMIT))) / n


class _ClippedRatio(torch.autograd.Function):
    """The loss of ``clipped_ratio_loss`` in one pass, which also leaves its slope."""

    @staticmethod
    def forward(
        ctx: Any,
        logprob: Tensor,
        old_logprob: Tensor,
        advantages: Tensor,
        mask: Tensor,
        bounds: tuple[float, float, float],
    ) -> tuple[Tensor, Tensor]:
        loss, slope = (torch.empty(mask.shape) for _ in range(2))
        stopped = torch.empty_like(mask, memory_format=torch.contiguous_format)
        clipped_surrogate(
            *(flat(x) for x in (logprob, old_logprob, advantages.expand(mask.shape), mask)),
            *(np.float32(x) for x in (LOG_RATIO_LIMIT, *bounds)),
            *(flat(x) for x in (loss, slope, stopped)),
        )
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(stopped)
        return loss, stopped

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, weight: Tensor, _: Any) -> tuple[Any, ...]:
        return ctx.saved_tensors[0] * weight, None, None, None, None


def sequence_ratio_loss(
    logprob: Tensor,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    eps_low: float = 3e-4,
    eps_high: float = 4e-4,
    gradient: Literal["token", "mean"] = "token",
) -> tuple[Tensor, Tensor]:
    """GSPO: PPO's clip on the ratio of whole answers.

        log s_i = mean over the answer's tokens of (logprob - old_logprob)
        "token" (verl): r_t = sg[s_i] exp(logprob_t - sg[logprob_t])
        "mean"  (TRL):  r_t = s_i

    Args:
        logprob: [B, T] nats, with gradient.
        old_logprob: [B, T] nats.
        advantages: [B, T].
        mask: [B, T] bool.
        eps_low: width of the clip below 1.
        eps_high: width above 1.
        gradient: through each token, or through the mean.

    Returns:
        Loss [B, T] and which tokens the clip has stopped, [B, T] bool.

    Source: arXiv 2507.18071, equations 5 and 7; GSPO-token, equation 14.
    """
    advantage = torch.where(mask, advantages, 0)
    length = mask.sum(-1, keepdim=True).clamp(min=1)
    gap = torch.where(mask, logprob, 0) - torch.where(mask, old_logprob, 0)
    mean = gap.sum(-1, keepdim=True) / length
    if gradient == "token":
        own = torch.where(mask, logprob, 0)
        mean = mean.detach() + own - own.detach()
    ratio = torch.where(mask, mean.clamp(max=10.0).exp(), 0)
    free = -advantage * ratio
    clipped = -advantage * ratio.clamp(1 - eps_low, 1 + eps_high)
    loss = torch.where(mask, torch.maximum(free, clipped), 0)
    return loss, mask & (clipped > free)


def stop_gradient_clip_loss(
    logprob: Tensor,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    low: float | None = 0.8,
    high: float = 1.28,
) -> tuple[Tensor, Tensor]:
    """CISPO: the clipped ratio is a constant weight of the log-prob.

        l = -A sg[clip(r, low, high)] logprob

    Args:
        logprob: [B, T] nats, with gradient.
        old_logprob: [B, T] nats.
        advantages: [B, T].
        mask: [B, T] bool.
        low: lowest ratio, or None for no lower clip, as in TRL. verl clips at 1 - eps_low.
        high: highest ratio itself; verl's is 1 + eps_high, TRL's ``epsilon_high`` is this number.

    Returns:
        Loss [B, T] and which tokens were clipped, [B, T] bool.

    Source: MiniMax-M1, arXiv 2506.13585, equation 4.
    """
    advantage = torch.where(mask, advantages, 0)
    ratio = log_ratio(logprob, old_logprob, mask).exp().detach()
    weight = ratio.clamp(min=low, max=high)
    return -advantage * weight * torch.where(mask, logprob, 0), mask & (weight != ratio)


def logprob_loss(logprob: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Policy gradient without a ratio: l = -A logprob, equal in gradient to PPO at r = 1.

    Args:
        logprob: [B, T] nats, with gradient.
        advantages: [B, T].
        mask: [B, T] bool.

    Returns:
        Loss [B, T].

    Examples:
        >>> one = torch.ones(1, 1)
        >>> logprob_loss(-one, 2 * one, one.bool()).item()
        2.0
    """
    return -torch.where(mask, advantages, 0) * torch.where(mask, logprob, 0)


def clipped_ratio(
    eps_low: float = 0.2, eps_high: float = 0.2, dual_clip: float | None = None
) -> Term:
    """Surrogate term of PPO and GRPO; ``clipped_ratio(0.2, 0.28)`` is DAPO's clip-higher.

    See ``clipped_ratio_loss``.

    When this does nothing: while the ratio is 1, as in the first update on a rollout batch, it is
    the plain policy gradient, whatever its widths; with one update a rollout it never clips
    (``surrogate/clip_fraction`` stays 0).

    Examples:
        >>> clipped_ratio(0.2, 0.28).settings["eps_high"]
        0.28
    """
    if not (0 <= eps_low <= 1 and eps_high >= 0):
        raise ConfigurationError(
            f"clip widths are eps_low={eps_low}, eps_high={eps_high}; eps_low is in [0, 1] and "
            "eps_high >= 0"
        )
    if dual_clip is not None and not dual_clip > 1:
        raise ConfigurationError(f"dual_clip is {dual_clip}; it must be above 1, or None for none")
    settings = {"eps_low": eps_low, "eps_high": eps_high, "dual_clip": dual_clip}

    def apply(view: View, state: State) -> Applied:
        loss, stopped = clipped_ratio_loss(
            *_inputs(view), eps_low=eps_low, eps_high=eps_high, dual_clip=dual_clip
        )
        return Applied(loss, state, ratio_metrics(view, stopped))

    return Term("clipped-ratio", apply, needs=NEEDS, settings=settings)


def sequence_ratio(
    eps_low: float = 3e-4, eps_high: float = 4e-4, gradient: Literal["token", "mean"] = "token"
) -> Term:
    """Surrogate term of GSPO; see ``sequence_ratio_loss``.

    When this does nothing: with one update a rollout the ratio is 1 and nothing is clipped. An
    answer of one token has the token's own ratio.

    Examples:
        >>> sequence_ratio().name
        'sequence-ratio'
    """

    def apply(view: View, state: State) -> Applied:
        loss, stopped = sequence_ratio_loss(
            *_inputs(view), eps_low=eps_low, eps_high=eps_high, gradient=gradient
        )
        return Applied(loss, state, ratio_metrics(view, stopped))

    settings: dict[str, Any] = {"eps_low": eps_low, "eps_high": eps_high, "gradient": gradient}
    return Term("sequence-ratio", apply, needs=NEEDS, settings=settings)


def stop_gradient_clip(low: float | None = 0.8, high: float = 1.28) -> Term:
    """Surrogate term of CISPO; see ``stop_gradient_clip_loss``.

    When this does nothing: while the ratio is within [low, high], as in the first update on a
    rollout batch, its gradient is that of the ratio without a clip.

    Examples:
        >>> stop_gradient_clip(None, 5.0).settings
        {'low': None, 'high': 5.0}
    """

    def apply(view: View, state: State) -> Applied:
        loss, stopped = stop_gradient_clip_loss(*_inputs(view), low=low, high=high)
        return Applied(loss, state, ratio_metrics(view, stopped))

    return Term("stop-gradient-clip", apply, needs=NEEDS, settings={"low": low, "high": high})


def logprob_surrogate() -> Term:
    """Surrogate term of the plain policy gradient; see ``logprob_loss``.

    When this does nothing: where advantages are 0. It knows no old policy, so nothing holds it back
    in the later updates on a rollout batch.

    Examples:
        >>> logprob_surrogate().name
        'logprob'
    """

    def apply(view: View, state: State) -> Applied:
        loss = logprob_loss(view.policy.logprob, view.advantages, view.mask)
        return Applied(loss, state, ratio_metrics(view, torch.zeros_like(view.mask)))

    return Term("logprob", apply, needs=NEEDS)


def ratio_metrics(view: View, stopped: Tensor) -> dict[str, Tensor]:
    """Share of tokens that a clip has stopped, approximate KL and mean ratio, over the mask."""
    n = view.mask.sum().clamp(min=1)
    gap = log_ratio(view.policy.logprob.detach(), view.rollouts.old_logprob, view.mask)
    upward = stopped & (view.advantages > 0)
    return {
        "surrogate/clip_fraction": stopped.sum() / n,
        "surrogate/clip_fraction_up": upward.sum() / n,
        "surrogate/approx_kl": -gap.sum() / n,
    }


def _inputs(view: View) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return view.policy.logprob, view.rollouts.old_logprob, view.advantages, view.mask
