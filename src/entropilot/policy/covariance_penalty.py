"""KL-Cov: hold back the tokens that spend the most entropy by a penalty on their log-ratio.

Source: arXiv 2505.22617, Section 4.2, and the merged form in verl, ``kl_cov``.
Departs from the reference code: covariances are over the whole batch handed in, not over what one
device holds; the log-ratio within exp is clamped at +-20; a log-ratio below 1e-5 counts as 0, since
the slope of its absolute value would be the sign of a rounding error.

Legend: B answers, T tokens, N tokens that count.
"""

from __future__ import annotations

import math
import warnings
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.policy.covariance import check_ratio, from_alias, largest, quota, token_covariance
from entropilot.policy.surrogates import LOG_RATIO_LIMIT, NEEDS, ratio_metrics
from entropilot.policy.term import Applied, State, Term, View

Penalty = Literal["abs", "k2", "k3"]
PENALTIES: Final[tuple[Penalty, ...]] = get_args(Penalty)
RATIO: Final = 2e-3  # the paper's for 7B; 2e-4 for 32B
COEF: Final = 1.0
NO_CHANGE: Final = 1e-5  # nats; float32 log-probs of one policy differ by less on two paths

_IDLE: Final = (
    "KL-Cov has no effect on the first update of a rollout batch: the log-probs still equal the "
    "old ones, where its penalty and the slope of it are 0. With one update a rollout it never "
    "acts; use 2 or more"
)


class _Parts(NamedTuple):
    loss: Tensor  # [B, T]
    is_idle: bool
    measures: dict[str, float]  # over the tokens that count


def kl_cov_select(
    logprob: Tensor, advantages: Tensor, mask: Tensor, *, ratio: float = RATIO
) -> Tensor:
    """The tokens of largest covariance: max(floor(ratio N), 1) of them.

    Of equal covariances the first in row-major order is taken. Nothing is differentiated.

    Args:
        logprob: [B, T] nats, of the current policy.
        advantages: [B, T], or [B, 1].
        mask: [B, T] bool, tokens that count.
        ratio: in (0, 1]; fraction of the tokens.

    Returns:
        [B, T] bool.

    Raises:
        ConfigurationError: ratio outside (0, 1].
        InputError: see ``token_covariance``.

    Examples:
        >>> logprob, mask = torch.tensor([[-0.1, -4.0, -0.1]]), torch.ones(1, 3).bool()
        >>> kl_cov_select(logprob, torch.tensor([[1.0, -2.0, 1.0]]), mask).tolist()
        [[False, True, False]]

    Source: arXiv 2505.22617, equation 13.
    """
    check_ratio("ratio", ratio)
    covariance = token_covariance(logprob, advantages, mask)
    return largest(covariance, mask, quota(ratio, int(mask.sum())))


def kl_cov_loss(
    logprob: Tensor,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    ratio: float = RATIO,
    coef: float = COEF,
    penalty: Penalty = "abs",
) -> tuple[Tensor, dict[str, float]]:
    """Policy gradient with a ratio and without a clip, and a penalty at the selected tokens.

        d = logprob - old_logprob,  r = exp(d)
        l = -A r + coef k at the selected tokens,  -A r at the others
        abs: k = |d|        k2: k = d^2 / 2        k3: k = r - d - 1

    All three stand for KL(old || current) at tokens that the old policy drew; the slope of |d| at
    0 is 0. The choice is detached, the penalty carries gradient.

    Args:
        logprob: [B, T] nats, with gradient.
        old_logprob: [B, T] nats.
        advantages: [B, T], or [B, 1].
        mask: [B, T] bool, tokens that count.
        ratio: in (0, 1]; fraction of the tokens that is selected.
        coef: >= 0.
        penalty: which estimate of the KL; the code has "abs".

    Returns:
        Loss [B, T], 0 where the mask is False, and metrics: abs_kl (mean of |d|), approx_kl,
        n_selected, selected_fraction, inactive (1 where the penalty has neither value nor slope),
        covariance (mean).

    Raises:
        ConfigurationError: a setting out of its range.
        InputError: see ``token_covariance``.

    Warns:
        UserWarning: the penalty has no effect, as on the first update of a rollout batch.

    Examples:
        >>> old, mask = torch.tensor([[-0.1, -4.0, -0.1]]), torch.ones(1, 3).bool()
        >>> new = torch.tensor([[-0.1, -4.5, -0.1]])
        >>> loss, _ = kl_cov_loss(new, old, torch.tensor([[1.0, -2.0, 1.0]]), mask)
        >>> [round(x, 4) for x in loss[0].tolist()]  # 2 exp(-0.5) + 0.5 in the middle
        [-1.0, 1.7131, -1.0]

    Source: arXiv 2505.22617, equation 14. Departs from the paper's text, as its code does: |d|
    stands for the KL.
    """
    _check(ratio, coef, penalty)
    parts = _parts(logprob, old_logprob, advantages, mask, ratio, coef, penalty)
    if parts.is_idle:
        warnings.warn(_IDLE, stacklevel=2)
    return parts.loss, parts.measures


def kl_cov(
    ratio: float = RATIO,
    coef: float = COEF,
    penalty: Penalty = "abs",
    *,
    kl_cov_ratio: float | None = None,
    ppo_kl_coef: float | None = None,
) -> Term:
    """Surrogate term of KL-Cov; see ``kl_cov_loss``.

    When this does nothing: while the policy is the one that sampled, so on the first update of
    every rollout batch; value and gradient are then those of the policy gradient without a clip.
    With one update a rollout it never acts (``kl-cov/inactive`` stays 1), and the second such
    update in a row warns, once a run. Clip-Cov acts there. It has no ratio clip: with many updates
    a rollout, ratios of the other tokens are free. Choosing anew on each part of a batch changes
    the choice: hand in the whole batch.

    Args:
        ratio: in (0, 1]; fraction of the tokens that is selected. Raising it holds more entropy.
        coef: >= 0; strength of the penalty.
        penalty: "abs", "k2" or "k3"; see ``kl_cov_loss``.
        kl_cov_ratio: verl's name of ratio.
        ppo_kl_coef: verl's name of coef.

    Returns:
        The term. Metrics: ``kl-cov/n_selected``, ``kl-cov/selected_fraction``,
        ``kl-cov/inactive``, ``kl-cov/abs_kl``, ``kl-cov/covariance`` (means over the tokens), and
        those of the surrogate.

    Raises:
        ConfigurationError: a setting out of its range, or given twice.

    Examples:
        >>> kl_cov(kl_cov_ratio=0.02, ppo_kl_coef=0.1).settings["coef"]
        0.1
    """
    ratio = from_alias("ratio", ratio, RATIO, "kl_cov_ratio", kl_cov_ratio)
    coef = from_alias("coef", coef, COEF, "ppo_kl_coef", ppo_kl_coef)
    _check(ratio, coef, penalty)

    def init(_view: View) -> State:
        return {"idle": 0, "warned": False}

    def apply(view: View, state: State) -> Applied:
        memory = dict(state or {"idle": 0, "warned": False})
        logprob, old, mask = view.policy.logprob, view.rollouts.old_logprob, view.mask
        metrics = ratio_metrics(view, torch.zeros_like(mask))
        if not bool(mask.any()):  # nothing to choose from
            return Applied(torch.where(mask, logprob, 0), memory, metrics)
        parts = _parts(logprob, old, view.advantages, mask, ratio, coef, penalty)
        memory["idle"] = memory["idle"] + 1 if parts.is_idle else 0
        if memory["idle"] >= 2 and not memory["warned"]:  # two in a row: one update a rollout
            warnings.warn(_IDLE, stacklevel=2)
            memory["warned"] = True
        found = {f"kl-cov/{name}": value for name, value in parts.measures.items()}
        return Applied(parts.loss, memory, {**metrics, **found})

    settings = {"ratio": ratio, "coef": coef, "penalty": penalty}
    return Term("kl-cov", apply, init, NEEDS, settings)


def _parts(
    logprob: Tensor,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    ratio: float,
    coef: float,
    penalty: Penalty,
) -> _Parts:
    n = int(mask.sum())
    covariance = token_covariance(logprob, advantages, mask)
    places = largest(covariance, mask, quota(ratio, n)).view(-1).nonzero()[:, 0]
    gap = torch.where(mask, logprob - old_logprob, 0)
    at = gap.reshape(-1)[places]  # few, so the penalty costs nothing
    bounded = at.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    if penalty == "abs":
        held = at.abs()
    elif penalty == "k2":
        held = 0.5 * at * at
    else:
        held = bounded.exp() - bounded - 1
    changed = at.detach().abs() > NO_CHANGE
    held = torch.where(changed, coef * held, 0)
    own = gap.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp() * torch.where(mask, -advantages, 0)
    loss = own.reshape(-1).index_add(0, places, held.to(own.dtype)).reshape(mask.shape)
    is_idle = not bool(changed.any())
    measures = {
        "abs_kl": float(gap.detach().abs().sum()) / n,
        "approx_kl": -float(gap.detach().sum()) / n,
        "n_selected": float(len(places)),
        "selected_fraction": len(places) / n,
        "inactive": float(is_idle),
        "covariance": float(covariance.sum()) / n,
    }
    return _Parts(loss, is_idle, measures)


def _check(ratio: float, coef: float, penalty: str) -> None:
    check_ratio("ratio", ratio)
    if not (math.isfinite(coef) and coef >= 0):
        raise ConfigurationError(f"coef is {coef}; it must be a number >= 0")
    if penalty not in PENALTIES:
        raise ConfigurationError(unknown_name("penalty", penalty, PENALTIES))
