"""The passes over an output head: measure, go back, and both at once; see ``head.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from entropilot.information import _head_kernels as kernels
from entropilot.information import _head_tiles as tiles
from entropilot.information._backend import accumulator
from entropilot.information._head_product import Head
from entropilot.information._nucleus_kernels import N_NUCLEUS
from entropilot.information._rows import in_threads, settings_for
from entropilot.information._statistics_kernels import (
    LOG_SUM,
    MAX,
    N_RESULTS,
    N_SUMS,
    TOP,
)
from entropilot.information.nucleus import slack_of, tiled_nucleus

_PANEL: Final = 4096  # columns of one product, so that narrow weights are widened in parts


class Settings(NamedTuple):
    """What the passes must know beside the head."""

    temperature: float
    squares: bool = False
    top_p: float | None = None  # None: no nucleus
    top_k: int = 0


class Measured(NamedTuple):
    """Statistics of N rows, float64 (float32 on Apple GPUs)."""

    result: Tensor  # [8, N], rows named in _statistics_kernels
    nucleus: Tensor | None  # [5, N], rows named in _nucleus_kernels
    top_value: Tensor | None  # [N, K] logits
    top_index: Tensor | None  # [N, K] int64


def measure_pass(head: Head, targets: Tensor | None, settings: Settings) -> Measured:
    """Statistics of all rows; nothing of the size [N, V]."""
    n_rows = head.hidden.shape[0]
    exact = accumulator(head.hidden)
    result = torch.full((N_RESULTS, n_rows), torch.nan, dtype=exact, device=head.device)
    top = _Top(n_rows, settings.top_k, head)
    if settings.top_p is not None:
        nucleus = torch.zeros(N_NUCLEUS, n_rows, dtype=exact, device=head.device)
        for rows in head.row_spans():
            chunk = head.whole_rows(rows)
            top.see(chunk, rows, 0)
            _whole_rows(chunk, _at(targets, rows), settings, result[:, rows], nucleus[:, rows])
        head.check(result[LOG_SUM])
        return Measured(result, nucleus, top.value, top.index)
    sums = torch.zeros(n_rows, N_SUMS, dtype=exact, device=head.device)
    sums[:, TOP] = -torch.inf
    chosen = torch.full((n_rows,), torch.nan, dtype=exact, device=head.device)
    for columns in head.column_spans():
        weights = head.weights(columns)
        for rows in head.row_spans():
            chunk = head.logits(rows, columns, weights)
            top.see(chunk, rows, columns.start)
            _extend(chunk, columns.start, _at(targets, rows), settings, sums[rows], chosen[rows])
    if is_compiled(head.hidden):
        kernels.finish_kernel(
            sums.numpy(), chosen.numpy(), 1.0 / settings.temperature, result.numpy()
        )
    else:
        tiles.finish_sums(sums, chosen, settings.temperature, result)
    head.check(result[LOG_SUM])
    return Measured(result, None, top.value, top.index)


class Gradients(NamedTuple):
    """Gradients by what was asked for, in the precision of the products."""

    hidden: Tensor | None  # [N, D]
    weight: Tensor | None  # [n, D]
    bias: Tensor | None  # [n]


def backward_pass(
    head: Head,
    targets: Tensor | None,
    settings: Settings,
    measured: Measured,
    slopes: Tensor,
    into: Gradients,
) -> None:
    """Add the gradients to ``into``: the logits are formed again, chunk by chunk.

    Args:
        head: with chunks that need not hold whole rows.
        targets: [N] int64.
        settings: those of the measuring pass.
        measured: what the measuring pass gave.
        slopes: [5, N] dLoss/dstatistic, rows named in _head_kernels.
        into: what is None is not formed.
    """
    for columns in head.column_spans():
        weights = head.weights(columns)
        on_weight = None if into.weight is None else into.weight[columns]
        if on_weight is not None and on_weight.dtype != head.kind:
            on_weight = torch.zeros_like(weights)  # of a block; rounded once, below
        for rows in head.row_spans():
            chunk = head.logits(rows, columns, weights)
            nucleus = None if measured.nucleus is None else measured.nucleus[:, rows]
            _slope(
                chunk,
                columns.start,
                _at(targets, rows),
                settings,
                measured.result[:, rows],
                nucleus,
                slopes[:, rows],
            )
            if into.hidden is not None:
                into.hidden[rows].addmm_(chunk, weights)
            if on_weight is not None:
                on_weight.addmm_(chunk.t(), head.hidden[rows])
            if into.bias is not None:
                into.bias[columns].add_(chunk.sum(0))
        if into.weight is not None and on_weight is not None and into.weight.dtype != head.kind:
            into.weight[columns] += on_weight.to(into.weight.dtype)


def known_slopes_pass(
    head: Head, targets: Tensor | None, settings: Settings, slopes: Tensor, into: Gradients
) -> Measured:
    """Measure and add the gradients to ``into`` in one pass; the head must hold whole rows."""
    n_rows = head.hidden.shape[0]
    exact = accumulator(head.hidden)
    result = torch.full((N_RESULTS, n_rows), torch.nan, dtype=exact, device=head.device)
    nucleus = None
    if settings.top_p is not None:
        nucleus = torch.zeros(N_NUCLEUS, n_rows, dtype=exact, device=head.device)
    for rows in head.row_spans():
        chunk = head.whole_rows(rows)
        part = None if nucleus is None else nucleus[:, rows]
        _whole_rows(chunk, _at(targets, rows), settings, result[:, rows], part, slopes[:, rows])
        head.check(result[LOG_SUM, : rows.stop])  # before a nan can reach the gradients
        if into.hidden is not None:
            for columns in head.column_spans(_PANEL):
                into.hidden[rows].addmm_(chunk[:, columns], head.weights(columns))
        if into.weight is not None:
            into.weight.addmm_(chunk.t(), head.hidden[rows])
        if into.bias is not None:
            into.bias.add_(chunk.sum(0))
    return Measured(result, nucleus, None, None)


class _Top:
    """The K largest logits of each row so far."""

    def __init__(self, n_rows: int, k: int, head: Head) -> None:
        self.value: Tensor | None = None
        self.index: Tensor | None = None
        self.k = k
        if k:
            self.value = torch.full((n_rows, k), -torch.inf, dtype=head.kind, device=head.device)
            self.index = torch.zeros(n_rows, k, dtype=torch.int64, device=head.device)

    def see(self, chunk: Tensor, rows: slice, offset: int) -> None:
        if self.value is None or self.index is None:
            return
        value, index = chunk.topk(min(self.k, chunk.shape[1]), -1)
        value = torch.cat([self.value[rows], value], -1)
        index = torch.cat([self.index[rows], index + offset], -1)
        self.value[rows], place = value.topk(self.k, -1)
        self.index[rows] = index.gather(-1, place)


def is_compiled(tensor: Tensor) -> bool:
    """Whether compiled loops reach the tensor; others are worked on in torch."""
    return tensor.device.type == "cpu"


def _at(targets: Tensor | None, rows: slice) -> Tensor | None:
    return None if targets is None else targets[rows]


def _targets(targets: Tensor | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.zeros(0, np.int64) if targets is None else targets.numpy()


def _by_threads(chunk: Tensor, part: Callable[[slice], None]) -> None:
    in_threads(lambda first, last: part(slice(first, last)), *chunk.shape)


def _extend(
    chunk: Tensor,
    offset: int,
    targets: Tensor | None,
    settings: Settings,
    sums: Tensor,
    chosen: Tensor,
) -> None:
    if not is_compiled(chunk):
        tiles.extend_tile(
            chunk, offset, targets, settings.temperature, settings.squares, sums, chosen
        )
        return
    arrays = chunk.numpy(), _targets(targets), sums.numpy(), chosen.numpy()

    def part(rows: slice) -> None:
        logits, labels, of_rows, logit = (a[rows] for a in arrays)
        inverse, floor, scratch = settings_for(logits.dtype == np.float64, settings.temperature)
        kernels.extend_kernel(
            logits, offset, labels, inverse, floor, scratch[0], settings.squares, of_rows, logit
        )

    _by_threads(chunk, part)


def _slope(
    chunk: Tensor,
    offset: int,
    targets: Tensor | None,
    settings: Settings,
    result: Tensor,
    nucleus: Tensor | None,
    slopes: Tensor,
) -> None:
    if not is_compiled(chunk):
        tiles.slope_tile(chunk, offset, targets, settings.temperature, result, nucleus, slopes)
        return
    logits, labels = chunk.numpy(), _targets(targets)
    empty = np.zeros((N_NUCLEUS, 0))
    columns = result.numpy(), empty if nucleus is None else nucleus.numpy(), slopes.numpy()

    def part(rows: slice) -> None:
        inverse, floor, _ = settings_for(logits.dtype == np.float64, settings.temperature)
        kernels.slope_kernel(
            logits[rows], offset, labels[rows], inverse, floor, *(c[:, rows] for c in columns)
        )

    _by_threads(chunk, part)


def _whole_rows(
    chunk: Tensor,
    targets: Tensor | None,
    settings: Settings,
    result: Tensor,
    nucleus: Tensor | None,
    slopes: Tensor | None = None,
) -> None:
    """Measure whole rows and, with ``slopes``, turn them into dLoss/dlogit in place."""
    p = 1.0 if settings.top_p is None else settings.top_p
    if not is_compiled(chunk):
        _whole_rows_in_torch(chunk, targets, settings, result, nucleus, slopes)
        return
    logits, labels = chunk.numpy(), _targets(targets)
    columns = (
        result.numpy(),
        np.zeros((N_NUCLEUS, 0)) if nucleus is None else nucleus.numpy(),
        np.zeros((kernels.N_SLOPES, 0)) if slopes is None else slopes.numpy(),
    )

    def part(rows: slice) -> None:
        is_wide = logits.dtype == np.float64
        inverse, floor, scratch = settings_for(is_wide, settings.temperature)
        kernels.whole_rows_kernel(
            logits[rows],
            labels[rows],
            inverse,
            floor,
            scratch[0],
            settings.squares,
            p,
            slack_of(is_wide),
            *(c[:, rows] for c in columns),
        )

    _by_threads(chunk, part)


def _whole_rows_in_torch(
    chunk: Tensor,
    targets: Tensor | None,
    settings: Settings,
    result: Tensor,
    nucleus: Tensor | None,
    slopes: Tensor | None,
) -> None:
    sums = result.new_zeros(chunk.shape[0], N_SUMS)
    sums[:, TOP] = -torch.inf
    chosen = result.new_full((chunk.shape[0],), torch.nan)
    tiles.extend_tile(chunk, 0, targets, settings.temperature, settings.squares, sums, chosen)
    tiles.finish_sums(sums, chosen, settings.temperature, result)
    n = chunk.shape[1]
    if nucleus is not None and settings.top_p is not None:
        found = tiled_nucleus(
            chunk, result[MAX], result[LOG_SUM], settings.top_p, True, n, settings.temperature, n
        )
        nucleus.copy_(torch.stack([c.to(nucleus.dtype) for c in found[:N_NUCLEUS]]))
    if slopes is not None:
        tiles.slope_tile(chunk, 0, targets, settings.temperature, result, nucleus, slopes)
