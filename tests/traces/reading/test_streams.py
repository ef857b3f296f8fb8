"""Answers that were streamed are read as the wholes that their parts make up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from entropilot.traces import ReadOptions, Traces, load_traces
from entropilot.traces.reading import documents
from entropilot.traces.reading.shards import plan_shards

TEXTS = ["Two", " and", " six"]


def listed(text: str) -> dict[str, Any]:
    best = {"token": text, "logprob": -0.25, "bytes": list(text.encode())}
    return {**best, "top_logprobs": [best, {"token": "x", "logprob": -2.0, "bytes": [120]}]}


def chat(name: str) -> list[dict[str, Any]]:
    head = {"id": name, "object": "chat.completion.chunk"}
    parts = [
        {"index": 0, "delta": {"content": t}, "logprobs": {"content": [listed(t)]}} for t in TEXTS
    ]
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return [*({**head, "choices": [p]} for p in [*parts, last]), {**head, "choices": []}]


def legacy(name: str) -> list[dict[str, Any]]:
    parts = []
    for t in TEXTS:
        lists = {
            "tokens": [t],
            "token_logprobs": [-0.25],
            "top_logprobs": [{t: -0.25, "x": -2.0}],
            "text_offset": [0],
        }
        end = "stop" if t == TEXTS[-1] else None
        choice = {"index": 0, "text": t, "logprobs": lists, "finish_reason": end}
        parts.append({"id": name, "object": "text_completion", "choices": [choice]})
    return parts


def llamacpp(name: str) -> list[dict[str, Any]]:
    parts = [{"content": t, "stop": False, "completion_probabilities": [listed(t)]} for t in TEXTS]
    last = {"content": "", "stop": True, "stop_type": "eos", "model": name}
    return [*parts, {**last, "generation_settings": {"n_probs": 2}}]


def tgi(name: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for i, t in enumerate(TEXTS):
        best = {"id": i, "text": t, "logprob": -0.25, "special": False}
        other = {"id": 9, "text": "x", "logprob": -2.0, "special": False}
        parts.append(
            {"index": i, "token": best, "top_tokens": [best, other], "generated_text": None}
        )
    parts[-1] |= {"generated_text": "".join(TEXTS), "details": {"finish_reason": "eos_token"}}
    return [{**part, "x_group": name} for part in parts]


def ollama(name: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"model": name, "message": {"content": t}, "done": False, "logprobs": [listed(t)]}
        for t in TEXTS
    ]
    end = {"done": True, "done_reason": "stop"}
    return [*parts, {"model": name, "message": {"content": ""}, **end}]


def generate(name: str) -> list[dict[str, Any]]:
    parts = [{"model": name, "response": t, "done": False, "logprobs": [listed(t)]} for t in TEXTS]
    return [*parts, {"model": name, "response": "", "done": True, "done_reason": "stop"}]


KINDS = [chat, legacy, llamacpp, tgi, ollama, generate]


def check(traces: Traces) -> None:
    assert [traces.token_pieces(i) for i in (0, 1)] == [[t.encode() for t in TEXTS]] * 2
    assert traces.rows["text"].to_list() == ["".join(TEXTS)] * 2
    assert traces.rows["finish_reason"].to_list() == ["stop"] * 2
    assert traces.tokens.n_top.tolist() == [2] * 6
    assert traces.tokens.top_logprob[:, 1].tolist() == [-2.0] * 6


@pytest.mark.parametrize("way", [0, 1 << 40], ids=["scanner", "ordinary"])
@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_joined(
    kind: Any, way: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "FAST_AFTER", way)
    parts = [json.dumps(part) for part in kind("a") + kind("b")]
    check(load_traces(kind("a") + kind("b")))
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(parts))
    check(load_traces(path))
    assert len(plan_shards(path, 50)) == 1  # a cut would part an answer
    path.write_text("".join(f"event: message\ndata: {part}\n\n" for part in parts))
    check(load_traces(path))


def test_interleaved_answers_with_ids_are_kept_apart() -> None:
    for kind in (chat, legacy):
        check(load_traces([p for pair in zip(kind("a"), kind("b"), strict=True) for p in pair]))


def test_an_answer_that_was_cut_off_is_read_as_far_as_it_goes() -> None:
    for kind in KINDS:
        traces = load_traces(kind("a")[:2], options=ReadOptions(strict=True))
        assert traces.token_pieces(0) == [b"Two", b" and"]
        assert traces.rows["finish_reason"].to_list() == [None]


def test_whole_completions_are_no_stream() -> None:
    item = {
        "id": "a",
        "object": "text_completion",
        "choices": [{"text": "x", "finish_reason": "stop"}],
    }
    assert len(load_traces([item, item])) == 2


def test_events_of_the_responses_api() -> None:
    part = {"type": "output_text", "text": "Two", "logprobs": [listed("Two")]}
    whole = {"id": "r", "object": "response", "output": [{"type": "message", "content": [part]}]}
    events = [
        {"type": "response.created", "response": {**whole, "output": []}},
        {"type": "response.output_text.delta", "delta": "Two", "logprobs": [listed("Two")]},
        {"type": "response.completed", "response": {**whole, "status": "completed"}},
    ]
    traces = load_traces(events)
    assert len(traces) == 1
    assert traces.token_pieces(0) == [b"Two"]
