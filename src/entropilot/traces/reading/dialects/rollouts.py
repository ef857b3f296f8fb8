"""Rollouts that trainers write down, without log-probabilities: TRL's completions, verl's dumps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from entropilot.traces.reading.builder import Record
from entropilot.traces.reading.dialects.fields import (
    Contexts,
    as_correct,
    as_number,
    as_prompt,
    labels,
)
from entropilot.traces.reading.dialects.openai import ScannedLists
from entropilot.traces.reading.options import ReadOptions

NOT_A_REWARD: Final = {"advantage", "advantages", "step", "score", "reward", "rewards"}


def is_trl(item: Mapping[str, Any]) -> bool:
    """Whether the object is one of TRL's logged completions, or a table of them in columns."""
    return "prompt" in item and any(
        isinstance(item.get(name), str | list) for name in ("completion", "completions")
    )


def read_trl(
    item: Mapping[str, Any],
    outer: Contexts,
    options: ReadOptions,
    scanned: ScannedLists,  # noqa: ARG001
) -> list[Record]:
    """One trace, or one a row where the columns are lists.

    The reward is ``reward`` where it is there, else the sum of the columns with "reward" in their
    name. Traces with one prompt are one group.
    """
    records = []
    for row in _rows(item):
        contexts = [row, *outer]
        found = labels(contexts, options)
        found["text"] = as_prompt(row.get("completion", row.get("completions")))
        rewards = {
            name: number
            for name, value in row.items()
            if "reward" in name and name not in NOT_A_REWARD and isinstance(value, int | float)
            if (number := as_number(value)) is not None
        }
        if "reward" not in found and rewards:
            found["reward"] = sum(rewards.values())
        for name, value in rewards.items():
            if "correct" not in found and ("accuracy" in name or "correct" in name):
                found["correct"] = as_correct(value)
        found.setdefault("group", _group(found.get("prompt")))
        records.append(Record(found))
    return records


def is_verl(item: Mapping[str, Any]) -> bool:
    """Whether the object is a line of verl's rollout or validation dump."""
    return (
        isinstance(item.get("input"), str | list)
        and isinstance(item.get("output"), str)
        and ("score" in item or "step" in item or "reward" in item)
    )


def read_verl(
    item: Mapping[str, Any],
    outer: Contexts,
    options: ReadOptions,
    scanned: ScannedLists,  # noqa: ARG001
) -> list[Record]:
    """The one trace of a line."""
    row = labels([item, *outer], options)
    row.setdefault("prompt", as_prompt(item["input"]))
    row["text"] = item["output"]
    if "correct" not in row and (accuracy := as_correct(item.get("acc"))) is not None:
        row["correct"] = accuracy
    row.setdefault("group", _group(row.get("prompt")))
    return [Record(row)]


def _rows(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    prompts, completions = item["prompt"], item.get("completion", item.get("completions"))
    in_columns = (
        isinstance(prompts, list)
        and isinstance(completions, list)
        and len(prompts) == len(completions)
        and not any(isinstance(p, Mapping) and "role" in p for p in prompts)
    )
    if not in_columns:
        return [item]
    n = len(prompts)
    columns = {k: v for k, v in item.items() if isinstance(v, list) and len(v) == n}
    shared = {k: v for k, v in item.items() if k not in columns}
    return [{**shared, **{k: v[i] for k, v in columns.items()}} for i in range(n)]


def _group(prompt: str | None) -> str | None:
    """Name of the problem with this prompt."""
    if prompt is None:
        return None
    return "prompt-" + hashlib.blake2b(prompt.encode("utf-8", "replace"), digest_size=6).hexdigest()
