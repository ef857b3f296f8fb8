"""Entropy of distributions given as probabilities or as logits.

Arrays are numpy or torch; the last axis holds the outcomes; results are of the same kind, float64
for float64 (and list, integer) input, else float32. Nothing builds an autograd graph; see
``with_gradient``.
"""

from __future__ import annotations

from entropilot.errors import InputError
from entropilot.information._backend import (
    Array,
    as_float,
    check_probabilities,
    first_row,
    last_sum,
    log_or_zero,
    measure,
    namespace,
    pair,
    to_base,
    with_gradient,
)
from entropilot.information.statistics import token_statistics


@measure
def entropy(p: Array, *, base: float | None = None) -> Array:
    """Shannon entropy of each row.

        H = -sum p ln p,   0 ln 0 = 0, also in the gradient

    Args:
        p: [..., V] probabilities; each row sums to 1.
        base: unit; None for nats, 2 for bits.

    Returns:
        [...] in [0, ln V].

    Raises:
        InputError: a row is negative, nan, or does not sum to 1.

    Examples:
        >>> round(float(entropy([0.5, 0.25, 0.125, 0.125], base=2)), 6)
        1.75

    Source: Shannon 1948, section 6.
    """
    p = as_float(p)
    check_probabilities(p)
    return to_base(_clipped(-last_sum(p * log_or_zero(p))), base)


@measure
def varentropy(p: Array) -> Array:
    """Variance of the surprisal of each row, nats squared.

        Var = sum p (ln p + H)^2

    It is 0 for a one-hot and for a uniform row, large where a likely outcome stands beside many
    rare ones.

    Args:
        p: [..., V] probabilities; each row sums to 1.

    Returns:
        [...] nats^2.

    Raises:
        InputError: a row is negative, nan, or does not sum to 1.

    Examples:
        >>> round(float(varentropy([0.9, 0.1])), 4)
        0.4345

    Source: Kontoyiannis and Verdu 2014, arXiv 1212.2668, definition of varentropy.
    """
    p = as_float(p)
    check_probabilities(p)
    log_p = log_or_zero(p)
    mean = last_sum(p * log_p)
    return last_sum(p * (log_p - mean[..., None]) ** 2)


@measure
def surprisal(p: Array, *, base: float | None = None) -> Array:
    """Surprisal of single outcomes; inf for an impossible one.

        s = -ln p

    It is a property of the outcome taken; its expectation is the entropy, it is not the entropy.

    Args:
        p: [...] probabilities of the outcomes taken, in [0, 1].
        base: unit; None for nats, 2 for bits.

    Returns:
        [...] >= 0.

    Raises:
        InputError: a value is outside [0, 1] or nan.

    Examples:
        >>> float(surprisal(0.25, base=2))
        2.0
    """
    p = as_float(p)
    xp = namespace(p)
    bad = ~((p >= 0) & (p <= 1))
    if bool(bad.any()):
        raise InputError(
            f"p, {first_row(bad)}: outside [0, 1]. If these are log-probabilities, the surprisal "
            "is their negative"
        )
    possible = p > 0
    nats = xp.where(possible, -log_or_zero(p), xp.full_like(p, float("inf")))
    return to_base(nats, base)


@measure
def cross_entropy(p: Array, q: Array, *, base: float | None = None) -> Array:
    """Expected surprisal under ``q`` of outcomes drawn from ``p``; inf where q misses one.

        CE = -sum p ln q

    Args:
        p: [..., V] probabilities.
        q: [..., V] probabilities.
        base: unit; None for nats, 2 for bits.

    Returns:
        [...] >= H(p).

    Raises:
        InputError: a row is no distribution, or the last axes differ.

    Examples:
        >>> float(cross_entropy([0.5, 0.5], [0.25, 0.75], base=2).round(4))
        1.2075
    """
    p, q = pair(p, q)
    check_probabilities(p)
    check_probabilities(q, "q")
    xp = namespace(p)
    missing = ((p > 0) & (q <= 0)).any(-1)
    nats = -last_sum(p * log_or_zero(q))
    return to_base(xp.where(missing, xp.full_like(nats, float("inf")), nats), base)


@measure
def mutual_information(joint: Array, *, base: float | None = None) -> Array:
    """Mutual information of two variables from their joint table.

        I = sum p(x, y) ln [p(x, y) / (p(x) p(y))] = H(X) + H(Y) - H(X, Y)

    Args:
        joint: [..., X, Y] joint probabilities; each table sums to 1.
        base: unit; None for nats, 2 for bits.

    Returns:
        [...] in [0, min(ln X, ln Y)].

    Raises:
        InputError: a table is negative, nan, does not sum to 1, or has fewer than two axes.

    Examples:
        >>> float(mutual_information([[0.5, 0.0], [0.0, 0.5]], base=2))
        1.0

    Source: Cover and Thomas, eq. 2.28.
    """
    joint = as_float(joint)
    if joint.ndim < 2:
        raise InputError(f"joint has shape {tuple(joint.shape)}; expected [..., X, Y]")
    flat = joint.reshape(*joint.shape[:-2], -1)
    check_probabilities(flat, "joint")
    marginals = joint.sum(-1)[..., :, None] * joint.sum(-2)[..., None, :]
    log_ratio = log_or_zero(flat) - log_or_zero(marginals).reshape(flat.shape)
    return to_base(_clipped(last_sum(flat * log_ratio)), base)


@measure
def entropy_from_logits(
    logits: Array,
    *,
    temperature: float = 1.0,
    n_vocab: int | None = None,
    base: float | None = None,
) -> Array:
    """Entropy of softmax(logits / temperature), in one pass and without a copy.

        H = ln Z - sum z exp(z) / Z,   z = (logits - max) / T,   Z = sum exp(z)

    For more than the entropy call :func:`token_statistics`: it costs the same.

    Args:
        logits: [..., V] float16, bfloat16, float32 or float64; -inf marks an impossible outcome.
        temperature: > 0.
        n_vocab: true size; later columns are padding.
        base: unit; None for nats, 2 for bits.

    Returns:
        [...] in [0, ln V].

    Raises:
        InputError: a row has nan or +inf, or is -inf everywhere.

    Examples:
        >>> float(entropy_from_logits([0.0, 0.0, -float("inf")], base=2))
        1.0
    """
    statistics = _statistics(logits, temperature=temperature, n_vocab=n_vocab)
    return to_base(statistics.entropy, base)


@measure
def varentropy_from_logits(
    logits: Array, *, temperature: float = 1.0, n_vocab: int | None = None
) -> Array:
    """Varentropy of softmax(logits / temperature), nats squared, in one pass over the logits.

    Args:
        logits: [..., V]; -inf marks an impossible outcome.
        temperature: > 0.
        n_vocab: true size; later columns are padding.

    Returns:
        [...] nats^2.

    Raises:
        InputError: a row has nan or +inf, or is -inf everywhere.

    Examples:
        >>> float(varentropy_from_logits([0.0, 0.0]))
        0.0
    """
    return _statistics(logits, temperature=temperature, n_vocab=n_vocab).varentropy


# Both callers are measures, so whether a graph is wanted has been decided before this is reached.
_statistics = with_gradient(token_statistics)


def _clipped(value: Array) -> Array:
    """Rounding may leave -1e-17 where 0 is exact."""
    return value.clip(0.0)
