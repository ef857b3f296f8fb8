"""Answers before and after training, every token coloured by the entropy it was drawn at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from entropilot.report.tokens import levels
from entropilot.report.visible import visible
from entropilot.report.wording import ABSENT

MOST_TOKENS: Final = 400  # shown of one answer
MOST_PROBLEMS: Final = 4


class Token(NamedTuple):
    """One token as it is shown.

    Examples:
        >>> Token("4", 2, "0.31 nats").level
        2
    """

    text: str
    level: int  # of colour, 0 to 8; -1 where the entropy is not known
    said: str


class Answer(NamedTuple):
    """One answer as it is shown.

    Examples:
        >>> Answer("before training", "start", [], True, 0, 0.3).correct
        True
    """

    title: str
    label: str  # of the recipe, "" before training
    tokens: list[Token]
    correct: bool
    n_hidden: int  # tokens beyond those shown
    mean: float  # entropy of a token, nats


class Problem(NamedTuple):
    """One problem with an answer before training and one after it by recipe.

    Examples:
        >>> Problem("1+1=", "2", []).reference
        '2'
    """

    prompt: str
    reference: str
    answers: list[Answer]


def example_problems(examples: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Examples of a ``Comparison`` by problem; an answer from before that all share stands once."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for example in examples:
        key = (str(example["prompt"]), str(example.get("reference", "")))
        found.setdefault(key, []).append(example)
    problems = []
    for (prompt, reference), group in list(found.items())[:MOST_PROBLEMS]:
        shared = all(e["before"]["tokens"] == group[0]["before"]["tokens"] for e in group)
        answers = []
        for i, example in enumerate(group):
            label = str(example["label"])
            if not shared or i == 0:
                title = "before training" if shared else f"before {label}"
                answers.append(_answer(title, "", example["before"]))
            answers.append(_answer(f"after {label}", label, example["after"]))
        problems.append(
            Problem(
                visible(prompt, newline="⏎\n", limit=1500), visible(reference, limit=300), answers
            )
        )
    return problems


def _answer(title: str, label: str, answer: Mapping[str, Any]) -> Answer:
    entropy = np.array([np.nan if h is None else h for h in answer["entropy"]], float)
    tints = levels(entropy).tolist()
    shown = [
        Token(
            visible(text, newline="⏎\n", space=" " if text.strip(" ") else "·", limit=200),
            level,
            f"{h:.2f} nats" if np.isfinite(h) else ABSENT,
        )
        for text, level, h in zip(
            answer["tokens"][:MOST_TOKENS], tints, entropy.tolist(), strict=False
        )
    ]
    known = entropy[np.isfinite(entropy)]
    return Answer(
        title=title,
        label=label,
        tokens=shown,
        correct=bool(answer["correct"]),
        n_hidden=max(0, len(answer["tokens"]) - MOST_TOKENS),
        mean=float(known.mean()) if len(known) else float("nan"),
    )
