"""temporary"""

from __future__ import annotations
from typing import Any, Protocol, Iterator
import torch
from torch import Tensor, nn
from entropilot.models.decoding import Decoder, TransformerDecoder
from entropilot.models.transformer import SmallTransformer


class PolicyModel(Protocol):
    n_vocab: int

    @property
    def head_weight(self) -> Tensor: ...
    @property
    def head_bias(self) -> Tensor | None: ...
    def decoder(self) -> Decoder: ...
    def response_hidden(self, prompts: Any, tokens: Tensor, mask: Tensor) -> Tensor: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self) -> Any: ...
    def state_dict(self) -> Any: ...
    def load_state_dict(self, s: Any, strict: bool = True) -> Any: ...


class SmallPolicy(nn.Module):
    def __init__(self, model: SmallTransformer) -> None:
        super().__init__()
        self.model = model

    n_vocab = property(lambda self: self.model.config.n_vocab)
    head_weight = property(lambda self: self.model.head.weight)
    head_bias = property(lambda self: self.model.head.bias)

    def decoder(self):
        return TransformerDecoder(self.model)

    def response_hidden(self, prompts, tokens, mask):
        P = max(map(len, prompts))
        rows = []
        full = torch.cat([torch.tensor([list(p) for p in prompts]), tokens], 1)
        h = self.model.hidden(full[:, :-1])[:, P - 1 :]
        return h[mask]
