"""What the tests of reading share: small answers, and equality of traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from entropilot.traces import Traces


def _token(text: str, logprob: float, top: Sequence[tuple[str, float]] = ()) -> dict[str, Any]:
    listed = [{"token": t, "logprob": v, "bytes": list(t.encode())} for t, v in top]
    return {
        "token": text,
        "logprob": logprob,
        "bytes": list(text.encode()),
        "top_logprobs": listed,
    }


def _chat(content: Any, **more: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "text"},
        "logprobs": {"content": content},
        "finish_reason": "stop",
    }
    return {"id": "c1", "model": "m", "choices": [choice], **more}


def _assert_same(a: Traces, b: Traces, *, columns: bool = True) -> None:
    if columns:
        assert a.rows.equals(b.rows)
    assert np.array_equal(a.tokens.offsets, b.tokens.offsets)
    names = lambda traces: [  # noqa: E731
        *zip(traces.vocabulary.token_id.tolist(), traces.vocabulary.pieces(), strict=True),
        None,
    ]
    in_a, in_b = names(a), names(b)
    assert [in_a[i] for i in a.tokens.piece] == [in_b[i] for i in b.tokens.piece]
    tops = [
        [[names[i] for i in row] for row in traces.tokens.top_piece]
        for traces, names in ((a, in_a), (b, in_b))
    ]
    assert tops[0] == tops[1]
    assert np.array_equal(a.tokens.n_top, b.tokens.n_top)
    for name in ("logprob", "top_logprob", "entropy", "jsd"):
        x, y = getattr(a.tokens, name), getattr(b.tokens, name)
        assert (x is None) == (y is None), name
        if x is not None:
            # two correct readers of one decimal may differ in the last bit of float32
            np.testing.assert_allclose(x, y, rtol=2e-7, atol=0, err_msg=name)


@pytest.fixture(scope="session")
def token() -> Callable[..., dict[str, Any]]:
    """Maker of one token: text, log-prob, [(text, log-prob), ...]."""
    return _token


@pytest.fixture(scope="session")
def chat() -> Callable[..., dict[str, Any]]:
    """Maker of a chat completion around a list of tokens."""
    return _chat


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Check that two tables hold the same traces, whatever the order of their vocabularies."""
    return _assert_same
