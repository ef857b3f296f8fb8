"""An inspector of reasoning chains on a local language model, with tree attention.

All prefixes of a chain are read in one forward pass: the chain once, then one copy of connector and
answer for every prefix, each of which sees its own prefix and itself only.

Legend: L tokens of question and steps, K steps, S tokens of connector and answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError, LimitError
from entropilot.models.loaders import LanguageModel


@dataclass(frozen=True)
class NaiveInspector:
    """Reads every prefix on its own: K+1 passes a chain. The plain form, to compare with.

    Examples:
        >>> from entropilot.models.loaders import load_model
        >>> NaiveInspector(load_model("tiny")).logits([72, 105], last=1).shape
        (1, 257)
    """

    model: LanguageModel

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, nothing added."""
        return self.model.encode(text)

    def logits(self, ids: Sequence[int], last: int) -> NDArray[np.float32]:
        """[last, V] logits at the last positions: row j predicts what follows it.

        Raises:
            LimitError: more tokens than the context.
            InputError: fewer tokens than ``last``.
        """
        if not 1 <= last <= len(ids):
            raise InputError(f"{last} rows asked for from {len(ids)} tokens")
        _check_context(len(ids), self.model)
        rows = np.arange(len(ids) - last, len(ids))
        return _forward(self.model, np.asarray(ids), rows, None, None)


@dataclass(frozen=True)
class TreeInspector(NaiveInspector):
    """Reads all prefixes of a chain in one pass.

    Examples:
        >>> from entropilot.models.loaders import load_model
        >>> inspector = TreeInspector(load_model("tiny"))
        >>> inspector.branches([[72, 105], [32, 33]], [61], last=1).shape
        (2, 1, 257)
    """

    def branches(
        self, segments: Sequence[Sequence[int]], suffix: Sequence[int], last: int
    ) -> NDArray[np.float32]:
        """[K+1, last, V] logits at the last positions of segments[0..k] + suffix, for every k.

        Args:
            segments: tokens of the question and of each step.
            suffix: S tokens of the connector and of the answer up to its last token but one.
            last: rows wanted of each branch, 1 to S.

        Raises:
            LimitError: the longest branch does not fit the model's context.
            InputError: ``last`` is out of range.
        """
        ends = np.cumsum([len(segment) for segment in segments])
        n_chain, n_suffix = int(ends[-1]), len(suffix)
        if not 1 <= last <= n_suffix:
            raise InputError(f"{last} rows asked for from a suffix of {n_suffix} tokens")
        if ends[0] == 0:
            raise InputError("the question has no tokens; the inspector needs the problem to read")
        _check_context(n_chain + n_suffix, self.model)
        ids = np.concatenate([*map(np.asarray, segments), np.tile(suffix, len(ends))])
        inside = np.arange(n_suffix)
        position = np.concatenate([np.arange(n_chain), (ends[:, None] + inside).ravel()])
        starts = n_chain + n_suffix * np.arange(len(ends))
        rows = (starts[:, None] + inside[n_suffix - last :]).ravel()
        seen = tree_mask(ends, n_suffix)
        logits = _forward(self.model, ids.astype(np.int64), rows, position, seen)
        return logits.reshape(len(ends), last, -1)


def tree_mask(ends: NDArray[np.int64], n_suffix: int) -> NDArray[np.bool_]:
    """Which token may look at which: [T, T] bool, T = L + (K+1) S.

    Chain tokens see the chain up to themselves. Suffix k sees the first ends[k] chain tokens and
    itself up to the looking token; it sees no other suffix.

    Args:
        ends: [K+1] tokens up to the end of the question and of each step; ends[-1] = L.
        n_suffix: S.

    Examples:
        >>> tree_mask(np.array([1, 2]), 1).astype(int).tolist()
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]
    """
    n_chain = int(ends[-1])
    total = n_chain + len(ends) * n_suffix
    branch = np.repeat(np.arange(len(ends)), n_suffix)
    mask = np.tri(total, dtype=bool)
    mask[n_chain:, :n_chain] = np.arange(n_chain) < ends[branch][:, None]
    mask[n_chain:, n_chain:] &= branch[:, None] == branch
    return mask


def _check_context(n_tokens: int, model: LanguageModel) -> None:
    if n_tokens > model.context:
        raise LimitError(
            f"question, steps and answer are {n_tokens} tokens to the inspector, more than the "
            f"context of {model.context} tokens of {model.name}; shorten the chain or take an "
            "inspector with a longer context"
        )


def _forward(
    model: LanguageModel,
    ids: NDArray[np.int64],
    rows: NDArray[np.int64],
    position: NDArray[np.int64] | None,
    seen: NDArray[np.bool_] | None,
) -> NDArray[np.float32]:
    """Logits [rows, V] of one pass without a cache; the head runs on the wanted rows only."""
    import torch

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
