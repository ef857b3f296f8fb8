"""The answer begins after the last delimiter in text order; an unclosed thought has none."""

from __future__ import annotations

import numpy as np
import pytest

from entropilot.traces.phases import log_phases, phase_spans


def parts(text: str) -> list[tuple[int, str]]:
    raw = text.encode()
    spans = phase_spans(raw)
    ends = [*(at for at, _ in spans[1:]), len(raw)][: len(spans)]
    return [(phase, raw[at:end].decode()) for (at, phase), end in zip(spans, ends, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # over several lines
        ("<think>\na\n\nb\n</think>\n\n4", [(1, "<think>\na\n\nb\n</think>\n\n"), (2, "4")]),
        # the closing tag is missing
        ("<think>2+2 is\n4", [(1, "<think>2+2 is\n4")]),
        # two kinds of delimiter
        (
            "<think>a</think><answer>4</answer>",
            [(1, "<think>a</think>"), (2, "<answer>4</answer>")],
        ),
        ("<think>a[/THINK] 4", [(1, "<think>a[/THINK] "), (2, "4")]),
        # the prompt opened the thought
        ("a</think>4", [(1, "a</think>"), (2, "4")]),
        # a second thought: the answer is what follows the last closing
        (
            "<think>a</think> b <think>c</think> d",
            [(1, "<think>a</think> "), (0, "b "), (1, "<think>c</think> "), (2, "d")],
        ),
        # a second thought that is not closed: no answer, though text stood between
        ("<think>a</think> b <think>c", [(1, "<think>a</think> "), (0, "b "), (1, "<think>c")]),
        # the last of two closings counts
        ("<think>a</think>b</think>c", [(1, "<think>a</think>"), (0, "b</think>"), (2, "c")]),
        ("Sure. <think>a</think>b", [(0, "Sure. "), (1, "<think>a</think>"), (2, "b")]),
        ("so 4 <answer>4</answer>", [(1, "so 4 "), (2, "<answer>4</answer>")]),
        ("<answer>4", [(2, "<answer>4")]),
        ("<think/>4", [(1, "<think/>"), (2, "4")]),
        ("◁think▷a◁/think▷b", [(1, "◁think▷a◁/think▷"), (2, "b")]),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b",
            [
                (1, "<|channel|>analysis<|message|>a<|end|><|start|>assistant"),
                (2, "<|channel|>final<|message|>b"),
            ],
        ),
        ("a < b and [T] <thinkers>", []),
        ("<think>a</think>  \n", [(1, "<think>a</think>  \n")]),
        ("", []),
    ],
)
def test_phases(text: str, expected: list[tuple[int, str]]) -> None:
    assert parts(text) == expected


def test_delimiters_do_not_reach_across_traces() -> None:
    text = np.frombuffer(b"a<thi" + b"nk>b" + b"<think>c", np.uint8)
    at, phase = log_phases(text, np.array([0, 5, 9, 17]))
    assert (at.tolist(), phase.tolist()) == ([9], [1])
