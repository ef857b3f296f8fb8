"""Messages that frameworks keep in place of the server's answer: LangChain and pydantic-ai.

LangChain    response_metadata.logprobs   of ChatOpenAI(...).bind(logprobs=True, top_logprobs=20)
pydantic-ai  provider_details.logprobs    with openai_logprobs=True, openai_top_logprobs=20
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entropilot.traces.reading.builder import Record
from entropilot.traces.reading.dialects import openai
from entropilot.traces.reading.dialects.fields import Contexts, labels, message_text, requested_k
from entropilot.traces.reading.options import ReadOptions


def is_langchain(item: Mapping[str, Any]) -> bool:
    """Whether the object is an AIMessage of LangChain."""
    return isinstance(item.get("response_metadata"), Mapping) and "content" in item


def is_pydantic_ai(item: Mapping[str, Any]) -> bool:
    """Whether the object is a message of pydantic-ai, a request or a response."""
    return item.get("kind") in ("request", "response") and isinstance(item.get("parts"), list)


def read_message(
    item: Mapping[str, Any], outer: Contexts, options: ReadOptions, scanned: openai.ScannedLists
) -> list[Record]:
    """The one trace of a response; a request has none."""
    if item.get("kind") == "request":
        return []
    if "parts" in item:
        details = item.get("provider_details") or item.get("vendor_details")
        parts = [p for p in item["parts"] if isinstance(p, Mapping) and "content" in p]
        written = [p.get("content") for p in parts if p.get("part_kind", "text") == "text"]
        text = "".join(part for part in written if isinstance(part, str))
    else:
        details, text = item["response_metadata"], message_text(item)
    details = details if isinstance(details, Mapping) else {}
    row = labels([item, details, *outer], options)
    names = (item.get("id"), item.get("model_name") or details.get("model_name"))
    row["id"], row["model"] = (name if isinstance(name, str) else None for name in names)
    row["text"], reason = text, details.get("finish_reason")
    row["finish_reason"] = reason if isinstance(reason, str) else None
    listed = details.get("logprobs")
    listed = {"content": listed} if isinstance(listed, list | int) else listed
    tokens = openai.choice_tokens({"logprobs": listed}, scanned, "the message")
    return [Record(row, tokens, requested_k([item, *outer]))]
