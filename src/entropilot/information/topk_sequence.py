"""Entropy of, and divergence between, the consecutive top-k lists of many traces at once.

The same quantities as :mod:`entropilot.information.topk`, for a whole log in one call. Legend:
n traces, N tokens in all, K slots a token. Trace i owns tokens offsets[i]:offsets[i+1].

Lists of consecutive steps are joined through a table that holds, for each token id, the flat
position where it was last listed: one look-up an entry, whatever K is, in place of K compares.

Source: arXiv 2602.02863 (renormalised measures). Equations and bounds stand in ``topk.py``.
"""

from __future__ import annotations

from typing import Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information._topk_kernels import IMPOSSIBLE, bounds_kernel, signal_kernel

_LARGEST_TABLE: Final = 1 << 26  # ids beyond this are renumbered first


class SequenceSignal(NamedTuple):
    """Renormalised measures of each token, float64 [N]; see :func:`sequence_signal`."""

    entropy: NDArray[np.float64]
    jsd: NDArray[np.float64]
    mass: NDArray[np.float64]


class SequenceBounds(NamedTuple):
    """What the listed tokens prove about the full distributions, float64 [N]."""

    entropy_lump: NDArray[np.float64]
    entropy_lower: NDArray[np.float64]
    entropy_upper: NDArray[np.float64]
    jsd_lower: NDArray[np.float64]
    jsd_upper: NDArray[np.float64]


class SequenceMeasures(NamedTuple):
    """Estimates and hard bounds of each token, float64 [N]; see :func:`sequence_measures`."""

    entropy: NDArray[np.float64]
    entropy_lump: NDArray[np.float64]
    entropy_lower: NDArray[np.float64]
    entropy_upper: NDArray[np.float64]
    mass: NDArray[np.float64]
    jsd: NDArray[np.float64]
    jsd_lower: NDArray[np.float64]
    jsd_upper: NDArray[np.float64]


def sequence_signal(
    offsets: ArrayLike, top_piece: ArrayLike, top_logprob: ArrayLike, n_top: ArrayLike
) -> SequenceSignal:
    """Renormalised entropy, divergence to the step before, and listed mass of each token.

        m_t = sum p_t,   p~_t = p_t / m_t         over the n_top[t] entries of the top-k proper
        H_t = -sum p~_t ln p~_t
        D_t = JSD(p~_{t-1}, p~_t)                 over the union of the two lists, missing = 0

    The subset that an early-warning signal needs, at about a third of the cost of
    :func:`sequence_measures`.

    Args:
        offsets: [n+1] int, first token of each trace.
        top_piece: [N, K] int, token ids >= 0, matched across steps; -1 in empty slots. An id that
            a row lists twice counts once, with the summed probability, in the divergence.
        top_logprob: [N, K] nats; values <= -100 stand for probability 0.
        n_top: [N] int, entries of the top-k proper. A further entry in slot n_top is not used here.

    Returns:
        ``SequenceSignal``. H and D are nan where a row lists fewer than two tokens or only
        impossible ones, D also at the first token of a trace; mass is nan where n_top is 0.

    Raises:
        InputError: log-probabilities are nan, or their mass exceeds 1.001; names trace and step.

    Examples:
        >>> logprobs = np.log([[0.5, 0.5], [0.5, 0.5]])
        >>> signal = sequence_signal([0, 2], [[5, 7], [7, 9]], logprobs, [2, 2])
        >>> signal.entropy.round(4).tolist(), signal.jsd.round(4).tolist()
        ([0.6931, 0.6931], [nan, 0.3466])

    Source: arXiv 2602.02863, H_t and D_t.
    """
    table = _Table(offsets, top_piece, top_logprob, n_top)
    result = SequenceSignal(*(np.empty(len(table.n_top)) for _ in SequenceSignal._fields))
    bad = signal_kernel(
        table.offsets, table.piece, table.logprob, table.n_top, table.place(), *result
    )
    if bad >= 0:
        table.reject(bad)
    return result


def sequence_bounds(
    offsets: ArrayLike,
    top_piece: ArrayLike,
    top_logprob: ArrayLike,
    n_top: ArrayLike,
    vocab_size: int = 0,
) -> SequenceBounds:
    """Lumped entropy and hard bounds on entropy and divergence of each token.

    The equations are those of :func:`entropilot.information.entropy_topk` and
    :func:`entropilot.information.jsd_topk`. A token in slot n_top (the sampled one, outside the
    top-k) is known and counts, but does not lower the ceiling of the tail.

    Args:
        offsets: [n+1] int, first token of each trace.
        top_piece: [N, K] int, as in :func:`sequence_signal`.
        top_logprob: [N, K] nats.
        n_top: [N] int, entries of the top-k proper.
        vocab_size: V; 0 = unknown, then the upper bound on the entropy is inf where mass is
            missing.

    Returns:
        ``SequenceBounds``; nan where n_top is 0, divergences also at the first token of a trace.

    Raises:
        InputError: log-probabilities are nan, or their mass exceeds 1.001; names trace and step.

    Examples:
        >>> bounds = sequence_bounds([0, 1], [[5, 7]], np.log([[0.5, 0.4]]), [2], vocab_size=3)
        >>> bounds.entropy_lower.round(4).tolist(), bounds.entropy_upper.round(4).tolist()
        ([0.9433], [0.9433])
    """
    table = _Table(offsets, top_piece, top_logprob, n_top)
    result = SequenceBounds(*(np.empty(len(table.n_top)) for _ in SequenceBounds._fields))
    bad = bounds_kernel(
        table.offsets,
        table.piece,
        table.logprob,
        table.n_top,
        table.place(),
        float(vocab_size),
        *result,
    )
    if bad >= 0:
        table.reject(bad)
    return result


def sequence_measures(
    offsets: ArrayLike,
    top_piece: ArrayLike,
    top_logprob: ArrayLike,
    n_top: ArrayLike,
    vocab_size: int = 0,
) -> SequenceMeasures:
    """Every estimate and bound of each token: :func:`sequence_signal` and :func:`sequence_bounds`.

    Args:
        offsets: [n+1] int, first token of each trace.
        top_piece: [N, K] int, as in :func:`sequence_signal`.
        top_logprob: [N, K] nats.
        n_top: [N] int, entries of the top-k proper.
        vocab_size: V; 0 = unknown.

    Returns:
        ``SequenceMeasures``.

    Raises:
        InputError: log-probabilities are nan, or their mass exceeds 1.001; names trace and step.

    Examples:
        >>> measures = sequence_measures([0, 1], [[5, 7]], np.log([[0.5, 0.4]]), [2], vocab_size=9)
        >>> bool(measures.entropy_lower[0] <= measures.entropy_upper[0])
        True
    """
    signal = sequence_signal(offsets, top_piece, top_logprob, n_top)
    bounds = sequence_bounds(offsets, top_piece, top_logprob, n_top, vocab_size)
    return SequenceMeasures(**signal._asdict(), **bounds._asdict())


class _Table:
    """The four columns, validated and in the types that the kernels are compiled for."""

    def __init__(
        self, offsets: ArrayLike, piece: ArrayLike, logprob: ArrayLike, n_top: ArrayLike
    ) -> None:
        self.offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        self.piece = np.ascontiguousarray(piece)
        self.logprob = np.ascontiguousarray(logprob)
        if self.logprob.dtype != np.float32:
            self.logprob = self.logprob.astype(np.float64, copy=False)
        self.n_top = np.ascontiguousarray(n_top, dtype=np.int16)
        n_tokens = len(self.n_top)
        if self.piece.ndim != 2 or self.piece.shape != self.logprob.shape:
            raise InputError(
                f"top_piece has shape {self.piece.shape} and top_logprob {self.logprob.shape}; "
                "both must be [N, K]"
            )
        if len(self.piece) != n_tokens or self.offsets[0] != 0 or self.offsets[-1] != n_tokens:
            raise InputError(
                f"{len(self.piece)} rows of alternatives, {n_tokens} values of n_top and offsets "
                f"from {self.offsets[0]} to {self.offsets[-1]} do not belong together"
            )
        width = self.piece.shape[1]
        if n_tokens and not 0 <= self.n_top.min() <= self.n_top.max() <= width:
            raise InputError(
                f"n_top runs from {self.n_top.min()} to {self.n_top.max()}; a row has {width} slots"
            )
        if self.piece.size and self.piece.max() >= _LARGEST_TABLE:
            known, numbers = np.unique(self.piece, return_inverse=True)
            shift = np.searchsorted(known, 0)
            self.piece = numbers.reshape(self.piece.shape) - shift
        self.piece = self.piece.astype(np.int32, copy=False)

    def place(self) -> NDArray[np.int64]:
        """Flat position where each id was last listed; none yet."""
        return np.full(int(self.piece.max(initial=0)) + 1, -1, dtype=np.int64)

    def reject(self, row: int) -> NoReturn:
        trace = int(np.searchsorted(self.offsets, row, side="right")) - 1
        where = f"step {row - self.offsets[trace]} of trace {trace}"
        used = self.logprob[row][self.piece[row] >= 0]
        if np.isnan(used).any():
            raise InputError(f"{where} has nan among its log-probabilities; leave that token out")
        mass = np.exp(np.where(used <= IMPOSSIBLE, -np.inf, used.astype(np.float64))).sum()
        hint = (
            "they look like probabilities: take np.log first"
            if ((used >= 0) & (used <= 1)).all()
            else "check that they are natural-log probabilities of different tokens"
        )
        raise InputError(
            f"{where} lists a probability mass of {mass:.6g} (largest log-probability "
            f"{used.max():.4g}); it must not exceed 1; {hint}"
        )
