"""vLLM's own ``RequestOutput``, dumped to JSON; its servers speak the OpenAI shapes.

``outputs[i].logprobs[t]`` maps token ids to {logprob, rank, decoded_token}: the k most likely, and
the sampled token besides when it is not among them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from entropilot.errors import FormatError
from entropilot.traces.reading.builder import Record, TokenLists
from entropilot.traces.reading.dialects import entries
from entropilot.traces.reading.dialects.fields import Contexts, labels, requested_k
from entropilot.traces.reading.dialects.openai import ScannedLists
from entropilot.traces.reading.options import ReadOptions


def is_request_output(item: Mapping[str, Any]) -> bool:
    """Whether the object is a dumped RequestOutput."""
    outputs = item.get("outputs")
    return (
        isinstance(outputs, list)
        and bool(outputs)
        and all(isinstance(o, Mapping) and "token_ids" in o for o in outputs)
    )


def read_request_output(
    item: Mapping[str, Any],
    outer: Contexts,
    options: ReadOptions,
    scanned: ScannedLists,  # noqa: ARG001
) -> list[Record]:
    """One record an output of a RequestOutput."""
    outputs = item["outputs"]
    name = item.get("request_id")
    records = []
    for i, output in enumerate(outputs):
        contexts = [output, item, *outer]
        row = labels(contexts, options, i, len(outputs))
        if name is not None:
            row["id"] = str(name) if len(outputs) == 1 else f"{name}/{i}"
            if len(outputs) > 1:
                row.setdefault("group", str(name))
        text, reason = output.get("text"), output.get("finish_reason")
        row["text"] = text if isinstance(text, str) else None
        row["finish_reason"] = reason if isinstance(reason, str) else None
        tokens = _tokens(output, f"outputs[{i}]")
        records.append(Record(row, tokens, requested_k(contexts)))
    return records


def _tokens(output: Mapping[str, Any], where: str) -> TokenLists | None:
    ids, steps = output["token_ids"], output.get("logprobs")
    if steps is None:
        return None
    if not isinstance(ids, list) or not isinstance(steps, list) or len(ids) != len(steps):
        raise FormatError(f"{where}.logprobs needs one entry for each of token_ids")
    return listed_tokens(ids, steps, f"{where}.logprobs")


def listed_tokens(ids: list[Any], steps: list[Any], where: str) -> TokenLists:
    """Tokens of a list of {id: {logprob, rank, decoded_token}}, of which ``ids`` were taken."""
    tokens = TokenLists()
    for t, (token_id, step) in enumerate(zip(ids, steps, strict=True)):
        here = f"{where}[{t}]"
        if not isinstance(step, Mapping):
            raise FormatError(
                f"{here} is a {type(step).__name__}; an object by token id is expected"
            )
        token_id = entries.token_id(token_id, f"the id taken at {here}")
        listed = [_entry(key, value, here) for key, value in step.items()]
        listed.sort(key=lambda found: found[1])  # by rank
        if listed and listed[-1][0][1] == token_id and listed[-1][1] > len(listed):
            listed.insert(0, listed.pop())  # outside the top-k: first, as vLLM has it
        own = next((found[0] for found in listed if found[0][1] == token_id), None)
        text, logprob = (own[0], own[2]) if own else (_name(token_id), entries.MISSING)
        tokens.add(text, token_id, logprob, [found[0] for found in listed])
    return tokens


def _entry(key: Any, value: Any, where: str) -> tuple[tuple[bytes, int, float], float]:
    """((text, id, log-prob), rank) of one alternative; old versions give the number alone."""
    token_id = entries.token_id(int(key) if str(key).isdecimal() else key, f"a key of {where}")
    if not isinstance(value, Mapping):
        return (_name(token_id), token_id, entries.number(value, where)), 0
    text, rank = value.get("decoded_token"), value.get("rank")
    piece = entries.text_bytes(text) if isinstance(text, str) else _name(token_id)
    logprob = entries.number(value.get("logprob"), f"{where}.logprob")
    return (piece, token_id, logprob), rank if isinstance(rank, int) else -_descending(logprob)


def _descending(logprob: float) -> float:
    return -1e9 if math.isnan(logprob) else logprob


def _name(token_id: int) -> bytes:
    """What stands for the text where only the id is known."""
    return b"token_id:%d" % token_id
