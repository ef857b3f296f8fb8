"""What a layer does to packed tokens besides its products, forward and backward, compiled.

Each pass reads and writes its tokens once, where chains of operators write every step to memory.

Arrays named "F" are float32 or the bits of bfloat16 as uint16; sums are in float32.

Legend: N packed tokens, B sequences, L columns, H query heads, G key heads, d numbers a head,
D width, F width of the MLP.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from entropilot.information._numeric import bfloat16_bits, bits_of_bfloat16, exp32

F32 = NDArray[np.float32]
F = NDArray[np.float32] | NDArray[np.uint16]
I64 = NDArray[np.int64]

_EDGE: Final = np.float32(87.0)  # exp32 is defined within
_ROWS: Final = 64  # sums over so many rows are in float32, the rest in float64


def wide(x: Any) -> Any:
    """The float32 of an entry.

    A name for the compiler alone: inside kernels the overload below stands in its place.
    """
    raise NotImplementedError


def narrow(x: Any, out: Any) -> Any:
    """A float32 as an entry of the array ``out``.

    A name for the compiler alone: inside kernels the overload below stands in its place.
    """
    raise NotImplementedError


@overload(wide, strict=False)
def _wide(x: Any) -> Any:
    return (lambda x: bfloat16_bits(x)) if x == types.uint16 else (lambda x: x)  # noqa: PLW0108


@overload(narrow, strict=False)
def _narrow(x: Any, out: Any) -> Any:  # noqa: ARG001
    if out.dtype == types.uint16:
        return lambda x, out: bits_of_bfloat16(x)  # noqa: ARG005
    return lambda x, out: x  # noqa: ARG005


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def add_norm(
    x: F32, more: F, weight: F32, epsilon: Any, total: F32, normed: F, factor: F32
) -> None:
    """Residual and RMS norm: total = x + more; normed = weight total factor.

    factor = 1 / sqrt(mean(total^2) + epsilon), one a token.

    An empty ``more`` adds nothing, and ``total`` is then not written.
    """
    n, width = x.shape
    for row in range(n):
        squares = np.float32(0.0)
        if more.size > 0:
            for i in range(width):
                value = x[row, i] + wide(more[row, i])
                total[row, i] = value
                squares += value * value
        else:
            for i in range(width):
                squares += x[row, i] * x[row, i]
        source = total[row] if more.size > 0 else x[row]
        inverse = np.float32(1.0) / np.sqrt(squares / np.float32(width) + epsilon)
        factor[row] = inverse
        for i in range(width):
            normed[row, i] = narrow(weight[i] * (source[i] * inverse), normed)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def add_norm_backward(
    total: F32, weight: F32, factor: F32, slope_total: F32, slope: F, out: F32, more: F,
    to_weight: NDArray[np.float64],
) -> None:  # fmt: skip
    """Slopes of ``add_norm``: out [N, D] to x, to_weight [D] (zeros at first).

        u = slope weight ;  out = slope_total + factor (u - total factor^2 mean(u total))

    An empty ``slope_total`` adds nothing. ``more`` is the slope to what was
    added: out in another precision, or empty where that is the same.
    """
    n, width = total.shape
    part = np.zeros(width, np.float32)
    for row in range(n):
        f = factor[row]
        dot = np.float32(0.0)
        for i in range(width):
            g = wide(slope[row, i]) * total[row, i]
            part[i] += g * f
            dot += g * weight[i]
        back = dot / np.float32(width) * f * f * f
        for i in range(width):
            out[row, i] = wide(slope[row, i]) * weight[i] * f - total[row, i] * back
        if slope_total.size > 0:
            for i in range(width):
                out[row, i] += slope_total[row, i]
        if more.size > 0:
            for i in range(width):
                more[row, i] = narrow(out[row, i], more)
        if row % _ROWS == _ROWS - 1 or row == n - 1:
            for i in range(width):
                to_weight[i] += part[i]
                part[i] = np.float32(0.0)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def swiglu(both: F, out: F) -> None:
    """The gated product out = gate sigmoid(gate) up, both = [gate, up] of [N, 2 F]."""
    n, width = out.shape
    one = np.float32(1.0)
    for row in range(n):
        gate, up, y = both[row, :width], both[row, width:], out[row]
        for i in range(width):
            x = wide(gate[i])
            z = -x
            z = _EDGE if z > _EDGE else z
            z = -_EDGE if z < -_EDGE else z
            y[i] = narrow(x * wide(up[i]) / (one + exp32(z)), out)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def swiglu_backward(both: F, slope: F, out: F) -> None:
    """Slopes [N, 2 F] of ``swiglu``: s = sigmoid(gate); up s (1 + gate (1 - s)) and gate s."""
    n, width = slope.shape
    one = np.float32(1.0)
    for row in range(n):
        gate, up = both[row, :width], both[row, width:]
        to_gate, to_up, g = out[row, :width], out[row, width:], slope[row]
        for i in range(width):
            x = wide(gate[i])
            z = -x
            z = _EDGE if z > _EDGE else z
            z = -_EDGE if z < -_EDGE else z
            share = one / (one + exp32(z))
            s = wide(g[i]) * share
            to_gate[i] = narrow(wide(up[i]) * s * (one + x * (one - share)), out)
            to_up[i] = narrow(x * s, out)


@njit(cache=True, nogil=True)
def spread(qkv: F32, rows: I64, lengths: I64, cos: F32, sin: F32, q: F32, k: F32, v: F32) -> None:
    """Packed [N, (H + 2 G) d] -> q, k, v [B, L, H, d], rotated; zeros right of a sequence.

    Column j of sequence b is the packed token rows[b, j]; key heads are repeated for their queries.
    """
    batch, _, heads, size = q.shape
    groups = (qkv.shape[1] // size - heads) // 2
    each = heads // groups
    half = size // 2
    for b in range(batch):
        for j in range(lengths[b]):
            x = qkv[rows[b, j]]
            c, s = cos[j], sin[j]
            for h in range(heads):
                _turn(x[h * size : (h + 1) * size], c, s, q[b, j, h], half)
                at = (heads + h // each) * size
                _turn(x[at : at + size], c, s, k[b, j, h], half)
                at += groups * size
                for i in range(size):
                    v[b, j, h, i] = wide(x[at + i])
        for x in (q, k, v):
            x[b, lengths[b] :] = np.float32(0.0)


@njit(cache=True, nogil=True, inline="always")
def _turn(x: F, c: F32, s: F32, out: F32, half: int) -> None:
    for i in range(half):
        low, high = wide(x[i]), wide(x[i + half])
        out[i] = low * c[i] - high * s[i]
        out[i + half] = high * c[i] + low * s[i]


@njit(cache=True, nogil=True)
def collect(padded: F32, rows: I64, first: I64, lengths: I64, out: F) -> None:
    """Columns first[b].. of each sequence of [B, L, D] to their packed tokens, [N, D]."""
    for b in range(padded.shape[0]):
        for j in range(first[b], lengths[b]):
            y, x = out[rows[b, j]], padded[b, j]
            for i in range(x.size):
                y[i] = narrow(x[i], out)


@njit(cache=True, nogil=True)
def scatter(packed: F, rows: I64, first: I64, lengths: I64, out: F32) -> None:
    """The other way: [N, D] -> [B, L, D], zeros elsewhere."""
    for b in range(out.shape[0]):
        out[b, : first[b]] = np.float32(0.0)
        for j in range(first[b], lengths[b]):
            y, x = out[b, j], packed[rows[b, j]]
            for i in range(x.size):
                y[i] = wide(x[i])
        out[b, lengths[b] :] = np.float32(0.0)


@njit(cache=True, nogil=True)
def spread_backward(
    q: F32, k: F32, v: F32, rows: I64, lengths: I64, cos: F32, sin: F32, out: F32
) -> None:
    """Slopes of ``spread``, added to out [N, (H + 2 G) d]."""
    batch, _, heads, size = q.shape
    groups = (out.shape[1] // size - heads) // 2
    each = heads // groups
    half = size // 2
    for b in range(batch):
        for j in range(lengths[b]):
            x = out[rows[b, j]]
            c, s = cos[j], sin[j]
            for h in range(heads):
                _turn_back(q[b, j, h], c, s, x[h * size : (h + 1) * size], half)
                at = (heads + h // each) * size
                _turn_back(k[b, j, h], c, s, x[at : at + size], half)
                at += groups * size
                for i in range(size):
                    x[at + i] += v[b, j, h, i]


@njit(cache=True, nogil=True, inline="always")
def _turn_back(x: F32, c: F32, s: F32, out: F32, half: int) -> None:
    for i in range(half):
        low, high = x[i], x[i + half]
        out[i] += low * c[i] + high * s[i]
        out[i + half] += high * c[i] - low * s[i]
