"""One row of numbers a trace, from the measures of its tokens.

Every number of a row depends on that trace alone, so that a log gives the same rows however it is
cut into shards. A number that cannot be computed is null, never 0.

Source: arXiv 2602.02863 (peak, relative position, prefix windows; the early and late thresholds
are ours).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.traces.measures import TokenMeasures
from entropilot.traces.table import Traces

WINDOWS: Final = (10, 20, 50, 100)  # the marked prefix lengths of the paper
LAMBDAS: Final = {"0": 0.0, "05": 0.5, "2": 2.0}  # weights beside the default 1
EARLY: Final = 0.25  # a peak at rho < 0.25 is early
LATE: Final = 0.5  # a peak at rho >= 0.5 is late

_ROW_COLUMNS: Final = (
    "id",
    "group",
    "source",
    "line",
    "correct",
    "reward",
    "answer",
    "reference",
    "finish_reason",
    "model",
    "temperature",
    "logprobs_kind",
)
_INTEGERS: Final = ("n_tokens", "n_steps", "k", "peak_token", "peak_step")
_FLOATS: Final = (
    "entropy_mean",
    "entropy_max",
    "entropy_first",
    "entropy_last",
    "entropy_lower_mean",
    "entropy_upper_mean",
    "surprisal_mean",
    "probability_min",
    "jsd_mean",
    "mass_mean",
    "mass_min",
    "instability_peak",
    "peak_position",
    *(f"instability_peak_{w}" for w in WINDOWS),
    *(f"instability_peak_lambda_{name}" for name in LAMBDAS),
    "entropy_think_mean",
    "entropy_answer_mean",
    "step_first_entropy_mean",
)
#: Columns beside these that a log with full-vocabulary entropies has.
FULL_COLUMNS: Final = ("entropy_full_mean", "entropy_full_max", "instability_peak_full")

_ORDER: Final = (
    *_ROW_COLUMNS,
    "n_characters",
    "n_tokens",
    "n_steps",
    "k",
    *_FLOATS[:11],
    "instability_peak",
    "peak_token",
    "peak_position",
    "peak_step",
    *(f"instability_peak_{w}" for w in WINDOWS),
    *(f"instability_peak_lambda_{name}" for name in LAMBDAS),
    "timing",
    "entropy_think_mean",
    "entropy_answer_mean",
    "step_first_entropy_mean",
)


def _kind(name: str) -> Any:
    if name in _INTEGERS or name in ("line", "n_characters"):
        return pl.Int64
    if name in _FLOATS or name in ("reward", "temperature"):
        return pl.Float64
    return pl.Boolean if name == "correct" else pl.String


#: Columns of a trace frame, in order.
FRAME_SCHEMA: Final[dict[str, Any]] = {name: _kind(name) for name in _ORDER}

_COLUMN: Final = {name: i for i, name in enumerate((*_INTEGERS, *_FLOATS, *FULL_COLUMNS))}
# The kernel writes by position; these are the first of each run of columns.
_INT0, _MEAN0, _PEAK0 = 0, len(_INTEGERS), _COLUMN["instability_peak"]
_WINDOW0, _LAMBDA0 = _COLUMN["instability_peak_10"], _COLUMN["instability_peak_lambda_0"]
_PHASE0, _FULL0 = _COLUMN["entropy_think_mean"], _COLUMN["entropy_full_mean"]
_WINDOW_ARRAY = np.array(WINDOWS)
_LAMBDA_ARRAY = np.array(list(LAMBDAS.values()))


def trace_frame(traces: Traces, measures: TokenMeasures) -> pl.DataFrame:
    """One row a trace: peaks, means and positions.

        S = max_{t >= 1} (D_t + H_t),  t* its first place,  rho = t* / T,  S_w = max over 1 <= t < w

    Args:
        traces: the traces measured; with steps where step columns are wanted.
        measures: of the same traces, from ``token_measures``. Peaks use lambda = 1 whatever
            ``measures.lam`` is, except those that name another.

    Returns:
        Frame of ``FRAME_SCHEMA``; ``FULL_COLUMNS`` are added where the log has full-vocabulary
        entropies. ``surprisal_mean`` and ``probability_min`` leave out tokens that the log calls
        impossible. ``peak_token`` counts from the start of the trace, ``k`` is the longest list:
        some lists are shorter than what was asked for, since alternatives of equal text are one.

    Raises:
        InputError: the measures are of other traces.

    Examples:
        >>> from entropilot.traces.measures import token_measures
        >>> from entropilot.traces.table import empty_traces
        >>> log = empty_traces()
        >>> trace_frame(log, token_measures(log)).columns == list(FRAME_SCHEMA)
        True

    Source: arXiv 2602.02863, peak instability strength and relative peak position.
    """
    tokens = traces.tokens
    if len(measures.entropy) != len(tokens) or len(measures.offsets) != len(tokens.offsets):
        raise InputError(
            f"the measures are of {len(measures.offsets) - 1} traces with {len(measures.entropy)} "
            f"tokens, the traces are {len(traces)} with {len(tokens)}; measure these traces"
        )
    n = len(traces)
    out = np.full((len(_COLUMN), n), np.nan)
    blank = np.zeros(0, np.int64)
    steps = traces.steps
    _reduce(
        measures.offsets,
        measures.n_top,
        measures.entropy,
        measures.entropy_lower,
        measures.entropy_upper,
        measures.surprisal,
        measures.jsd,
        measures.mass,
        np.zeros(n + 1, np.int64) if steps is None else steps.offsets,
        blank if steps is None else steps.start,
        blank if steps is None else steps.stop,
        np.zeros(0, np.int8) if steps is None else steps.phase,
        out,
    )
    if tokens.entropy is not None:
        blank_jsd = np.full(len(tokens), np.nan, np.float32)
        jsd = blank_jsd if tokens.jsd is None else tokens.jsd
        _reduce_full(tokens.offsets, tokens.entropy, jsd, out[_FULL0:])
    if steps is None:
        out[_COLUMN["n_steps"]] = np.nan
    columns = {name: traces.rows[name] for name in _ROW_COLUMNS}
    columns["n_characters"] = (
        traces.rows["text"].str.len_chars().cast(pl.Int64).alias("n_characters")
    )
    columns |= {name: _column(name, out[_COLUMN[name]]) for name in (*_INTEGERS, *_FLOATS)}
    columns["timing"] = _timing(out[_COLUMN["peak_position"]])
    names = (*FRAME_SCHEMA, *(FULL_COLUMNS if tokens.entropy is not None else ()))
    columns |= {name: _column(name, out[_COLUMN[name]]) for name in names[len(FRAME_SCHEMA) :]}
    return pl.DataFrame([columns[name] for name in names])


def _column(name: str, values: NDArray[np.float64]) -> pl.Series:
    values = np.where(np.isfinite(values), values, np.nan)
    series = pl.Series(name, values, nan_to_null=True)
    return series.cast(pl.Int64) if name in _INTEGERS else series


def _timing(rho: NDArray[np.float64]) -> pl.Series:
    names = np.where(rho < EARLY, "early", np.where(rho >= LATE, "late", "middle")).tolist()
    known = (~np.isnan(rho)).tolist()
    words = [name if k else None for name, k in zip(names, known, strict=True)]
    return pl.Series("timing", words, dtype=pl.String)


@njit(cache=True, nogil=True)
def _reduce(
    offsets: Any,
    n_top: Any,
    entropy: Any,
    lower: Any,
    upper: Any,
    surprisal: Any,
    jsd: Any,
    mass: Any,
    step_offsets: Any,
    step_start: Any,
    step_stop: Any,
    step_phase: Any,
    out: Any,
) -> None:
    n_lambdas = _LAMBDA_ARRAY.size
    n_windows = _WINDOW_ARRAY.size
    peaks = np.empty(1 + n_lambdas)
    windows = np.empty(n_windows)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        h_sum = low_sum = up_sum = s_sum = d_sum = m_sum = 0.0
        n_h = n_low = n_s = n_d = n_m = 0
        h_max = m_min = np.nan
        s_max = np.nan
        k = 0
        peak_token = -1
        peaks[:] = np.nan
        windows[:] = np.nan
        for t in range(a, b):
            k = max(k, n_top[t])
            h = entropy[t]
            if not np.isnan(h):
                h_sum += h
                n_h += 1
                if not h <= h_max:
                    h_max = h
            if not np.isnan(lower[t]):
                low_sum += lower[t]
                up_sum += upper[t]
                n_low += 1
            s = surprisal[t]
            if not np.isnan(s):
                s_sum += s
                n_s += 1
                if not s <= s_max:
                    s_max = s
            m = mass[t]
            if not np.isnan(m):
                m_sum += m
                n_m += 1
                if not m >= m_min:
                    m_min = m
            d = jsd[t]
            if t > a and not np.isnan(d):
                d_sum += d
                n_d += 1
                x = d + h
                if not np.isnan(x):
                    if not x <= peaks[0]:
                        peaks[0] = x
                        peak_token = t - a
                        for w in range(n_windows):
                            if t - a < _WINDOW_ARRAY[w]:
                                windows[w] = x
                    for j in range(n_lambdas):
                        y = d + _LAMBDA_ARRAY[j] * h
                        if not y <= peaks[1 + j]:
                            peaks[1 + j] = y
        first, last = step_offsets[i], step_offsets[i + 1]
        out[_INT0, i] = b - a
        out[_INT0 + 1, i] = last - first
        if b > a:
            out[_INT0 + 2, i] = k if k < 32767 else 0
            out[_MEAN0 + 2, i] = entropy[a]
            out[_MEAN0 + 3, i] = entropy[b - 1]
        if n_h:
            out[_MEAN0, i] = h_sum / n_h
            out[_MEAN0 + 1, i] = h_max
        if n_low:
            out[_MEAN0 + 4, i] = low_sum / n_low
            out[_MEAN0 + 5, i] = up_sum / n_low
        if n_s:
            out[_MEAN0 + 6, i] = s_sum / n_s
            out[_MEAN0 + 7, i] = np.exp(-s_max)
        if n_d:
            out[_MEAN0 + 8, i] = d_sum / n_d
        if n_m:
            out[_MEAN0 + 9, i] = m_sum / n_m
            out[_MEAN0 + 10, i] = m_min
        if peak_token >= 0:
            out[_INT0 + 3, i] = peak_token
            out[_PEAK0, i] = peaks[0]
            out[_PEAK0 + 1, i] = peak_token / (b - a)
        out[_WINDOW0 : _WINDOW0 + n_windows, i] = windows
        out[_LAMBDA0 : _LAMBDA0 + n_lambdas, i] = peaks[1:]
        phase_sum = np.zeros(3)
        phase_n = np.zeros(3, np.int64)
        first_sum = 0.0
        n_first = 0
        for s_index in range(first, last):
            start, stop = step_start[s_index], step_stop[s_index]
            if peak_token >= 0 and start <= a + peak_token < stop:
                out[_INT0 + 4, i] = s_index - first
            if start < stop and not np.isnan(entropy[start]):
                first_sum += entropy[start]
                n_first += 1
            phase = step_phase[s_index]
            if phase > 0:
                for t in range(start, stop):
                    if not np.isnan(entropy[t]):
                        phase_sum[phase] += entropy[t]
                        phase_n[phase] += 1
        for phase in range(1, 3):
            if phase_n[phase]:
                out[_PHASE0 + phase - 1, i] = phase_sum[phase] / phase_n[phase]
        if n_first:
            out[_PHASE0 + 2, i] = first_sum / n_first


@njit(cache=True, nogil=True)
def _reduce_full(offsets: Any, entropy: Any, jsd: Any, out: Any) -> None:
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        total = 0.0
        n = 0
        h_max = peak = np.nan
        for t in range(a, b):
            h = float(entropy[t])
            if not np.isnan(h):
                total += h
                n += 1
                if not h <= h_max:
                    h_max = h
                x = float(jsd[t]) + h
                if t > a and not np.isnan(x) and not x <= peak:
                    peak = x
        if n:
            out[0, i] = total / n
            out[1, i] = h_max
            out[2, i] = peak
