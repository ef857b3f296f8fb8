"""Prompts that a log scores are the trace when they are asked for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, FormatError
from entropilot.traces import ReadOptions, ReadReport, load_traces
from entropilot.traces.measures import token_measures
from entropilot.traces.reading.sources import _load

PROMPT = ReadOptions(strict=True, part="prompt")


def listed(*entries: tuple[int, str, float, int]) -> dict[str, Any]:
    return {
        str(key): {"logprob": logprob, "rank": rank, "decoded_token": text}
        for key, text, logprob, rank in entries
    }


#: The prompt's second token is the most likely, its third is outside the two most likely.
STEPS = [
    None,
    listed((7, " a", -0.1, 1), (8, "b", -3.0, 2)),
    listed((9, "z", -8.0, 40), (7, " a", -0.2, 1), (8, "b", -2.0, 2)),
]
CHOICE = {"index": 0, "text": "out", "logprobs": None, "finish_reason": "length"}
CHAT = {
    "id": "c",
    "choices": [{"message": {"content": "out"}, "logprobs": None, "stop_reason": None}],
    "prompt_logprobs": STEPS,
}
COMPLETION = {"id": "c", "choices": [{**CHOICE, "prompt_logprobs": STEPS}]}
REQUEST = {
    "request_id": "c",
    "prompt": "p a z",
    "prompt_token_ids": [1, 7, 9],
    "prompt_logprobs": STEPS,
    "outputs": [{"index": 0, "text": "out", "token_ids": [3], "logprobs": None}],
}


@pytest.mark.parametrize("item", [CHAT, COMPLETION, REQUEST], ids=["chat", "completion", "request"])
def test_vllm_prompts(item: dict[str, Any]) -> None:
    for source in (item, json.dumps(item), json.dumps(item, indent=1)):
        traces = load_traces(source, options=PROMPT)
        assert traces.token_pieces(0) == [b" a", b"z"]
        assert traces.rows["text"].to_list() == [" az"]
        assert traces.rows["id"].to_list() == ["c"]
        assert traces.rows["answer"].to_list() == [None]
        assert traces.tokens.n_top.tolist() == [2, 2]
        assert traces.tokens.logprob.tolist() == pytest.approx([-0.1, -8.0])
        assert traces.tokens.top_logprob[1].tolist() == pytest.approx([-0.2, -2.0, -8.0])
        p = np.exp([-0.1, -3.0])
        p /= p.sum()
        entropy = token_measures(traces).entropy[0]
        assert entropy == pytest.approx(-(p * np.log(p)).sum(), rel=1e-6)


def test_sorted_keys_do_not_hide_the_prompts_token() -> None:
    named = {**COMPLETION["choices"][0], "prompt_token_ids": [1, 7, 9]}  # type: ignore[index]
    for item in (COMPLETION, {"id": "c", "choices": [named]}):
        text = json.dumps(item, sort_keys=True)
        assert load_traces(text, options=PROMPT).token_pieces(0) == [b" a", b"z"]


def test_a_log_of_scored_prompts_names_the_option() -> None:
    batches = _load(json.dumps(CHAT), ReadOptions())
    report = sum((batch.report for batch in batches), ReadReport())
    assert (report.prompt_only, report.without_logprobs) == (1, 1)
    assert report.sentences() == (
        "1 of 1 trace carry log-probabilities of their prompt and none of their completion. To "
        "measure the prompts, read with --part prompt, in Python ReadOptions(part='prompt').",
    )


def test_the_format_says_which_part_was_read() -> None:
    (batch,) = _load(json.dumps(CHAT), PROMPT)
    assert dict(batch.report.formats) == {"vLLM chat completions, prompts (JSONL)": 1}


ECHO = {
    "id": "e",
    "choices": [
        {
            "text": "What is it",
            "logprobs": {
                "tokens": ["What", " is", " it"],
                "token_logprobs": [None, -1.0, -0.5],
                "top_logprobs": [None, {" is": -1.0, " was": -2.0}, {" it": -0.5, " he": -1.5}],
            },
        }
    ],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1},
}


def test_an_echoed_prompt_is_not_part_of_the_completion() -> None:
    traces = load_traces(ECHO)
    assert traces.token_pieces(0) == [b" it"]
    assert traces.rows["text"].to_list() == [" it"]
    prompts = load_traces(ECHO, options=PROMPT)
    assert prompts.token_pieces(0) == [b"What", b" is"]
    assert prompts.tokens.n_top.tolist() == [0, 2]
    assert np.isnan(prompts.tokens.logprob[0])


def test_an_echo_without_a_completion_scores_the_prompt_alone() -> None:
    item = {**ECHO, "usage": {"prompt_tokens": 3}}
    (batch,) = _load(json.dumps(item), ReadOptions())
    assert (batch.report.tokens, batch.report.prompt_only) == (0, 1)
    assert len(load_traces(item, options=PROMPT).tokens) == 3


def test_sglang_prompts() -> None:
    meta = {
        "input_token_logprobs": [[None, 4, "A"], [-0.5, 5, "b"]],
        "input_top_logprobs": [None, [[-0.5, 5, "b"], [-1.5, 6, "c"]]],
        "output_token_logprobs": [[-0.1, 7, "d"]],
    }
    item = {"text": "d", "meta_info": meta}
    assert load_traces(item, options=PROMPT).token_pieces(0) == [b"A", b"b"]
    assert load_traces(item).token_pieces(0) == [b"d"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({**CHAT, "prompt_logprobs": None}, "prompt_logprobs=20 .vLLM."),
        ({**CHAT, "prompt_logprobs": 3}, "not a list of objects by token id"),
        ({**CHAT, "prompt_logprobs": [None, STEPS[1], None]}, "has gaps"),
        ({**CHAT, "prompt_logprobs": [None, {"x": -1.0}]}, "a token id is expected"),
    ],
)
def test_what_can_not_be_read_is_refused(item: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        load_traces(item, options=PROMPT)
    with pytest.raises(ConfigurationError, match="part is 'both'"):
        ReadOptions(part="both")
