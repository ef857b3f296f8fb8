"""Logits of the output head, one chunk at a time, in a buffer that is used again.

Products are formed in float32 (float64 where an input is float64), whatever the inputs are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

from entropilot.information.statistics import reject_values

_WHOLE_ROWS: Final = {"cpu": 128, "cuda": 512}  # rows of a chunk that holds whole rows
_BLOCK: Final = {"cpu": (512, 2048), "cuda": (4096, 8192)}  # rows and columns of one that does not
_PANEL: Final = 1024  # columns of one product on the CPU: its weights stay in the cache

Span = slice


class Head:
    """Hidden states [N, D], weights [n, D] and bias [n] of an output head, and a chunk of logits.

    Args:
        hidden: [N, D] float.
        weight: [n, D] float, without padding rows.
        bias: [n] float, or None; -inf marks an impossible token.
        chunk: logits held at a time, or None for a good number.
        whole_rows: whether a chunk must hold whole rows.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        chunk: int | None,
        whole_rows: bool,
    ) -> None:
        is_wide = torch.float64 in (hidden.dtype, weight.dtype)
        self.kind = torch.float64 if is_wide else torch.float32
        self.device = hidden.device
        self.hidden = hidden.to(self.kind)
        self.weight = weight
        self.bias = None if bias is None else bias.to(self.kind)
        n_rows, n = hidden.shape[0], weight.shape[0]
        place = hidden.device.type if hidden.device.type in _BLOCK else "cpu"
        if whole_rows:
            rows = _WHOLE_ROWS[place] if chunk is None else max(1, chunk // n)
            columns = n
        else:
            rows, columns = _BLOCK[place]
            if chunk is not None:
                columns = min(columns, max(1, chunk), n)
                rows = max(1, chunk // columns)
            columns = min(columns, n)
        self.rows, self.columns = max(1, min(rows, n_rows)), columns
        self._buffer = torch.empty(self.rows * columns, dtype=self.kind, device=self.device)

    def row_spans(self) -> Iterator[Span]:
        """The rows, a chunk at a time."""
        n_rows = self.hidden.shape[0]
        for start in range(0, n_rows, self.rows):
            yield slice(start, min(start + self.rows, n_rows))

    def column_spans(self, width: int | None = None) -> Iterator[Span]:
        """The vocabulary, a chunk (or ``width``) at a time."""
        n, width = self.weight.shape[0], self.columns if width is None else width
        for start in range(0, n, width):
            yield slice(start, min(start + width, n))

    def weights(self, columns: Span) -> Tensor:
        """Weights [w, D] of some columns in the precision of the products; a copy if narrower."""
        return self.weight[columns].to(self.kind)

    def logits(self, rows: Span, columns: Span, weights: Tensor) -> Tensor:
        """Logits [R, w] before the division by the temperature, in the buffer."""
        r, w = rows.stop - rows.start, columns.stop - columns.start
        chunk = self._buffer[: r * w].view(r, w)
        torch.mm(self.hidden[rows], weights.t(), out=chunk)
        if self.bias is not None:
            chunk.add_(self.bias[columns])
        return chunk

    def whole_rows(self, rows: Span) -> Tensor:
        """Logits [R, n] of whole rows, in the buffer; the weights pass through in panels."""
        n = self.weight.shape[0]
        if self.device.type != "cpu" and self.weight.dtype == self.kind:
            return self.logits(rows, slice(0, n), self.weight)
        r = rows.stop - rows.start
        chunk = self._buffer[: r * n].view(r, n)
        for columns in self.column_spans(_PANEL):
            torch.mm(self.hidden[rows], self.weights(columns).t(), out=chunk[:, columns])
        if self.bias is not None:
            chunk.add_(self.bias)
        return chunk

    def check(self, log_sum: Tensor) -> None:
        """Raise for the first row that is no distribution."""
        bad = log_sum.isnan()
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            found: Any = self.weight.to(self.kind) @ self.hidden[row]
            reject_values(found if self.bias is None else found + self.bias, f"logits, row {row}")
