"""How the entropy of a softmax answers to a change of its logits, to first order and exactly.

    S_v = p_v (H + ln p_v)             sum_v S_v = 0
    dH  = -sum_v S_v dz_v              to first order, so dH/dz_v = -S_v

A push on one logit lowers the entropy when the outcome is likelier than exp(-H) and raises it when
it is rarer. A gradient step ``alpha (e_k - p)`` on the log-prob of outcome k has dH = -alpha
(S_k - N), where N = sum_v p_v S_v >= 0 is the mean over the vocabulary.

Arrays are numpy or torch; the last axis holds the outcomes; -inf marks an impossible outcome and
adds 0. Results are of the same kind, float64 for float64 (and list) input, else float32. Nothing
builds an autograd graph; see ``with_gradient``.

Source: On the Entropy Dynamics in Reinforcement Fine-Tuning of Large Language Models (arXiv
2602.03392), Theorems 3.2 and 3.3.
"""

from __future__ import annotations

from typing import NamedTuple

from entropilot.errors import InputError
from entropilot.information._backend import (
    Array,
    as_float,
    first_row,
    is_torch,
    last_sum,
    measure,
    namespace,
    pair,
)


class EntropyChange(NamedTuple):
    """Change of an entropy, nats: ``first_order`` in the step, and ``exact``."""

    first_order: Array
    exact: Array


@measure
def entropy_change_first_order(logits: Array, delta_logits: Array) -> Array:
    """Change of the entropy of each row to first order in the change of the logits.

        dH = -sum_v p_v (H + ln p_v) dz_v = -Cov_p(ln p, dz)

    Args:
        logits: [..., V].
        delta_logits: [..., V]; what impossible outcomes get is ignored.

    Returns:
        [...] nats; off by order |dz|^2.

    Raises:
        InputError: a row of logits is nan, has +inf or no finite value, or the last axes differ.

    Examples:
        >>> round(float(entropy_change_first_order([1.0, 0.0], [0.1, 0.0])), 5)
        -0.01966
    """
    z, step = pair(logits, delta_logits)
    return -last_sum(_discriminator(*_log_p(z)) * _possible(z, step))


@measure
def entropy_change_exact(logits: Array, delta_logits: Array) -> Array:
    """Change of the entropy of each row, without loss of digits however small the step.

        H(z + dz) - H(z) = -sum (p' - p) (H + ln p) - KL(p' || p)

    where p' - p = p (exp(dz - L) - 1) and L = ln sum p exp(dz), so nothing of size H cancels.

    Args:
        logits: [..., V].
        delta_logits: [..., V]; what impossible outcomes get is ignored.

    Returns:
        [...] nats.

    Raises:
        InputError: as ``entropy_change_first_order``.

    Examples:
        >>> round(float(entropy_change_exact([1.0, 0.0], [0.1, 0.0])), 5)
        -0.02015
    """
    z, step = pair(logits, delta_logits)
    return _exact(*_log_p(z), _possible(z, step))


@measure
def discriminator_all(logits: Array) -> Array:
    """Entropy discriminator of every outcome, minus the slope of the entropy in its logit.

        S_v = p_v (H + ln p_v) = -dH/dz_v

    Positive for outcomes likelier than exp(-H): pushing those up lowers the entropy. 0 for every
    outcome of a uniform and of a one-hot row; each row sums to 0.

    Args:
        logits: [..., V].

    Returns:
        [..., V] nats. It is as large as the logits: for a vocabulary of a language model, pass
        chunks of rows, or read ``sum p^2`` and ``sum p^2 ln p`` of a token-statistics pass.

    Raises:
        InputError: a row of logits is nan, has +inf or no finite value.

    Examples:
        >>> discriminator_all([2.0, 0.0, 0.0]).round(3).tolist()
        [0.335, -0.168, -0.168]
    """
    return _discriminator(*_log_p(as_float(logits)))


@measure
def discriminator_vocab_mean(logits: Array) -> Array:
    """Mean of the entropy discriminator under the distribution itself.

        N = sum p S = H sum p^2 + sum p^2 ln p = Cov_p(p, ln p) >= 0

    Args:
        logits: [..., V].

    Returns:
        [...] nats, >= 0; 0 for uniform and one-hot rows.

    Raises:
        InputError: a row of logits is nan, has +inf or no finite value.

    Examples:
        >>> round(float(discriminator_vocab_mean([2.0, 0.0, 0.0])), 4)
        0.2281
    """
    p, log_p = _log_p(as_float(logits))
    return last_sum(p * _discriminator(p, log_p)).clip(0)


@measure
def entropy_change_single_logit(logits: Array, k: Array, eps: Array) -> EntropyChange:
    """Change of the entropy when the logit of one outcome is pushed.

        dz = eps e_k,   dH = -eps S_k + O(eps^2)

    Args:
        logits: [..., V].
        k: [...] or one integer, the outcome that is pushed.
        eps: [...] or one number, size of the push; negative punishes.

    Returns:
        First-order and exact change, [...] nats each.

    Raises:
        InputError: as ``discriminator_all``, or k is outside 0..V-1.

    Examples:
        >>> change = entropy_change_single_logit([2.0, 0.0, 0.0], 0, 0.01)
        >>> round(float(change.first_order), 6), round(float(change.exact), 6)
        (-0.003353, -0.003352)
    """
    z = as_float(logits)
    p, log_p = _log_p(z)
    chosen = _one_hot(z, k)
    size = _column(z, eps)
    first = -last_sum(_discriminator(p, log_p) * chosen * size)
    return EntropyChange(first, _exact(p, log_p, _possible(z, chosen * size)))


@measure
def entropy_change_policy_gradient(logits: Array, k: Array, alpha: Array) -> EntropyChange:
    """Change of the entropy after a policy-gradient step on one sampled outcome.

        dz = alpha (e_k - p),   dH = -alpha (S_k - N) + O(alpha^2)

    With alpha constant its mean over k ~ p is 0: on policy, the entropy moves only by the
    correlation of the advantage with S - N.

    Args:
        logits: [..., V].
        k: [...] or one integer, the sampled outcome.
        alpha: [...] or one number; learning rate times ratio times advantage.

    Returns:
        First-order and exact change, [...] nats each.

    Raises:
        InputError: as ``discriminator_all``, or k is outside 0..V-1.

    Examples:
        >>> change = entropy_change_policy_gradient([2.0, 0.0, 0.0], 0, 0.01)
        >>> round(float(change.first_order), 6), round(float(change.exact), 6)
        (-0.001071, -0.001071)
    """
    z = as_float(logits)
    p, log_p = _log_p(z)
    step = (_one_hot(z, k) - p) * _column(z, alpha)
    first = -last_sum(_discriminator(p, log_p) * step)
    return EntropyChange(first, _exact(p, log_p, _possible(z, step)))


def _log_p(z: Array) -> tuple[Array, Array]:
    """Probabilities and their logs, with log 0 given as 0."""
    xp = namespace(z)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise InputError(f"logits have shape {tuple(z.shape)}; the last axis must hold outcomes")
    top = xp.amax(z, -1)
    bad = ~xp.isfinite(top)
    if bool(bad.any()):
        raise InputError(
            f"logits, {first_row(bad)}, are nan, +inf, or -inf everywhere; give finite logits, "
            "and -inf for impossible outcomes only"
        )
    gap = z - top[..., None]
    weight = xp.exp(gap)
    total = last_sum(weight)[..., None]
    p = weight / total
    log_p = xp.where(p > 0, gap - xp.log(total), xp.zeros_like(p))
    return p, log_p


def _discriminator(p: Array, log_p: Array) -> Array:
    entropy = -last_sum(p * log_p)
    return p * (entropy[..., None] + log_p)


def _exact(p: Array, log_p: Array, step: Array) -> Array:
    xp = namespace(p)
    entropy = -last_sum(p * log_p)
    top = xp.amax(xp.where(p > 0, step, xp.full_like(step, -float("inf"))), -1)[..., None]
    centred = xp.where(p > 0, step - top, xp.zeros_like(step))  # no exponential overflows
    shift = xp.log1p(last_sum(p * xp.expm1(centred)))
    growth = centred - shift[..., None]  # ln p' - ln p
    moved = p * xp.expm1(growth)
    divergence = last_sum(p * (xp.exp(growth) * growth - xp.expm1(growth)))
    return -last_sum(moved * (entropy[..., None] + log_p)) - divergence


def _possible(z: Array, step: Array) -> Array:
    """The step, 0 for impossible outcomes."""
    xp = namespace(z)
    return xp.where(z > -float("inf"), step, xp.zeros_like(step))


def _one_hot(z: Array, k: Array) -> Array:
    xp = namespace(z)
    index = xp.asarray(k, device=z.device) if is_torch(z) else xp.asarray(k)
    size = z.shape[-1]
    if bool(((index < 0) | (index >= size)).any()):
        raise InputError(f"k has values outside 0..{size - 1}; it names outcomes of the last axis")
    places = xp.arange(size, device=z.device) if is_torch(z) else xp.arange(size)
    return as_float(places == index[..., None]) * xp.ones_like(z)


def _column(z: Array, value: Array) -> Array:
    """A number a row, ready to multiply [..., V]."""
    if is_torch(z):
        xp = namespace(z)
        return xp.asarray(value, device=z.device, dtype=z.dtype)[..., None]
    return namespace(z).asarray(value, dtype=z.dtype)[..., None]
