"""Compiled loops over the top-k lists of consecutive tokens; see ``topk_sequence.py``.

Positions are flat: slot i of row r is r * K + i. The probabilities of a block of rows are formed in
one vectorised loop; the last row of the block before is kept in front of them.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.information._numeric import LN2, exp64

Array = NDArray[Any]

#: Log-probabilities at or below this stand for "impossible" or "far below the list": servers write
#: -inf, -9999, -1000 or -100. exp(-100) = 4e-44 is no loss.
IMPOSSIBLE: Final = -100.0

#: Listed mass may exceed 1 by the rounding of the log-probabilities, but not by more than this.
MASS_SLACK: Final = 1e-3

_BLOCK: Final = 64  # rows whose exponentials are formed in one vectorised loop; 20 kB at K = 20


@njit(cache=True, nogil=True)
def _probabilities(logprob: Array, first: int, last: int, p: Array, lp: Array) -> None:
    """Fill p and lp, from slot K on, with rows first:last; slots before hold the row before."""
    width = logprob.shape[1]
    rows = logprob[first:last].ravel()
    head_p, head_lp = p[width:], lp[width:]
    for i in range(rows.size):
        x = float(rows[i])
        listed = not x <= IMPOSSIBLE
        x = x if x < 1.0 else 1.0  # nan and far too large values exceed any mass and are rejected
        x = x if listed else 0.0
        head_lp[i] = x
        head_p[i] = exp64(x) if listed else 0.0


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _sums(p: Array, lp: Array, start: int, n: int) -> tuple[float, float]:
    mass = 0.0
    weighted = 0.0
    for i in range(start, start + n):
        mass += p[i]
        weighted += p[i] * lp[i]
    return mass, weighted


@njit(cache=True, nogil=True)
def _match(
    ids: Array,
    n: int,
    here: int,
    before: int,
    base: int,
    place: Array,
    p: Array,
    lp: Array,
    pairs: Array,
) -> int:
    """Find the ids that the row before lists too; merge ids that this row lists twice.

    Positions are flat; position x lies in p and lp at x - base. Fills pairs with (this, before).
    """
    n_pairs = 0
    for i in range(n):
        token = ids[i]
        if token < 0:
            continue
        seen = place[token]
        if seen >= here:
            p[seen - base] += p[here + i - base]
            p[here + i - base] = 0.0
            total = p[seen - base]
            lp[seen - base] = math.log(total) if total > 0.0 else 0.0
            continue
        if seen >= before:
            pairs[n_pairs, 0] = here + i - base
            pairs[n_pairs, 1] = seen - base
            n_pairs += 1
        place[token] = here + i
    return n_pairs


@njit(cache=True, nogil=True)
def signal_kernel(
    offsets: Array,
    piece: Array,
    logprob: Array,
    n_top: Array,
    place: Array,
    entropy: Array,
    jsd: Array,
    mass: Array,
) -> int:
    n_tokens, width = piece.shape
    p = np.zeros((_BLOCK + 1) * width)
    lp = np.zeros((_BLOCK + 1) * width)
    pairs = np.empty((width, 2), np.int64)
    trace = 0
    mass_before = np.nan
    log_mass_before = np.nan
    for first in range(0, n_tokens, _BLOCK):
        last = min(first + _BLOCK, n_tokens)
        base = (first - 1) * width
        if first > 0:
            p[:width] = p[_BLOCK * width :]
            lp[:width] = lp[_BLOCK * width :]
        _probabilities(logprob, first, last, p, lp)
        for row in range(first, last):
            while offsets[trace + 1] <= row:
                trace += 1
            here = row * width
            n = n_top[row]
            m, weighted = _sums(p, lp, here - base, n)
            if not m <= 1.0 + MASS_SLACK:
                return row
            usable = n >= 2 and m > 0.0
            log_m = math.log(m) if usable else np.nan
            mass[row] = m if n > 0 else np.nan
            entropy[row] = max(log_m - weighted / m, 0.0) if usable else np.nan
            starts = offsets[trace] == row
            n_pairs = _match(
                piece[row], n, here, here if starts else here - width, base, place, p, lp, pairs
            )
            if starts or not usable or not mass_before > 0.0:
                jsd[row] = np.nan
            else:
                # js(a, b) - (a + b) ln(2) / 2 = (a ln a + b ln b - (a + b) ln(a + b)) / 2
                change = 0.0
                for i in range(n_pairs):
                    a = p[pairs[i, 0]] / m
                    b = p[pairs[i, 1]] / mass_before
                    if a > 0.0 and b > 0.0:
                        change += a * (lp[pairs[i, 0]] - log_m)
                        change += b * (lp[pairs[i, 1]] - log_mass_before)
                        change -= (a + b) * math.log(a + b)
                jsd[row] = min(max(LN2 + 0.5 * change, 0.0), LN2)
            mass_before = m if usable else np.nan
            log_mass_before = log_m
    return -1


@njit(cache=True, nogil=True)
def _plogp(x: float) -> float:
    return float(x * math.log(x)) if x > 0.0 else 0.0


@njit(cache=True, nogil=True)
def _js(a: float, b: float) -> float:
    """One symbol's share of a divergence: (a ln(2a/(a+b)) + b ln(2b/(a+b))) / 2."""
    share: float = 0.5 * ((a + b) * LN2 + _plogp(a) + _plogp(b) - _plogp(a + b))
    return share


@njit(cache=True, nogil=True)
def bounds_kernel(
    offsets: Array,
    piece: Array,
    logprob: Array,
    n_top: Array,
    place: Array,
    vocab: float,
    lump: Array,
    lower: Array,
    upper: Array,
    jsd_lower: Array,
    jsd_upper: Array,
) -> int:
    n_tokens, width = piece.shape
    p = np.zeros((_BLOCK + 1) * width)
    lp = np.zeros((_BLOCK + 1) * width)
    pairs = np.empty((width, 2), np.int64)
    trace = 0
    for first in range(0, n_tokens, _BLOCK):
        last = min(first + _BLOCK, n_tokens)
        base = (first - 1) * width
        if first > 0:
            p[:width] = p[_BLOCK * width :]
            lp[:width] = lp[_BLOCK * width :]
        _probabilities(logprob, first, last, p, lp)
        for row in range(first, last):
            while offsets[trace + 1] <= row:
                trace += 1
            here = row * width
            at = here - base
            k = n_top[row]
            known = k
            if 0 < k < width and piece[row, k] >= 0 and p[at + k] > 0.0:
                known = k + 1  # the token taken, appended
            m, weighted = _sums(p, lp, at, known)
            if not m <= 1.0 + MASS_SLACK:
                return row
            ceiling = 1.0  # of a tail token: the smallest positive probability of the top-k proper
            for i in range(at, at + k):
                if 0.0 < p[i] < ceiling:
                    ceiling = p[i]
            tail = max(1.0 - m, 0.0)
            if k == 0:
                lump[row] = lower[row] = upper[row] = np.nan
            else:
                lump[row] = max(-weighted - _plogp(tail), 0.0)
                full = math.floor(tail / ceiling)
                rest = max(tail - full * ceiling, 0.0)
                lower[row] = max(-weighted - full * _plogp(ceiling) - _plogp(rest), 0.0)
                if tail == 0.0:
                    upper[row] = lump[row]
                elif vocab <= 0.0:
                    upper[row] = np.inf
                else:
                    upper[row] = lump[row] + tail * math.log(max(vocab - known, 1.0))
            starts = offsets[trace] == row
            n_pairs = _match(
                piece[row], known, here, here if starts else here - width, base, place, p, lp, pairs
            )
            if starts or k == 0 or n_top[row - 1] == 0:
                jsd_lower[row] = jsd_upper[row] = np.nan
                continue
            common = 0.0
            out_p = 1.0
            out_q = 1.0
            for i in range(n_pairs):
                a = p[pairs[i, 0]]
                b = p[pairs[i, 1]]
                out_p -= a
                out_q -= b
                if a > 0.0 and b > 0.0:
                    common += (a + b) * (LN2 - math.log(a + b))
                    common += a * lp[pairs[i, 0]] + b * lp[pairs[i, 1]]
                else:
                    common += (a + b) * LN2
            out_p = max(out_p, 0.0)
            out_q = max(out_q, 0.0)
            low = 0.5 * common + _js(out_p, out_q)
            jsd_lower[row] = min(max(low, 0.0), LN2)
            jsd_upper[row] = min(max(0.5 * common + 0.5 * LN2 * (out_p + out_q), 0.0), LN2)
    return -1
