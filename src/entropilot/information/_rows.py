"""Rows of an array as start positions in one flat view, so that slices are read without a copy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numba
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.information._backend import is_torch
from entropilot.information._numeric import FLOOR_32, FLOOR_64, TILE
from entropilot.information._statistics_kernels import (
    BFLOAT16,
    FLOAT16,
    N_RESULTS,
    jsd_kernel,
    statistics_kernel,
)

#: Logits below which a second thread costs more than it brings.
_PER_THREAD: Final = 4_000_000


class Rows:
    """A CPU array [..., V]: ``flat[starts[i] : starts[i] + V]`` is row i, in the order of the rows.

    A copy is made only where the outcomes of a row are not next to each other in memory.
    """

    def __init__(self, values: Any) -> None:
        array, self.bits = _plain(values)
        itemsize = array.itemsize
        strides = array.strides
        adjacent = strides[-1] == itemsize or array.shape[-1] == 1
        if not adjacent or any(s < 0 or s % itemsize for s in strides[:-1]):
            array = np.ascontiguousarray(array)
            strides = array.strides
        starts = np.zeros(array.shape[:-1], dtype=np.int64)
        for axis, stride in enumerate(strides[:-1]):
            index = np.arange(array.shape[axis], dtype=np.int64) * (stride // itemsize)
            starts += index.reshape(-1, *[1] * (starts.ndim - axis - 1))
        self.steps = array.shape[-2] if array.ndim > 1 else 1
        self.starts = starts.reshape(-1)
        length = int(self.starts.max()) + array.shape[-1] if self.starts.size else 0
        self.flat = as_strided(array, (length,), (itemsize,), writeable=False)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def is_wide(self) -> bool:
        """Whether the values are float64."""
        return bool(self.flat.dtype == np.float64)


def _plain(values: Any) -> tuple[NDArray[Any], int]:
    """A numpy array of float32, float64 or uint16, and what the uint16 mean."""
    if is_torch(values):
        torch = sys.modules["torch"]
        if values.dtype == torch.bfloat16:
            return values.view(torch.int16).numpy().view(np.uint16), BFLOAT16
        if not values.is_floating_point():
            values = values.double()
        values = values.numpy()
    if values.dtype.name == "bfloat16":  # the numpy extension type of ml_dtypes
        return values.view(np.uint16), BFLOAT16
    if values.dtype == np.float16:
        return values.view(np.uint16), FLOAT16
    if values.dtype in (np.float32, np.float64) and values.dtype.isnative:
        return values, 0
    if values.dtype.kind not in "fiub":
        raise InputError(f"logits have dtype {values.dtype}; expected floating-point numbers")
    return values.astype(np.float64), 0


def settings_for(wide: bool, temperature: float) -> tuple[Any, Any, NDArray[Any]]:
    """1/T and the floor in the precision of the tile, and two tiles."""
    if wide:
        return np.float64(1.0 / temperature), np.float64(FLOOR_64), np.empty((2, TILE))
    return np.float32(1.0 / temperature), FLOOR_32, np.empty((2, TILE), np.float32)


def in_threads(part: Callable[[int, int], Any], n_rows: int, width: int) -> None:
    """Call ``part(first, last)`` over all rows; large work is split over the threads of numba."""
    threads = max(1, min(numba.get_num_threads(), n_rows, n_rows * width // _PER_THREAD))
    cuts = np.linspace(0, n_rows, threads + 1).astype(int).tolist()
    if threads == 1:
        part(0, n_rows)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, cuts[:-1], cuts[1:]))


def run_statistics(
    rows: Rows, n: int, labels: Any, temperature: float, previous: bool, squares: bool = False
) -> NDArray[np.float64]:
    """The compiled statistics [8, N] of the rows; threads share the rows of large inputs."""
    targets = np.zeros(0, np.int64) if labels is None else np.asarray(labels)
    follows = np.arange(len(rows)) % max(rows.steps, 1) != 0 if previous else np.zeros(0, np.bool_)
    result = np.full((N_RESULTS, len(rows)), np.nan)

    def part(first: int, last: int) -> None:
        # a part that starts inside a sequence measures the row before it once more
        lead = int(bool(previous and first < last and follows[first]))
        take = slice(first - lead, last)
        local = np.full((N_RESULTS, last - first + lead), np.nan)
        statistics_kernel(
            rows.flat,
            rows.starts[take],
            np.concatenate([np.zeros(lead, np.bool_), follows[first:last]])
            if previous
            else follows,
            targets[take] if labels is not None else targets,
            n,
            rows.bits,
            *settings_for(rows.is_wide, temperature),
            squares,
            local,
        )
        result[:, first:last] = local[:, lead:]

    in_threads(part, len(rows), n)
    return result


def run_jsd(a: Rows, b: Rows, n: int, temperature: float) -> tuple[NDArray[np.float64], int]:
    """Divergence [N] between the rows of a and of b, and the first bad row or -1."""
    result = np.empty(len(a))
    bad = jsd_kernel(
        a.flat,
        a.starts,
        a.bits,
        b.flat,
        b.starts,
        b.bits,
        n,
        *settings_for(a.is_wide and b.is_wide, temperature),
        result,
    )
    return result, int(bad)
