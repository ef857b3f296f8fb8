"""STEER: weigh tokens down by how much their update would change the entropy.

Each token has a first-order score of the entropy change that its update makes, of either sign. The
token with the largest change of the batch gets the least weight, a token without effect gets 1.
Weights multiply the clipped per-token loss; the denominator stays.

Legend: B answers, T tokens. Nats. Everything is detached.

Source: Rethinking Entropy Interventions in RLVR: An Entropy Change Perspective (arXiv 2510.10150);
reference code zz-haooo/STEER, compute_token_weights.
Departs from that code: the largest score is taken over the whole update and not over a
micro-batch, so that memory settings do not change the method; weights keep the dtype of the input.
The default estimator is the code's, which lacks one factor of the probability against the
first-order change and so overrates rare tokens; ``estimator="exact"`` has it, and leaves out tokens
that the ratio clip has stopped. The floor of the largest score is the code's; 0 gives the paper's.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.information import masked_quantile
from entropilot.policy.entropy_prediction import NEEDS_PREDICTION, check_same_shape
from entropilot.policy.idle_warning import counted_idle
from entropilot.policy.rollouts import check_finite, check_logprobs
from entropilot.policy.surrogates import LOG_RATIO_LIMIT
from entropilot.policy.term import Applied, State, Term, View

Estimator = Literal["reference", "exact", "squared"]
Mapping = Literal["exp", "linear", "clip"]
ESTIMATORS: Final[tuple[Estimator, ...]] = get_args(Estimator)
MAPPINGS: Final[tuple[Mapping, ...]] = get_args(Mapping)

NEEDS: Final = frozenset({"logprob", "entropy"})
FLOOR: Final = 0.02  # of the largest score; the reference code's, so that idle batches stay idle

_P_LEAST = 1e-8  # the reference code's clamp of probabilities
_NEAR_ONE = 0.95  # a weight above it does next to nothing


class WeightSettings(NamedTuple):
    """How scores become weights; see ``steer_weights``."""

    mapping: Mapping = "exp"
    w_min: float = 0.8
    w_max: float = 1.0
    floor: float = FLOOR
    scale_quantile: float = 1.0
    cap: float | None = None


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
    """Score of each token; its update changes the entropy by about -learning_rate times it.

        reference  A / pi_old  pi (1 - pi)   (ln pi + H)
        squared    A / pi_old  pi (1 - pi)^2 (ln pi + H)
        exact      A pi / pi_old  I (S - N)
                   S = pi (H + ln pi), I = 0 where the ratio clip has stopped the token, else 1

    Entropy and log-probs must be at one temperature; no check can see it if they are not.

    Args:
        logprob: [B, T] nats, of the current policy.
        old_logprob: [B, T] nats, of the policy that sampled.
        entropy: [B, T] nats, of the current policy.
        advantages: [B, T].
        mask: [B, T] bool.
        estimator: which formula; "exact" is the first-order change of a table of logits.
        vocab_mean: [B, T], N; ``PolicyStatistics.vocab_mean``. Only "exact" reads it.
        eps_low: width of the clip below 1; only "exact" reads it.
        eps_high: width above 1; only "exact" reads it.

    Returns:
        [B, T] signed; positive lowers the entropy. 0 off the mask.

    Raises:
        ConfigurationError: unknown estimator.
        InputError: shapes differ, "exact" without vocab_mean, log-probs above 0, or nan where
            tokens count.

    Examples:
        >>> half, one = torch.tensor([[0.5]]).log(), torch.ones(1, 1)
        >>> round(entropy_change_score(half, half, one, one, one.bool()).item(), 4)
        0.1534
    """
    if estimator not in ESTIMATORS:
        raise ConfigurationError(unknown_name("estimator", estimator, ESTIMATORS))
    if estimator == "exact" and vocab_mean is None:
        raise InputError(
            'estimator "exact" needs vocab_mean. Measure it with the log-probs: '
            'statistics_from_logits(logits, tokens, wants=("logprob", "entropy", "sum_p2", '
            '"sum_p2_logp")).vocab_mean'
        )
    given = {"logprob": logprob, "entropy": entropy, "old_logprob": old_logprob}
    check_same_shape(**given, advantages=advantages, mask=mask)
    for name, value in given.items():
        check_finite(name, value, mask)
    for name in ("logprob", "old_logprob"):
        check_logprobs(name, given[name], mask)
    inputs = (logprob.detach(), old_logprob, entropy.detach(), advantages, mask)
    if vocab_mean is not None and estimator == "exact":
        check_same_shape(logprob=logprob, vocab_mean=vocab_mean)
        return _exact(*inputs, vocab_mean.detach(), eps_low, eps_high)
    return _reference(*inputs, 2 if estimator == "squared" else 1)


def steer_weights(
    score: Tensor,
    mask: Tensor,
    *,
    mapping: Mapping = "exp",
    w_min: float = 0.8,
    w_max: float = 1.0,
    floor: float = FLOOR,
    scale_quantile: float = 1.0,
    cap: float | None = None,
) -> Tensor:
    """Weights from the magnitudes u = abs(score) of the tokens that count.

        exp     exp(ln(w_min) u / max(u_max, floor)), in [w_min, 1]
        linear  w_max - (u - u_min) (w_max - w_min) / (u_max - u_min); equal u get the midpoint
        clip    min(1, cap / u)

    Args:
        score: [B, T].
        mask: [B, T] bool.
        mapping: "exp" is the paper's.
        w_min: > 0, weight of the largest change. 1 with "exp" gives the plain loss exactly.
        w_max: >= w_min, weight of the least change; 1 with "exp".
        floor: least u_max, >= 0, so that a batch of tiny changes is not stretched.
        scale_quantile: in (0, 1]; this quantile stands for u_max. Below 1, a single outlier can't
            crowd all other weights at 1.
        cap: > 0, largest change that goes through whole; only "clip" reads it, and must have it.

    Returns:
        [B, T]; 0 off the mask.

    Raises:
        ConfigurationError: a setting is out of its range.
        InputError: shapes differ, or no token counts.

    Examples:
        >>> score = torch.tensor([[0.0, -0.5, 1.0]])
        >>> [round(w, 4) for w in steer_weights(score, score < 2, w_min=0.64)[0].tolist()]
        [1.0, 0.8, 0.64]
    """
    settings = WeightSettings(mapping, w_min, w_max, floor, scale_quantile, cap)
    _check(settings)
    check_same_shape(score=score, mask=mask)
    if not bool(mask.any()):
        raise InputError("no token counts, so no score is the largest; leave such batches out")
    return _weights(score, mask, settings)


def entropy_change_weights(
    w_min: float | None = None,
    w_max: float | None = None,
    *,
    mapping: Mapping | None = None,
    estimator: Estimator = "reference",
    floor: float = FLOOR,
    scale_quantile: float = 1.0,
    cap: float | None = None,
    eps_low: float = 0.2,
    eps_high: float = 0.28,
    token_weight_min: float | None = None,
    token_weight_max: float | None = None,
    linear: bool | None = None,
) -> Term:
    """Weight term of STEER; see ``entropy_change_score`` and ``steer_weights``.

    When this does nothing: with ``w_min=1`` it is the plain loss, bit for bit. Advantages of 0
    give weights of 1. One outlier that sets the largest score leaves all other weights near 1:
    read ``steer/weight_std`` and ``steer/frac_below_0.95``, and lower ``scale_quantile`` to 0.99.
    A largest score far below ``floor`` does the same. After 100 such updates it warns.

    Args:
        w_min: 0.8 unless given, the released script's; the paper's tables have 0.7.
        w_max: 1 unless given; "linear" takes 1.2 then.
        mapping: "exp" unless given.
        estimator: see ``entropy_change_score``.
        floor: see ``steer_weights``.
        scale_quantile: see ``steer_weights``.
        cap: see ``steer_weights``.
        eps_low: of the objective's clip, for "exact".
        eps_high: of the objective's clip, for "exact".
        token_weight_min: the reference code's name of w_min.
        token_weight_max: the reference code's name of w_max.
        linear: the reference code's switch; True is ``mapping="linear"``.

    Raises:
        ConfigurationError: a setting is out of its range, or is given under both names.

    Examples:
        >>> entropy_change_weights(token_weight_min=0.7).settings["w_min"]
        0.7
    """
    shape: Mapping = _either("mapping", mapping, "linear", _named(linear)) or "exp"
    least = _either("w_min", w_min, "token_weight_min", token_weight_min)
    most = _either("w_max", w_max, "token_weight_max", token_weight_max)
    default_most = 1.2 if shape == "linear" else 1.0
    settings = WeightSettings(
        mapping=shape,
        w_min=0.8 if least is None else least,
        w_max=default_most if most is None else most,
        floor=floor,
        scale_quantile=scale_quantile,
        cap=cap,
    )
    _check(settings)
    if estimator not in ESTIMATORS:
        raise ConfigurationError(unknown_name("estimator", estimator, ESTIMATORS))

    def apply(view: View, state: State) -> Applied:
        mask, now = view.mask, view.policy
        idle = (state or {"idle": 0})["idle"]
        if not bool(mask.any()):
            zeros = torch.zeros_like(now.logprob.detach())
            return Applied(zeros, {"idle": idle}, dict.fromkeys(_METRICS, 0.0))
        inputs = (now.logprob.detach(), view.rollouts.old_logprob, now.get("entropy").detach())
        if estimator == "exact":
            score = _exact(*inputs, view.advantages, mask, now.vocab_mean, eps_low, eps_high)
        else:
            score = _reference(*inputs, view.advantages, mask, 2 if estimator == "squared" else 1)
        weight = _weights(score, mask, settings)
        metrics = _metrics(weight, score, mask)
        idle = counted_idle(
            idle,
            metrics["steer/weight_std"] > 0.01 * (settings.w_max - settings.w_min),
            term="steer",
            why="Weights crowd at 1: set scale_quantile=0.99, or lower w_min",
        )
        return Applied(weight, {"idle": idle}, metrics)

    return Term(
        "steer",
        apply,
        init=lambda _view: {"idle": 0},
        needs=NEEDS_PREDICTION if estimator == "exact" else NEEDS,
        settings={
            **settings._asdict(),
            "estimator": estimator,
            **_clip(estimator, eps_low, eps_high),
        },
    )


_METRICS: Final = (
    *("steer/weight_mean", "steer/weight_min", "steer/weight_max", "steer/weight_std"),
    *("steer/frac_below_0.95", "steer/predicted_change", "steer/n_tokens"),
)


def _reference(
    logprob: Tensor, old: Tensor, entropy: Tensor, advantages: Tensor, mask: Tensor, power: int
) -> Tensor:
    p = logprob.exp().clamp_(_P_LEAST, 1 - _P_LEAST)
    score = (logprob + entropy).mul_(p)
    p.neg_().add_(1)
    for _ in range(power):
        score.mul_(p)
    score.mul_(advantages).div_(old.exp().clamp_(_P_LEAST, 1))
    return torch.where(mask, score, 0).nan_to_num_(0.0, 0.0, 0.0)


def _exact(
    logprob: Tensor,
    old: Tensor,
    entropy: Tensor,
    advantages: Tensor,
    mask: Tensor,
    vocab_mean: Tensor,
    eps_low: float,
    eps_high: float,
) -> Tensor:
    ratio = (logprob - old).clamp_(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp_()
    stopped = torch.where(advantages > 0, ratio > 1 + eps_high, ratio < 1 - eps_low)
    score = (logprob + entropy).mul_(logprob.exp()).sub_(vocab_mean)
    score.mul_(advantages).mul_(ratio)
    return torch.where(mask & ~stopped, score, 0)


def _weights(score: Tensor, mask: Tensor, settings: WeightSettings) -> Tensor:
    size = torch.where(mask, score, 0).abs_()
    if settings.mapping == "clip":
        weight = (float(settings.cap or 0) / size).clamp_(max=1)  # cap / 0 is inf, so 1
        return torch.where(mask, weight, 0)
    quantile = settings.scale_quantile
    largest = float(size.max() if quantile == 1 else masked_quantile(size, mask, quantile))
    if settings.mapping == "exp":
        scale = max(largest, settings.floor)
        rate = math.log(settings.w_min) / scale if scale > 0 else 0.0
        weight = size.mul_(rate).exp_().clamp_(settings.w_min, 1)
        return torch.where(mask, weight, 0)
    least = float(torch.where(mask, size, torch.inf).min())
    low, high = settings.w_min, settings.w_max
    if largest > least:
        slope = (high - low) / (largest - least)
        weight = size.sub_(least).mul_(-slope).add_(high).clamp_(low, high)
    else:
        weight = torch.full_like(size, (low + high) / 2)
    return torch.where(mask, weight, 0)


def _metrics(weight: Tensor, score: Tensor, mask: Tensor) -> dict[str, float]:
    n = mask.sum()
    mean = weight.sum() / n
    square = torch.where(mask, weight - mean, 0).square_().sum() / n
    numbers = torch.stack(
        [
            *(mean, torch.where(mask, weight, torch.inf).min(), weight.max(), square.sqrt()),
            *((mask & (weight < _NEAR_ONE)).sum() / n, -(score * weight).sum() / n, n),
        ]
    )
    return dict(zip(_METRICS, numbers.tolist(), strict=True))


def _check(settings: WeightSettings) -> None:
    mapping, low, high, floor, quantile, cap = settings
    if mapping not in MAPPINGS:
        raise ConfigurationError(unknown_name("mapping", mapping, MAPPINGS))
    if not 0 < low <= high:
        raise ConfigurationError(f"w_min is {low} and w_max {high}; expected 0 < w_min <= w_max")
    if mapping == "exp" and high != 1:
        raise ConfigurationError(
            f"w_max is {high}, but the exponential mapping tops out at 1; leave w_max at 1, or use "
            'mapping="linear"'
        )
    if not floor >= 0 or not 0 < quantile <= 1:
        raise ConfigurationError(
            f"floor is {floor} and scale_quantile {quantile}; expected floor >= 0 and "
            "scale_quantile in (0, 1]"
        )
    if mapping == "clip" and not (cap or 0) > 0:
        raise ConfigurationError(
            f'cap is {cap}; mapping "clip" needs the largest change that goes through whole, '
            "above 0. A quantile of abs(score) of a few batches is a good start"
        )


def _either(name: str, value: Any, alias: str, other: Any) -> Any:
    """The value under one of two names."""
    if value is not None and other is not None and value != other:
        raise ConfigurationError(f"{name} is {value} and {alias} is {other}; give one of them")
    return other if value is None else value


def _named(linear: bool | None) -> Mapping | None:
    return None if linear is None else "linear" if linear else "exp"


def _clip(estimator: Estimator, eps_low: float, eps_high: float) -> dict[str, float]:
    return {"eps_low": eps_low, "eps_high": eps_high} if estimator == "exact" else {}
