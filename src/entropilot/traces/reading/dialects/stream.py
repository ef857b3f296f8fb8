"""Streamed answers: the parts that a server sent one after another, joined to the whole.

OpenAI's parts carry an id. Those of llama.cpp, TGI and Ollama don't; there an answer goes on until
the part that says it is the last, so streams without ids must not be interleaved.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Final, NamedTuple

Part = Mapping[str, Any]


class Stream(NamedTuple):
    """A kind of stream: its name, how its parts join, and which part is the last."""

    name: str
    join: Callable[[Sequence[Part]], dict[str, Any]]
    is_last: Callable[[Part], bool]


class OpenStream:
    """The parts of one answer so far."""

    def __init__(self, stream: Stream, file: str, line: int) -> None:
        self.stream, self.file, self.line = stream, file, line
        self.parts: list[Part] = []


def stream_of(item: Any, opened: Container[str]) -> tuple[Stream, str] | None:
    """The stream that an object is a part of, and the key of its answer; None: it is a whole.

    Args:
        item: an object of a log.
        opened: keys of the answers that have begun.

    Examples:
        >>> part = {"id": "a", "object": "chat.completion.chunk", "choices": []}
        >>> stream_of(part, ())[1], stream_of({"id": "a", "choices": []}, ())
        ('chat a', None)
    """
    if not isinstance(item, Mapping):
        return None
    choices = item.get("choices")
    if item.get("object") == "chat.completion.chunk" or (
        isinstance(choices, list) and choices and all(_has(c, "delta", Mapping) for c in choices)
    ):
        return CHAT, f"chat {item.get('id')}"
    key = f"completion {item.get('id')}"
    if isinstance(choices, list) and isinstance(item.get("id"), str):
        begun = item.get("object") == "text_completion" and any(
            _has(c, "text", str) and "finish_reason" in c and c["finish_reason"] is None
            for c in choices
        )
        return (COMPLETIONS, key) if begun or key in opened else None
    if _has(item, "content", str) and (item.get("stop") is False or "llama" in opened):
        return LLAMACPP, "llama"
    if _has(item, "token", Mapping) and "generated_text" in item:
        return TGI, "tgi"
    answer = _has(item, "response", str) or _has(item, "message", Mapping)
    if answer and "model" in item and (item.get("done") is False or "ollama" in opened):
        return OLLAMA, "ollama"
    return None


def is_event(item: Any) -> bool:
    """Whether the object only reports on a response of OpenAI's that a later one holds whole."""
    kind = item.get("type") if isinstance(item, Mapping) else None
    ends = ("response.completed", "response.incomplete", "response.failed")
    return isinstance(kind, str) and kind.startswith("response.") and kind not in ends


def _join_choices(parts: Sequence[Part]) -> dict[str, Any]:
    """The chat or legacy completion that chunks make up."""
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for part in parts:
        whole |= {k: v for k, v in part.items() if k != "choices" and v is not None}
        for piece in _list(part.get("choices")):
            if not isinstance(piece, Mapping):
                continue
            index = piece.get("index")
            choice = choices.setdefault(index if isinstance(index, int) else 0, {"logprobs": None})
            _add_text(choice, piece)
            if isinstance(logprobs := piece.get("logprobs"), Mapping):
                choice["logprobs"] = choice["logprobs"] or {}
                for name in ("content", "tokens", "token_logprobs", "top_logprobs"):
                    if isinstance(values := logprobs.get(name), list):
                        choice["logprobs"].setdefault(name, []).extend(values)
            if piece.get("finish_reason") is not None:
                choice["finish_reason"] = piece["finish_reason"]
    return {**whole, "choices": [choices[key] for key in sorted(choices)]}


def _add_text(choice: dict[str, Any], piece: Part) -> None:
    if isinstance(text := piece.get("text"), str):
        choice["text"] = choice.get("text", "") + text
        return
    message = choice.setdefault("message", {"content": "", "reasoning_content": ""})
    delta = piece.get("delta")
    for name in ("content", "reasoning_content", "reasoning"):
        if isinstance(delta, Mapping) and isinstance(delta.get(name), str):
            message["content" if name == "content" else "reasoning_content"] += delta[name]


def _join_fields(*names: str) -> Callable[[Sequence[Part]], dict[str, Any]]:
    """Texts and lists under these names are joined; of all else the last part's holds."""

    def join(parts: Sequence[Part]) -> dict[str, Any]:
        whole: dict[str, Any] = {}
        for part in parts:
            for name, value in part.items():
                old = whole.get(name)
                joins = name in names and type(value) is type(old) and isinstance(value, str | list)
                if joins:
                    whole[name] = old + value
                elif value is not None or name not in whole:
                    whole[name] = value
        return whole

    return join


def _join_ollama(parts: Sequence[Part]) -> dict[str, Any]:
    whole = _join_fields("response", "logprobs")(parts) | {"done": True}
    messages = [part["message"] for part in parts if isinstance(part.get("message"), Mapping)]
    return {**whole, "message": _join_fields("content")(messages)} if messages else whole


def _join_tgi(parts: Sequence[Part]) -> dict[str, Any]:
    last = parts[-1]
    details = found if isinstance(found := last.get("details"), Mapping) else {}
    top = [part.get("top_tokens") for part in parts]
    tokens = {"tokens": [part["token"] for part in parts], "top_tokens": top if any(top) else None}
    return {**last, "details": {**details, **tokens}}


def _has(item: Any, name: str, kind: type) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get(name), kind)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _never(part: Part) -> bool:  # noqa: ARG001  # several choices may be open under one id
    return False


CHAT: Final = Stream("OpenAI chat completion chunks", _join_choices, _never)
COMPLETIONS: Final = Stream("OpenAI completion chunks", _join_choices, _never)
LLAMACPP: Final = Stream(
    "llama.cpp completion chunks",
    _join_fields("content", "completion_probabilities"),
    lambda part: part.get("stop") is True,
)
TGI: Final = Stream("TGI stream", _join_tgi, lambda part: part.get("generated_text") is not None)
OLLAMA: Final = Stream("Ollama stream", _join_ollama, lambda part: part.get("done") is True)
