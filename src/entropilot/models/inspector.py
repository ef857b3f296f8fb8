"""An inspector of reasoning chains on a local language model, with tree attention.

All prefixes of a chain are read in one forward pass: the chain once, then one copy of connector and
answer for every prefix, each of which sees its own prefix and itself only.

Legend: L tokens of question and steps, K steps, S tokens of connector and answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError, LimitError
from entropilot.models.loaders import LanguageModel
from entropilot.models.tree_attention import (
    language_model_forward,
    tree_mask,
    tree_positions,
)


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
        return language_model_forward(self.model)(np.asarray(ids), rows, None, None)


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
        sizes = np.full(len(ends), n_suffix)
        starts = n_chain + n_suffix * np.arange(len(ends))
        rows = (starts[:, None] + np.arange(n_suffix - last, n_suffix)).ravel()
        position = tree_positions(n_chain, ends, sizes)
        seen = tree_mask(n_chain, ends, sizes)
        forward = language_model_forward(self.model)
        logits = forward(ids.astype(np.int64), rows, position, seen)
        return logits.reshape(len(ends), last, -1)


def _check_context(n_tokens: int, model: LanguageModel) -> None:
    if n_tokens > model.context:
        raise LimitError(
            f"question, steps and answer are {n_tokens} tokens to the inspector, more than the "
            f"context of {model.context} tokens of {model.name}; shorten the chain or take an "
            "inspector with a longer context"
        )
