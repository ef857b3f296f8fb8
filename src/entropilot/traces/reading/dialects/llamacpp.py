"""The llama.cpp server's own completions, in the shapes of three versions.

Before December 2024 ``completion_probabilities[t]`` is {content, probs: [{tok_str, prob}]}, where
probabilities are of the candidates that sampling had left. Since then it is {id, token, bytes,
logprob, top_logprobs} of the model's own distribution, or with ``post_sampling_probs`` {id, token,
bytes, prob, top_probs} after sampling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from entropilot.errors import FormatError, InputError
from entropilot.traces.reading.builder import Record, TokenLists
from entropilot.traces.reading.dialects import entries
from entropilot.traces.reading.dialects.fields import Contexts, labels, requested_k
from entropilot.traces.reading.dialects.openai import ScannedLists
from entropilot.traces.reading.options import ReadOptions


def is_native(item: Mapping[str, Any]) -> bool:
    """Whether the object is a native completion."""
    return isinstance(item.get("completion_probabilities"), list) or (
        isinstance(item.get("content"), str) and "generation_settings" in item
    )


def read_native(
    item: Mapping[str, Any],
    outer: Contexts,
    options: ReadOptions,
    scanned: ScannedLists,  # noqa: ARG001
) -> list[Record]:
    """The one trace of a native completion."""
    contexts = [item, *outer]
    row = labels(contexts, options)
    text, model = item.get("content"), item.get("model")
    row["text"] = text if isinstance(text, str) else None
    row["model"] = model if isinstance(model, str) else None
    row["finish_reason"] = _finish_reason(item)
    tokens, after_sampling = _tokens(item.get("completion_probabilities") or [])
    if row["logprobs_kind"] == "unknown" and tokens is not None:
        row["logprobs_kind"] = "sampling" if after_sampling else "raw"
    return [Record(row, tokens, requested_k(contexts))]


def _finish_reason(item: Mapping[str, Any]) -> str | None:
    kind = item.get("stop_type")
    if isinstance(kind, str):
        return {"eos": "stop", "word": "stop", "limit": "length"}.get(kind, kind)
    if item.get("stopped_limit"):
        return "length"
    return "stop" if item.get("stopped_eos") or item.get("stopped_word") else None


def _tokens(steps: list[Any]) -> tuple[TokenLists | None, bool]:
    if not steps:
        return None, False
    tokens = TokenLists()
    after_sampling = False
    for t, step in enumerate(steps):
        where = f"completion_probabilities[{t}]"
        if not isinstance(step, Mapping):
            raise FormatError(f"{where} is a {type(step).__name__}; an object is expected")
        if "probs" in step:
            after_sampling = True
            _add_old(tokens, step, where)
            continue
        listed = step.get("top_probs", step.get("top_logprobs"))
        after_sampling |= "top_probs" in step or "prob" in step
        if listed is not None and not isinstance(listed, list):
            raise FormatError(f"{where} has a {type(listed).__name__} where a list is expected")
        own = _entry(step, where)
        tokens.add(*own, [_entry(other, where) for other in listed or ()])
    return tokens, after_sampling


def _add_old(tokens: TokenLists, step: Mapping[str, Any], where: str) -> None:
    text, listed = step.get("content"), step["probs"]
    if not isinstance(text, str) or not isinstance(listed, list):
        raise FormatError(f"{where} needs content (a string) and probs (a list)")
    alternatives = []
    for other in listed:
        name = other.get("tok_str") if isinstance(other, Mapping) else None
        if not isinstance(name, str):
            raise FormatError(f"{where}.probs holds something other than {{tok_str, prob}}")
        piece = entries.text_bytes(name)
        alternatives.append((piece, -1, log_probability(other.get("prob"), f"{where}.probs")))
    own = entries.text_bytes(text)
    values = [value for piece, _, value in alternatives if piece == own]
    tokens.add(own, -1, values[0] if values else entries.MISSING, alternatives)


def _entry(item: Any, where: str) -> tuple[bytes, int, float]:
    if isinstance(item, Mapping) and "prob" in item and "logprob" not in item:
        value = log_probability(item["prob"], f"{where}.prob")
        return entries.entry({**item, "logprob": value}, where)
    return entries.entry(item, where)


def log_probability(value: Any, where: str) -> float:
    """Logarithm of a probability in a log; 0 gives -inf.

    Examples:
        >>> log_probability(1.0, "probs"), log_probability(0, "probs")
        (0.0, -inf)
    """
    p = entries.number(value, where)
    if math.isnan(p):
        return p
    if not 0 <= p <= 1.001:
        raise InputError(f"{where} holds {p:.3g}; a probability lies between 0 and 1")
    return min(0.0, math.log(p)) if p > 0 else -math.inf
