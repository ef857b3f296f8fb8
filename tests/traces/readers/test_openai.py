"""OpenAI's shapes besides the plain chat completion."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from entropilot.errors import FormatError
from entropilot.traces import ReadReport, Traces, load_traces
from entropilot.traces.readers.detect import detect

EMOJI = "🙂".encode()


def name_of(item: Any) -> str:
    return detect(item)[0].name


def legacy(**logprobs: Any) -> dict[str, Any]:
    text = logprobs.get("tokens", "")
    return {"id": "l", "choices": [{"text": "".join(text), "index": 0, "logprobs": logprobs}]}


def test_legacy_completions() -> None:
    item = legacy(
        tokens=["a", "b"],
        token_logprobs=[None, -0.5],
        top_logprobs=[None, {"b": -0.5, "c": -1.5}],
        text_offset=[0, 1],
    )
    traces = load_traces(item)
    assert name_of(item) == "OpenAI completions"
    assert traces.token_pieces(0) == [b"a", b"b"]
    assert np.isnan(traces.tokens.logprob[0])
    assert traces.tokens.n_top.tolist() == [0, 2]
    assert traces.rows["text"][0] == "ab"


def test_legacy_lists_must_fit() -> None:
    with pytest.raises(FormatError, match="token_logprobs needs one entry for each of the 2"):
        load_traces(legacy(tokens=["a", "b"], token_logprobs=[-1.0]))
    with pytest.raises(FormatError, match="known are content"):
        load_traces(legacy(words=["a"]))


def test_batch_output_and_wrappers(chat: Any, token: Any) -> None:
    body = chat([token("a", -1.0)])
    batch = {"id": "b", "custom_id": "q7", "response": {"status_code": 200, "body": body}}
    row = load_traces(batch).rows.row(0, named=True)
    assert (row["id"], row["group"]) == ("q7", "q7")
    request = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.3}
    wrapped = {"request": request, "response": body, "x_correct": False}
    row = load_traces(wrapped).rows.row(0, named=True)
    assert (row["prompt"], row["temperature"], row["correct"]) == ("hi", 0.3, False)
    with pytest.raises(FormatError, match="keys found: custom_id, response"):
        load_traces({"custom_id": "q8", "response": {"body": {"error": "x"}}})


def test_saved_logprobs_alone(token: Any) -> None:
    traces = load_traces({"content": [token("a", -1.0)], "correct": True})
    assert traces.token_pieces(0) == [b"a"]
    assert traces.rows["correct"][0]
    assert traces.rows["text"][0] == "a"


def test_reasoning_without_logprobs_keeps_its_text() -> None:
    message = {"content": "42", "reasoning_content": "six times seven"}
    traces = load_traces({"choices": [{"message": message, "logprobs": None}]})
    assert traces.rows["text"][0] == "<think>six times seven</think>42"
    assert len(traces.tokens) == 0


def test_text_in_parts(chat: Any) -> None:
    item = chat(None)
    item["choices"][0]["message"]["content"] = [{"type": "text", "text": "a"}, {"text": "b"}]
    assert load_traces(item).rows["text"][0] == "ab"


def test_streamed_chunks_are_joined_by_id(token: Any) -> None:
    def chunk(name: str, text: str | None, finish: str | None = None) -> dict[str, Any]:
        logprobs = {"content": [token(text, -1.0)]} if text else None
        choice = {"index": 0, "delta": {"content": text or ""}, "logprobs": logprobs}
        choice["finish_reason"] = finish
        return {"id": name, "object": "chat.completion.chunk", "model": "m", "choices": [choice]}

    lines = [chunk("x", "a"), chunk("y", "q"), chunk("x", "b"), chunk("x", None, "stop")]
    text = "\n".join("data: " + json.dumps(line) for line in lines) + "\ndata: [DONE]\n"
    traces = load_traces(text.encode())
    assert traces.rows["id"].to_list() == ["x", "y"]
    assert traces.rows["text"].to_list() == ["ab", "q"]
    assert traces.rows["finish_reason"].to_list() == ["stop", None]
    assert traces.tokens.lengths.tolist() == [2, 1]


def test_responses(token: Any) -> None:
    part = {"type": "output_text", "text": "ab", "logprobs": [token("a", -1), token("b", -2)]}
    item = {
        "object": "response",
        "id": "r",
        "status": "completed",
        "output": [{"type": "reasoning"}, {"type": "message", "content": [part]}],
    }
    traces = load_traces(item)
    assert name_of(item) == "OpenAI responses"
    assert traces.token_pieces(0) == [b"a", b"b"]
    assert traces.rows["text"][0] == "ab"


def test_errors_carry_the_path(chat: Any, token: Any) -> None:
    good = token("a", -1.0, [("a", -1.0)])
    for change, message in (
        ({"logprob": "x"}, r"choices\[0\]\.logprobs\.content\[1\]\.logprob is 'x'; a number"),
        ({"token": None, "bytes": None}, "neither token nor bytes"),
        ({"bytes": [300]}, r"content\[1\]\.bytes holds something other than 0 to 255"),
        ({"top_logprobs": {}}, r"content\[1\]\.top_logprobs is a dict, not a list"),
        ({"top_logprobs": [1]}, r"content\[1\]\.top_logprobs\[0\] is 1; an object"),
        ({"x_entropy_full": -2}, r"x_entropy_full is -2; it lies between 0 and 25 nats"),
        ({"x_jsd_full": 0.8}, r"x_jsd_full is 0\.8"),
        ({"x_top_ids": [1, 2]}, r"content\[1\]\.x_top_ids needs one id for each"),
    ):
        with pytest.raises(FormatError, match=message):
            load_traces(json.dumps(chat([good, {**good, **change}])))


def four_token_emoji() -> dict[str, dict[str, Any]]:
    """One emoji in four tokens, as three dialects show it."""
    by_bytes = [
        {"token": f"\\x{b:02x}", "logprob": -0.5, "bytes": [b], "top_logprobs": []} for b in EMOJI
    ]
    by_name = [{"token": f"<0x{b:02X}>", "logprob": -0.5, "top_logprobs": []} for b in EMOJI]
    escaped = [f"bytes:\\x{b:02x}" for b in EMOJI]
    return {
        "bytes list": {"choices": [{"message": {}, "logprobs": {"content": by_bytes}}]},
        "byte token": {"choices": [{"message": {}, "logprobs": {"content": by_name}}]},
        "escaped text": legacy(tokens=escaped, token_logprobs=[-0.5] * 4),
    }


@pytest.mark.parametrize("name", list(four_token_emoji()))
def test_an_emoji_in_four_tokens_is_joined_on_bytes(name: str) -> None:
    for source in (four_token_emoji()[name], json.dumps(four_token_emoji()[name])):
        traces = load_traces(source)
        assert traces.token_pieces(0) == [bytes([b]) for b in EMOJI]
        assert b"".join(traces.token_pieces(0)).decode() == "🙂"


def five_dialects(low: float) -> dict[str, dict[str, Any]]:
    """One token with an impossible alternative, as five dialects write it."""
    entries = [{"token": "a", "logprob": -0.25}, {"token": "b", "logprob": low}]
    return {
        "chat": {
            "choices": [
                {"message": {}, "logprobs": {"content": [{**entries[0], "top_logprobs": entries}]}}
            ]
        },
        "completions": legacy(
            tokens=["a"], token_logprobs=[-0.25], top_logprobs=[{"a": -0.25, "b": low}]
        ),
        "vllm": {
            "request_id": "0",
            "outputs": [
                {
                    "text": "a",
                    "token_ids": [1],
                    "logprobs": [
                        {
                            "1": {"logprob": -0.25, "rank": 1, "decoded_token": "a"},
                            "2": {"logprob": low, "rank": 2, "decoded_token": "b"},
                        }
                    ],
                }
            ],
        },
        "llama.cpp": {
            "content": "a",
            "completion_probabilities": [{**entries[0], "top_logprobs": entries}],
        },
        "sglang": {
            "text": "a",
            "meta_info": {
                "output_token_logprobs": [[-0.25, 1, "a"]],
                "output_top_logprobs": [[[-0.25, 1, "a"], [low, 2, "b"]]],
            },
        },
    }


@pytest.mark.parametrize("low", [float("-inf"), -9999.0, -1000.0, -100.0])
def test_sentinels_in_five_dialects_give_one_result(low: float) -> None:
    def key(traces: Traces) -> Any:
        return (
            traces.vocabulary.pieces(traces.tokens.top_piece[0]),
            traces.tokens.top_logprob.tolist(),
            traces.tokens.logprob.tolist(),
            traces.tokens.n_top.tolist(),
            traces.rows["text"].to_list(),
        )

    results = [key(load_traces(json.dumps(item))) for item in five_dialects(low).values()]
    assert results == [([b"a", b"b"], [[-0.25, -np.inf]], [-0.25], [2], ["a"])] * 5


def test_reports_of_nothing_say_nothing() -> None:
    assert ReadReport().sentences() == ()
