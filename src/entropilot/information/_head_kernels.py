"""Compiled work on a chunk of logits of the output head; see ``head.py``.

A chunk is [R, w]: R rows, and w columns of the vocabulary from ``offset`` on, float32 or float64.
It is turned into the gradient of the loss by its logits in place.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.information._nucleus_kernels import (
    ENTROPY,
    LAST,
    LOG_MASS,
    SIZE,
    THRESHOLD,
    nucleus_row,
)
from entropilot.information._numeric import exponential
from entropilot.information._statistics_kernels import (
    LOG_SUM,
    LOGPROB,
    MAX,
    MEAN,
    N_SUMS,
    VARIANCE,
    S,
    extend_sums,
    finish_row,
    start_sums,
)

Array = NDArray[Any]

#: Rows of the slopes [5, N]: the loss differentiated by each statistic.
ON_LOGPROB, ON_ENTROPY, ON_VARENTROPY, ON_LOGSUMEXP, ON_NUCLEUS = range(5)
N_SLOPES: Final = 5


@njit(cache=True, nogil=True)
def extend_kernel(
    chunk: Array, offset: int, targets: Array, inverse_temperature: Any, floor: Any, tile: Array,
    squares: bool, sums: Array, chosen: Array,
) -> None:  # fmt: skip
    """Add a chunk to the running sums [R, 6] of its rows; keep the logit of the target.

    A row with nan has nan for its sum from there on.
    """
    n_rows, width = chunk.shape
    flat = chunk.reshape(-1)
    for r in range(n_rows):
        if not extend_sums(
            flat, r * width, width, 0, inverse_temperature, floor, tile, squares, sums[r]
        ):
            sums[r, S] = np.nan
        if targets.size > 0 and offset <= targets[r] < offset + width:
            chosen[r] = chunk[r, targets[r] - offset]


@njit(cache=True, nogil=True)
def finish_kernel(sums: Array, chosen: Array, inverse_temperature: float, result: Array) -> None:
    """Fill result [8, N] from the sums [N, 6] of whole rows and the logits of the targets."""
    for r in range(sums.shape[0]):
        finish_row(sums[r], result, r)
        z = (chosen[r] - result[MAX, r]) * inverse_temperature
        result[LOGPROB, r] = z - result[LOG_SUM, r]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _slopes(
    row: Array, top: Any, inverse_temperature: Any, log_sum: Any, floor: Any, entropy: Any,
    c0: Any, c1: Any, c2: Any, edge: Any, d0: Any, d1: Any,
) -> None:  # fmt: skip
    """Logits to slopes: p (c0 + c1 s + c2 s^2) with s = ln p + H, and p (d0 + d1 ln p) in the
    nucleus, which is from ``edge`` up.
    """
    zero = row.dtype.type(0.0)
    for j in range(row.size):
        x = row[j]
        log_p = (x - top) * inverse_temperature - log_sum
        log_p = floor if log_p < floor else log_p  # -inf too, so that nothing is 0 * inf
        p = exponential(log_p)
        p = zero if log_p <= floor else p
        s = log_p + entropy
        inside = d0 + d1 * log_p if x >= edge else zero
        row[j] = p * (c0 + s * (c1 + s * c2) + inside)


@njit(cache=True, nogil=True)
def _slope_row(
    row: Array, offset: int, target: int, inverse_temperature: Any, floor: Any,
    result: Array, nucleus: Array, slopes: Array, i: int,
) -> None:  # fmt: skip
    """Turn a row of logits into slopes, by column i of the statistics and of dLoss/dstatistic."""
    real = row.dtype.type
    inverse = np.float64(inverse_temperature)
    on_varentropy = slopes[ON_VARENTROPY, i]
    # d entropy / dz = -p s,  d varentropy / dz = p (s^2 - V + 2 s)
    c0 = slopes[ON_LOGSUMEXP, i] - slopes[ON_LOGPROB, i] - on_varentropy * result[VARIANCE, i]
    c1 = 2.0 * on_varentropy - slopes[ON_ENTROPY, i]
    entropy = max(result[LOG_SUM, i] - result[MEAN, i], 0.0)
    edge, after, d0, d1, cut = real(np.inf), real(np.inf), 0.0, 0.0, 0
    if nucleus.size > 0 and nucleus[SIZE, i] > 0 and slopes[ON_NUCLEUS, i] != 0.0:
        # with q = p / mass:  d Hn / dz = -q (ln q + Hn)
        d1 = -slopes[ON_NUCLEUS, i] * math.exp(-nucleus[LOG_MASS, i])
        d0 = d1 * (nucleus[ENTROPY, i] - nucleus[LOG_MASS, i])
        edge = real(nucleus[THRESHOLD, i])
        after = np.nextafter(edge, real(np.inf))  # of equal ones only those up to the last belong
        cut = min(max(int(nucleus[LAST, i]) + 1 - offset, 0), row.size)
    for part, limit in ((row[:cut], edge), (row[cut:], after)):
        if part.size > 0:
            _slopes(
                part, real(result[MAX, i]), inverse_temperature, real(result[LOG_SUM, i]), floor,
                real(entropy), real(c0 * inverse), real(c1 * inverse),
                real(on_varentropy * inverse), limit, real(d0 * inverse), real(d1 * inverse),
            )  # fmt: skip
    if offset <= target < offset + row.size:
        row[target - offset] += real(slopes[ON_LOGPROB, i] * inverse)


@njit(cache=True, nogil=True)
def slope_kernel(
    chunk: Array, offset: int, targets: Array, inverse_temperature: Any, floor: Any,
    result: Array, nucleus: Array, slopes: Array,
) -> None:  # fmt: skip
    """Turn a chunk of logits into dLoss/dlogit, where the statistics of its rows are known."""
    for r in range(chunk.shape[0]):
        target = targets[r] if targets.size > 0 else -1
        _slope_row(chunk[r], offset, target, inverse_temperature, floor, result, nucleus, slopes, r)


@njit(cache=True, nogil=True)
def whole_rows_kernel(
    chunk: Array, targets: Array, inverse_temperature: Any, floor: Any, tile: Array, squares: bool,
    p: float, slack: float, result: Array, nucleus: Array, slopes: Array,
) -> None:  # fmt: skip
    """Statistics of rows that are there as a whole and, unless ``slopes`` is empty, dLoss/dlogit.

    Each row is measured and turned while it is in the second-level cache. An empty ``nucleus`` asks
    for none.
    """
    sums = np.empty(N_SUMS)
    n_rows, width = chunk.shape
    flat = chunk.reshape(-1)
    values = np.empty(width + 1 if nucleus.size > 0 else 1, tile.dtype)
    for r in range(n_rows):
        start_sums(sums)
        if not extend_sums(
            flat, r * width, width, 0, inverse_temperature, floor, tile, squares, sums
        ):
            sums[S] = np.nan
        finish_row(sums, result, r)
        if np.isnan(result[LOG_SUM, r]):
            continue
        target = -1
        if targets.size > 0:
            target = targets[r]
            z = (np.float64(chunk[r, target]) - result[MAX, r]) * np.float64(inverse_temperature)
            result[LOGPROB, r] = z - result[LOG_SUM, r]
        if nucleus.size > 0:
            nucleus_row(
                flat, r * width, width, 0, inverse_temperature, floor, result[MAX, r],
                result[LOG_SUM, r], p, slack, True, width, tile, values, nucleus, r,
            )  # fmt: skip
        if slopes.size > 0:
            _slope_row(chunk[r], 0, target, inverse_temperature, floor, result, nucleus, slopes, r)
