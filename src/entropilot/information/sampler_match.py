"""Are the log-probs of a sampler and of a trainer those of one distribution?

A server may hand out log-probs of the model itself (raw), or of what it drew from, after
temperature and after top-p or top-k truncation (sampling). Ratios between the two kinds are not
what a surrogate takes them for. Truncation leaves two marks:

    listed      sum_k q_k = 1                  the k likeliest tokens leave no mass over
    chosen      log q(y) - log p(y) = -log Z   never negative, Z = kept mass of the raw p

and E_q[p / q] = Z, so that the mean of p / q over the tokens drawn estimates the kept mass. Two
full distributions that differ otherwise (temperature, weights, precision) have E_q[p / q] = 1 and
gaps of both signs.

Legend: N tokens, K listed alternatives.

Source: ours; the k3 estimate is that of J. Schulman, "Approximating KL divergence".
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.information._backend import Array, is_torch

Kind = Literal["raw", "sampling", "unknown"]
Match = Literal["same", "truncated", "different"]

WHOLE: Final = 1e-4  # missing mass that rounded log-probs may leave
SURE: Final = 0.95  # a token likelier than this leaves next to no mass anyhow
GAP: Final = 0.02  # nats; mean gap up to which rounding and batch order explain it
ONE_SIDED: Final = 0.01  # share of tokens that may lie below by more than GAP
N_WORST: Final = 5


class ListedKind(NamedTuple):
    """What lists of alternatives say of the distribution they come from."""

    kind: Kind
    n_uncertain: int  # tokens that can tell
    n_whole: int  # of these, lists without missing mass


class SamplerMatch(NamedTuple):
    """How a sampler's log-probs compare with a trainer's; of no token all numbers are 0."""

    match: Match
    n_tokens: int
    gap: float  # mean |difference|, nats
    k3: float  # estimate of KL(sampler || trainer), nats
    missing_mass: float  # of the trainer's distribution, where the sampler can't go
    largest: float  # largest |difference|, nats
    worst: tuple[int, ...]  # flat positions of the tokens that differ most, worst first

    @property
    def sentence(self) -> str:
        """What was found and what to do, in words.

        Examples:
            >>> SamplerMatch("same", 8, 0.001, 0.0, 0.0, 0.002, ()).sentence
            'sampler and trainer agree: their log-probs differ by 0.0010 nats on average'
        """
        found = f"their log-probs differ by {self.gap:.4f} nats on average"
        if self.match == "same":
            return f"sampler and trainer agree: {found}"
        if self.match == "truncated":
            return (
                f"the sampler's log-probs are of a truncated distribution (top-p, top-k), the "
                f"trainer's of the whole one: {found}, and about {self.missing_mass:.1%} of the "
                "probability is out of the sampler's reach. Draw with top_p = 1 and without top-k, "
                "or take the log-probs of the answers from the trainer"
            )
        return (
            f"sampler and trainer do not agree: {found}, up to {self.largest:.2f}. Compare their "
            "temperature, weights and precision, and whether log-probs are raw or after sampling; "
            "or take the log-probs of the answers from the trainer"
        )


def listed_kind(logprobs: Array, *, vocab_size: int = 0) -> ListedKind:
    """Whether lists of alternatives are raw, or of a truncated distribution made whole again.

    Only tokens at which the model hesitates can tell: of those, truncated lists have missing mass 0
    and raw ones do not, unless they list the whole vocabulary.

    Args:
        logprobs: [..., K] nats, the K likeliest; -inf where a list is shorter.
        vocab_size: V; lists of that many say nothing. 0 = unknown.

    Returns:
        "sampling" where 95 % of the tokens that can tell have a whole list, "raw" where fewer,
        "unknown" where none can tell.

    Examples:
        >>> full = np.log([0.5, 0.25, 0.15, 0.1])
        >>> listed_kind(full[None, :2]).kind, listed_kind(np.log([[2 / 3, 1 / 3]])).kind
        ('raw', 'sampling')
    """
    lists = _float64(logprobs)
    lists = lists.reshape(-1, lists.shape[-1])
    if vocab_size and lists.shape[-1] >= vocab_size:
        lists = lists[np.isfinite(lists).sum(-1) < vocab_size]
    mass = np.exp(lists).sum(-1)
    tells = (np.exp(lists.max(-1, initial=-np.inf)) < SURE) & (mass > 0)
    whole = tells & (mass >= 1 - WHOLE)
    n, n_whole = int(tells.sum()), int(whole.sum())
    kind: Kind = "unknown" if n == 0 else "sampling" if n_whole >= 0.95 * n else "raw"
    return ListedKind(kind, n, n_whole)


def sampler_match(
    sampler: Array,
    trainer: Array,
    valid: Array | None = None,
    *,
    listed: Array | None = None,
    vocab_size: int = 0,
    tolerance: float = GAP,
) -> SamplerMatch:
    """Compare log-probs of the same tokens, drawn by a sampler and measured by a trainer.

        d = log q(y) - log p(y);   gap = mean |d|;   k3 = mean(exp(-d) + d - 1);
        missing mass = 1 - mean exp(-d)

    Args:
        sampler: log q, nats, any shape.
        trainer: log p of the same tokens under the same weights, nats.
        valid: bool of that shape, tokens that count; None: all.
        listed: [..., K] log-probs that the sampler lists at each token, where it does; lists
            without missing mass prove a truncation that a gap alone makes likely.
        vocab_size: see ``listed_kind``.
        tolerance: nats; a mean gap up to it is rounding.

    Returns:
        "same" within the tolerance; "truncated" where the gaps have one sign and the missing mass
        is above its own noise, or where the lists prove it; else "different".

    Raises:
        InputError: shapes differ, or a log-prob that counts is nan or +inf.

    Examples:
        >>> p = np.log([0.5, 0.3, 0.5, 0.3, 0.3, 0.5])
        >>> found = sampler_match(p - np.log(0.8), p)  # top-p kept 0.8 of the mass
        >>> found.match, round(found.missing_mass, 3)
        ('truncated', 0.2)
    """
    q, p = _float64(sampler), _float64(trainer)
    if q.shape != p.shape:
        raise InputError(
            f"log-probs of the sampler have shape {q.shape}, of the trainer {p.shape}; they are of "
            "the same tokens"
        )
    counts = np.ones(q.shape, bool) if valid is None else _float64(valid) != 0
    if counts.shape != q.shape:
        raise InputError(f"valid has shape {counts.shape}; expected {q.shape}, one flag a token")
    places = np.flatnonzero(counts)
    if places.size == 0:
        return SamplerMatch("same", 0, 0.0, 0.0, 0.0, 0.0, ())
    q, p = q.reshape(-1)[places], p.reshape(-1)[places]
    for name, values in (("sampler", q), ("trainer", p)):
        bad = np.isnan(values) | (values == np.inf)
        if bad.any():
            raise InputError(
                f"{int(bad.sum())} log-probs of the {name} are nan or +inf, the first at token "
                f"{places[int(bad.argmax())]}; mask such tokens"
            )
    with np.errstate(invalid="ignore"):
        d = np.where(q == p, 0.0, q - p)  # both may call a token impossible
    size, ratio = np.abs(d), np.exp(np.minimum(-d, 20.0))
    order = np.argsort(-size, kind="stable")[:N_WORST]
    gap, missing = float(size.mean()), float(1 - ratio.mean())
    noise = 3 * float(ratio.std()) / np.sqrt(d.size)
    one_sided = float((d < -tolerance).mean()) <= ONE_SIDED and missing > noise
    whole = listed is not None and listed_kind(listed, vocab_size=vocab_size).kind == "sampling"
    match: Match = "truncated" if one_sided or whole else "different"
    return SamplerMatch(
        "same" if gap <= tolerance else match,
        int(d.size),
        gap,
        float((ratio + d - 1).mean()),
        max(0.0, missing),
        float(size.max()),
        tuple(places[order].tolist()),
    )


def _float64(values: Array) -> NDArray[np.float64]:
    array = values.detach().cpu().double().numpy() if is_torch(values) else values
    return np.asarray(array, dtype=np.float64)
