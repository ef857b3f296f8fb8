"""The tokens of the prompt, where a log scores them: vLLM, SGLang, and completions with ``echo``.

With ``ReadOptions(part="prompt")`` they are the trace, so that texts that were not sampled but
handed in (teacher forcing) are measured like any other.

    vLLM     prompt_logprobs, of the answer or of a choice: null, then an object by token id each
    SGLang   meta_info.input_token_logprobs and input_top_logprobs
    echo     the first usage.prompt_tokens of the listed tokens
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entropilot.errors import FormatError
from entropilot.traces.reading.builder import Record, TokenLists
from entropilot.traces.reading.dialects import openai, servers, vllm
from entropilot.traces.reading.dialects.entries import token_id
from entropilot.traces.reading.dialects.fields import Contexts, labels
from entropilot.traces.reading.options import ReadOptions


def has_prompt(item: Mapping[str, Any]) -> bool:
    """Whether the object scores tokens of its prompt.

    Examples:
        >>> has_prompt({"prompt_logprobs": [None]}), has_prompt({"prompt_logprobs": None})
        (True, False)
    """
    return any(True for _ in _parts(item))


def read_prompts(item: Mapping[str, Any], outer: Contexts, options: ReadOptions) -> list[Record]:
    """One record a scored prompt.

    Raises:
        FormatError: no prompt is scored, or its list is damaged.
    """
    parts = list(_parts(item))
    if not parts:
        raise FormatError(
            "the prompt has no log-probabilities. Ask for them: prompt_logprobs=20 (vLLM), "
            "echo=True with logprobs (completions), return_logprob=True with logprob_start_len=0 "
            "(SGLang); or read the completions, with part='completion'"
        )
    name = openai.identity(item, outer)
    records = []
    for i, (tokens, part) in enumerate(parts):
        contexts = [part, item, *outer]
        row = labels(contexts, options, i, len(parts))
        row["id"] = name if len(parts) == 1 or name is None else f"{name}/{i}"
        row["model"] = model if isinstance(model := item.get("model"), str) else None
        records.append(Record(row, tokens()))
    return records


def _parts(item: Mapping[str, Any]) -> Any:
    """(maker of its tokens, object that says so) of each prompt that is scored."""
    listed, meta = item.get("prompt_logprobs"), item.get("meta_info")
    if listed is not None:
        yield lambda: by_id(listed, item.get("prompt_token_ids"), "prompt_logprobs"), item
    if isinstance(meta, Mapping) and meta.get("input_token_logprobs"):
        yield lambda: servers.sglang_tokens(meta, "input"), meta
    choices = item.get("choices")
    for i, choice in enumerate(choices if isinstance(choices, list) else ()):
        if not isinstance(choice, Mapping):
            continue
        scored, where = choice.get("prompt_logprobs"), f"choices[{i}]"
        ids = choice.get("prompt_token_ids")
        if scored is not None:
            yield lambda s=scored, d=ids, w=where: by_id(s, d, f"{w}.prompt_logprobs"), choice
        elif n := openai.echoed(item, choice):
            lists = choice["logprobs"]
            yield (
                lambda lists=lists, n=n, w=where: openai.legacy_tokens(
                    lists, f"{w}.logprobs", slice(0, n)
                ),
                choice,
            )


def by_id(steps: Any, ids: Any, where: str) -> TokenLists:
    """Tokens of vLLM's prompt log-probs, without the first of the prompt, which has none.

    Where the log does not name the prompt's ids, a token is the first of its list, as vLLM has it,
    or the one that is outside the k most likely.
    """
    if not isinstance(steps, list) or not all(s is None or isinstance(s, Mapping) for s in steps):
        raise FormatError(f"{where} is not a list of objects by token id")
    first = next((t for t, step in enumerate(steps) if step), len(steps))
    if isinstance(ids, list) and len(ids) == len(steps):
        taken = ids
    else:
        taken = [_taken(step, f"{where}[{t}]") if step else -1 for t, step in enumerate(steps)]
        if any(not step for step in steps[first:]):
            raise FormatError(f"{where} has gaps; add the prompt's ids as prompt_token_ids")
    kept = [step or {} for step in steps[first:]]
    return vllm.listed_tokens(taken[first:], kept, where)


def _taken(step: Mapping[str, Any], where: str) -> int:
    ranks = [e.get("rank") if isinstance(e, Mapping) else None for e in step.values()]
    beyond = [
        key
        for key, rank in zip(step, ranks, strict=True)
        if isinstance(rank, int) and rank > len(step)
    ]
    key = beyond[0] if len(beyond) == 1 else next(iter(step))
    return token_id(int(key) if str(key).isdecimal() else key, f"a key of {where}")
