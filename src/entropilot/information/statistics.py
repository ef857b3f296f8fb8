"""One pass over logits: log-prob of the token, entropy, varentropy and more.

Legend: B answers, T tokens, V vocabulary. Rows are all leading axes of the logits.

Each row is read once from memory (the divergence to the row before reads both again from cache),
and no softmax is held. Extra memory is 16 kB and 72 bytes a row on the CPU, one tile of about 64 MB
on a GPU; the gradient form adds the gradient itself, [N, V] in the dtype of the logits.
"""

from __future__ import annotations

import sys
from typing import Any, Final, NamedTuple

import numpy as np

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.information._backend import Array, accumulator, is_torch, measure
from entropilot.information._rows import Rows, run_statistics
from entropilot.information._statistics_kernels import (
    JSD,
    LOG_SUM,
    LOGPROB,
    MAX,
    MEAN,
    N_RESULTS,
    SUM_P2,
    SUM_P2_LOGP,
    VARIANCE,
)

_GPU_TILE_BYTES: Final = 64 << 20


class TokenStatistics(NamedTuple):
    """What one pass over logits [..., V] gives: arrays [...] in nats."""

    logprob: Array | None  # of the target; None without targets
    entropy: Array  # in [0, ln V]
    varentropy: Array  # variance of the surprisal, nats^2
    logsumexp: Array  # of the logits divided by the temperature
    max: Array  # the largest logit, before the division
    jsd: Array | None  # to the row before along the axis -2, nan at the first; None unless asked
    sum_p2: Array | None = None  # sum of p^2, in [1 / V, 1]; None unless asked
    sum_p2_logp: Array | None = None  # sum of p^2 ln p, <= 0; None unless asked


@measure
def token_statistics(
    logits: Array,
    targets: Array | None = None,
    *,
    temperature: float = 1.0,
    n_vocab: int | None = None,
    previous: bool = False,
    squares: bool = False,
) -> TokenStatistics:
    """Log-prob of the target, entropy, varentropy, logsumexp, maximum and divergence in one pass.

        l_v        = logit_v / T - logsumexp(logits / T)          over v < n_vocab
        logprob    = l_target
        entropy    = -sum exp(l_v) l_v
        varentropy = sum exp(l_v) (l_v + entropy)^2
        sum_p2     = sum exp(2 l_v),     sum_p2_logp = sum exp(2 l_v) l_v
        jsd_t      = JSD(softmax(row t-1), softmax(row t))     through logaddexp

    Nothing is differentiated; ``with_gradient(token_statistics)`` lets gradients of logprob,
    entropy, varentropy and logsumexp flow into torch logits (the others stay detached). There, an
    impossible token has gradient 0.

    Args:
        logits: [..., V] float16, bfloat16, float32 or float64; -inf marks an impossible token.
        targets: [...] int in [0, n_vocab), or None. Padding such as -100 is rejected: put any token
            there and leave the row out with the mask.
        temperature: > 0; H(z, T) = H(z / T).
        n_vocab: true vocabulary size; columns from there on are padding and are never read.
        previous: also compute the divergence to the row before along the axis -2, which must be the
            step axis: logits are then [..., T, V].
        squares: also give ``sum_p2`` and ``sum_p2_logp``; entropy * sum_p2 + sum_p2_logp is the
            covariance of p and ln p under p, the mean over the vocabulary of p (entropy + ln p).

    Returns:
        ``TokenStatistics`` of the kind of the logits; float64 for float64 logits, else float32.

    Raises:
        InputError: a row has nan or +inf, or is -inf everywhere; a target is out of range.

    Examples:
        >>> logits = np.log([[0.5, 0.25, 0.25], [1.0, 1.0, 2.0]])
        >>> statistics = token_statistics(logits, [0, 2])
        >>> statistics.entropy.round(4).tolist(), statistics.logprob.round(4).tolist()
        ([1.0397, 1.0397], [-0.6931, -0.6931])

    Source: online softmax of Milakov and Gimelshein, arXiv 1805.02867, Algorithm 3.
    """
    check_temperature(temperature)
    if not is_torch(logits):
        return _measured(np.asarray(logits), targets, temperature, n_vocab, (previous, squares))
    torch = sys.modules["torch"]
    if logits.requires_grad and torch.is_grad_enabled():
        from entropilot.information._gradient import differentiable_statistics

        attached: TokenStatistics = differentiable_statistics(
            lambda z: _measured(z, targets, temperature, n_vocab, (previous, squares)),
            logits,
            targets,
            temperature,
            n_vocab,
        )
        return attached
    return _measured(logits.detach(), targets, temperature, n_vocab, (previous, squares))


def _measured(
    logits: Array,
    targets: Array | None,
    temperature: float,
    n_vocab: int | None,
    extras: tuple[bool, bool],
) -> TokenStatistics:
    """The statistics by the kernel that fits the device."""
    previous, squares = extras
    shape, n = tuple(logits.shape), checked_width(logits, n_vocab)
    if previous and len(shape) < 2:
        raise InputError(f"previous=True needs logits [..., T, V]; the shape is {shape}")
    labels = checked_labels(targets, shape[:-1], n)
    result = measured_sums(logits, labels, temperature, n, previous, squares)

    def shaped(row: Array) -> Array:
        if is_torch(logits):
            torch = sys.modules["torch"]
            kind = torch.float64 if logits.dtype == torch.float64 else torch.float32
            return torch.as_tensor(row, dtype=kind, device=logits.device).reshape(shape[:-1])
        kind = (
            np.float64 if logits.dtype == np.float64 or logits.dtype.kind in "iub" else np.float32
        )
        return row.astype(kind).reshape(shape[:-1])[()]

    return TokenStatistics(
        None if labels is None else shaped(result[LOGPROB]),
        shaped((result[LOG_SUM] - result[MEAN]).clip(0.0)),
        shaped(result[VARIANCE]),
        shaped(result[MAX] / temperature + result[LOG_SUM]),
        shaped(result[MAX]),
        shaped(result[JSD]) if previous else None,
        shaped(result[SUM_P2]) if squares else None,
        shaped(result[SUM_P2_LOGP]) if squares else None,
    )


def measured_sums(
    logits: Array,
    labels: Any,
    temperature: float,
    n: int,
    previous: bool = False,
    squares: bool = False,
) -> Any:
    """The sums [8, N] of all rows in float64, by the kernel that fits the device; rows checked."""
    if is_torch(logits) and logits.device.type != "cpu":
        result = _tiled(logits, labels, temperature, n, previous, squares)
    else:
        result = run_statistics(Rows(logits), n, labels, temperature, previous, squares)
    _check(result[LOG_SUM], logits, n)
    return result


def check_temperature(temperature: float) -> None:
    """Reject a temperature that is not above 0."""
    if not (np.isfinite(temperature) and temperature > 0):
        raise ConfigurationError(
            f"temperature is {temperature}; it must be above 0. Greedy decoding has the log-probs "
            "of temperature 1"
        )


def checked_width(logits: Array, n_vocab: int | None) -> int:
    """How many columns count."""
    width = logits.shape[-1] if logits.ndim else 0
    if width == 0:
        raise InputError(
            f"logits have shape {tuple(logits.shape)}; the last axis must hold outcomes"
        )
    if n_vocab is None:
        return int(width)
    if not 1 <= n_vocab <= width:
        raise InputError(f"n_vocab is {n_vocab}; the logits have {width} columns")
    return int(n_vocab)


def checked_labels(targets: Array | None, shape: tuple[int, ...], n: int) -> Any:
    """Targets as a flat int64 array (torch stays on its device), validated."""
    if targets is None:
        return None
    flat: Any
    if is_torch(targets):
        flat = targets.detach().long()
    else:
        flat = np.asarray(targets)
        if flat.dtype.kind not in "iu":
            raise InputError(f"targets have dtype {flat.dtype}; they are token ids, so integers")
        flat = flat.astype(np.int64)
    if tuple(flat.shape) != shape:
        raise InputError(
            f"targets have shape {tuple(flat.shape)}; one a row of logits is expected: {shape}"
        )
    flat = flat.reshape(-1)
    if flat.shape[0]:
        low, high = int(flat.min()), int(flat.max())
        if low < 0 or high >= n:
            bad = low if low < 0 else high
            row = int((flat == bad).nonzero()[0][0])
            raise InputError(
                f"target of row {row} is {bad}; token ids are in [0, {n}). For padding, put any "
                "token there and mask the result"
            )
    return flat


def _check(log_sum: Array, logits: Array, n: int) -> None:
    """Raise for the first row that is no distribution."""
    bad = log_sum != log_sum  # noqa: PLR0124 - nan, in numpy and torch alike
    if bool(bad.any()):
        reject_row(logits, int(bad.nonzero()[0][0]), n)


def reject_row(logits: Array, row: int, n: int, name: str = "logits") -> None:
    """Say why a row (counted over the flattened leading axes) is no distribution, if it is none."""
    index = tuple(int(i) for i in np.unravel_index(row, tuple(logits.shape[:-1]) or (1,)))
    found = (logits if logits.ndim > 1 else logits[None])[index][:n]
    reject_values(found, f"{name}, row {index[0] if len(index) == 1 else list(index)}")


def reject_values(found: Array, where: str) -> None:
    """Say why the logits of one row are no distribution, if they are none."""
    if bool((found != found).any()):  # noqa: PLR0124
        raise BrokenNumbersError(f"{where}: nan. What made them is broken from there on")
    if float(found.max()) == float("-inf"):
        raise BrokenNumbersError(
            f"{where}: every outcome is -inf, so there is no distribution. Leave the row out, or "
            "mask less"
        )
    if float(found.max()) == float("inf"):
        raise BrokenNumbersError(f"{where}: +inf. Only -inf (an impossible outcome) has a meaning")


def _tiled(
    logits: Any, labels: Any, temperature: float, n: int, previous: bool, squares: bool = False
) -> Any:
    """The statistics in torch, tile by tile in place: for devices without compiled loops."""
    torch = sys.modules["torch"]
    lead = logits.shape[:-1]
    rows = logits.reshape(-1, logits.shape[-1]) if logits.is_contiguous() else None
    if rows is None and len(lead) > 1:  # a sliced batch: go through it without a copy of the whole
        labels = [None] * lead[0] if labels is None else labels.reshape(lead[0], -1)
        parts = [
            _tiled(z, y, temperature, n, previous and len(lead) > 2, squares)
            for z, y in zip(logits, labels, strict=True)
        ]
        result = torch.cat(parts, 1)
        if previous and len(lead) == 2:
            for b, z in enumerate(logits):
                part = result[:, b * lead[1] : (b + 1) * lead[1]]
                part[JSD] = _tiled_jsd(z, part, temperature, n)
        return result
    rows = logits if rows is None else rows
    count = rows.shape[0]
    exact = accumulator(logits)
    result = torch.full((N_RESULTS, count), torch.nan, dtype=exact, device=logits.device)
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    floor = -746.0 if wide == torch.float64 else -104.0  # exp is 0, the product finite
    step = max(1, _GPU_TILE_BYTES // (n * (8 if wide == torch.float64 else 4)))
    for start in range(0, count, step):
        part = slice(start, start + step)
        z = rows[part, :n].to(wide, copy=True)
        top = z.amax(-1, keepdim=True)
        z.sub_(top).mul_(1.0 / temperature).clamp_(min=floor)  # keeps nan; -inf * 0 would make one
        e = z.exp()
        s = e.sum(-1, dtype=exact)
        if squares:
            e2 = e * e
            result[SUM_P2, part] = s2 = e2.sum(-1, dtype=exact) / (s * s)
            t2 = e2.mul_(z).sum(-1, dtype=exact) / (s * s)
            result[SUM_P2_LOGP, part] = t2 - s.log() * s2
        mean = e.mul_(z).sum(-1, dtype=exact) / s
        square = e.mul_(z).sum(-1, dtype=exact) / s
        result[MAX, part] = top[:, 0].to(exact)
        result[LOG_SUM, part] = s.log()
        result[MEAN, part] = mean
        result[VARIANCE, part] = (square - mean * mean).clamp(min=0)
        if labels is not None:
            target = torch.as_tensor(labels[part], device=logits.device)[:, None]
            chosen = rows[part].gather(-1, target).to(exact) - top.to(exact)
            result[LOGPROB, part] = chosen[:, 0] / temperature - s.log()
    if previous:
        result[JSD] = _tiled_jsd(rows, result, temperature, n)
        steps = lead[-1]
        result[JSD, ::steps] = torch.nan
    return result


def _tiled_jsd(rows: Any, result: Any, temperature: float, n: int) -> Any:
    """Divergence of each row to the one before, in tiles; nan at the first."""
    torch = sys.modules["torch"]
    wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
    floor = -746.0 if wide == torch.float64 else -104.0  # exp is 0, the product finite
    step = max(2, _GPU_TILE_BYTES // (4 * n * (8 if wide == torch.float64 else 4)))
    jsd = torch.full_like(result[JSD], torch.nan)
    shift = result[LOG_SUM][:, None].to(wide)
    top = result[MAX][:, None].to(wide)
    for start in range(1, rows.shape[0], step):
        part = slice(start - 1, start + step)
        l = rows[part, :n].to(wide, copy=True)  # noqa: E741 - log-probabilities
        l.sub_(top[part]).mul_(1.0 / temperature).sub_(shift[part]).clamp_(min=floor)
        middle = torch.logaddexp(l[1:], l[:-1]).sub_(float(np.log(2.0)))
        total = (l[1:].exp() * (l[1:] - middle)).sum(-1, dtype=jsd.dtype)
        total += (l[:-1].exp() * (l[:-1] - middle)).sum(-1, dtype=jsd.dtype)
        jsd[start : start + step] = (0.5 * total).clamp(0.0, float(np.log(2.0)))
    return jsd
