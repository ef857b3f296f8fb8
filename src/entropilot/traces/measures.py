"""Measures of every token of a log: entropy, its bounds, divergence to the step before, surprisal.

Legend: n traces, N tokens in all, K listed alternatives a token.

Source: arXiv 2602.02863 (renormalised entropy and divergence); the bounds are those of
``entropilot.information``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import IMPOSSIBLE, MASS_SLACK
from entropilot.information.topk_sequence import sequence_bounds, sequence_signal
from entropilot.traces.reading.options import Skipped
from entropilot.traces.table import Traces

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TokenMeasures:
    """One value a token, float64 [N], nats; nan where the log does not allow one.

    ``entropy`` and ``jsd`` are those of the renormalised top-k lists. ``entropy_lower`` and
    ``entropy_upper`` hold the entropy of the full distribution; the upper one is inf where the
    vocabulary size is unknown and mass is missing.
    """

    offsets: NDArray[np.int64]  # [n+1]
    n_top: NDArray[np.int16]  # [N] entries of the top-k proper
    entropy: Floats
    entropy_lower: Floats
    entropy_upper: Floats
    jsd: Floats  # nan at the first token of a trace
    mass: Floats  # listed probability of the top-k proper
    surprisal: Floats  # nan where the token taken has no or an impossible log-probability
    n_impossible: int  # tokens taken that the log calls impossible; never averaged
    lam: float = 1.0

    @property
    def instability(self) -> Floats:
        """I = D + lambda H, [N] nats; nan at the first token of a trace."""
        return self.jsd + self.lam * self.entropy


def token_measures(traces: Traces, vocab_size: int = 0, lam: float = 1.0) -> TokenMeasures:
    """Measure every token of a log in one pass.

        H~ = -sum p~ ln p~,   D~ = JSD(p~ before, p~),   I = D~ + lambda H~,   surprisal = -logprob

    Args:
        traces: with top-k lists; tokens without lists get nan.
        vocab_size: V; 0 = unknown, then the upper entropy bound is inf where mass is missing.
        lam: weight of the entropy in the instability, >= 0.

    Returns:
        ``TokenMeasures``.

    Raises:
        InputError: the listed probabilities of a token exceed 1; names trace and step. Or a token
            lists more alternatives than the vocabulary has entries.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> len(token_measures(empty_traces()).entropy)
        0

    Source: arXiv 2602.02863, the definitions of H_t, D_t and I_t.
    """
    if not lam >= 0:
        raise ConfigurationError(f"lam is {lam}; the weight of the entropy is a number >= 0")
    tokens = traces.tokens
    most = int(tokens.n_top.max(initial=0))
    if 0 < vocab_size < most:
        raise InputError(
            f"a token lists {most} alternatives, more than the vocabulary of {vocab_size}; give "
            "the model's own size, or 0 where it is unknown"
        )
    lists = (tokens.offsets, tokens.top_piece, tokens.top_logprob, tokens.n_top)
    signal = sequence_signal(*lists)
    bounds = sequence_bounds(*lists, vocab_size=vocab_size)
    surprisal, n_impossible = _surprisal(tokens.logprob)
    return TokenMeasures(
        tokens.offsets,
        tokens.n_top,
        signal.entropy,
        bounds.entropy_lower,
        bounds.entropy_upper,
        signal.jsd,
        signal.mass,
        surprisal,
        n_impossible,
        lam,
    )


@njit(cache=True, nogil=True)
def _surprisal(logprob: NDArray[np.float32]) -> tuple[Floats, int]:
    out = np.empty(logprob.size, np.float64)
    n_impossible = 0
    for i in range(logprob.size):
        value = float(logprob[i])
        if value <= IMPOSSIBLE:
            n_impossible += 1
            out[i] = np.nan
        else:
            out[i] = np.nan if np.isnan(value) else max(-value, 0.0)
    return out, n_impossible


def usable_traces(traces: Traces) -> tuple[Traces, tuple[Skipped, ...]]:
    """The traces that can be measured, and why the others cannot.

    Args:
        traces: any.

    Returns:
        Traces whose lists hold log-probabilities with a mass of at most 1.001, and for each other
        one its file, line, first bad step and what was found there.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> usable_traces(empty_traces())[1]
        ()
    """
    tokens = traces.tokens
    listed = tokens.top_piece >= 0
    with np.errstate(over="ignore"):
        mass = np.exp(tokens.top_logprob, where=listed, out=np.zeros(listed.shape, np.float32))
    total = mass.sum(axis=1, dtype=np.float64)
    bad = np.flatnonzero(~(total <= 1.0 + MASS_SLACK))
    owner = np.searchsorted(tokens.offsets, bad, side="right") - 1
    skipped = []
    for trace, first in zip(*np.unique(owner, return_index=True), strict=True):
        at = bad[first]
        values = tokens.top_logprob[at][listed[at]]
        looks = "; these look like probabilities, take np.log first" if values.min() >= 0 else ""
        row = traces.rows.row(int(trace), named=True)
        reason = (
            f"step {at - tokens.offsets[trace]} lists a probability mass of {total[at]:.6g} "
            f"(largest log-probability {values.max():.4g}); it must not exceed 1{looks}"
        )
        skipped.append(Skipped(row["source"] or row["id"] or "the input", row["line"] or 0, reason))
    kept = np.setdiff1d(np.arange(len(traces)), owner)
    return (traces.take(kept) if skipped else traces), tuple(skipped)


def truncate_top_k(traces: Traces, k: int) -> Traces:
    """Keep only the ``k`` most likely alternatives of each token.

    Entropies of lists of different length cannot be compared, because H~ <= ln k; cut all to the
    smallest k first. A sampled token that a server appended outside the top-k is dropped from the
    lists; it stays the token taken.

    Args:
        traces: any.
        k: >= 1. Tokens that list fewer keep what they have.

    Returns:
        Traces with lists of at most k entries; the vocabulary is unchanged.

    Raises:
        ConfigurationError: k < 1.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> truncate_top_k(empty_traces(), 5).tokens.top_piece.shape
        (0, 0)
    """
    if k < 1:
        raise ConfigurationError(f"k is {k}; at least one alternative must stay")
    tokens = traces.tokens
    piece, logprob = tokens.top_piece[:, :k].copy(), tokens.top_logprob[:, :k].copy()
    n_top = np.minimum(tokens.n_top, k).astype(np.int16)
    beyond = np.arange(piece.shape[1])[None, :] >= n_top[:, None]
    piece[beyond] = -1
    logprob[beyond] = -np.inf
    cut = replace(tokens, top_piece=piece, top_logprob=logprob, n_top=n_top)
    return replace(traces, tokens=cut)


def common_k(*logs: Traces, force: bool = False) -> int:
    """The k at which all traces of the given logs were listed, so that entropies may be compared.

    The k of a trace is that of its longest list: alternatives of equal text are one entry, so some
    lists are shorter than what was asked for.

    Args:
        logs: traces without lists are left out.
        force: return the largest k in place of an error when they differ.

    Returns:
        k, or 0 when no token has a list.

    Raises:
        InputError: traces of different k; names the two and the mend.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> common_k(empty_traces())
        0
    """
    longest = [_longest_lists(log) for log in logs]
    present = np.concatenate([k[k > 0] for k in longest]) if longest else np.zeros(0, np.int64)
    if not len(present):
        return 0
    low, high = int(present.min()), int(present.max())
    if low != high and not force:
        raise InputError(
            f"traces list between {low} and {high} alternatives; entropies of top-k lists are "
            f"comparable only at one k, because H <= ln k. Cut all to the smallest with "
            f"truncate_top_k(traces, {low}), or pass force=True"
        )
    return high


def _longest_lists(log: Traces) -> NDArray[np.int64]:
    """[n] entries of the longest list of each trace; 0 for a trace without tokens."""
    longest = np.zeros(len(log), dtype=np.int64)
    filled = np.flatnonzero(log.tokens.lengths)
    if len(filled):
        longest[filled] = np.maximum.reduceat(log.tokens.n_top, log.tokens.offsets[filled])
    return longest
