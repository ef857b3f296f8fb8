"""TGI's answers, and the messages that frameworks keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from entropilot.errors import FormatError
from entropilot.traces import load_traces
from entropilot.traces.reading.dialects.detect import detect


def test_tgi() -> None:
    best = {"id": 4, "text": "Hi", "logprob": -0.5, "special": False}
    other = {"id": 5, "text": "Ho", "logprob": -1.5, "special": False}
    details = {"finish_reason": "length", "tokens": [best], "top_tokens": [[best, other]]}
    item = {"generated_text": "Hi", "details": details}
    for source in (item, [item]):
        traces = load_traces(source)
        assert traces.tokens.top_logprob.tolist() == [[-0.5, -1.5]]
        assert traces.vocabulary.token_id.tolist() == [4, 5]
        assert traces.rows["finish_reason"].to_list() == ["length"]
    alone = {"generated_text": "Hi", "details": {**details, "top_tokens": None}}
    assert load_traces(alone).tokens.n_top.tolist() == [0]
    with pytest.raises(FormatError, match="top_tokens"):
        load_traces({**item, "details": {**details, "top_tokens": [3]}})


def test_langchain(token: Any) -> None:
    listed = [token("Hi", -0.5, [("Hi", -0.5), ("Ho", -1.5)])]
    meta = {"model_name": "m", "finish_reason": "stop", "logprobs": {"content": listed}}
    item = {"content": "Hi", "type": "ai", "id": "run-1", "response_metadata": meta}
    assert detect(item)[0].name == "LangChain messages"
    traces = load_traces(item)
    assert traces.token_pieces(0) == [b"Hi"]
    assert traces.rows.select("id", "model", "finish_reason").row(0) == ("run-1", "m", "stop")
    dropped = load_traces({**item, "response_metadata": {"model_name": "m"}})
    assert len(dropped.tokens) == 0


@pytest.mark.parametrize("name", ["provider_details", "vendor_details"])
def test_pydantic_ai(token: Any, name: str) -> None:
    listed = [token("Hi", -0.5, [("Hi", -0.5), ("Ho", -1.5)])]
    parts = [{"part_kind": "thinking", "content": "hm"}, {"part_kind": "text", "content": "Hi"}]
    request = {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": "?"}]}
    response = {"kind": "response", "parts": parts, "model_name": "m", name: {"logprobs": listed}}
    traces = load_traces([request, response])
    assert traces.rows.select("text", "model").rows() == [("Hi", "m")]
    np.testing.assert_allclose(traces.tokens.top_logprob, [[-0.5, -1.5]])
