"""The value of a text so far: a transformer with one number a position (OREO, arXiv 2412.16145).

Legend: n texts, L tokens, D width.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class ValueNetwork(nn.Module):
    """A copy of a transformer with one number a position: the value of the text so far.

    Starts as the constant ``start``; the head has zero weights and no activation.

    Args:
        trunk: has ``hidden(tokens, valid) -> [n, L, D]`` and ``config.width``; it is copied.
        start: first value everywhere, such as the mean reward of the data.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> value = ValueNetwork(SmallTransformer.seeded(TransformerConfig(9), 0), 0.5)
        >>> value(torch.tensor([[1, 2]])).tolist()
        [[0.5, 0.5]]
    """

    def __init__(self, trunk: Any, start: float = 0.0) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        self.weight = nn.Parameter(torch.zeros(trunk.config.width))
        self.start: Tensor
        self.register_buffer("start", torch.tensor(start))

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """[n, L] values, one for the text that ends with each token."""
        return self.of_hidden(self.trunk.hidden(tokens, valid))

    def of_hidden(self, hidden: Tensor) -> Tensor:
        """Values [...] of hidden states [..., D] of the trunk."""
        return hidden @ self.weight + self.start
