"""Phase entropies and rewards of files equal those of the reward term."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from entropilot.errors import InputError
from entropilot.policy.phase_entropy_reward import pear_penalty, pear_reward, phase_entropy
from entropilot.policy.phase_scoring import (
    SCHEMA,
    is_phase_lines,
    phase_table,
    read_phase_lines,
    score_summary,
    with_pear_reward,
)
from entropilot.policy.phases import phase_masks
from entropilot.traces import load_traces

TAG = 9


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_file_scores_as_the_term_does(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, 10, (40, 12))
    entropy = draw.exponential(0.5, tokens.shape)
    length = draw.integers(1, 13, 40)
    correct = draw.random(40) < 0.5
    rows = [
        {"tokens": t[:n].tolist(), "entropies": h[:n].tolist(), "correct": bool(c), "id": i}
        for i, (t, h, n, c) in enumerate(zip(tokens, entropy, length, correct, strict=True))
    ]
    path = written(tmp_path / "a.jsonl", rows)
    assert is_phase_lines(path)
    scored = with_pear_reward(read_phase_lines(path, [TAG]), alpha=0.7, floor=-0.5)
    mask = torch.from_numpy(np.arange(12) < length[:, None])
    phases = phase_masks(torch.from_numpy(tokens), TAG, mask)
    think, answer = phase_entropy(torch.from_numpy(entropy), phases.think, phases.answer)
    penalty = pear_penalty(think, answer, 0.7)
    reward = pear_reward(torch.from_numpy(correct), penalty, floor=-0.5)
    for name, wanted in (
        ("h_think", think), ("h_answer", answer), ("penalty", penalty), ("reward", reward),
    ):  # fmt: skip
        assert scored[name].to_list() == pytest.approx(wanted.tolist(), abs=1e-12)
    assert scored["has_tag"].to_list() == (phases.position >= 0).tolist()
    assert scored["n_think"].to_list() == phases.think.sum(1).tolist()
    assert scored["id"].to_list() == [str(i) for i in range(40)]


@pytest.mark.parametrize(
    ("pieces", "n_think", "n_answer"),
    [
        (["a", "b", "</think>", "c"], 2, 1),
        (["a", "b</", "think", ">c", "d"], 1, 1),  # a token with a part of the tag belongs to it
        (["</think>", "c"], 0, 1),
        (["a", "</think>"], 1, 0),
        (["a", "</think>", "b", "</think>", "c"], 1, 3),  # the first tag counts
        (["a", "b"], 2, 0),
    ],
)
def test_tags_of_text_in_lines_and_in_logs(
    tmp_path: Path, pieces: list[str], n_think: int, n_answer: int
) -> None:
    entropies = [0.25 * (i + 1) for i in range(len(pieces))]
    path = written(tmp_path / "a.jsonl", [{"tokens": pieces, "entropies": entropies}])
    plain = read_phase_lines(path)
    content = [
        {"token": piece, "logprob": -0.5, "x_entropy_full": h,
         "top_logprobs": [{"token": piece, "logprob": -0.5}]}
        for piece, h in zip(pieces, entropies, strict=True)
    ]  # fmt: skip
    log = {"id": "x", "choices": [{"message": {"content": "".join(pieces)},
                                   "logprobs": {"content": content}}]}  # fmt: skip
    table = phase_table(load_traces(written(tmp_path / "b.jsonl", [log])))
    for found in (plain, table):
        assert found.select("n_think", "n_answer").row(0) == (n_think, n_answer)
        assert found["measure"].to_list() == ["entropy"]
    assert table["h_think"].to_list() == pytest.approx(plain["h_think"].to_list(), abs=1e-6)
    assert table["h_answer"].to_list() == pytest.approx(plain["h_answer"].to_list(), abs=1e-6)


def test_the_best_measure_of_a_log_is_taken(tmp_path: Path) -> None:
    def log(name: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        text = "".join(item["token"] for item in content)
        answer = {"message": {"content": text}, "logprobs": {"content": content}}
        return {"id": name, "choices": [answer]}

    half = math.log(0.5)
    listed = [{"token": "a", "logprob": half}, {"token": "b", "logprob": half}]
    rows = [
        log("lists", [{"token": "a", "logprob": half, "top_logprobs": listed}]),
        log("chosen", [{"token": "a", "logprob": -0.25, "top_logprobs": []}]),
    ]
    table = phase_table(load_traces(written(tmp_path / "a.jsonl", rows)))
    assert table["measure"].to_list() == ["entropy_lower", "surprisal"]
    assert table["h_think"].to_list() == pytest.approx([math.log(2), 0.25], abs=1e-6)
    assert with_pear_reward(table)["reward"].to_list() == [None, None]  # nobody says what is right


def test_a_start_tag_is_left_out_where_it_is_asked_for(tmp_path: Path) -> None:
    pieces = ["<think>", "a", "</think>", "c"]
    content = [{"token": p, "logprob": -0.5, "top_logprobs": []} for p in pieces]
    log = {"choices": [{"message": {"content": "".join(pieces)}, "logprobs": {"content": content}}]}
    traces = load_traces(written(tmp_path / "a.jsonl", [log]))
    assert phase_table(traces)["n_think"].to_list() == [2]
    assert phase_table(traces, start_tag="<think>")["n_think"].to_list() == [1]
    with pytest.raises(InputError, match="a tag is empty"):
        phase_table(traces, end_tag="")


def test_the_summary_counts_what_is_missing() -> None:
    rows = [
        ("a", None, 1, True, 3, 1, 1, True, "entropy", 0.5, 0.1),
        ("b", None, 2, False, 3, 3, 0, False, "entropy", 0.2, 0.0),
        ("c", None, 3, None, 3, 1, 1, True, "entropy", 0.2, 0.1),
        ("d", None, 4, True, 3, 1, 1, True, "none", None, None),
    ]
    scored = with_pear_reward(pl.DataFrame(rows, schema=SCHEMA, orient="row"))
    assert scored["penalty"].to_list() == pytest.approx([0.4, 0.2, 0.1, None])
    assert scored["reward"].to_list() == pytest.approx([0.6, 0.0, None, None])
    found = score_summary(scored)
    assert (found["n"], found["n_scored"], found["missing_tag_share"]) == (4, 2, 0.25)
    assert found["variance_share"] == 0  # one right answer: nothing varies within
    assert score_summary(with_pear_reward(pl.DataFrame(schema=SCHEMA)))["reward"] is None


@pytest.mark.parametrize(
    ("row", "tag", "message"),
    [
        ({"tokens": ["a"]}, "x", "expected lists tokens and entropies"),
        ({"tokens": [], "entropies": []}, "x", "expected lists"),
        ({"tokens": ["a"], "entropies": [0.1, 0.2]}, "x", "1 tokens and 2 entropies"),
        ({"tokens": ["a"], "entropies": [-0.5]}, "x", "Below 0 they may be log-probs"),
        ({"tokens": ["a"], "entropies": [None]}, "x", r"entropies\[0\] is None"),
        ({"tokens": ["a"], "entropies": [3.0]}, "x", "above it bits"),
        ({"tokens": ["a"], "entropies": [0.1], "correct": 1}, "x", "expected true or false"),
        ({"tokens": ["a"], "entropies": [0.1]}, [3], "the end tag"),
        ({"tokens": [4], "entropies": [0.1]}, "x", "token ids"),
        ({"tokens": ["a", 4], "entropies": [0.1, 0.1]}, [4], "token ids"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, row: dict[str, Any], tag: Any, message: str) -> None:
    good = {"tokens": [4], "entropies": [0.1]} if isinstance(tag, list) else {
        "tokens": ["a"], "entropies": [0.1]}  # fmt: skip
    path = written(tmp_path / "a.jsonl", [good, row])
    with pytest.raises(InputError, match=message) as caught:
        read_phase_lines(path, tag, n_vocab=16)
    assert "line 2" in str(caught.value)
