"""What an inspector of reasoning chains must be able to do.

The measures need no particular model: an object with one of these three sets of methods will do.

Legend: K steps of a chain, M tokens of the answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from entropilot.information import TopK


class Inspector(Protocol):
    """A model that can be asked for its next-token distributions."""

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, nothing added."""
        ...

    def logits(self, ids: Sequence[int], last: int) -> NDArray[Any]:
        """[last, V] logits at the last positions of ``ids``: row j predicts what follows it."""
        ...


@runtime_checkable
class BranchingInspector(Protocol):
    """An inspector that reads all prefixes of a chain in one go."""

    def branches(
        self, segments: Sequence[Sequence[int]], suffix: Sequence[int], last: int
    ) -> NDArray[Any]:
        """[K+1, last, V] logits at the last positions of segments[0..k] + suffix, for every k."""
        ...


class AnswerLists(NamedTuple):
    """What a server shows of its predictions along an answer, after 0, 1, ... K steps."""

    rows: tuple[TopK, ...]  # K+1 of M rows each
    targets: NDArray[np.int64]  # [M] the answer's tokens, numbered as in the rows
    step_tokens: tuple[int, ...]  # [K] length of each step


@runtime_checkable
class ListingInspector(Protocol):
    """An inspector that shows only the most likely tokens, such as a server."""

    def answer_lists(self, segments: Sequence[str], connector: str, answer: str) -> AnswerLists:
        """Lists at the answer's positions in segments[0] + ... + segments[k] + connector + answer.

        Segments are the question and the steps, each step with the line break before it.
        """
        ...
