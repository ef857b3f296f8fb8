"""Which dialect an object of a log is in, told by its keys, and the reader for it.

A reader takes ``(object, outer, options, scanned)`` and gives records: ``outer`` are the objects
that were wrapped around it and may carry labels, ``scanned`` the token lists already read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from entropilot.errors import FormatError
from entropilot.traces.reading.builder import Record
from entropilot.traces.reading.dialects import (
    frameworks,
    llamacpp,
    openai,
    prompts,
    rollouts,
    servers,
    tgi,
    vllm,
)
from entropilot.traces.reading.dialects.fields import Contexts
from entropilot.traces.reading.options import ReadOptions

Reader = Callable[[Mapping[str, Any], Contexts, ReadOptions, openai.ScannedLists], list[Record]]


class Dialect(NamedTuple):
    """A shape that is known: its name, how to tell it, and its reader."""

    name: str
    matches: Callable[[Mapping[str, Any]], bool]
    read: Reader


def _has_choices(item: Mapping[str, Any]) -> bool:
    choices = item.get("choices")
    return isinstance(choices, list) and all(isinstance(c, Mapping) for c in choices)


def _is_chat(item: Mapping[str, Any]) -> bool:
    return _has_choices(item) and any("message" in c for c in item["choices"])


def _is_vllm_server(item: Mapping[str, Any]) -> bool:
    return _has_choices(item) and (
        "prompt_logprobs" in item or any("stop_reason" in choice for choice in item["choices"])
    )


DIALECTS: Final[tuple[Dialect, ...]] = (
    Dialect(
        "vLLM chat completions",
        lambda item: _is_vllm_server(item) and _is_chat(item),
        openai.read_choices,
    ),
    Dialect("vLLM completions", _is_vllm_server, openai.read_choices),
    Dialect("OpenAI chat completions", _is_chat, openai.read_choices),
    Dialect("OpenAI completions", _has_choices, openai.read_choices),
    Dialect("OpenAI log-probs", openai.is_bare, openai.read_bare),
    Dialect("OpenAI responses", servers.is_response, servers.read_response),
    Dialect("vLLM request outputs", vllm.is_request_output, vllm.read_request_output),
    Dialect("llama.cpp completions", llamacpp.is_native, llamacpp.read_native),
    Dialect("Ollama answers", servers.is_ollama, servers.read_ollama),
    Dialect("SGLang answers", servers.is_sglang, servers.read_sglang),
    Dialect("TGI answers", tgi.is_tgi, tgi.read_tgi),
    Dialect("LangChain messages", frameworks.is_langchain, frameworks.read_message),
    Dialect("pydantic-ai messages", frameworks.is_pydantic_ai, frameworks.read_message),
    Dialect("TRL completions", rollouts.is_trl, rollouts.read_trl),
    Dialect("verl rollouts", rollouts.is_verl, rollouts.read_verl),
)

#: Keys under which a log puts the server's answer beside what it knows of it.
WRAPPERS: Final = (
    "response", "body", "completion_response", "output", "result", "raw_response", "data",
)  # fmt: skip


def detect(item: Any) -> tuple[Dialect, Mapping[str, Any], list[Mapping[str, Any]]]:
    """The dialect of an object, the object that has the answer, and those wrapped around it.

    Raises:
        FormatError: no dialect is known for it; names the keys that were seen.
    """
    outer: list[Mapping[str, Any]] = []
    inner = item
    for _ in range(4):
        if not isinstance(inner, Mapping):
            break
        for dialect in DIALECTS:
            if dialect.matches(inner):
                return dialect, inner, outer
        wrapped = [inner[key] for key in WRAPPERS if isinstance(inner.get(key), Mapping)]
        if not wrapped:
            break
        outer.insert(0, inner)
        inner = wrapped[0]
    raise FormatError(_unknown(item))


def read_object(
    item: Any, options: ReadOptions, scanned: openai.ScannedLists
) -> tuple[str, list[Record]]:
    """The format of an object of a log, and its traces: completions, or prompts if asked for.

    Raises:
        FormatError: no dialect is known for it, or it is damaged.
    """
    dialect, inner, outer = detect(item)
    if options.part == "prompt":
        return f"{dialect.name}, prompts", prompts.read_prompts(inner, outer, options)
    records = dialect.read(inner, outer, options, scanned)
    if all(record.tokens is None for record in records) and prompts.has_prompt(inner):
        for record in records:
            record.has_scored_prompt = True
    return dialect.name, records


def _unknown(item: Any) -> str:
    names = ", ".join(dialect.name for dialect in DIALECTS)
    if not isinstance(item, Mapping):
        return f"the record is of type {type(item).__name__}, not an object. Known formats: {names}"
    if item.get("error"):
        return f"the record is an error that a server returned: {str(item['error'])[:200]}"
    keys = ", ".join(str(key)[:40] for key in list(item)[:20]) or "none at all"
    return f"no known format has this shape; keys found: {keys}. Known formats: {names}"
