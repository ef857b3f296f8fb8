"""vLLM, llama.cpp, Ollama and SGLang in their own shapes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from entropilot.errors import EntropilotError, FormatError, InputError
from entropilot.traces import load_traces
from entropilot.traces.readers.detect import detect


def vllm(steps: list[Any], ids: list[int], **more: Any) -> dict[str, Any]:
    output = {"index": 0, "text": "x", "token_ids": ids, "logprobs": steps, "finish_reason": "stop"}
    return {"request_id": "r", "prompt": "p", "outputs": [output], **more}


def lp(logprob: float, rank: int, text: str | None) -> dict[str, Any]:
    return {"logprob": logprob, "rank": rank, "decoded_token": text}


def test_vllm_request_outputs() -> None:
    steps = [
        {"7": lp(-0.1, 1, " a"), "8": lp(-3.0, 2, "b")},
        {"9": lp(-8.0, 40, "z"), "7": lp(-0.2, 1, " a"), "8": lp(-2.0, 2, "b")},
    ]
    item = vllm(steps, [7, 9])
    for source in (item, json.dumps(item, sort_keys=True)):
        traces = load_traces(source)
        assert traces.token_pieces(0) == [b" a", b"z"]
        assert traces.tokens.n_top.tolist() == [2, 2]
        assert traces.tokens.logprob.tolist() == pytest.approx([-0.1, -8.0])
        assert traces.tokens.top_logprob[1].tolist() == pytest.approx([-0.2, -2.0, -8.0])
        assert traces.vocabulary.token_id[traces.tokens.top_piece[1]].tolist() == [7, 8, 9]
        assert traces.rows.row(0, named=True)["prompt"] == "p"


def test_vllm_without_text_or_with_plain_numbers() -> None:
    traces = load_traces(vllm([{"7": lp(-0.1, 1, None)}, {"8": -0.3}], [7, 8]))
    assert traces.token_pieces(0) == [b"token_id:7", b"token_id:8"]
    assert traces.vocabulary.token_id.tolist() == [7, 8]
    with pytest.raises(FormatError, match="one entry for each of token_ids"):
        load_traces(vllm([{}], [7, 8]))


def test_vllm_server_is_named_and_its_id_strings_are_ids(chat: Any, token: Any) -> None:
    item = chat([token("token_id:7", -0.1, [("token_id:7", -0.1), ("token_id:8", -3.0)])])
    item["choices"][0]["stop_reason"] = None
    assert detect(item)[0].name == "vLLM chat completions"
    for source in (item, json.dumps(item)):
        traces = load_traces(source)
        assert traces.vocabulary.token_id[traces.tokens.top_piece[0]].tolist() == [7, 8]


def test_vllm_chat_cut_at_k_with_the_sampled_token_first(chat: Any, token: Any) -> None:
    item = chat(
        [token("z", -8.0, [("z", -8.0), ("a", -0.2)]), token("a", -0.2, [("a", -0.2), ("b", -2.0)])]
    )
    traces = load_traces(item)
    assert traces.tokens.n_top.tolist() == [1, 2]
    assert traces.tokens.top_logprob[0].tolist() == pytest.approx([-0.2, -8.0])


def test_llamacpp_of_before_december_2024() -> None:
    probs = [
        {"tok_str": " a", "prob": 0.5},
        {"tok_str": "b", "prob": 0.25},
        {"tok_str": "c", "prob": 0},
    ]
    item = {
        "content": " a",
        "completion_probabilities": [{"content": " a", "probs": probs}],
        "generation_settings": {"n_probs": 3, "temperature": 0.8},
        "stopped_eos": True,
    }
    traces = load_traces(item)
    assert traces.tokens.top_logprob[0].tolist() == pytest.approx(
        [math.log(0.5), math.log(0.25), -math.inf]
    )
    assert traces.tokens.logprob[0] == pytest.approx(math.log(0.5))
    row = traces.rows.row(0, named=True)
    assert (row["logprobs_kind"], row["temperature"], row["finish_reason"]) == (
        "sampling",
        0.8,
        "stop",
    )


def test_llamacpp_of_today() -> None:
    entry = {"id": 5, "token": " a", "bytes": [32, 97], "logprob": -0.1}
    other = {"id": 6, "token": "b", "bytes": [98], "logprob": -3.0}
    item = {
        "content": " a",
        "model": "m.gguf",
        "stop_type": "limit",
        "completion_probabilities": [{**entry, "top_logprobs": [entry, other]}],
    }
    traces = load_traces(item)
    row = traces.rows.row(0, named=True)
    assert (row["logprobs_kind"], row["model"], row["finish_reason"]) == ("raw", "m.gguf", "length")
    assert traces.vocabulary.token_id.tolist() == [5, 6]


def test_llamacpp_after_sampling() -> None:
    entry = {"id": 5, "token": "a", "bytes": [97], "prob": 0.75}
    other = {"id": 6, "token": "b", "bytes": [98], "prob": 0.25}
    item = {"content": "a", "completion_probabilities": [{**entry, "top_probs": [entry, other]}]}
    traces = load_traces(item)
    assert traces.rows["logprobs_kind"][0] == "sampling"
    assert np.exp(traces.tokens.top_logprob[0]).tolist() == pytest.approx([0.75, 0.25])
    entry["prob"] = 75
    with pytest.raises(InputError, match="holds 75; a probability lies between 0 and 1"):
        load_traces({"content": "a", "completion_probabilities": [{**entry, "top_probs": []}]})


def test_ollama(token: Any) -> None:
    item = {"model": "g", "response": "a", "done": True, "done_reason": "stop"}
    assert load_traces(item).tokens.lengths.tolist() == [0]
    traces = load_traces({**item, "logprobs": [token("a", -0.5, [("a", -0.5)])]})
    assert traces.token_pieces(0) == [b"a"]
    chat = {"model": "g", "message": {"role": "assistant", "content": "b"}, "done": True}
    assert load_traces(chat).rows["text"][0] == "b"


def test_sglang() -> None:
    meta = {
        "id": "s",
        "finish_reason": {"type": "stop"},
        "output_token_logprobs": [[-0.5, 3, None], [-1.5, 4, "b"]],
        "output_top_logprobs": [[[-0.5, 3, None]], None],
    }
    traces = load_traces({"text": "ab", "meta_info": meta})
    assert traces.token_pieces(0) == [b"token_id:3", b"b"]
    assert traces.tokens.n_top.tolist() == [1, 0]
    assert traces.rows["finish_reason"][0] == "stop"


@pytest.mark.parametrize(
    "item",
    [
        vllm([[1]], [7]),
        vllm([{"x": 1}], [7]),
        vllm([{"7": {"logprob": "low"}}], [7]),
        {"content": "a", "completion_probabilities": [3]},
        {"content": "a", "completion_probabilities": [{"content": 1, "probs": []}]},
        {"content": "a", "completion_probabilities": [{"token": "a", "top_probs": 3}]},
        {"text": "a", "meta_info": {"output_token_logprobs": 3}},
        {"text": "a", "meta_info": {"output_token_logprobs": [[1, 2]]}},
        {"model": "g", "response": "a", "done": True, "logprobs": "none"},
    ],
)
def test_broken_records_are_refused(item: Any) -> None:
    with pytest.raises(EntropilotError):
        load_traces(item)
