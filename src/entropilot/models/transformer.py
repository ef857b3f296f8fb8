"""A small decoder-only transformer: the network of the CPU testbeds.

Pre-LayerNorm blocks with one fused projection for queries, keys and values, an MLP of four times
the width with GELU, learned positions and an untied head.

Legend: B sequences, L positions, N tokens, D width, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from entropilot.errors import ConfigurationError, InputError, ModelError
from entropilot.files import replacing, write_atomically
from entropilot.models.products import FastLinear

CONFIG_NAME: Final = "transformer.json"
WEIGHTS_NAME: Final = "transformer.safetensors"

#: Attention of one layer: (layer number, [..., 3 D] queries, keys and values) -> [..., D].
Attend = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a ``SmallTransformer``.

    Args:
        n_vocab: V, tokens; >= 2.
        width: D; a multiple of ``heads``.
        layers: >= 1.
        heads: >= 1.
        context: longest sequence, tokens; >= 1.
        head_bias: give the head a bias. The testbed of modular paths has one: with V = 38 and
            context 15 that makes 105,958 parameters.

    Raises:
        ConfigurationError: a size is out of its range.

    Examples:
        >>> TransformerConfig(38, context=15).width
        64
    """

    n_vocab: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    context: int = 128
    head_bias: bool = False

    def __post_init__(self) -> None:
        for name, least in (("n_vocab", 2), ("width", 1), ("layers", 1), ("heads", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be >= {least}")
        if self.context < 1:
            raise ConfigurationError(f"context is {self.context}; it must be >= 1")
        if self.width % self.heads:
            raise ConfigurationError(
                f"width {self.width} can't be split into {self.heads} heads; make it a multiple"
            )


class Block(nn.Module):
    """One layer; the caller says how its tokens attend to each other."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width)
        self.qkv = FastLinear(width, 3 * width)
        self.out = FastLinear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = FastLinear(width, 4 * width)
        self.down = FastLinear(4 * width, width)

    def forward(self, x: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """[..., D] -> [..., D]."""
        x = x + self.out(attend(self.qkv(self.norm1(x))))
        y: Tensor = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return y


class SmallTransformer(nn.Module):
    """A causal language model of some hundred thousand parameters.

        x      = token embedding + position embedding
        x     += out(attention(qkv(norm1(x)))) ; x += down(gelu(up(norm2(x))))     each layer
        hidden = norm(x) ;  logits = head(hidden)

    Args:
        config: its sizes.
        generator: draws the first weights; None means one with seed 0. torch's global generator is
            never touched.

    Examples:
        >>> model = SmallTransformer.seeded(TransformerConfig(38, context=15, head_bias=True), 0)
        >>> sum(p.numel() for p in model.parameters())
        105958
        >>> model(torch.tensor([[35, 3, 7]])).shape
        torch.Size([1, 3, 38])
    """

    def __init__(self, config: TransformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):  # the layers' own initialisation would draw from global state
            self.embedding = nn.Embedding(config.n_vocab, config.width)
            self.position = nn.Embedding(config.context, config.width)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
            self.norm = nn.LayerNorm(config.width)
            self.head = FastLinear(config.width, config.n_vocab, bias=config.head_bias)
        self.to_empty(device="cpu")
        self._initialise(generator or torch.Generator().manual_seed(0))

    @classmethod
    def seeded(cls, config: TransformerConfig, seed: int) -> SmallTransformer:
        """Fresh weights, equal for equal seeds.

        Examples:
            >>> a, b = (SmallTransformer.seeded(TransformerConfig(9), 3) for _ in range(2))
            >>> torch.equal(a.head.weight, b.head.weight)
            True
        """
        return cls(config, torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Linear layers uniform in +-1/sqrt(inputs), embeddings normal with deviation 0.02."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0, 0.02, generator=generator)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()  # ones and zeros: draws nothing

    @property
    def n_vocab(self) -> int:
        """V, tokens."""
        return self.config.n_vocab

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Logits [B, L, V] of the token after each position; arguments as ``hidden``."""
        logits: Tensor = self.head(self.hidden(tokens, valid))
        return logits

    def hidden(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Hidden states after the last norm, [B, L, D]: what the head reads.

        Args:
            tokens: [B, L] int64; any id in [0, V) at padding.
            valid: [B, L] bool, True where a token counts. Padding, on either side, is never looked
                at and has no position; its own states mean nothing. None: there is none.

        Raises:
            InputError: more positions than the context.
        """
        self.check_length(tokens.shape[-1])
        batch, length = tokens.shape
        if valid is None:
            position = torch.arange(length, device=tokens.device)
            mask = None
        else:
            position = (valid.cumsum(-1) - 1).clamp(min=0)
            near = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
            itself = torch.eye(length, dtype=torch.bool, device=tokens.device)
            mask = ((near & valid[:, None, :]) | itself)[:, None]  # [B, 1, L, L]

        def attend(_layer: int, qkv: Tensor) -> Tensor:
            q, k, v = self.split_heads(qkv)
            y = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None
            )
            return y.transpose(1, 2).reshape(batch, length, self.config.width)

        return self.run(self.embed(tokens, position), attend)

    def run(self, x: Tensor, attend: Attend) -> Tensor:
        """Hidden states [..., D] from embeddings [..., D] under a given attention.

        Everything else acts on each token by itself, so that the tokens may come padded, packed
        or one a sequence.
        """
        for layer, block in enumerate(self.blocks):
            x = block(x, lambda qkv, layer=layer: attend(layer, qkv))
        normed: Tensor = self.norm(x)
        return normed

    def split_heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [B, heads, L, D / heads], from [B, L, 3 D]."""
        batch, length, _ = qkv.shape
        parts = qkv.view(batch, length, 3, self.config.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        return q, k, v

    def embed(self, tokens: Tensor, position: Tensor) -> Tensor:
        """What the first layer reads, [..., D], from token ids [...] and positions [...]."""
        x: Tensor = self.embedding(tokens) + self.position(position)
        return x

    def check_length(self, length: int) -> None:
        """Raise ``InputError`` if a sequence of so many tokens is longer than the context."""
        if length > self.config.context:
            raise InputError(
                f"a sequence has {length} tokens, the context of this transformer has "
                f"{self.config.context}; shorten prompt or answer, or build it with more context"
            )

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and sizes (JSON) into a folder, each file whole.

        Examples:
            >>> import tempfile
            >>> folder = Path(tempfile.mkdtemp())
            >>> model = SmallTransformer.seeded(TransformerConfig(9), 3)
            >>> model.save(folder)
            >>> torch.equal(SmallTransformer.load(folder).head.weight, model.head.weight)
            True
        """
        from safetensors.torch import save_file

        weights = {name: x.detach().cpu().contiguous() for name, x in self.state_dict().items()}
        with replacing(Path(folder) / WEIGHTS_NAME) as temporary:
            save_file(weights, temporary)
        write_atomically(Path(folder) / CONFIG_NAME, json.dumps(asdict(self.config), indent=1))

    @classmethod
    def load(cls, folder: Path) -> SmallTransformer:
        """Read what ``save`` wrote.

        Raises:
            ModelError: a file is missing, unreadable or does not fit the other.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        known = {field.name for field in fields(TransformerConfig)}
        try:
            sizes = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
            if not isinstance(sizes, dict) or set(sizes) - known:
                raise ValueError(f"the sizes must be an object with the names {sorted(known)}")
            model = cls(TransformerConfig(**sizes))
            model.load_state_dict(load_file(folder / WEIGHTS_NAME))
        except Exception as error:  # safetensors and torch raise kinds of their own
            raise ModelError(
                f"the transformer in {folder} can't be loaded: {type(error).__name__}: {error}. "
                f"Expected {CONFIG_NAME} and {WEIGHTS_NAME} as SmallTransformer.save writes them."
            ) from error
        return model
