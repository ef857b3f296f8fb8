"""The nucleus of a distribution (its top-p set) and the entropy within it.

Legend: V vocabulary. Rows are all leading axes of the logits.

Full softmaxes over a large vocabulary push the entropy's gradient mostly into the tail; restricted
to the nucleus, only outcomes that can be drawn are pushed. No row is sorted. Extra memory is one
row a thread on the CPU, one tile of about 64 MB on a GPU; the gradient form adds the gradient.
"""

from __future__ import annotations

import sys
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from entropilot.errors import ConfigurationError
from entropilot.information._backend import Array, is_torch, measure
from entropilot.information._nucleus_kernels import (
    LAST,
    N_NUCLEUS,
    nucleus_kernel,
)
from entropilot.information._rows import Rows, in_threads, settings_for
from entropilot.information._statistics_kernels import LOG_SUM, MAX
from entropilot.information.statistics import (
    check_temperature,
    checked_width,
    measured_sums,
)

_GPU_TILE_BYTES: Final = 64 << 20
_FIRST_RANKS: Final = 64  # most positions of a language model need fewer

Boundary = Literal["inclusive", "exclusive"]


class Nucleus(NamedTuple):
    """Nuclei of rows, flat arrays [N]; outcome j belongs where x_j > threshold, or equals it and
    j <= last.
    """

    entropy: Array  # of the renormalised nucleus, nats
    size: Array  # how many outcomes belong
    log_mass: Array  # ln of their probability; -inf for an empty nucleus
    threshold: Array  # a logit, before the division by the temperature
    last: Array  # int64, -1 where none of the equal ones belongs
    top: Array  # the largest logit
    log_sum: Array  # ln sum exp((x - top) / T)


@measure
def nucleus_entropy(
    logits: Array,
    p: float = 0.8,
    *,
    boundary: Boundary = "inclusive",
    max_rank: int | None = None,
    temperature: float = 1.0,
    n_vocab: int | None = None,
) -> Array:
    """Entropy of the nucleus, renormalised: how open the choice among the likely outcomes is.

        P  = the fewest most likely outcomes whose mass is >= p      (the one that reaches p is in)
        q  = softmax(logits / T) on P, renormalised;  0 elsewhere
        Hn = -sum_P q ln q

    Nothing is differentiated; ``with_gradient(nucleus_entropy)`` lets the gradient flow into torch
    logits. Membership is detached: dHn/dz = -q (ln q + Hn) / T on P, exactly 0 outside.

    Args:
        logits: [..., V] float16, bfloat16, float32 or float64; -inf marks an impossible outcome.
        p: mass of the nucleus, in (0, 1]; 1 takes every possible outcome.
        boundary: ``"exclusive"`` leaves out the outcome that reaches p, as the authors' code does;
            a nucleus may then be empty (entropy 0, gradient 0).
        max_rank: at most so many outcomes are looked at; with less mass than p, all of them belong.
        temperature: > 0; divides the logits.
        n_vocab: true vocabulary size; columns from there on are padding and are never read.

    Returns:
        [...] nats in [0, ln V], of the kind of the logits; float64 for float64, else float32.

    Raises:
        ConfigurationError: p outside (0, 1], an unknown boundary, or max_rank below 1.
        InputError: a row has nan or +inf, or is -inf everywhere.

    Examples:
        >>> logits = np.log([[0.5, 0.25, 0.125, 0.125], [0.97, 0.01, 0.01, 0.01]])
        >>> nucleus_entropy(logits, 0.7).round(4).tolist()
        [0.6365, 0.0]

    Source: SIREN, arXiv 2509.25133.
        Departs from the reference code: it is ``boundary="exclusive"`` with ``max_rank=10000``.
    """
    if is_torch(logits) and logits.requires_grad and sys.modules["torch"].is_grad_enabled():
        from entropilot.information._nucleus_gradient import differentiable_nucleus_entropy

        attached: Array = differentiable_nucleus_entropy(
            logits,
            lambda z: find_nucleus(z, p, boundary, max_rank, temperature, n_vocab),
            temperature,
            n_vocab,
        )
        return attached
    found = find_nucleus(logits, p, boundary, max_rank, temperature, n_vocab)
    if is_torch(logits):
        torch = sys.modules["torch"]
        kind = torch.float64 if logits.dtype == torch.float64 else torch.float32
        return found.entropy.to(kind).reshape(logits.shape[:-1])
    array = np.asarray(logits)
    narrow = array.dtype.kind == "f" and array.dtype != np.float64
    narrow = narrow or array.dtype.name == "bfloat16"
    return found.entropy.astype(np.float32 if narrow else np.float64).reshape(array.shape[:-1])[()]


@measure
def nucleus_mask(
    logits: Array,
    p: float = 0.8,
    *,
    boundary: Boundary = "inclusive",
    max_rank: int | None = None,
    temperature: float = 1.0,
    n_vocab: int | None = None,
) -> Array:
    """Which outcomes belong to the nucleus; never differentiated.

    Of outcomes with equal logits at the boundary the first ones belong.

    Args:
        logits: [..., V] float; -inf marks an impossible outcome, which never belongs.
        p: mass of the nucleus, in (0, 1].
        boundary: ``"inclusive"`` keeps the outcome that reaches p, ``"exclusive"`` leaves it out.
        max_rank: at most so many outcomes are looked at.
        temperature: > 0; divides the logits.
        n_vocab: true vocabulary size; columns from there on never belong.

    Returns:
        [..., V] bool: an array as large as the logits in elements, one byte each.

    Raises:
        ConfigurationError: p outside (0, 1], an unknown boundary, or max_rank below 1.
        InputError: a row has nan or +inf, or is -inf everywhere.

    Examples:
        >>> nucleus_mask(np.log([0.125, 0.5, 0.25, 0.125]), 0.7).tolist()
        [False, True, True, False]

    Source: SIREN, arXiv 2509.25133.
    """
    values = logits if is_torch(logits) else np.asarray(logits)
    found = find_nucleus(values, p, boundary, max_rank, temperature, n_vocab)
    shape = (*values.shape[:-1], 1)
    n = checked_width(values, n_vocab)
    if is_torch(values):
        torch = sys.modules["torch"]
        index = torch.arange(values.shape[-1], device=values.device)
        threshold = found.threshold.to(values.dtype).reshape(shape)
    else:
        index = np.arange(values.shape[-1])
        # exact: thresholds are values of the row
        threshold = found.threshold.astype(values.dtype).reshape(shape)
    belongs = (values == threshold) & (index <= found.last.reshape(shape))
    return (belongs | (values > threshold)) & (index < n)


def check_nucleus(p: float, boundary: str, max_rank: int | None) -> None:
    """Reject settings that describe no nucleus."""
    if not 0 < p <= 1:
        raise ConfigurationError(f"p is {p}; the mass of a nucleus is in (0, 1]")
    if boundary not in ("inclusive", "exclusive"):
        raise ConfigurationError(f"boundary is {boundary!r}; it is 'inclusive' or 'exclusive'")
    if max_rank is not None and max_rank < 1:
        raise ConfigurationError(f"max_rank is {max_rank}; at least one outcome must be looked at")


def find_nucleus(
    logits: Array,
    p: float,
    boundary: str,
    max_rank: int | None,
    temperature: float,
    n_vocab: int | None,
) -> Nucleus:
    """Nuclei of all rows, in float64, of the kind of the logits."""
    check_nucleus(p, boundary, max_rank)
    check_temperature(temperature)
    values: Any = logits.detach() if is_torch(logits) else np.asarray(logits)
    n = checked_width(values, n_vocab)
    sums = measured_sums(values, None, temperature, n)
    rank = n if max_rank is None else min(max_rank, n)
    inclusive = boundary == "inclusive"
    if is_torch(values) and values.device.type != "cpu":
        return tiled_nucleus(values, sums[MAX], sums[LOG_SUM], p, inclusive, rank, temperature, n)
    rows = Rows(values)
    result = np.empty((N_NUCLEUS, len(rows)))

    def part(first: int, last: int) -> None:
        inverse, floor, tiles = settings_for(rows.is_wide, temperature)
        nucleus_kernel(
            rows.flat,
            rows.starts[first:last],
            n,
            rows.bits,
            inverse,
            floor,
            sums[MAX, first:last],
            sums[LOG_SUM, first:last],
            p,
            slack_of(rows.is_wide),
            inclusive,
            rank,
            tiles[0],
            result[:, first:last],
        )

    in_threads(part, len(rows), n)
    columns: list[Any] = [*result, sums[MAX], sums[LOG_SUM]]
    columns[LAST] = result[LAST].astype(np.int64)
    if is_torch(values):
        columns = [sys.modules["torch"].from_numpy(np.ascontiguousarray(c)) for c in columns]
    return Nucleus(*columns)


def slack_of(is_wide: bool) -> float:
    """Relative rounding of a mass: eight equal outcomes of ten hold 0.8, whatever the sum says."""
    return 1e-12 if is_wide else 1e-6


def tiled_nucleus(
    logits: Any,
    tops: Any,
    log_sums: Any,
    p: float,
    inclusive: bool,
    rank: int,
    temperature: float,
    n: int,
) -> Nucleus:
    """Nuclei by top-k with a growing k, in torch tiles: for devices without compiled loops."""
    torch = sys.modules["torch"]
    rows = logits.reshape(-1, logits.shape[-1])
    is_wide = logits.dtype == torch.float64
    wide = torch.float64 if is_wide else torch.float32
    wanted = p * (1.0 - slack_of(is_wide)) if p < 1 else float("inf")
    parts = []
    step = max(1, _GPU_TILE_BYTES // (n * wide.itemsize))
    for start in range(0, rows.shape[0], step):
        x = rows[start : start + step, :n].to(wide)
        top, log_sum = (c[start : start + step, None].to(wide) for c in (tops, log_sums))
        k = min(_FIRST_RANKS, rank)
        while True:
            value = x.topk(k, -1).values
            z = (value - top) / temperature
            mass = (z - log_sum).exp()
            running = mass.cumsum(-1)
            if k == rank or bool((running[:, -1] >= wanted).all()):
                break
            k = min(8 * k, rank)
        before = running - mass
        # the outcome that reaches the mass is the last whose predecessors hold less
        belongs = (before < wanted) if inclusive else (running < wanted)
        belongs &= mass > 0
        size = belongs.sum(-1)
        kept = torch.where(belongs, mass, 0)
        total = kept.sum(-1)
        safe = torch.where(total > 0, total, 1)
        q = kept / safe[:, None]
        entropy = -torch.xlogy(q, q).sum(-1)
        threshold = value.gather(-1, (size - 1).clamp(min=0)[:, None])
        threshold = torch.where(size[:, None] > 0, threshold, float("inf"))
        needed = (belongs & (value == threshold)).sum(-1, keepdim=True)
        order = (x == threshold).cumsum(-1, dtype=torch.int32)  # one more tile
        last = torch.where(needed > 0, (order < needed).sum(-1, keepdim=True), -1)
        columns = (entropy.clamp(min=0), size, total.log(), threshold[:, 0], last[:, 0])
        parts.append((*columns, top[:, 0], log_sum[:, 0]))
    if not parts:
        empty = rows.new_zeros(0, dtype=wide)
        return Nucleus(empty, empty, empty, empty, empty.long(), empty, empty)
    return Nucleus(*(torch.cat(column) for column in zip(*parts, strict=True)))
