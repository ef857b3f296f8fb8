"""Many continuations of one text in a single forward pass: a chain with branches.

Each branch sees its own beginning of the chain and itself, nothing of the other branches, and its
positions go on from where it left the chain. So its logits are those of a pass of its own.

Legend: L chain tokens, N branches, S_n tokens of branch n, T = L + sum of S_n, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import require
from entropilot.models.loaders import LanguageModel

Integers = NDArray[np.int64]

#: (ids [T], rows [R], position [T] or None, seen [T, T] bool or None) -> logits [R, V]
TreeForward = Callable[
    [Integers, Integers, "Integers | None", "NDArray[np.bool_] | None"], NDArray[np.float32]
]


def tree_mask(n_chain: int, ends: Integers, sizes: Integers) -> NDArray[np.bool_]:
    """Which token may look at which: [T, T] bool.

    Chain tokens see the chain up to themselves. Branch n sees the first ends[n] chain tokens and
    itself up to the looking token.

    Args:
        n_chain: L.
        ends: [N] chain tokens that a branch sees.
        sizes: [N] tokens of each branch.

    Examples:
        >>> tree_mask(2, np.array([1, 2]), np.array([1, 1])).astype(int).tolist()
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]
    """
    branch = np.repeat(np.arange(len(ends)), sizes)
    mask = np.tri(n_chain + len(branch), dtype=bool)
    mask[n_chain:, :n_chain] = np.arange(n_chain) < np.asarray(ends)[branch][:, None]
    mask[n_chain:, n_chain:] &= branch[:, None] == branch
    return mask


def tree_positions(n_chain: int, ends: Integers, sizes: Integers) -> Integers:
    """Position of each token in the text it belongs to, [T].

    Args:
        n_chain: L.
        ends: [N] chain tokens that a branch sees.
        sizes: [N] tokens of each branch.

    Examples:
        >>> tree_positions(3, np.array([1, 3]), np.array([2, 1])).tolist()
        [0, 1, 2, 1, 2, 3]
    """
    branch = np.repeat(np.arange(len(ends)), sizes)
    first = np.cumsum(sizes) - sizes
    inside = np.arange(len(branch)) - first[branch]
    positions: Integers = np.concatenate([np.arange(n_chain), np.asarray(ends)[branch] + inside])
    return positions


def language_model_forward(model: LanguageModel) -> TreeForward:
    """One pass of a transformers model without a cache; the head runs on the wanted rows only.

    Args:
        model: a loaded language model.

    Examples:
        >>> from entropilot.models.loaders import load_model
        >>> forward = language_model_forward(load_model("tiny"))
        >>> forward(np.array([72, 105]), np.array([1]), None, None).shape
        (1, 257)
    """
    torch = require("torch", extra="torch", purpose="running a language model")

    def forward(
        ids: Integers,
        rows: Integers,
        position: Integers | None,
        seen: NDArray[np.bool_] | None,
    ) -> NDArray[np.float32]:
        options: dict[str, Any] = {}
        device = model.model.device
        if seen is not None and position is not None:
            kind = model.model.dtype
            mask = torch.zeros(seen.shape, dtype=kind, device=device)
            mask.masked_fill_(~torch.from_numpy(seen).to(device), torch.finfo(kind).min)
            options = {
                "attention_mask": mask[None, None],
                "position_ids": torch.from_numpy(position).to(device)[None],
            }
        with torch.inference_mode():
            out = model.model(
                input_ids=torch.from_numpy(ids).to(device)[None],
                use_cache=False,
                logits_to_keep=torch.from_numpy(rows).to(device),
                **options,
            )
        logits: NDArray[np.float32] = out.logits[0, :, : model.n_vocab].float().cpu().numpy()
        return logits

    return forward


def small_transformer_forward(model: Any) -> TreeForward:
    """One pass of a ``SmallTransformer``.

    Args:
        model: a ``SmallTransformer``; branches need no more context than their own text.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> network = SmallTransformer.seeded(TransformerConfig(9), 0)
        >>> small_transformer_forward(network)(np.array([1, 2]), np.array([1]), None, None).shape
        (1, 9)
    """
    torch = require("torch", extra="torch", purpose="running a small transformer")

    def forward(
        ids: Integers,
        rows: Integers,
        position: Integers | None,
        seen: NDArray[np.bool_] | None,
    ) -> NDArray[np.float32]:
        device = model.head.weight.device
        tokens = torch.from_numpy(ids).to(device)[None]
        place = np.arange(len(ids)) if position is None else position
        model.check_length(int(place.max()) + 1)
        mask = np.tri(len(ids), dtype=bool) if seen is None else seen
        allowed = torch.from_numpy(mask).to(device)[None, None]

        def attend(_layer: int, qkv: Any) -> Any:
            q, k, v = model.split_heads(qkv)
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
            return y.transpose(1, 2).reshape(1, len(ids), -1)

        with torch.inference_mode():
            embedded = model.embed(tokens, torch.from_numpy(place).to(device)[None])
            hidden = model.run(embedded, attend)[0, torch.from_numpy(rows).to(device)]
            logits: NDArray[np.float32] = model.head(hidden).float().cpu().numpy()
        return logits

    return forward
