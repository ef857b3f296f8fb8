"""Streamed answers: chunks with a delta each, joined by their id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

NAME: Final = "OpenAI chat completion chunks"


def is_chunk(item: Any) -> bool:
    """Whether the object is a chunk of a streamed chat completion."""
    if not isinstance(item, Mapping):
        return False
    choices = item.get("choices")
    return item.get("object") == "chat.completion.chunk" or (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(c, Mapping) and isinstance(c.get("delta"), Mapping) for c in choices)
    )


class OpenStream:
    """The chunks of one id so far, as the chat completion that they make up."""

    def __init__(self, file: str, line: int) -> None:
        self.file, self.line = file, line
        self.outer: dict[str, Any] = {}
        self.choices: dict[Any, dict[str, Any]] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Append a chunk."""
        self.outer |= {k: v for k, v in chunk.items() if k != "choices" and v is not None}
        listed = chunk.get("choices")
        for part in listed if isinstance(listed, list) else ():
            if not isinstance(part, Mapping):
                continue
            index = part.get("index")
            key = index if isinstance(index, int) else 0
            choice = self.choices.setdefault(
                key, {"message": {"content": "", "reasoning_content": ""}, "logprobs": None}
            )
            delta = part.get("delta")
            delta = delta if isinstance(delta, Mapping) else {}
            for name in ("content", "reasoning_content", "reasoning"):
                if isinstance(delta.get(name), str):
                    target = "content" if name == "content" else "reasoning_content"
                    choice["message"][target] += delta[name]
            logprobs = part.get("logprobs")
            if isinstance(logprobs, Mapping) and isinstance(logprobs.get("content"), list):
                choice["logprobs"] = choice["logprobs"] or {"content": []}
                choice["logprobs"]["content"] += logprobs["content"]
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]

    def completion(self) -> dict[str, Any]:
        """The whole answer."""
        return {**self.outer, "choices": [self.choices[key] for key in sorted(self.choices)]}
