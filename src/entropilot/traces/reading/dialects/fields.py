"""Finding a trace's labels and texts under the names that logs give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from entropilot.errors import InputError
from entropilot.traces.reading.options import ReadOptions

GROUP: Final = (
    "x_problem.id", "problem_id", "x_group", "group", "group_id", "question_id", "task_id",
    "prompt_id", "example_id", "custom_id",
)  # fmt: skip
CORRECT: Final = ("x_correct", "correct", "is_correct", "passed", "label")
REWARD: Final = ("x_reward", "reward", "score", "rewards")
REFERENCE: Final = (
    "x_reference", "reference", "reference_answer", "ground_truth", "x_problem.answer", "gold",
    "expected", "expected_answer", "target", "gts", "reward_model.ground_truth",
)  # fmt: skip
ANSWER: Final = (
    "x_answer", "answer", "parsed_answer", "extracted_answer", "prediction", "pred",
)  # fmt: skip
PROMPT: Final = (
    "x_problem.question", "prompt", "question", "request.messages", "request.prompt",
    "request.body.messages", "messages", "body.messages",
)  # fmt: skip
TEMPERATURE: Final = (
    "x_request.temperature", "request.temperature", "request.body.temperature", "temperature",
    "body.temperature", "sampling_params.temperature", "generation_settings.temperature",
)  # fmt: skip
K: Final = (
    "x_request.top_logprobs", "request.top_logprobs", "request.body.top_logprobs", "top_logprobs",
    "x_request.logprobs", "request.logprobs", "request.body.logprobs", "sampling_params.logprobs",
    "generation_settings.n_probs",
)  # fmt: skip
SPACE: Final = ("x_logprob_space", "logprob_space", "logprobs_mode", "request.logprobs_mode")
SPACES: Final = {
    "raw": "raw", "raw_logprobs": "raw", "sampling": "sampling", "processed_logprobs": "sampling",
}  # fmt: skip

Contexts = Sequence[Mapping[str, Any]]


def lookup(contexts: Contexts, names: Sequence[str], index: int = 0, n: int = 1) -> Any:
    """First value found under one of the dotted names, in the first context that has it.

    A list with one entry for each of ``n`` > 1 samples gives the entry of sample ``index``.

    Examples:
        >>> lookup([{"a": {"b": 3}}], ("c", "a.b"))
        3
    """
    for name in names:
        first, *rest = name.split(".")
        for context in contexts:
            value: Any = context.get(first)
            for part in rest:
                value = value.get(part) if isinstance(value, Mapping) else None
            if value is None:
                value = context.get(name)  # a key that has dots in it
            if value is not None:
                if n > 1 and isinstance(value, list) and len(value) == n:
                    return value[index]
                return value
    return None


def labels(contexts: Contexts, options: ReadOptions, index: int = 0, n: int = 1) -> dict[str, Any]:
    """Row columns that the record itself gives: group, prompt, answer, correct and so on."""
    row: dict[str, Any] = {}
    for column, names, chosen, convert in (
        ("group", GROUP, options.group_field, as_text),
        ("reference", REFERENCE, options.reference_field, as_text),
        ("answer", ANSWER, options.answer_field, as_text),
        ("reward", REWARD, options.reward_field, as_number),
        ("prompt", PROMPT, options.prompt_field, as_prompt),
        ("temperature", TEMPERATURE, None, as_number),
    ):
        value = lookup(contexts, names if chosen is None else (chosen,), index, n)
        if value is not None and (converted := convert(value)) is not None:
            row[column] = converted
    label = lookup(
        contexts, CORRECT if options.label_field is None else (options.label_field,), index, n
    )
    if label is not None:
        correct = as_correct(label)
        if correct is not None:
            row["correct"] = correct
        elif options.label_field is not None:
            raise InputError(
                f"the label field {options.label_field!r} holds {label!r}; a label is true, "
                "false, 1 or 0. Use reward_field for a graded score"
            )
    space = lookup(contexts, SPACE)
    row["logprobs_kind"] = options.logprob_space or SPACES.get(str(space), "unknown")
    return row


def requested_k(contexts: Contexts) -> int:
    """How many alternatives the request asked for; 0 if the record does not say."""
    value = lookup(contexts, K)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def as_text(value: Any) -> str | None:
    """Text of a label; 8.0 and 8 are the same answer.

    Examples:
        >>> as_text(8.0), as_text("8"), as_text({"a": 1})
        ('8', '8', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, int | float) else None


def as_number(value: Any) -> float | None:
    """A number, or None."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e300 else None
    return None


def as_correct(value: Any) -> bool | None:
    """Right or wrong, or None where the value is neither.

    Examples:
        >>> as_correct(1), as_correct("wrong"), as_correct(0.5)
        (True, False, None)
    """
    if isinstance(value, str):
        word = value.strip().lower()
        known = {"true": 1, "correct": 1, "right": 1, "false": 0, "incorrect": 0, "wrong": 0}
        value = known.get(word, word)
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def as_prompt(value: Any) -> str | None:
    """Text of a prompt: a string, or chat messages with their roles."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    messages = [m for m in value if isinstance(m, Mapping)]
    if len(messages) == 1:
        return message_text(messages[0])
    return "\n\n".join(f"{m.get('role', '')}: {message_text(m)}" for m in messages) or None


def message_text(message: Mapping[str, Any]) -> str:
    """Text of a chat message, parts joined, a separate reasoning text in think tags before it."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, Mapping)]
        content = "".join(p for p in parts if isinstance(p, str))
    text = content if isinstance(content, str) else ""
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    return f"<think>{reasoning}</think>{text}" if isinstance(reasoning, str) else text
