"""Other servers with a shape of their own: the Responses API, Ollama and SGLang."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entropilot.errors import FormatError
from entropilot.traces.reading.builder import Record, TokenLists
from entropilot.traces.reading.dialects import entries
from entropilot.traces.reading.dialects.fields import Contexts, labels, requested_k
from entropilot.traces.reading.dialects.openai import ScannedLists, content_tokens
from entropilot.traces.reading.options import ReadOptions


def is_response(item: Mapping[str, Any]) -> bool:
    """Whether the object is of OpenAI's Responses API."""
    return isinstance(item.get("output"), list) and (
        item.get("object") == "response"
        or any(isinstance(o, Mapping) and o.get("type") == "message" for o in item["output"])
    )


def read_response(
    item: Mapping[str, Any],
    outer: Contexts,
    options: ReadOptions,
    scanned: ScannedLists,  # noqa: ARG001
) -> list[Record]:
    """The one trace of a response: its text parts, joined."""
    row = labels([item, *outer], options)
    texts: list[str] = []
    listed: list[Any] = []
    for message in item["output"]:
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, Mapping) and isinstance(part.get("text"), str):
                texts.append(part["text"])
                if isinstance(part.get("logprobs"), list):
                    listed += part["logprobs"]
    row |= {"id": _text(item.get("id")), "text": "".join(texts), "model": _text(item.get("model"))}
    row["finish_reason"] = _text(item.get("status"))
    tokens = content_tokens(listed, {}, "output[].content[].logprobs") if listed else None
    return [Record(row, tokens, requested_k([item, *outer]))]


def is_ollama(item: Mapping[str, Any]) -> bool:
    """Whether the object is a whole answer of Ollama."""
    answer = isinstance(item.get("response"), str) or isinstance(item.get("message"), Mapping)
    return answer and item.get("done") is True and "model" in item


def read_ollama(
    item: Mapping[str, Any],
    outer: Contexts,
    options: ReadOptions,
    scanned: ScannedLists,  # noqa: ARG001
) -> list[Record]:
    """The one trace of an answer of Ollama."""
    row = labels([item, *outer], options)
    message = item.get("message")
    text = message.get("content") if isinstance(message, Mapping) else item.get("response")
    row |= {"text": _text(text), "model": _text(item.get("model"))}
    row["finish_reason"] = _text(item.get("done_reason"))
    tokens = content_tokens(item.get("logprobs"), {}, "logprobs")
    return [Record(row, tokens, requested_k([item, *outer]))]


def is_sglang(item: Mapping[str, Any]) -> bool:
    """Whether the object is of SGLang's native generate."""
    return isinstance(item.get("meta_info"), Mapping) and "text" in item


def read_sglang(
    item: Mapping[str, Any],
    outer: Contexts,
    options: ReadOptions,
    scanned: ScannedLists,  # noqa: ARG001
) -> list[Record]:
    """The one trace of a native answer: lists of [log-prob, id, text]."""
    meta = item["meta_info"]
    row = labels([item, meta, *outer], options)
    reason = meta.get("finish_reason")
    reason = reason.get("type") if isinstance(reason, Mapping) else reason
    row |= {
        "id": _text(meta.get("id")),
        "text": _text(item["text"]),
        "finish_reason": _text(reason),
    }
    return [Record(row, sglang_tokens(meta, "output"), requested_k([item, *outer]))]


def sglang_tokens(meta: Mapping[str, Any], part: str) -> TokenLists | None:
    """Tokens of the "output" or the "input" of SGLang's generate; None where it lists none."""
    own, top = meta.get(f"{part}_token_logprobs"), meta.get(f"{part}_top_logprobs")
    if own is None:
        return None
    if not isinstance(own, list) or (top is not None and not isinstance(top, list)):
        raise FormatError(f"meta_info.{part}_token_logprobs is not a list of [log-prob, id, text]")
    tokens = TokenLists()
    for t, triple in enumerate(own):
        listed = top[t] if top is not None and t < len(top) and top[t] is not None else []
        if not isinstance(listed, list):
            raise FormatError(f"meta_info.{part}_top_logprobs[{t}] is not a list")
        tokens.add(*_triple(triple), [_triple(other) for other in listed])
    return tokens


def _triple(item: Any) -> tuple[bytes, int, float]:
    if not isinstance(item, list) or len(item) != 3:
        raise FormatError("an entry of meta_info.*_logprobs is not [log-prob, id, text]")
    token_id = entries.token_id(item[1], "a token id of meta_info")
    text = item[2]
    piece = entries.text_bytes(text) if isinstance(text, str) else b"token_id:%d" % token_id
    return piece, token_id, entries.number(item[0], "a log-prob of meta_info")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
