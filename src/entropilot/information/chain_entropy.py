"""Entropy production and loss of information of Markov chains. Nats.

    sigma   = sum_ij pi_i P_ij log( pi_i P_ij / (pi_j P_ji) )     a step; 0: detailed balance
    sigma_t = sum_ij p_i P_ij log( p_i P_ij / (p'_j P_ji) ),         p' = p P
            = H[p'] - H[p]  +  sum_ij p_i P_ij log( P_ij / P_ji )    system and medium
    KL(p(t) || pi) never rises: what is lost of the knowledge of the start

Source: the abstract of arXiv 1105.5662 ("information loss", its second law); formulas after
Schnakenberg, Rev. Mod. Phys. 48 (1976), 571. The correction of counts is ours: second order of a
Taylor series, Poisson counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.counts import whole_numbers
from entropilot.information.entropy import entropy
from entropilot.information.markov_chains import as_chain, is_sparse, stationary
from entropilot.information.maximum_entropy import relative_entropy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EntropyProduction:
    """Entropy production of one step.

    Attributes:
        rate: nats a step; inf where a transition is never made backwards.
        system: rise of the entropy of the distribution itself; 0 for a stationary one.
        medium: the rest, heat in units of the temperature.
        one_way: transitions (i, j) without a way back, the first 16.
    """

    rate: float
    system: float
    medium: float
    one_way: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class EntropyProductionEstimate:
    """Entropy production from counted transitions.

    Attributes:
        rate: ``plug_in - bias``, nats a step.
        plug_in: with shares in place of probabilities; too large on average.
        bias: sum over pairs with both directions seen of (2 + f/b + b/f) / (2 n).
        std_error: from resampled counts.
        one_way: transitions seen in one direction only; each makes the plug-in value infinite.
        n_transitions: n.
    """

    rate: float
    plug_in: float
    bias: float
    std_error: float
    one_way: tuple[tuple[int, int], ...]
    n_transitions: int


@dataclass(frozen=True)
class Relaxation:
    """How knowledge of the start is lost.

    Attributes:
        divergence: [steps + 1] KL(p(t) || pi), nats, never rising.
        loss: [steps] its fall at each step.
        p: [n] the distribution at the end.
    """

    divergence: Floats
    loss: Floats
    p: Floats


def entropy_production(P: Any, pi: ArrayLike | None = None) -> EntropyProduction:
    """Entropy production of one step of a chain.

    Args:
        P: [n, n], dense or sparse.
        pi: [n] distribution before the step; None for the stationary one.

    Raises:
        InputError: as ``as_chain``; a reducible chain without ``pi``; ``pi`` of another shape or
            that does not sum to 1.

    Examples:
        >>> ring = [[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]]
        >>> round(entropy_production(ring).rate, 6)
        0.219722
        >>> entropy_production([[0, 1, 0], [0, 0, 1], [1, 0, 0]]).one_way
        ((0, 1), (1, 2), (2, 0))
    """
    chain = as_chain(P)
    p = stationary(chain) if pi is None else _distribution(pi, chain.shape[0], "pi")
    after = p if pi is None else p @ chain
    i, j, forward, backward = _two_way(chain)
    flow = p[i] * forward
    held = flow > 0
    i, j, flow, forward, backward = (x[held] for x in (i, j, flow, forward, backward))
    gone = backward == 0
    system = 0.0 if pi is None else float(entropy(after) - entropy(p))
    if gone.any():
        pairs = tuple(zip(i[gone].tolist(), j[gone].tolist(), strict=True))
        return EntropyProduction(float("inf"), system, float("inf"), pairs[:16])
    ratio = after[j] * backward / flow
    # the terms flow (r - 1 - log r) are >= 0 each, so that nothing cancels near balance; the rest
    # is what flows back to states that were empty
    rate = float((flow * (ratio - 1 - np.log(ratio))).sum() + flow.sum() - (flow * ratio).sum())
    rate = max(rate, 0.0)
    return EntropyProduction(rate, system, rate - system, ())


def entropy_production_from_counts(
    counts: ArrayLike, *, n_resamples: int = 200, rng: np.random.Generator | None = None
) -> EntropyProductionEstimate:
    """Entropy production from how often each transition was seen.

    Counts are taken as independent draws of transitions: right for the bias to first order, and for
    the error where memory of the state does not outlast many steps.

    Args:
        counts: [n, n] whole numbers, from one long stationary path.
        n_resamples: for the standard error; 0 leaves it nan.
        rng: for the resamples; seed 0 unless given.

    Raises:
        InputError: not square, negative, not whole, or no transitions at all.

    Examples:
        >>> seen = entropy_production_from_counts([[600, 300, 100]] + [[100, 600, 300]]
        ...     + [[300, 100, 600]])
        >>> round(seen.plug_in, 6), round(seen.bias, 6)
        (0.219722, 0.002667)
    """
    c = whole_numbers(counts, "counts")
    if c.ndim != 2 or c.shape[0] != c.shape[1]:
        raise InputError(f"counts have shape {c.shape}, expected [n, n]")
    if (c < 0).any() or not c.any():
        raise InputError("counts must be 0 or more, and some above 0")
    n = int(c.sum())
    i, j = np.nonzero((c > 0) & (c.T == 0))
    one_way = tuple(zip(i.tolist(), j.tolist(), strict=True))
    upper = np.triu_indices(len(c), 1)
    f, b = c[upper].astype(np.float64), c.T[upper].astype(np.float64)
    value, bias = _plug_in(f, b, n)
    spread = float("nan")
    if n_resamples > 1 and not one_way:
        draw = rng if rng is not None else np.random.default_rng(0)
        seen = f + b > 0
        cells = np.concatenate([f[seen], b[seen]])
        cells = np.append(cells, n - cells.sum()) / n
        again = draw.multinomial(n, cells / cells.sum(), size=n_resamples)[:, :-1].astype(float)
        half = again.shape[1] // 2
        rates = np.array([np.subtract(*_plug_in(row[:half], row[half:], n)) for row in again])
        rates = rates[np.isfinite(rates)]
        spread = float(rates.std(ddof=1)) if len(rates) > 1 else float("nan")
    if one_way:
        value = float("inf")
    return EntropyProductionEstimate(value - bias, value, bias, spread, one_way[:16], n)


def relaxation_information(P: Any, p0: ArrayLike, steps: int) -> Relaxation:
    """How much is still known of the start after each step, and what each step loses.

    Args:
        P: [n, n], irreducible, dense or sparse.
        p0: [n] distribution at the start.
        steps: >= 0.

    Raises:
        InputError: as ``stationary``; a start that is no distribution; steps below 0.

    Examples:
        >>> relaxation_information([[0.9, 0.1], [0.2, 0.8]], [0, 1], 2).divergence.round(4).tolist()
        [1.0986, 0.4596, 0.2219]
    """
    if steps < 0:
        raise InputError(f"steps = {steps}, expected 0 or more")
    chain = as_chain(P)
    pi = stationary(chain)
    p = _distribution(p0, chain.shape[0], "p0")
    known = [relative_entropy(p, pi)]
    for _ in range(steps):
        p = p @ chain
        p = p / p.sum()
        known.append(relative_entropy(p, pi))
    divergence = np.array(known)
    return Relaxation(divergence, -np.diff(divergence), p)


def _plug_in(f: Floats, b: Floats, n: int) -> tuple[float, float]:
    """Value and bias of sum (f - b) log(f/b) / n over pairs; pairs seen one way count for none."""
    both = (f > 0) & (b > 0)
    f, b = f[both], b[both]
    value = float(((f - b) * np.log(f / b)).sum() / n)
    return value, float((2 + f / b + b / f).sum() / (2 * n))


def _two_way(chain: Any) -> tuple[Any, Any, Floats, Floats]:
    """Transitions: from, to, probability, probability of the way back.

    Staying counts too: the weight of a state changes while it is stayed in.
    """
    if is_sparse(chain):
        edges = chain.tocoo()
        held = edges.data > 0
        i, j, forward = edges.row[held], edges.col[held], edges.data[held]
        return i, j, forward, np.asarray(chain[j, i]).ravel()
    i, j = np.nonzero(chain)
    return i, j, chain[i, j], chain[j, i]


def _distribution(values: ArrayLike, n: int, name: str) -> Floats:
    p = np.asarray(values, dtype=np.float64)
    if p.shape != (n,) or not (p >= 0).all() or abs(float(p.sum()) - 1) > 1e-9:
        raise InputError(
            f"{name} has shape {p.shape} and sum {float(p.sum()):.12g}; expected [{n}] "
            "probabilities that sum to 1"
        )
    return p
