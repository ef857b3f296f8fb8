"""Drawing tokens by inversion, with log-prob and entropy from the same pass over the logits.

Legend: B rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from entropilot.information import nucleus_mask
from entropilot.information._numeric import exp32
from entropilot.information.nucleus import find_nucleus
from entropilot.information.statistics import reject_row

_FLOOR: Final = np.float32(-87.0)  # probabilities below exp(-87) = 1.6e-38 count as 0
_TILE: Final = 1024  # sums of a tile are in float32, sums of tiles in float64


class Drawn(NamedTuple):
    """Tokens [B] int64 and what was known of them: [B] float, nats."""

    token: Tensor
    logprob: Tensor
    entropy: Tensor


def draw_tokens(
    logits: Tensor, uniform: NDArray[np.float64], *, temperature: float = 1.0, top_p: float = 1.0
) -> Drawn:
    """Draw a token a row from softmax(logits / T), cut to its nucleus, and measure it.

        p       = softmax(logits / temperature), 0 outside the nucleus, renormalised
        token   = the first v with p_0 + ... + p_v > uniform
        logprob = log p_token ;  entropy = -sum p log p

    At temperature 0 the token is the most likely one, and log-prob and entropy are those of
    temperature 1.

    Args:
        logits: [B, V] float; -inf marks an impossible token, which is never drawn.
        uniform: [B] in [0, 1).
        temperature: >= 0.
        top_p: in (0, 1]; the smallest set of most likely tokens with at least that much
            probability is drawn from.

    Returns:
        Tokens, log-probs and entropies; float64 for float64 logits, else float32.

    Raises:
        InputError: a row has nan or +inf, or is -inf everywhere.

    Examples:
        >>> logits = torch.tensor([[0.5, 0.25, 0.25]]).log().repeat(3, 1)
        >>> drawn = draw_tokens(logits, np.array([0.1, 0.6, 0.9]))
        >>> drawn.token.tolist(), round(float(drawn.entropy[0]), 4)
        ([0, 1, 2], 1.0397)
        >>> draw_tokens(logits, np.array([0.1, 0.6, 0.9]), top_p=0.5).logprob.tolist()
        [0.0, 0.0, 0.0]
    """
    z = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    if temperature not in (0.0, 1.0):
        z = z / temperature
    is_cut = top_p < 1 and temperature > 0
    if z.device.type == "cpu" and z.dtype == torch.float32:
        return _drawn_compiled(z, uniform, top_p if is_cut else None, greedy=temperature == 0)
    if is_cut:
        z = cut_to_nucleus(z, top_p)
    return _drawn(z, torch.from_numpy(uniform).to(z.device), greedy=temperature == 0)


def cut_to_nucleus(z: Tensor, top_p: float) -> Tensor:
    """Logits [B, V] with -inf outside the smallest set of tokens with probability >= top_p.

    Of equally likely tokens at the edge the first ones are in. No row is sorted: the edge is found
    by selection, so a flat row of a large vocabulary costs a few passes.

    Args:
        z: [B, V] float, divided by the temperature already.
        top_p: in (0, 1].

    Raises:
        InputError: a row has nan or +inf, or is -inf everywhere.

    Examples:
        >>> cut_to_nucleus(torch.tensor([[0.5, 0.25, 0.25]]).log(), 0.75).isinf().sum().item()
        1
    """
    return z.masked_fill(~nucleus_mask(z, top_p), -torch.inf)


def _drawn(z: Tensor, uniform: Tensor, *, greedy: bool) -> Drawn:
    """The same in plain operators."""
    logp = z.log_softmax(-1)
    bad = logp.isnan().any(-1)
    if bool(bad.any()):
        reject_row(z, int(bad.nonzero()[0, 0]), z.shape[-1])
    p = logp.exp()
    entropy = -(p * torch.where(p > 0, logp, 0)).sum(-1)
    if greedy:
        token = z.argmax(-1)
    else:
        cumulative = p.cumsum(-1, dtype=torch.float64)
        total = cumulative[:, -1:]
        target = torch.minimum(uniform[:, None] * total, torch.nextafter(total, -total))
        token = torch.searchsorted(cumulative, target, right=True)[:, 0]
    return Drawn(token, logp.gather(-1, token[:, None])[:, 0], entropy.clamp(min=0))


def _drawn_compiled(
    z: Tensor, uniform: NDArray[np.float64], top_p: float | None, *, greedy: bool
) -> Drawn:
    """The same in one loop over the rows, without a copy of the logits."""
    rows = z.contiguous().numpy()
    batch, n = rows.shape
    token = np.empty(batch, np.int64)
    found = np.empty((2, batch), np.float32)
    sums = np.empty(-(-n // _TILE), np.float64)
    edge, last = np.empty(0, np.float32), np.empty(0, np.int64)
    if top_p is not None:
        nucleus = find_nucleus(rows, top_p, "inclusive", None, 1.0, None)
        edge, last = nucleus.threshold.astype(np.float32), nucleus.last
    scratch = np.empty((2, n), np.float32)
    bad = _kernel(rows, uniform, greedy, edge, last, token, found, scratch, sums)
    if bad >= 0:
        reject_row(z, bad, n)
    logprob, entropy = torch.from_numpy(found)
    return Drawn(torch.from_numpy(token), logprob, entropy)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _tile_sums(row: Any, top: Any, e: Any, start: int, stop: int) -> tuple[Any, Any]:
    """Write exp(row - top) of one tile into e; its sum and the sum of e (row - top)."""
    total = np.float32(0.0)
    moment = np.float32(0.0)
    for j in range(start, stop):
        d = row[j] - top
        far = d <= _FLOOR  # false for nan, which must spread
        d = _FLOOR if far else d
        x = np.float32(0.0) if far else exp32(d)
        e[j] = x
        total += x
        moment += x * d
    return total, moment


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _largest(row: Any) -> Any:
    """The maximum, where there is no nan."""
    top = row[0]
    for x in row:
        top = x if x > top else top  # max() would not vectorise
    return top


@njit(cache=True, nogil=True)
def _cut(row: Any, edge: Any, last: int, out: Any) -> None:
    """The row with -inf outside its nucleus (``Nucleus`` says what belongs)."""
    outside = np.float32(-np.inf)
    for j in range(row.size):
        x = row[j]
        out[j] = x if (x > edge) | ((x == edge) & (j <= last)) else outside


@njit(cache=True, nogil=True)
def _kernel(
    rows: NDArray[np.float32], uniform: NDArray[np.float64], greedy: bool,
    edge: NDArray[np.float32], last: NDArray[np.int64], token: NDArray[np.int64],
    found: NDArray[np.float32], scratch: NDArray[np.float32], sums: NDArray[np.float64],
) -> int:  # fmt: skip
    """Fill token [B] and found [2, B]; the first row that is no distribution, or -1.

    Rows are cut where ``edge`` and ``last`` have one entry a row; empty ones cut nothing.
    """
    batch, n = rows.shape
    e, inside = scratch
    for b in range(batch):
        row = rows[b]
        if edge.size:
            _cut(row, edge[b], last[b], inside)
            row = inside
        top = _largest(row)
        total, moment = 0.0, 0.0
        for i in range(sums.size):
            part, weighted = _tile_sums(row, top, e, i * _TILE, min(n, (i + 1) * _TILE))
            sums[i] = part
            total += part
            moment += weighted
        if not total > 0:
            return b
        chosen = 0
        if greedy:
            chosen = int(np.argmax(row))
        else:
            target = uniform[b] * total
            i = 0
            while i < sums.size - 1 and target >= sums[i]:
                target -= sums[i]
                i += 1
            for j in range(i * _TILE, min(n, (i + 1) * _TILE)):
                if e[j] > 0:  # rounding may leave the target past the last token: stay on one
                    chosen = j
                    target -= e[j]
                    if target < 0:
                        break
        shift = np.log(total)
        token[b] = chosen
        found[0, b] = (row[chosen] - top) - shift
        found[1, b] = max(shift - moment / total, 0.0)
    return -1
