"""Text Generation Inference: ``details.tokens``, and ``details.top_tokens`` beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entropilot.errors import FormatError
from entropilot.traces.reading.builder import Record, TokenLists
from entropilot.traces.reading.dialects import entries
from entropilot.traces.reading.dialects.fields import Contexts, labels, requested_k
from entropilot.traces.reading.dialects.openai import ScannedLists
from entropilot.traces.reading.options import ReadOptions


def is_tgi(item: Mapping[str, Any]) -> bool:
    """Whether the object is an answer of TGI's generate."""
    return "generated_text" in item and isinstance(item.get("details"), Mapping)


def read_tgi(
    item: Mapping[str, Any],
    outer: Contexts,
    options: ReadOptions,
    scanned: ScannedLists,  # noqa: ARG001
) -> list[Record]:
    """The one trace of an answer."""
    details, text = item["details"], item["generated_text"]
    row = labels([item, *outer], options)
    reason = {"eos_token": "stop", "stop_sequence": "stop"}.get(
        str(details.get("finish_reason")), details.get("finish_reason")
    )
    row["text"] = text if isinstance(text, str) else None
    row["finish_reason"] = reason if isinstance(reason, str) else None
    own, top = details.get("tokens"), details.get("top_tokens")
    if not own:
        return [Record(row)]
    if not isinstance(own, list) or not isinstance(top, list | None):
        raise FormatError("details.tokens or details.top_tokens is not a list")
    tokens = TokenLists()
    for t, token in enumerate(own):
        listed = top[t] if top and t < len(top) and top[t] is not None else []
        if not isinstance(listed, list):
            raise FormatError(f"details.top_tokens[{t}] is not a list")
        where = f"details.top_tokens[{t}]"
        tokens.add(*_entry(token, f"details.tokens[{t}]"), [_entry(e, where) for e in listed])
    return [Record(row, tokens, requested_k([item, *outer]))]


def _entry(item: Any, where: str) -> tuple[bytes, int, float]:
    named = {**item, "token": item.get("text")} if isinstance(item, Mapping) else item
    return entries.entry(named, where)
