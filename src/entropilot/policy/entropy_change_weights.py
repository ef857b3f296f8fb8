"""STEER: weights that damp the tokens that change the entropy most.

Legend: B answers, T tokens. Nats. Weights are detached; the denominator of the loss stays.

Source: Rethinking Entropy Interventions in RLVR: An Entropy Change Perspective (arXiv 2510.10150)
and its released code, which is followed where they differ.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.covariance import from_alias, masked_quantile_of
from entropilot.policy.idle_warning import counted_idle
from entropilot.policy.rollouts import check_finite
from entropilot.policy.surrogates import log_ratio
from entropilot.policy.term import Applied, State, Term, View

Estimator = Literal["reference", "squared", "exact"]
Mapping_ = Literal["exp", "linear", "clip"]
ESTIMATORS: Final[tuple[Estimator, ...]] = get_args(Estimator)
MAPPINGS: Final[tuple[Mapping_, ...]] = get_args(Mapping_)
LEAST: Final = 1e-8  # probabilities are clamped to [LEAST, 1 - LEAST], as in the released code
FLOOR: Final = 0.02  # of the scale: batches without effect are not stretched
_IDLE: Final = "Weights crowd at one value: set scale_quantile=0.99, or lower w_min"


def entropy_change_score(
    logprob: Tensor,
    old_logprob: Tensor,
    entropy: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    estimator: Estimator = "reference",
    vocab_mean: Tensor | None = None,
    eps_low: float = 0.2,
    eps_high: float = 0.28,
) -> Tensor:
    """How strongly an update on each token lowers its entropy; the change is -learning rate x it.

        reference:  (A / pi_old) pi (1 - pi) (log pi + H)        the released code
        squared:    (A / pi_old) pi (1 - pi)^2 (log pi + H)      what its names suggest
        exact:      A r I (S - N),  S = pi (H + log pi)          ours; see entropy dynamics

    I is 0 where PPO's clip has stopped the token.

    Args:
        logprob: [B, T] nats, of the current policy.
        old_logprob: [B, T] nats.
        entropy: [B, T] nats, at the same temperature as the log-probs.
        advantages: [B, T].
        mask: [B, T] bool.
        estimator: which form.
        vocab_mean: [B, T] N, for "exact".
        eps_low: of the clip, for "exact".
        eps_high: of the clip, for "exact".

    Returns:
        [B, T], 0 off the mask and where the reference form is not finite.

    Raises:
        InputError: an entropy that counts is nan, or no token counts; "exact" without vocab_mean.
        ConfigurationError: unknown estimator.

    Examples:
        >>> x = torch.tensor([[0.5]]).log()
        >>> one = torch.ones(1, 1)
        >>> entropy_change_score(x, x, -x, one, one.bool()).item()
        0.0
    """
    if estimator not in ESTIMATORS:
        raise ConfigurationError(unknown_name("estimator", estimator, ESTIMATORS))
    if not bool(mask.any()):
        raise InputError("no token counts, so there is nothing to weigh")
    check_finite("entropy", entropy, mask)
    logprob, old, entropy = logprob.detach(), old_logprob.detach(), entropy.detach()
    if estimator == "exact":
        if vocab_mean is None:
            raise InputError(
                'the estimator "exact" needs vocab_mean = H sum p^2 + sum p^2 log p; measure '
                "sum_p2 and sum_p2_logp with the log-probs"
            )
        ratio = log_ratio(logprob, old, mask).exp()
        stopped = ((advantages > 0) & (ratio > 1 + eps_high)) | (
            (advantages < 0) & (ratio < 1 - eps_low)
        )
        gap = logprob.exp() * (entropy + logprob) - vocab_mean.detach()
        return torch.where(mask & ~stopped, advantages * ratio * gap, 0)
    log_p = logprob.clamp(math.log(LEAST), math.log1p(-LEAST))
    score = old.clamp(math.log(LEAST), 0.0).neg_().add_(log_p).exp_()  # pi / pi_old
    rest = log_p.exp().neg_().add_(1)  # 1 - pi
    score *= rest
    if estimator == "squared":
        score *= rest
    score *= log_p.add_(entropy)
    score *= advantages
    return score.masked_fill_(~(mask & torch.isfinite(score)), 0)


def steer_weights(
    score: Tensor,
    mask: Tensor,
    *,
    mapping: Mapping_ = "exp",
    w_min: float = 0.8,
    w_max: float = 1.0,
    floor: float = FLOOR,
    scale_quantile: float = 1.0,
) -> Tensor:
    """Weights in [w_min, w_max]: the largest |score| of the batch gets the least.

        u = |score|
        exp:     w = exp(-k u), k = -ln(w_min) / max(max u, floor), clamped to [w_min, 1]
        linear:  w = w_max - (u - min u) (w_max - w_min) / (max u - min u); the middle if all equal
        clip:    w = min(1, c / u), at least w_min, with c the scale times w_min      [ours]

    Args:
        score: [B, T] from ``entropy_change_score``.
        mask: [B, T] bool.
        mapping: which form.
        w_min: above 0; raising it to 1 switches "exp" off.
        w_max: at least w_min; 1 for "exp".
        floor: least scale of "exp".
        scale_quantile: in (0, 1]; a quantile of u in place of the maximum, against one outlier.

    Returns:
        [B, T], 0 off the mask.

    Raises:
        ConfigurationError: a setting is out of range.
        InputError: no token counts.

    Examples:
        >>> steer_weights(torch.tensor([[0.0, -1.0]]), torch.tensor([[True, True]])).tolist()
        [[1.0, 0.800000011920929]]
    """
    _check(mapping, w_min, w_max, floor, scale_quantile)
    if not bool(mask.any()):
        raise InputError("no token counts, so there is nothing to weigh")
    off = ~mask
    u = score.detach().abs().masked_fill_(off, 0)
    high = u.max()
    if scale_quantile < 1:
        high = torch.full_like(high, masked_quantile_of(u, mask, scale_quantile))
    if mapping == "linear":
        low = u.masked_fill(off, torch.inf).min()
        if float(high) <= float(low):
            weight = torch.full_like(u, (w_min + w_max) / 2)
        else:
            weight = w_max - ((u - low) / (high - low)).clamp(max=1) * (w_max - w_min)
    elif mapping == "clip":
        cap = high * w_min
        weight = torch.where(u > cap, (cap / u).clamp(w_min, 1.0), 1.0)
    else:
        scale = max(float(high), floor)
        k = -math.log(w_min) / scale if scale > 0 else 0.0
        weight = u.mul_(-k).exp_().clamp_(w_min, 1.0)
    return weight.masked_fill_(off, 0)


def entropy_change_weights(
    w_min: float = 0.8,
    w_max: float = 1.0,
    mapping: Mapping_ = "exp",
    estimator: Estimator = "reference",
    *,
    floor: float = FLOOR,
    scale_quantile: float = 1.0,
    eps_low: float = 0.2,
    eps_high: float = 0.28,
    token_weight_min: float | None = None,
    token_weight_max: float | None = None,
    linear: bool | None = None,
) -> Term:
    """Weight term of STEER; the names of the released settings are accepted too.

    When this does nothing: ``w_min`` 1, or one outlier that sets the scale and leaves all other
    weights at 1 (see ``steer/below_095``; lower ``scale_quantile``). Advantages of 0 have weights
    of 1. After 100 such updates in a row it warns.

    Args:
        w_min: lambda_min; 0.8 in the released script, 0.7 in the paper's tables.
        w_max: see ``steer_weights``.
        mapping: see ``steer_weights``.
        estimator: see ``entropy_change_score``.
        floor: see ``steer_weights``.
        scale_quantile: see ``steer_weights``.
        eps_low: width below 1 of the surrogate's clip; read by the estimator "exact".
        eps_high: width above 1.
        token_weight_min: the code's name of w_min.
        token_weight_max: the code's name of w_max.
        linear: the code's name of mapping="linear".

    Returns:
        The term. Metrics: ``steer/mean``, ``steer/min``, ``steer/max``, ``steer/std`` of the
        weights, ``steer/below_095`` (share of weights below 0.95), ``steer/predicted_change``
        (mean of minus score times weight, per unit of learning rate).

    Raises:
        ConfigurationError: a setting is out of range, or given twice.

    Examples:
        >>> entropy_change_weights(token_weight_min=0.7).settings["w_min"]
        0.7
    """
    w_min = from_alias("w_min", w_min, 0.8, "token_weight_min", token_weight_min)
    w_max = from_alias("w_max", w_max, 1.0, "token_weight_max", token_weight_max)
    named: Mapping_ | None = None if linear is None else ("linear" if linear else "exp")
    mapping = from_alias("mapping", mapping, "exp", "linear", named)
    _check(mapping, w_min, w_max, floor, scale_quantile)
    if estimator not in ESTIMATORS:
        raise ConfigurationError(unknown_name("estimator", estimator, ESTIMATORS))

    def apply(view: View, state: State) -> Applied:
        now, mask = view.policy.detached(), view.mask
        if not bool(mask.any()):
            return Applied(torch.zeros_like(view.advantages), state)
        score = entropy_change_score(
            now.logprob,
            view.rollouts.old_logprob,
            now.get("entropy"),
            view.advantages,
            mask,
            estimator=estimator,
            vocab_mean=now.vocab_mean if estimator == "exact" else None,
            eps_low=eps_low,
            eps_high=eps_high,
        )
        weight = steer_weights(
            score,
            mask,
            mapping=mapping,
            w_min=w_min,
            w_max=w_max,
            floor=floor,
            scale_quantile=scale_quantile,
        )
        metrics = _metrics(weight, score, mask)
        acted = metrics["steer/std"] > 0.01 * (w_max - w_min)
        return Applied(weight, counted_idle(state, acted, term="steer", why=_IDLE), metrics)

    needs = {"logprob", "entropy"}
    needs |= {"sum_p2", "sum_p2_logp"} if estimator == "exact" else set()
    settings: dict[str, Any] = {
        "w_min": w_min,
        "w_max": w_max,
        "mapping": mapping,
        "estimator": estimator,
        "floor": floor,
        "scale_quantile": scale_quantile,
    }
    if estimator == "exact":
        settings |= {"eps_low": eps_low, "eps_high": eps_high}
    return Term("steer", apply, needs=frozenset(needs), settings=settings)


def _metrics(weight: Tensor, score: Tensor, mask: Tensor) -> dict[str, float]:
    n = mask.sum()
    mean = weight.sum() / n
    spread = torch.where(mask, weight - mean, 0).square_().sum() / n
    numbers = {
        "mean": mean,
        "min": torch.where(mask, weight, torch.inf).min(),
        "max": weight.max(),
        "std": spread.sqrt(),
        "below_095": (mask & (weight < 0.95)).sum() / n,
        "predicted_change": -(score * weight).sum() / n,
    }
    values = torch.stack([number.to(weight.dtype) for number in numbers.values()]).tolist()
    return {f"steer/{name}": value for name, value in zip(numbers, values, strict=True)}


def _check(mapping: str, w_min: float, w_max: float, floor: float, scale_quantile: float) -> None:
    if mapping not in MAPPINGS:
        raise ConfigurationError(unknown_name("mapping", mapping, MAPPINGS))
    if not 0 < w_min <= w_max:
        raise ConfigurationError(f"w_min is {w_min} and w_max {w_max}; expected 0 < w_min <= w_max")
    if mapping in ("exp", "clip") and w_max != 1:
        raise ConfigurationError(
            f"w_max is {w_max}; the {'exponential' if mapping == 'exp' else 'clip'} mapping tops "
            "out at 1. Use mapping='linear' for more"
        )
    if not floor >= 0 or not 0 < scale_quantile <= 1:
        raise ConfigurationError(
            f"floor is {floor} and scale_quantile {scale_quantile}; expected floor >= 0 and a "
            "quantile in (0, 1]"
        )
