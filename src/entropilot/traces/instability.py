"""Dynamic instability: entropy of each token plus its divergence from the step before.

    H_t = -sum p~ ln p~,   D_t = JSD(p~_{t-1}, p~_t),   I_t = D_t + lambda H_t   (t >= 1)
    S = max_t I_t,   t* = its first place,   rho = t*/T

p~ is the renormalised top-k distribution. Legend: n traces, T tokens of one, N of all, V the
vocabulary.

Source: arXiv 2602.02863. The paper's sum is read in nats with weight 1 on both terms; lump, bounds
and full modes are derived here. A high peak goes with wrong answers; it does not prove one wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, overload

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.information import IMPOSSIBLE
from entropilot.information.topk_sequence import sequence_bounds, sequence_signal
from entropilot.traces.alternatives import check_logprobs, listed_alternatives, to_columns
from entropilot.traces.frame import WINDOWS
from entropilot.traces.measures import common_k
from entropilot.traces.reading.options import MISSING_LOGPROBS
from entropilot.traces.table import Traces

Floats = NDArray[np.float64]
Mode = Literal["renormalise", "lump", "bounds", "full"]
MODES: Final = ("renormalise", "lump", "bounds", "full")
_LN2: Final = float(np.log(2.0))
_CELLS: Final = 1 << 20  # logits held in float64 at once


@dataclass(frozen=True)
class Instability:
    """Instability of one trace; nats."""

    H: Floats  # [T] entropy
    D: Floats  # [T] divergence from the step before; nan at t = 0
    I: Floats  # [T] D + lam * H; nan at t = 0  # noqa: E741 - the paper's letter
    S: float  # peak; nan where there is none
    t_peak: int  # its first place, -1 where there is none
    rho: float  # t_peak / T
    S_prefix: dict[int, float]  # peak within the first w tokens
    mass: Floats  # [T] listed probability
    lam: float = 1.0


@dataclass(frozen=True)
class InstabilityBounds:
    """Two traces of numbers between which those of the full distributions lie."""

    low: Instability
    high: Instability


@dataclass(frozen=True)
class LogInstability:
    """Instability of every trace of a log; nats."""

    offsets: NDArray[np.int64]  # [n+1]
    H: Floats  # [N]
    D: Floats  # [N]; nan at the first token of a trace
    I: Floats  # [N]  # noqa: E741 - the paper's letter
    S: Floats  # [n]; nan where there is no peak
    t_peak: NDArray[np.int64]  # [n] counted from the start of the trace; -1 where there is no peak
    rho: Floats  # [n]


@overload
def instability_trace(
    trace: Any,
    lam: float = ...,
    mode: Literal["renormalise", "lump", "full"] = ...,
    *,
    k: int | None = ...,
    vocab_size: int = ...,
    windows: Sequence[int] = ...,
) -> Instability: ...
@overload
def instability_trace(
    trace: Any,
    lam: float,
    mode: Literal["bounds"],
    *,
    k: int | None = ...,
    vocab_size: int = ...,
    windows: Sequence[int] = ...,
) -> InstabilityBounds: ...
@overload
def instability_trace(
    trace: Any,
    lam: float = ...,
    *,
    mode: Literal["bounds"],
    k: int | None = ...,
    vocab_size: int = ...,
    windows: Sequence[int] = ...,
) -> InstabilityBounds: ...
def instability_trace(
    trace: Any,
    lam: float = 1.0,
    mode: Mode = "renormalise",
    *,
    k: int | None = None,
    vocab_size: int = 0,
    windows: Sequence[int] = WINDOWS,
) -> Instability | InstabilityBounds:
    """Instability of one trace.

    Base-2 or base-10 log-probabilities cannot be told from natural ones; convert them first.

    Args:
        trace: a list with, for each generated token, {token: logprob}, an entry of an OpenAI-like
            response, or a list of such alternatives; or (ids [T, k], logprobs [T, k]) with -1 in
            empty slots; or logits [T, V], numpy or torch (mode "full").
        lam: weight of the entropy, >= 0. H reaches ln k and D only ln 2, so at 1 entropy dominates.
        mode: "renormalise" (the paper), "lump" (one more symbol for what is not listed), "bounds"
            (what the full distributions can be), "full" (logits).
        k: alternatives that were asked for, where a list may hold the sampled token beside them;
            None takes every entry as one of the top-k.
        vocab_size: V; 0 = unknown, then the upper bounds are inf.
        windows: prefix lengths w of ``S_prefix``, tokens.

    Returns:
        ``Instability``, or ``InstabilityBounds`` for mode "bounds". Fewer than two tokens give nan
        and a warning.

    Raises:
        InputError: no log-probabilities, probabilities in their place, lists of one entry (except
            for "bounds"), or a mass above 1.001; names the step.
        ConfigurationError: unknown mode, or one that does not fit the trace.

    Examples:
        >>> steps = [{"a": -0.7, "b": -0.7}, {"c": -0.1, "a": -2.4}]
        >>> found = instability_trace(steps)
        >>> found.t_peak, round(found.S, 3), found.rho
        (1, 0.871, 0.5)

    Source: arXiv 2602.02863, definitions of H_t, D_t, I_t, S and rho.
    """
    _check(lam, mode)
    if trace is None:
        raise InputError(f"the trace does {MISSING_LOGPROBS.replace('carry no', 'not carry')}")
    if _is_matrix(trace):
        if mode != "full":
            raise ConfigurationError(
                f"logits [T, V] are measured with mode='full', not {mode!r}; for top-k lists pass "
                "(ids, logprobs) or a list of dicts"
            )
        H, D = _full(trace)
        return _one(H, D, np.ones(len(H)), lam, windows)
    if mode == "full":
        raise ConfigurationError(
            "mode='full' needs logits [T, V]; lists of alternatives take 'renormalise', 'lump' or "
            "'bounds'"
        )
    ids, logprobs, n_top = _columns(trace, k)
    if mode != "bounds" and len(n_top) and n_top.max() < 2:
        raise InputError(
            "each token lists at most one alternative, so its renormalised entropy is always 0; "
            "ask the server for more (top_logprobs=20), or use mode='bounds'"
        )
    table = (np.array([0, len(n_top)]), ids, logprobs, n_top)
    mass = sequence_signal(*table).mass
    if mode == "bounds":
        found = sequence_bounds(*table, vocab_size=vocab_size)
        low = _one(found.entropy_lower, found.jsd_lower, mass, lam, windows)
        return InstabilityBounds(
            low, _one(found.entropy_upper, found.jsd_upper, mass, lam, windows, warn=False)
        )
    H, D = listed_signal(*table, mode)
    return _one(H, D, mass, lam, windows)


def instability_traces(
    traces: Traces,
    lam: float = 1.0,
    mode: Literal["renormalise", "lump", "full"] = "renormalise",
    *,
    force: bool = False,
) -> LogInstability:
    """Instability of every trace of a log.

    Args:
        traces: any.
        lam: weight of the entropy, >= 0.
        mode: as for ``instability_trace``; "full" takes the full-vocabulary entropies and
            divergences that the log itself gives.
        force: measure even where tokens list different numbers of alternatives.

    Returns:
        ``LogInstability``; nan for traces of fewer than two tokens, with a counted warning.

    Raises:
        InputError: lists of different length (see ``truncate_top_k``), or no full entropies.
        ConfigurationError: unknown mode.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> len(instability_traces(empty_traces()).S)
        0

    Source: arXiv 2602.02863.
    """
    _check(lam, mode, ("renormalise", "lump", "full"))
    tokens = traces.tokens
    if mode == "full":
        if tokens.entropy is None or tokens.jsd is None:
            raise InputError(
                "the log gives no full-vocabulary entropies; use mode='renormalise', or record "
                "entropies where the logits are"
            )
        H, D = tokens.entropy.astype(np.float64), tokens.jsd.astype(np.float64)
    else:
        common_k(traces, force=force)
        H, D = listed_signal(
            tokens.offsets, tokens.top_piece, tokens.top_logprob, tokens.n_top, mode
        )
    value = D + lam * H
    n = len(traces)
    S, t_peak = np.full(n, np.nan), np.full(n, -1, dtype=np.int64)
    for i, (a, b) in enumerate(zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)):
        S[i], t_peak[i] = _peak(value[a:b])
    lengths = tokens.lengths
    short = int((lengths < 2).sum())
    if short:
        warnings.warn(
            f"{short} of {n} traces have fewer than 2 tokens; their peak is nan", stacklevel=2
        )
    rho = np.where(t_peak >= 0, t_peak / np.maximum(lengths, 1), np.nan)
    return LogInstability(tokens.offsets, H, D, value, S, t_peak, rho)


def _check(lam: float, mode: str, known: Sequence[str] = MODES) -> None:
    if mode not in known:
        raise ConfigurationError(unknown_name("mode", mode, known))
    if not lam >= 0:
        raise ConfigurationError(f"lam is {lam}; the weight of the entropy is a number >= 0")


def _is_matrix(trace: Any) -> bool:
    return not isinstance(trace, tuple | list) and getattr(trace, "ndim", 0) == 2


def _columns(trace: Any, k: int | None) -> tuple[NDArray[np.int32], Floats, NDArray[np.int16]]:
    if isinstance(trace, tuple) and len(trace) == 2 and np.ndim(trace[0]) == 2:
        ids, logprobs = np.asarray(trace[0]), np.array(trace[1], dtype=np.float64)
        if ids.shape != logprobs.shape:
            raise InputError(f"ids are {ids.shape} and logprobs {logprobs.shape}; both are [T, k]")
        logprobs[ids < 0] = -np.inf
        check_logprobs(logprobs)
        listed = [
            {int(key): float(v) for key, v in zip(row, values, strict=True) if key >= 0}
            if len(np.unique(row)) == len(row)
            else listed_alternatives((row, values))
            for row, values in zip(ids, np.minimum(logprobs, 0.0), strict=True)
        ]
        return to_columns(listed, k)
    if isinstance(trace, str | bytes | dict) or not hasattr(trace, "__iter__"):
        raise InputError(
            f"a trace is a list with the alternatives of each token, (ids, logprobs) or logits "
            f"[T, V]; got {type(trace).__name__}"
        )
    steps = []
    for t, step in enumerate(trace):
        try:
            steps.append(listed_alternatives(step))
        except InputError as error:
            raise InputError(f"step {t}: {error}") from error
    return to_columns(steps, k)


def listed_signal(
    offsets: Any, ids: Any, logprobs: Any, n_top: Any, mode: str
) -> tuple[Floats, Floats]:
    """H and D [N] of renormalised or lumped lists; the arguments are those of ``sequence_signal``.

    Examples:
        >>> H, D = listed_signal(
        ...     np.array([0, 1]), np.array([[4, 5]]), np.log([[0.5, 0.25]]), np.array([2]), "lump"
        ... )
        >>> H.round(4).tolist()
        [1.0397]
    """
    if mode == "renormalise":
        signal = sequence_signal(offsets, ids, logprobs, n_top)
        return signal.entropy, signal.jsd
    ids, logprobs, n_top = _with_tail(ids, logprobs, n_top)
    signal = sequence_signal(offsets, ids, logprobs, n_top)
    return signal.entropy, signal.jsd


def _with_tail(ids: Any, logprobs: Any, n_top: Any) -> tuple[Any, Floats, NDArray[np.int16]]:
    """Lists with one more entry that holds what is not listed, under an id of its own."""
    listed = np.where(ids >= 0, logprobs, -np.inf).astype(np.float64)
    listed[listed <= IMPOSSIBLE] = -np.inf
    tail = np.maximum(1.0 - np.exp(listed).sum(axis=1), 0.0)
    known = (ids >= 0).sum(axis=1)
    out_ids = np.pad(ids, ((0, 0), (0, 1)), constant_values=-1)
    out = np.pad(listed, ((0, 0), (0, 1)), constant_values=-np.inf)
    rows = np.flatnonzero(n_top > 0)
    out_ids[rows, known[rows]] = ids.max(initial=-1) + 1
    with np.errstate(divide="ignore"):
        # Above the sentinels of an impossible token, yet no probability at all.
        out[rows, known[rows]] = np.maximum(np.log(tail[rows]), -99.0)
    return out_ids, out, np.where(n_top > 0, known + 1, 0).astype(np.int16)


def _full(logits: Any) -> tuple[Floats, Floats]:
    """H and D [T] of logits [T, V], a few rows at a time in float64."""
    if hasattr(logits, "detach"):
        logits = logits.detach().float().cpu().numpy()
    n, vocab = logits.shape
    H, D = np.empty(n), np.full(n, np.nan)
    before: Floats | None = None
    rows = max(1, _CELLS // max(vocab, 1))
    for first in range(0, n, rows):
        z = np.asarray(logits[first : first + rows], dtype=np.float64)
        top = z.max(axis=1, keepdims=True)
        if not np.isfinite(top).all():
            bad = first + int(np.flatnonzero(~np.isfinite(top[:, 0]))[0])
            raise InputError(f"the logits of step {bad} are all -inf, or hold nan or +inf")
        lp = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
        H[first : first + rows] = -_weighted(lp, lp)
        pairs = lp if before is None else np.concatenate([before[None], lp])
        if len(pairs) > 1:
            p, q = pairs[:-1], pairs[1:]
            middle = np.logaddexp(p, q) - _LN2
            divergence = 0.5 * (_weighted(p, p, middle) + _weighted(q, q, middle))
            D[first + len(lp) - len(divergence) : first + len(lp)] = np.clip(divergence, 0.0, _LN2)
        before = lp[-1]
    return H, D


def _weighted(lp: Floats, value: Floats, minus: Floats | None = None) -> Floats:
    """Sum of exp(lp) * (value - minus) over the last axis; 0 where exp(lp) is 0."""
    with np.errstate(invalid="ignore"):
        difference = value if minus is None else value - minus
        terms: Floats = np.exp(lp) * difference
    terms[np.isneginf(lp)] = 0.0
    total: Floats = terms.sum(axis=1)
    return total


def _one(
    H: Floats, D: Floats, mass: Floats, lam: float, windows: Sequence[int], warn: bool = True
) -> Instability:
    n = len(H)
    if n < 2 and warn:
        warnings.warn(
            f"a trace of {n} tokens has no peak: instability needs two or more; S is nan",
            stacklevel=3,
        )
    value = D + lam * H if lam else D.copy()  # 0 * inf would be nan
    S, t_peak = _peak(value)
    prefix = {int(w): _peak(value[:w])[0] for w in windows}
    rho = t_peak / n if t_peak >= 0 else float("nan")
    return Instability(H, D, value, S, t_peak, rho, prefix, mass, lam)


def _peak(value: Floats) -> tuple[float, int]:
    if not len(value) or np.isnan(value).all():
        return float("nan"), -1
    place = int(np.nanargmax(value))
    return float(value[place]), place
