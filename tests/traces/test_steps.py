"""Steps lose nothing, start where the rule says, and have one phase each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError, LimitError
from entropilot.traces.cuts import RegexCuts
from entropilot.traces.offsets import step_spans, step_texts
from entropilot.traces.steps import RULES, split_steps, split_text
from entropilot.traces.table import Traces

Make = Callable[..., Traces]

PIECES = st.sampled_from(
    [
        *(
            b"a",
            b" b",
            b".",
            b". ",
            b"? ",
            b"\n",
            b"\n\n",
            b".\n\n",
            b"\r\n",
            b"\n x",
            b"1.",
            b" 3.14",
        ),
        *(b"\xf0\x9f", b"\x98\x80", b"\xff", b"", "é".encode(), "。".encode(), b"Wait", b" But"),
        *(b"<think>", b"</think>", b"</", b"think>", b"<answer>", b"<tool_call>", b"</tool_call>"),
        *(b"<|im_end|>", b"```tool", b"_code\n", b"e.g", b"\t", b"[TOOL_CALLS]"),
    ]
)
LOGS = st.lists(st.lists(PIECES, max_size=24), max_size=5)


def options(rule: str, log: list[list[bytes]]) -> dict[str, Any]:
    spans = [[(len(text) // 3, len(text) // 2)] for text in log]
    return {
        "regex": {"pattern": r"\s+"},
        "fixed": {"n_tokens": 3},
        "spans": {"spans": spans, "unit": "tokens"},
    }.get(rule, {})


@pytest.mark.parametrize("rule", RULES)
@given(log=LOGS, min_tokens=st.sampled_from([1, 1, 3]))
@settings(max_examples=40, deadline=None)
def test_joined_steps_are_the_trace(
    make_traces: Make, rule: str, log: list[list[bytes]], min_tokens: int
) -> None:
    traces = split_steps(make_traces(log), rule, min_tokens=min_tokens, **options(rule, log))
    steps = traces.steps
    assert steps is not None
    for i, text in enumerate(log):
        assert b"".join(step_texts(traces, i)) == b"".join(text)
        mine = slice(steps.offsets[i], steps.offsets[i + 1])
        assert (steps.start[mine] < steps.stop[mine]).all()
        covered = [t for a, b in zip(steps.start[mine], steps.stop[mine], strict=True)
                   for t in range(a, b)]  # fmt: skip
        assert covered == list(range(traces.tokens.offsets[i], traces.tokens.offsets[i + 1]))


@pytest.mark.parametrize(
    "rule", ["auto", "blank-line", "line", "sentence", "tool-call", "think", "marker", "regex"]
)
@given(text=st.text(st.sampled_from("ab .?!\n\r\té。<>/thinkWa\ud800"), max_size=60))
@settings(max_examples=60, deadline=None)
def test_joined_parts_are_the_text(rule: str, text: str) -> None:
    parts = split_text(text, rule, pattern=r"\s")
    assert "".join(parts) == text
    assert all(parts)


@given(log=LOGS)
@settings(max_examples=80, deadline=None)
def test_line_rules_agree_with_a_plain_loop(make_traces: Make, log: list[list[bytes]]) -> None:
    for rule, blank in (("line", 1), ("blank-line", 2)):
        traces = split_steps(make_traces(log), rule)
        for i, text in enumerate(log):
            joined, cuts, newlines, seen, line = b"".join(text), [], 0, False, 0
            for at, byte in enumerate(joined):
                if byte == 10:
                    newlines, line = newlines + 1, at + 1
                elif not bytes([byte]).isspace():
                    if newlines >= blank and seen:
                        cuts.append(line)
                    newlines, seen = 0, True
            ends = np.cumsum([len(piece) for piece in text])
            expected = {int(np.searchsorted(ends, cut, side="right")) for cut in cuts}
            found = step_spans(traces, "tokens")[
                traces.steps.offsets[i] : traces.steps.offsets[i + 1]
            ]
            # "think" cuts of the same trace are added, so the line cuts are among the starts
            assert expected <= {int(start) for start in found[:, 0]}
            if b"<" not in joined:
                assert {0, *expected} == {int(start) for start in found[:, 0]} or not text


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("line", "\n a\n b\n\nc", ["\n a\n", " b\n\n", "c"]),
        ("blank-line", "a\nb\n \nc\n", ["a\nb\n \n", "c\n"]),
        ("blank-line", "a\r\n\r\nb", ["a\r\n\r\n", "b"]),
        ("sentence", "Is 3.14. Dr. X: e.g. two? Yes.", ["Is 3.14. ", "Dr. X: e.g. two? ", "Yes."]),
        ("sentence", "1. First one.\n2. Next", ["1. First one.\n", "2. Next"]),
        ("sentence", "好。行", ["好。", "行"]),
        ("sentence", 'He said "no." J. Smith left.', ['He said "no." ', "J. Smith left."]),
        ("marker", "is 2. Wait, is it? Waiting. But", ["is 2. ", "Wait, is it? Waiting. ", "But"]),
        ("marker", "x\n  Hmm\nso", ["x\n  ", "Hmm\nso"]),
        ("tool-call", "a <tool_call>{}</tool_call>\nb", ["a ", "<tool_call>{}</tool_call>\n", "b"]),
        ("tool-call", "a\n```tool_code\nf()\n```\nb", ["a\n", "```tool_code\nf()\n```\n", "b"]),
        ("tool-call", "a<|python_tag|>f()<|eom_id|>b", ["a", "<|python_tag|>f()<|eom_id|>", "b"]),
        ("tool-call", "a <tool_call>{open", ["a ", "<tool_call>{open"]),
        ("tool-call", "a [TOOL_CALLS] f\nb `tool>", ["a ", "[TOOL_CALLS] f\n", "b `tool>"]),
        ("regex", "a;b;;c", ["a;", "b;", ";", "c"]),
        ("auto", "a.\nb. c\n\nd", ["a.\nb. c\n\n", "d"]),
        ("auto", "a.\nb. c", ["a.\n", "b. c"]),
        ("auto", "a. b", ["a. ", "b"]),
        ("think", "<think>a\n\nb</think>\n\nc", ["<think>a\n\nb</think>\n\n", "c"]),
        ("line", "", []),
    ],
)  # fmt: skip
def test_rules(rule: str, text: str, expected: list[str]) -> None:
    assert split_text(text, rule, pattern=";") == expected


def test_a_cut_inside_a_token_goes_before_it(make_traces: Make) -> None:
    # "\n\nb" holds the first byte of the step "b"; the empty token stays with the step before.
    traces = split_steps(make_traces([[b"a", b"\n\nb", b"c\n\n", b"", b"d"]]), "blank-line")
    assert step_texts(traces, 0) == [b"a", b"\n\nbc\n\n", b"d"]
    assert step_spans(traces, "tokens").tolist() == [[0, 1], [1, 4], [4, 5]]


def test_a_step_border_never_splits_a_character_of_whole_tokens(make_traces: Make) -> None:
    text = ["é\n".encode(), b"\xf0\x9f", b"\x98\x80", b"\n", b"x"]
    traces = split_steps(make_traces([text]), "line")
    assert step_texts(traces, 0) == ["é\n".encode(), "😀\n".encode(), b"x"]
    assert step_spans(traces).tolist() == [[0, 2], [2, 4], [4, 5]]
    assert step_spans(traces, "bytes").tolist() == [[0, 3], [3, 8], [8, 9]]


def test_fixed_counts_from_the_start_of_each_trace(make_traces: Make) -> None:
    traces = split_steps(make_traces([[b"a"] * 5, [b"b"] * 3]), "fixed", n_tokens=2)
    assert step_spans(traces, "tokens").tolist() == [[0, 2], [2, 4], [4, 5], [0, 2], [2, 3]]


def test_entropy_peaks_begin_steps(make_traces: Make) -> None:
    h = np.array([5.0, 0, 1, 3, 3, 0, np.nan, 2, 0, 0])
    traces = make_traces([[b"x"] * 10])
    split = split_steps(traces, "entropy-peak", entropy=h, quantile=0.6)
    assert step_spans(split, "tokens")[:, 0].tolist() == [0, 3, 7]
    assert len(split_steps(traces, "entropy-peak").steps) >= 2  # from the lists themselves


@pytest.mark.parametrize(
    ("unit", "span"), [("tokens", (1, 3)), ("bytes", (2, 7)), ("characters", (1, 3))]
)
def test_given_spans(make_traces: Make, unit: str, span: tuple[int, int]) -> None:
    text = ["é".encode(), b"\xf0\x9f\x98\x80", b"a", b"bc"]
    traces = split_steps(make_traces([text]), "spans", spans=[[span]], unit=unit)
    assert step_spans(traces, "tokens").tolist() == [[0, 1], [1, 3], [3, 4]]


@given(log=LOGS, min_tokens=st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_short_steps_join_their_neighbours(
    make_traces: Make, log: list[list[bytes]], min_tokens: int
) -> None:
    steps = split_steps(make_traces(log), "line", min_tokens=min_tokens).steps
    assert steps is not None
    lengths = steps.stop - steps.start
    for i in range(len(log)):
        mine = range(steps.offsets[i], steps.offsets[i + 1])
        for j in mine:
            alone = [p for p in (j - 1, j + 1) if p in mine and steps.phase[p] == steps.phase[j]]
            assert lengths[j] >= min_tokens or not alone


def test_steps_have_one_phase_each(make_traces: Make) -> None:
    text = [b"<think>", b"a", b".\n\n", b"b", b"</", b"think>", b"\n\n", b"c", b"\n\n", b"d"]
    traces = split_steps(make_traces([text, [b"plain"]]), "blank-line")
    assert step_texts(traces, 0) == [b"<think>a.\n\n", b"b</think>\n\n", b"c\n\n", b"d"]
    assert traces.steps.phase.tolist() == [1, 1, 2, 2, 0]


def test_unknown_rule_names_the_near_one() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'sentence'"):
        split_text("a", "sentense")
    with pytest.raises(ConfigurationError, match="use split_steps"):
        split_text("a", "fixed")


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a)*b", "(a|aa)+$", "(.*)*x", "(?:[ab]+c?)+d", "((a{2,})+)"],
)
def test_explosive_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="exponential"):
        split_text("aaaa", "regex", pattern=pattern)


@pytest.mark.parametrize(
    "pattern", [r"\n+", r"(?:foo|bar)+", r"(?=Step \d+:)", r"(?:[a-z]{1,3} )+x"]
)
def test_ordinary_patterns_pass(pattern: str) -> None:
    assert (
        "".join(split_text("foo bar\n\nStep 1: x", "regex", pattern=pattern))
        == "foo bar\n\nStep 1: x"
    )


def test_a_huge_trace_is_not_given_to_a_custom_pattern() -> None:
    with pytest.raises(LimitError, match="at most"):
        RegexCuts("a").of(b"x" * ((1 << 20) + 1))


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        ("regex", {}, "needs a pattern"),
        ("regex", {"pattern": "("}, "no regular expression"),
        ("spans", {}, "got no spans for 1 traces"),
        ("spans", {"spans": [[]], "unit": "words"}, "unknown unit 'words'"),
        ("fixed", {"n_tokens": 0}, "n_tokens is 0"),
        ("entropy-peak", {"quantile": 1.5}, "quantile is 1.5"),
        ("line", {"min_tokens": 0}, "min_tokens is 0"),
        ("marker", {"markers": ()}, "needs words"),
    ],
)
def test_wrong_options_say_what_to_do(
    make_traces: Make, rule: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        split_steps(make_traces([[b"a"]]), rule, **arguments)


def test_spans_outside_the_trace_are_an_error(make_traces: Make) -> None:
    with pytest.raises(InputError, match="spans of trace 0"):
        split_steps(make_traces([[b"ab", b"c"]]), "spans", spans=[[(1, 0)]], unit="bytes")
    with pytest.raises(InputError, match="3 characters"):
        split_steps(make_traces([[b"ab", b"c"]]), "spans", spans=[[(0, 9)]])
