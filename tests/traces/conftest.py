"""Small random logs for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from entropilot.traces.table import Tokens, Traces, Vocabulary, ragged_offsets, trace_rows


def build_traces(
    texts: Sequence[Sequence[bytes]], *, k: int = 4, seed: int = 0, **columns: Any
) -> Traces:
    """Traces whose tokens have the given texts and random lists of ``k`` alternatives."""
    rng = np.random.default_rng(seed)
    flat = [piece for text in texts for piece in text]
    n, width = len(flat), k + 3
    pieces = sorted({*flat, *(b"alternative%d" % i for i in range(width))})
    entry = {piece: i for i, piece in enumerate(pieces)}
    logits = np.sort(rng.normal(size=(n, width)) * 2, axis=1)[:, ::-1]
    logprob = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    top = np.array([rng.permutation(len(pieces))[:width] for _ in range(n)], np.int32)
    tokens = Tokens(
        ragged_offsets([len(text) for text in texts]),
        np.array([entry[piece] for piece in flat], np.int32),
        logprob[:, 0].astype(np.float32) if n else np.zeros(0, np.float32),
        top.reshape(n, width)[:, :k],
        logprob[:, :k].astype(np.float32),
        np.full(n, k, np.int16),
    )
    names = {"id": [f"t{i}" for i in range(len(texts))], "line": list(range(len(texts)))}
    return Traces(
        trace_rows({**names, **columns}, len(texts)), tokens, Vocabulary.from_pieces(pieces)
    )


@pytest.fixture(scope="session")
def make_traces() -> Callable[..., Traces]:
    return build_traces
