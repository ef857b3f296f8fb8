"""Divergences between distributions, and estimates of them from log-probs of sampled tokens.

Arrays are numpy or torch; the last axis holds the outcomes. Nothing builds an autograd graph; see
``with_gradient``.
"""

from __future__ import annotations

import sys
from typing import Literal

import numpy as np

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.information._backend import (
    Array,
    as_float,
    check_probabilities,
    first_row,
    is_torch,
    last_sum,
    log_or_zero,
    measure,
    namespace,
    pair,
    to_base,
)
from entropilot.information._numeric import LN2
from entropilot.information._rows import Rows, run_jsd


@measure
def kl_divergence(p: Array, q: Array, *, base: float | None = None) -> Array:
    """Kullback-Leibler divergence of ``q`` from ``p``; inf where q misses an outcome of p.

        KL = sum p ln(p / q)

    Args:
        p: [..., V] probabilities, the distribution that is averaged over.
        q: [..., V] probabilities.
        base: unit; None for nats, 2 for bits.

    Returns:
        [...] >= 0.

    Raises:
        InputError: a row is no distribution, or the last axes differ.

    Examples:
        >>> float(kl_divergence([0.5, 0.5], [0.25, 0.75]).round(4))
        0.1438
    """
    p, q = pair(p, q)
    check_probabilities(p)
    check_probabilities(q, "q")
    xp = namespace(p)
    missing = ((p > 0) & (q <= 0)).any(-1)
    nats = last_sum(p * (log_or_zero(p) - log_or_zero(q))).clip(0.0)
    return to_base(xp.where(missing, xp.full_like(nats, float("inf")), nats), base)


def kl_estimate(
    logprob_p: Array, logprob_q: Array, kind: Literal["k1", "k2", "k3"] = "k3"
) -> Array:
    """Estimate of KL(p || q) at each token that was sampled from ``p``.

        r = ln q - ln p
        k1 = -r             unbiased, may be negative
        k2 = r^2 / 2        never negative, biased
        k3 = e^r - 1 - r    never negative, unbiased, small variance where p ~ q

    Gradients flow through both arguments: the estimates are terms of losses. Average them over
    valid tokens with :func:`masked_mean`.

    Args:
        logprob_p: [...] nats, log-probs under the policy that sampled.
        logprob_q: [...] nats, log-probs of the same tokens under the other policy.
        kind: which estimate.

    Returns:
        [...] nats.

    Raises:
        InputError: a log-prob is nan or above 0 (a padding sentinel, or a probability).
        ConfigurationError: unknown kind.

    Examples:
        >>> p, q = [-1.0], [-1.5]
        >>> float(kl_estimate(p, q, "k1")[0]), float(kl_estimate(p, q)[0].round(4))
        (0.5, 0.1065)

    Source: Schulman 2020, "Approximating KL divergence".
    """
    p, q = as_float(logprob_p, like=logprob_q), as_float(logprob_q, like=logprob_p)
    for name, values in (("logprob_p", p), ("logprob_q", q)):
        bad = ~(values <= 1e-4)  # a rounded sum of exponentials may pass 0 by this much
        if bool(bad.any()):
            raise InputError(
                f"{name}, {first_row(bad)}: above 0 or nan; natural-log probabilities are <= 0. "
                "Leave padding out before measuring"
            )
    ratio = q - p
    if kind == "k1":
        return -ratio
    if kind == "k2":
        return 0.5 * ratio * ratio
    if kind == "k3":
        return namespace(ratio).expm1(ratio) - ratio
    raise ConfigurationError(unknown_name("kind", kind, ("k1", "k2", "k3")))


def js_share(a: Array, b: Array) -> Array:
    """Share of each outcome in the divergence; the sum over outcomes is the JSD.

        js(a, b) = [a ln(2a / (a + b)) + b ln(2b / (a + b))] / 2
                 = (a + b) / 4 * [ln(1 - d^2) + 2 d atanh(d)],   d = (a - b) / (a + b)

    The second form loses no digits where a and b are close; it is used for |d| < 1/2.

    Args:
        a: [...] probabilities.
        b: [...] probabilities.

    Returns:
        [...] in [0, (a + b) ln(2) / 2].

    Examples:
        >>> float(js_share(np.float64(1.0), np.float64(0.0))) == LN2 / 2
        True
    """
    xp = namespace(a, b)
    total = a + b
    one, zero = xp.ones_like(total), xp.zeros_like(total)
    d = (a - b) / xp.where(total > 0, total, one)
    is_near = abs(d) < 0.5
    d = xp.where(is_near, d, zero)
    near = 0.25 * total * (xp.log1p(-d * d) + 2 * d * xp.arctanh(d))
    log_total = log_or_zero(total)
    far = a * (log_or_zero(a) - log_total) + b * (log_or_zero(b) - log_total)
    return xp.where(is_near, near, 0.5 * (LN2 * total + far))


@measure
def js_divergence(p: Array, q: Array, *, base: float | None = None) -> Array:
    """Jensen-Shannon divergence of each pair of rows (not its square root).

        JSD = KL(p || m) / 2 + KL(q || m) / 2,   m = (p + q) / 2

    Args:
        p: [..., V] probabilities.
        q: [..., V] probabilities.
        base: unit; None for nats, 2 for bits.

    Returns:
        [...] in [0, ln 2], symmetric.

    Raises:
        InputError: a row is no distribution, or the last axes differ.

    Examples:
        >>> float(js_divergence([1.0, 0.0], [0.0, 1.0], base=2))
        1.0

    Source: Lin 1991, "Divergence measures based on the Shannon entropy".
    """
    p, q = pair(p, q)
    check_probabilities(p)
    check_probabilities(q, "q")
    return to_base(last_sum(js_share(p, q)).clip(0.0, LN2), base)


@measure
def js_divergence_from_logits(
    a: Array,
    b: Array,
    *,
    temperature: float = 1.0,
    n_vocab: int | None = None,
    base: float | None = None,
) -> Array:
    """Jensen-Shannon divergence of softmax(a / T) and softmax(b / T), row by row.

        ln m = logaddexp(ln p, ln q) - ln 2
        JSD  = sum [p (ln p - ln m) + q (ln q - ln m)] / 2

    For consecutive rows of one array, ``token_statistics(..., previous=True)`` gives it beside the
    entropy.

    Args:
        a: [..., V] logits; -inf marks an impossible outcome.
        b: [..., V] logits, of the same shape.
        temperature: > 0.
        n_vocab: true size; later columns are padding.
        base: unit; None for nats, 2 for bits.

    Returns:
        [...] in [0, ln 2]; float64 where both are float64, else float32.

    Raises:
        InputError: shapes differ; a row has nan or +inf, or is -inf everywhere.

    Examples:
        >>> float(js_divergence_from_logits([0.0, 0.0], [0.0, -float("inf")]).round(4))
        0.2158
    """
    from entropilot.information.statistics import checked_width, reject_row

    a = a if is_torch(a) else np.asarray(a)
    b = b if is_torch(b) else np.asarray(b)
    if tuple(a.shape) != tuple(b.shape) or is_torch(a) != is_torch(b):
        raise InputError(
            f"two arrays of one kind and shape are needed; shapes are {tuple(a.shape)} and "
            f"{tuple(b.shape)}, types {type(a).__name__} and {type(b).__name__}"
        )
    if not temperature > 0:
        raise ConfigurationError(f"temperature is {temperature}; it must be above 0")
    n = checked_width(a, n_vocab)
    if is_torch(a) and (
        a.device.type != "cpu"
        or (sys.modules["torch"].is_grad_enabled() and (a.requires_grad or b.requires_grad))
    ):
        return to_base(_eager(a[..., :n], b[..., :n], temperature), base)
    rows_a, rows_b = (Rows(x.detach() if is_torch(x) else x) for x in (a, b))
    values, bad = run_jsd(rows_a, rows_b, n, temperature)
    if bad >= 0:
        reject_row(a, bad, n, "a")
        reject_row(b, bad, n, "b")
    wide = rows_a.is_wide and rows_b.is_wide
    result: Array = values.astype(np.float64 if wide else np.float32).reshape(tuple(a.shape[:-1]))
    return to_base(sys.modules["torch"].from_numpy(result) if is_torch(a) else result[()], base)


def _eager(a: Array, b: Array, temperature: float) -> Array:
    """The plain formula in torch; holds a few arrays of the size of the logits."""
    from entropilot.information.statistics import reject_row

    torch = sys.modules["torch"]
    # finite, so that the gradient of an impossible outcome is 0 and not nan
    log_p, log_q = ((as_float(x) / temperature).log_softmax(-1).clamp(min=-1e4) for x in (a, b))
    for name, log, logits in (("a", log_p, a), ("b", log_q, b)):
        bad = log.isnan().any(-1).reshape(-1)
        if bool(bad.any()):
            reject_row(logits, int(bad.nonzero()[0, 0]), logits.shape[-1], name)
    middle = torch.logaddexp(log_p, log_q) - LN2
    shares = log_p.exp() * (log_p - middle) + log_q.exp() * (log_q - middle)
    return (0.5 * shares.sum(-1)).clamp(0.0, LN2)
