"""OpenAI's shapes: chat completions, legacy completions, streamed chunks, and the Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from entropilot.errors import FormatError
from entropilot.traces.reading.builder import Record, Scanned, TokenLists
from entropilot.traces.reading.dialects import entries
from entropilot.traces.reading.dialects.fields import Contexts, labels, message_text, requested_k
from entropilot.traces.reading.options import ReadOptions

#: Token lists that the fast scanner has taken out of a record, by the number that it left instead.
ScannedLists = Mapping[int, Scanned]


def content_tokens(content: Any, scanned: ScannedLists, where: str) -> TokenLists | Scanned | None:
    """Tokens of a list of {token, logprob, bytes, top_logprobs}."""
    if content is None:
        return None
    if isinstance(content, int) and content in scanned:
        return scanned[content]
    if not isinstance(content, list):
        raise FormatError(f"{where} is a {type(content).__name__}; a list of tokens is expected")
    tokens = TokenLists()
    for t, item in enumerate(content):
        here = f"{where}[{t}]"
        text, key, logprob = entries.entry(item, here)
        if item.get("x_token_id") is not None:
            key = entries.token_id(item["x_token_id"], f"{here}.x_token_id")
        listed = item.get("top_logprobs")
        if listed is not None and not isinstance(listed, list):
            raise FormatError(f"{here}.top_logprobs is a {type(listed).__name__}, not a list")
        alternatives = [
            entries.entry(other, f"{here}.top_logprobs[{i}]")
            for i, other in enumerate(listed or ())
        ]
        ids = item.get("x_top_ids")
        if ids is not None:
            if not isinstance(ids, list) or len(ids) != len(alternatives):
                raise FormatError(f"{here}.x_top_ids needs one id for each of top_logprobs")
            alternatives = [
                (other[0], entries.token_id(i, f"{here}.x_top_ids"), other[2])
                for other, i in zip(alternatives, ids, strict=True)
            ]
        tokens.add(
            text,
            key,
            logprob,
            alternatives,
            entries.statistic(
                item.get("x_entropy_full"), entries.MAX_ENTROPY, f"{here}.x_entropy_full"
            ),
            entries.statistic(item.get("x_jsd_full"), entries.MAX_DIVERGENCE, f"{here}.x_jsd_full"),
        )
    return tokens


def echoed(body: Mapping[str, Any], choice: Mapping[str, Any]) -> int:
    """How many tokens of a completion repeat its prompt (``echo=True``); 0 where it can't be told.

    The first token of a prompt has no log-probability, and ``usage`` counts the tokens of both.
    """
    logprobs, usage = choice.get("logprobs"), body.get("usage")
    if not isinstance(logprobs, Mapping) or not isinstance(usage, Mapping):
        return 0
    own, n = logprobs.get("token_logprobs"), usage.get("prompt_tokens")
    if not isinstance(own, list) or not own or own[0] is not None or not isinstance(n, int):
        return 0
    alone = isinstance(body.get("choices"), list) and len(body["choices"]) == 1
    return n if alone and 0 < n <= len(own) else 0


def legacy_tokens(
    logprobs: Mapping[str, Any], where: str, part: slice = slice(None)
) -> TokenLists | None:
    """Tokens of {tokens, token_logprobs, top_logprobs: list of {string: log-prob}}."""
    texts, own = logprobs.get("tokens"), logprobs.get("token_logprobs")
    top = logprobs.get("top_logprobs")
    if texts is None:
        return None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise FormatError(f"{where}.tokens is not a list of strings")
    for name, values in (("token_logprobs", own), ("top_logprobs", top)):
        if values is not None and (not isinstance(values, list) or len(values) != len(texts)):
            raise FormatError(f"{where}.{name} needs one entry for each of the {len(texts)} tokens")
    tokens = TokenLists()
    for t in range(*part.indices(len(texts))):
        text = texts[t]
        listed = top[t] if top is not None and top[t] is not None else {}
        if not isinstance(listed, Mapping):
            raise FormatError(f"{where}.top_logprobs[{t}] is not an object of text and log-prob")
        tokens.add(
            entries.text_bytes(text),
            entries.id_in_text(text),
            entries.number(own[t] if own is not None else None, f"{where}.token_logprobs[{t}]"),
            [
                (
                    entries.text_bytes(str(other)),
                    entries.id_in_text(str(other)),
                    entries.number(value, f"{where}.top_logprobs[{t}]"),
                )
                for other, value in listed.items()
            ],
        )
    return tokens


def choice_tokens(choice: Mapping[str, Any], scanned: ScannedLists, where: str) -> Any:
    """Tokens of one choice in the chat or the legacy form; None where it has none."""
    logprobs = choice.get("logprobs")
    if logprobs is None:
        return None
    where = f"{where}.logprobs"
    if not isinstance(logprobs, Mapping):
        raise FormatError(f"{where} is a {type(logprobs).__name__}; an object or null is expected")
    if "content" in logprobs:
        return content_tokens(logprobs["content"], scanned, f"{where}.content")
    if "tokens" in logprobs:
        return legacy_tokens(logprobs, where)
    if "refusal" in logprobs or not logprobs:
        return None
    raise FormatError(
        f"{where} has the keys {', '.join(map(str, logprobs))}; known are content (chat) and "
        "tokens, token_logprobs, top_logprobs (completions)"
    )


def read_choices(
    body: Mapping[str, Any], outer: Contexts, options: ReadOptions, scanned: ScannedLists
) -> list[Record]:
    """One record a choice. ``outer`` are the objects around the body, which may carry labels."""
    choices: Sequence[Any] = body["choices"]
    records = []
    n = len(choices)
    for i, choice in enumerate(choices):
        where = f"choices[{i}]"
        if not isinstance(choice, Mapping):
            raise FormatError(f"{where} is a {type(choice).__name__}; an object is expected")
        contexts = [choice, body, *outer]
        row = labels(contexts, options, i, n)
        name = identity(body, outer)
        row["id"] = name if n == 1 or name is None else f"{name}/{i}"
        if n > 1 and name is not None:
            row.setdefault("group", name)
        message = choice.get("message")
        if isinstance(message, Mapping):
            row["text"] = message_text(message)
        elif isinstance(choice.get("text"), str):
            row["text"] = choice["text"]
        for column, value in (
            ("finish_reason", choice.get("finish_reason")),
            ("model", body.get("model")),
        ):
            row[column] = value if isinstance(value, str) else None
        tokens = choice_tokens(choice, scanned, where)
        if isinstance(tokens, TokenLists) and (n_prompt := echoed(body, choice)):
            own = slice(n_prompt, None)
            tokens = (
                legacy_tokens(choice["logprobs"], f"{where}.logprobs", own)
                if (n_prompt < len(choice["logprobs"]["token_logprobs"]))
                else None
            )
            row["text"] = None  # that of the remaining tokens
        records.append(Record(row, tokens, requested_k(contexts)))
    return records


def is_bare(item: Mapping[str, Any]) -> bool:
    """Whether the object is the ``logprobs`` of a choice alone, saved without the rest."""
    content = item.get("content")
    if isinstance(content, list) and content:
        return isinstance(content[0], Mapping) and "logprob" in content[0]
    return isinstance(item.get("tokens"), list) and "token_logprobs" in item


def read_bare(
    item: Mapping[str, Any], outer: Contexts, options: ReadOptions, scanned: ScannedLists
) -> list[Record]:
    """The one trace of a saved ``logprobs`` object; labels may stand beside its lists."""
    return read_choices({"choices": [{"logprobs": item}]}, [item, *outer], options, scanned)


def identity(body: Mapping[str, Any], outer: Contexts) -> str | None:
    """What the log calls the answer: the user's own name first, then the server's."""
    for context in (*reversed(outer), body):  # the outermost name is the user's own
        for name in ("custom_id", "id", "request_id", "uid"):
            value = context.get(name)
            if isinstance(value, str | int):
                return str(value)
    return None
