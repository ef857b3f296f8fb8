"""Answers before and after training, every token coloured by the entropy it was drawn at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from entropilot.report.tokens import levels
from entropilot.report.visible import visible
from entropilot.report.wording import ABSENT

MOST_TOKENS: Final = 400  # shown of one answer, at most
LEAST_TOKENS: Final = 40  # and at least, where many answers share the page
ALL_TOKENS: Final = 3000  # shown on the page, about 60 bytes each
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
    chosen = list(found.items())[:MOST_PROBLEMS]
    cap = _cap(sum(len(group) + (1 if _shared(group) else len(group)) for _, group in chosen))
    problems = []
    for (prompt, reference), group in chosen:
        shared = _shared(group)
        answers = []
        for i, example in enumerate(group):
            label = str(example["label"])
            if not shared or i == 0:
                title = "before training" if shared else f"before {label}"
                answers.append(_answer(title, "", example["before"], cap))
            answers.append(_answer(f"after {label}", label, example["after"], cap))
        problems.append(
            Problem(
                visible(prompt, newline="⏎\n", limit=1500), visible(reference, limit=300), answers
            )
        )
    return problems


def _shared(group: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all recipes began with the same answer."""
    return all(e["before"]["tokens"] == group[0]["before"]["tokens"] for e in group)


def _cap(n_answers: int) -> int:
    """Tokens shown of one answer, so that a page with many stays small.

    Examples:
        >>> _cap(8), _cap(40), _cap(1000)
        (375, 75, 40)
    """
    return min(MOST_TOKENS, max(LEAST_TOKENS, ALL_TOKENS // max(n_answers, 1)))


def _answer(title: str, label: str, answer: Mapping[str, Any], cap: int) -> Answer:
    entropy = np.array([np.nan if h is None else h for h in answer["entropy"]], float)
    tints = levels(entropy).tolist()
    shown = [
        Token(
            visible(text, newline="⏎\n", space=" " if text.strip(" ") else "·", limit=200),
            level,
            f"{h:.2f} nats" if np.isfinite(h) else ABSENT,
        )
        for text, level, h in zip(answer["tokens"][:cap], tints, entropy.tolist(), strict=False)
    ]
    known = entropy[np.isfinite(entropy)]
    return Answer(
        title=title,
        label=label,
        tokens=shown,
        correct=bool(answer["correct"]),
        n_hidden=max(0, len(answer["tokens"]) - cap),
        mean=float(known.mean()) if len(known) else float("nan"),
    )
