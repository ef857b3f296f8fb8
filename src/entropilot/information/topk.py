"""Entropy and divergence of truncated distributions: the k most likely tokens that an API shows.

Source: arXiv 2602.02863 for the renormalised measures; the bounds follow from Schur concavity and
from the data-processing inequality.

Legend: K listed alternatives, V vocabulary. With p the listed probabilities, m = sum p their mass
and tau = max(0, 1 - m) the missing mass, every measure comes in three modes:

    "renormalise"   of p / m over the top-k proper; may lie above or below the truth
    "lump"          the missing mass as one further symbol; never above the true entropy
    "bounds"        (lower, upper), which contain the truth whatever the tail is, up to the rounding
                    of the log-probabilities themselves

For whole logs use :func:`entropilot.information.sequence_measures`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.information._backend import Array, measure, namespace
from entropilot.information._numeric import LN2
from entropilot.information._topk_kernels import IMPOSSIBLE
from entropilot.information._topk_lists import Listed, plogp, union
from entropilot.information.divergence import js_share

Mode = Literal["renormalise", "lump", "bounds"]
_MODES = ("renormalise", "lump", "bounds")


class Estimate(NamedTuple):
    """An estimate, and what the listed tokens prove: the truth lies in [lower, upper]."""

    value: Array
    lower: Array
    upper: Array


@dataclass(frozen=True)
class TopK:
    """The k most likely tokens of each step, with what is known of the rest.

    The first ``n_top`` slots of a row are the top-k proper. A further token in slot ``n_top``
    (some servers append the sampled one) is known, but not a part of the top-k. Empty slots hold
    id -1 and log-probability -inf.

    Examples:
        >>> top = TopK(np.array([3, 8]), np.log([0.5, 0.4]), np.array(2), vocab_size=10)
        >>> estimate = top.entropy()
        >>> bool(estimate.lower <= estimate.upper)
        True
    """

    ids: Array  # [..., K] int
    logprobs: Array  # [..., K] nats
    n_top: Array  # [...] int
    vocab_size: int = 0  # 0 = unknown

    @classmethod
    def from_keys(
        cls,
        steps: Sequence[Mapping[Any, float] | Iterable[tuple[Hashable, float]]],
        vocab_size: int = 0,
    ) -> TopK:
        """Rows from token keys (ids, byte strings or texts) and their log-probabilities.

        A key that a step lists twice (two ids may decode to the same text) gets the summed
        probability.

        Args:
            steps: T mappings or lists of pairs, key -> log-probability in nats.
            vocab_size: V; 0 = unknown.

        Returns:
            ``TopK`` with ids [T, K], numbered by first appearance, likeliest first.

        Examples:
            >>> top = TopK.from_keys([{"a": -0.1, "b": -3.0}, [("b", -0.7), ("b", -1.4)]])
            >>> top.ids.tolist(), top.n_top.tolist()
            ([[0, 1], [1, -1]], [2, 1])
        """
        numbers: dict[Hashable, int] = {}
        rows: list[list[tuple[int, float]]] = []
        for step in steps:
            pairs = step.items() if isinstance(step, Mapping) else step
            merged: dict[int, float] = {}
            for key, logprob in pairs:
                number = numbers.setdefault(key, len(numbers))
                value = float(logprob)
                value = -np.inf if value <= IMPOSSIBLE else value
                known = merged.get(number)
                merged[number] = value if known is None else float(np.logaddexp(known, value))
            rows.append(sorted(merged.items(), key=lambda pair: -pair[1]))
        width = max(map(len, rows), default=0)
        ids = np.full((len(rows), width), -1, np.int64)
        logprobs = np.full((len(rows), width), -np.inf)
        for i, row in enumerate(rows):
            for j, (number, value) in enumerate(row):
                ids[i, j], logprobs[i, j] = number, value
        return cls(ids, logprobs, np.array([len(row) for row in rows]), vocab_size)

    def __getitem__(self, rows: Any) -> TopK:
        """Only the given steps."""
        return TopK(self.ids[rows], self.logprobs[rows], self.n_top[rows], self.vocab_size)

    @property
    def mass(self) -> Array:
        """[...] probability of the top-k proper."""
        return Listed(self.logprobs, self.n_top).proper.sum(-1)

    def entropy(self, mode: Literal["renormalise", "lump"] = "renormalise") -> Estimate:
        """Entropy of each step, nats: estimate and hard bounds; see :func:`entropy_topk`."""
        value = entropy_topk(self.logprobs, mode, self.vocab_size, self.n_top)
        lower, upper = entropy_topk(self.logprobs, "bounds", self.vocab_size, self.n_top)
        return Estimate(value, lower, upper)

    def jsd(self, other: TopK, mode: Literal["renormalise", "lump"] = "renormalise") -> Estimate:
        """Divergence from each step to one of ``other``, nats; see :func:`jsd_topk`."""
        lists = (self.ids, self.logprobs, other.ids, other.logprobs)
        value = jsd_topk(*lists, mode, n_top_a=self.n_top, n_top_b=other.n_top)
        lower, upper = jsd_topk(*lists, "bounds", n_top_a=self.n_top, n_top_b=other.n_top)
        return Estimate(value, lower, upper)


@measure
def entropy_topk(
    logprobs: Array, mode: Mode = "renormalise", vocab_size: int = 0, n_top: Array | None = None
) -> Any:
    """Entropy of a distribution of which only the likeliest outcomes are listed.

        renormalise   -sum (p/m) ln(p/m)
        lump          -sum p ln p - tau ln tau
        lower         -sum p ln p - n c ln c - r ln r,   n = floor(tau / c),  r = tau - n c
        upper         -sum p ln p - tau ln(tau / (V - k))

    c is the smallest positive probability of the top-k proper: no unlisted token can exceed it.

    Args:
        logprobs: [..., K] nats; values <= -100 (-inf, -9999, -1000, -100) stand for probability 0.
        mode: "renormalise", "lump" or "bounds".
        vocab_size: V, for the upper bound; 0 = unknown, then it is inf where mass is missing.
        n_top: [...] int entries of the top-k proper; None: all. Slot n_top, where it exists, is one
            more known token: it counts in "lump" and "bounds" only. Later slots are empty.

    Returns:
        [...] nats, or for "bounds" a pair of them.

    Raises:
        InputError: nan, values that look like probabilities, mass above 1.001 (each names the row),
            or in mode "renormalise" fewer than two listed tokens: the result would be 0 whatever
            the truth.

    Examples:
        >>> lower, upper = entropy_topk(np.log([0.5, 0.2, 0.1]), "bounds", vocab_size=50)
        >>> round(float(lower), 4), round(float(upper), 4)
        (1.3592, 1.9906)

    Source: arXiv 2602.02863, H_t; bounds by Schur concavity.
    """
    _check_mode(mode)
    listed = Listed(logprobs, n_top)
    xp = namespace(listed.known)
    if mode == "renormalise":
        listed.check_renormalisable()
        mass = listed.proper.sum(-1)
        share = listed.proper / mass[..., None]
        return listed.returned((-plogp(share).sum(-1)).clip(0.0))
    tail = (1.0 - listed.known.sum(-1)).clip(0.0)
    head = -plogp(listed.known).sum(-1)
    lump = (head - plogp(tail)).clip(0.0)
    if mode == "lump":
        return listed.returned(lump)
    one = xp.ones_like(listed.proper)
    ceiling = xp.amin(xp.where(listed.proper > 0, listed.proper, one), -1)
    full = xp.floor(tail / ceiling)
    rest = (tail - full * ceiling).clip(0.0)
    lower = (head - full * plogp(ceiling) - plogp(rest)).clip(0.0)
    if vocab_size:
        spread = xp.log((vocab_size - listed.count).clip(1.0))
    else:
        spread = xp.full_like(tail, float("inf"))
    spread = xp.where(tail > 0, spread, xp.zeros_like(tail))
    return listed.returned(lower), listed.returned(lump + tail * spread)


@measure
def jsd_topk(
    ids_a: Array,
    logprobs_a: Array,
    ids_b: Array,
    logprobs_b: Array,
    mode: Mode = "renormalise",
    *,
    n_top_a: Array | None = None,
    n_top_b: Array | None = None,
) -> Any:
    """Jensen-Shannon divergence of two truncated distributions, over the union of their lists.

        renormalise   JSD(p/m, q/m') with 0 for what a list lacks
        lump          the same of p and q with one further symbol (tau, tau')
        lower         sum over C of js(p, q) + js(p_out, q_out)
        upper         sum over C of js(p, q) + ln(2)/2 (p_out + q_out)

    C are the tokens that both list, p_out = 1 - sum over C of p. The ids of a row may be in any
    order; an id that a row lists twice counts once with the summed probability.

    Args:
        ids_a: [..., K] int token ids; negative in empty slots.
        logprobs_a: [..., K] nats; values <= -100 stand for probability 0.
        ids_b: [..., L] int.
        logprobs_b: [..., L] nats.
        mode: "renormalise", "lump" or "bounds".
        n_top_a: [...] int, as in :func:`entropy_topk`.
        n_top_b: [...] int.

    Returns:
        [...] nats in [0, ln 2], or for "bounds" a pair of them.

    Raises:
        InputError: as :func:`entropy_topk`.

    Examples:
        >>> p, q = np.log([0.5, 0.5]), np.log([0.5, 0.5])
        >>> float(jsd_topk([5, 7], p, [7, 9], q).round(4))
        0.3466

    Source: arXiv 2602.02863, D_t; lower bound: merging outcomes cannot raise a divergence.
    """
    _check_mode(mode)
    a, b = Listed(logprobs_a, n_top_a, ids_a), Listed(logprobs_b, n_top_b, ids_b)
    if mode == "renormalise":
        a.check_renormalisable()
        b.check_renormalisable()
        p, q, _ = union(a, b, proper=True)
        p = p / p.sum(-1)[..., None]
        q = q / q.sum(-1)[..., None]
        return a.returned(js_share(p, q).sum(-1).clip(0.0, LN2))
    p, q, common = union(a, b, proper=False)
    xp = namespace(p)
    shares = js_share(p, q)
    if mode == "lump":
        tails = js_share((1.0 - p.sum(-1)).clip(0.0), (1.0 - q.sum(-1)).clip(0.0))
        return a.returned((shares.sum(-1) + tails).clip(0.0, LN2))
    zero = xp.zeros_like(p)
    p_out, q_out = ((1.0 - xp.where(common, x, zero).sum(-1)).clip(0.0) for x in (p, q))
    inside = xp.where(common, shares, zero).sum(-1)
    lower = (inside + js_share(p_out, q_out)).clip(0.0, LN2)
    upper = (inside + 0.5 * LN2 * (p_out + q_out)).clip(0.0, LN2)
    return a.returned(lower), a.returned(upper)


def _check_mode(mode: str) -> None:
    if mode not in _MODES:
        raise ConfigurationError(unknown_name("mode", mode, _MODES))
