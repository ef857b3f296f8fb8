"""Whatever is fed to the readers, the outcome is traces or an EntropilotError."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from entropilot.errors import EntropilotError
from entropilot.traces import ReadOptions
from entropilot.traces.reading import documents
from entropilot.traces.reading.sources import _load

pytestmark = pytest.mark.slow

TOKEN: dict[str, Any] = {"token": "a", "logprob": -1}

SEEDS: list[dict[str, Any]] = [
    {
        "id": "a",
        "choices": [
            {
                "message": {"content": "x"},
                "logprobs": {
                    "content": [
                        {
                            "token": " a\n",
                            "logprob": -0.5,
                            "bytes": [32, 97, 10],
                            "top_logprobs": [
                                {"token": " a\n", "logprob": -0.5, "bytes": [32, 97, 10]},
                                {"token": "é🙂", "logprob": -1.5e0, "bytes": None},
                            ],
                            "x_token_id": 4,
                            "x_top_ids": [4, 5],
                            "x_entropy_full": 1.0,
                            "x_jsd_full": None,
                        }
                    ]
                },
            }
        ],
        "x_problem": {"id": "p", "answer": 8},
        "x_correct": True,
    },
    {
        "choices": [
            {
                "text": "a",
                "logprobs": {
                    "tokens": ["a"],
                    "token_logprobs": [-1],
                    "top_logprobs": [{"a": -1}],
                },
            }
        ]
    },
    {
        "request_id": "r",
        "outputs": [
            {
                "text": "a",
                "token_ids": [1],
                "logprobs": [{"1": {"logprob": -1, "rank": 1, "decoded_token": "a"}}],
            }
        ],
    },
    {
        "content": "a",
        "completion_probabilities": [
            {**TOKEN, "id": 1, "bytes": [97], "top_logprobs": [{"id": 1, **TOKEN}]}
        ],
    },
    {
        "content": "a",
        "completion_probabilities": [{"content": "a", "probs": [{"tok_str": "a", "prob": 0.5}]}],
    },
    {
        "text": "a",
        "meta_info": {
            "id": "s",
            "output_token_logprobs": [[-1, 3, "a"]],
            "output_top_logprobs": [[[-1, 3, "a"]]],
            "input_token_logprobs": [[None, 3, "a"]],
        },
    },
    {
        "object": "response",
        "output": [{"type": "message", "content": [{"text": "a", "logprobs": [TOKEN]}]}],
    },
    {
        "id": "x",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": None}],
    },
    {
        "id": "y",
        "object": "text_completion",
        "choices": [
            {
                "index": 0,
                "text": "a",
                "logprobs": {
                    "tokens": ["a"],
                    "token_logprobs": [None],
                    "top_logprobs": [{"a": -1}],
                },
                "finish_reason": None,
            }
        ],
        "usage": {"prompt_tokens": 1},
    },
    {"content": "a", "stop": False, "completion_probabilities": [{**TOKEN, "top_logprobs": []}]},
    {
        "index": 1,
        "token": {"id": 1, "text": "a", "logprob": -1},
        "top_tokens": [{"id": 1, "text": "a", "logprob": -1}],
        "generated_text": "a",
        "details": {"finish_reason": "length"},
    },
    {
        "generated_text": "a",
        "details": {
            "tokens": [{"id": 1, "text": "a", "logprob": -1}],
            "top_tokens": [[{"id": 1, "text": "a", "logprob": -1}]],
        },
    },
    {
        "choices": [{"message": {"content": "a"}, "logprobs": None}],
        "prompt_token_ids": [5, 1],
        "prompt_logprobs": [
            None,
            {"1": {"logprob": -1, "rank": 1, "decoded_token": "a"}},
        ],
    },
    {"model": "g", "message": {"content": "a"}, "done": False, "logprobs": [TOKEN]},
    {"model": "g", "response": "a", "done": True, "logprobs": [TOKEN]},
    {"content": "a", "response_metadata": {"logprobs": {"content": [TOKEN]}}},
    {
        "kind": "response",
        "parts": [{"part_kind": "text", "content": "a"}],
        "provider_details": {"logprobs": [TOKEN]},
    },
    {"prompt": ["a"], "completion": ["b"], "reward": [1.0]},
    {"input": "q", "output": "a", "score": 1.0, "gts": "b", "step": 1},
]

ODD: list[Any] = [
    None, True, 0, -1, 3, 1e308, -1e308, 2**70, "", "text", "\ud800", [], {}, [[]], [None],
    {"a": None}, float("nan"), float("inf"), float("-inf"), [1, "a"], -9999.0, 300,
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from places(item, (*path, i))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def outcome(source: Any, part: str = "completion") -> str:
    try:
        n = sum(len(batch.traces) for batch in _load(source, ReadOptions(part=part)))
    except EntropilotError:
        return "error"
    return "traces" if n else "nothing"


@pytest.mark.parametrize("way", [0, 1 << 40], ids=["scanner", "ordinary"])
def test_odd_values_anywhere(monkeypatch: pytest.MonkeyPatch, way: int) -> None:
    monkeypatch.setattr(documents, "FAST_AFTER", way)
    rng = random.Random(0)
    seen = set()
    for _ in range(1000):
        item = rng.choice(SEEDS)
        for _ in range(rng.choice((1, 1, 2))):
            path = rng.choice(list(places(item)))
            item = replaced(item, path, rng.choice(ODD))
        seen.add(outcome(json.dumps(item).encode()))
        seen.add(outcome(item))
        outcome(item, "prompt")
    assert {"traces", "nothing"} <= seen


@pytest.mark.parametrize("way", [0, 1 << 40], ids=["scanner", "ordinary"])
def test_odd_bytes_anywhere(monkeypatch: pytest.MonkeyPatch, way: int) -> None:
    monkeypatch.setattr(documents, "FAST_AFTER", way)
    rng = random.Random(1)
    seen = set()
    for _ in range(1000):
        raw = bytearray(json.dumps(rng.choice(SEEDS)).encode())
        for _ in range(rng.choice((1, 2, 8))):
            at = rng.randrange(len(raw))
            how = rng.randrange(4)
            if how == 0:
                raw[at] = rng.randrange(256)
            elif how == 1:
                del raw[at : at + rng.randrange(1, 20)]
            elif how == 2:
                raw[at:at] = raw[max(0, at - 30) : at]
            else:
                raw[at:at] = rng.choice(
                    (b'"', b"\\", b"[", b"}", b"\n", b"\\ud800", b"1e999", b"-")
                )
            if not raw:
                break
        seen.add(outcome(bytes(raw)))
    assert "traces" in seen


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 200_000, b"[[" * 1000 + b"\n" + b"]]"])
def test_deep_nesting(text: bytes) -> None:
    assert outcome(text) in ("nothing", "error")
