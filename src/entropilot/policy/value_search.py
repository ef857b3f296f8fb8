"""Search with a value: step beam search and best-of-K actions (OREO, arXiv 2412.16145).

Works with any policy and any value: both are functions on token sequences. Those of
``search_steps`` that remember read only the tokens that each step adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from entropilot.errors import ConfigurationError, InputError

Tokens = tuple[int, ...]
Choice = TypeVar("Choice")


class Continuation(NamedTuple):
    """One sampled step: its tokens, and whether the text ended in it."""

    tokens: Tokens
    ended: bool


#: (texts, n) -> n continuations of one step for each text.
Generate = Callable[[Sequence[Tokens], int], Sequence[Sequence[Continuation]]]
#: texts -> the value at the last token of each.
Value = Callable[[Sequence[Tokens]], Sequence[float]]


@dataclass(frozen=True)
class SearchResult:
    """The text that search chose for a prompt.

    Args:
        tokens: prompt and answer.
        value: at its last token.
        ended: False where no candidate came to its end within ``max_steps``.
        n_candidates: continuations that were scored for this prompt.
    """

    tokens: Tokens
    value: float
    ended: bool
    n_candidates: int


def value_beam_search(
    generate: Generate,
    value: Value,
    prompts: Sequence[Sequence[int]],
    beam: int = 7,
    max_steps: int = 20,
) -> list[SearchResult]:
    """Step beam search: of all one-step continuations keep those with the highest value.

    Each live prefix gets ``beam`` continuations; the best ``beam`` of all of them stay, by the
    value at the last token of the step. One that ended leaves the beam for the finished. The result
    is the finished text with the highest value, or the best live one if none finished. All prompts
    share each call of ``generate`` and of ``value``.

    Args:
        generate: samples one step for each text; it knows the step delimiter and the temperature.
        value: of texts. A poor one hurts: it picks the luckiest of beam^2 candidates, so check its
            AUC first with ``value_auc`` (0.85 is good, below 0.75 search gains nothing).
        prompts: token ids.
        beam: >= 1; 1 is plain sampling, step by step.
        max_steps: >= 1.

    Returns:
        One result a prompt.

    Raises:
        ConfigurationError: beam or max_steps below 1.
        InputError: ``generate`` or ``value`` gave another number of results than asked.

    Examples:
        >>> def generate(texts, n):
        ...     return [[Continuation((k,), len(t) == 2) for k in range(n)] for t in texts]
        >>> value_beam_search(generate, lambda texts: [sum(t) for t in texts], [[0]], beam=2)
        [SearchResult(tokens=(0, 1, 1), value=2.0, ended=True, n_candidates=6)]

    Source: arXiv 2412.16145, Section 5. Departs from the reference code, which reads the value one
    token before the last.
    """
    if beam < 1 or max_steps < 1:
        raise ConfigurationError(f"beam is {beam}, max_steps {max_steps}; both must be >= 1")
    live: list[list[Tokens]] = [[tuple(prompt)] for prompt in prompts]
    scored: list[list[tuple[float, Tokens]]] = [[] for _ in prompts]  # live, with values
    finished: list[list[tuple[float, Tokens]]] = [[] for _ in prompts]
    counts = [0] * len(prompts)
    for _ in range(max_steps):
        owners = [i for i, texts in enumerate(live) for _ in texts]
        texts = [text for group in live for text in group]
        if not texts:
            break
        steps = generate(texts, beam)
        if len(steps) != len(texts) or any(len(found) != beam for found in steps):
            raise InputError(f"generate gave another number of steps than {beam} for each text")
        candidates = [
            (owner, text + tuple(step.tokens), step.ended)
            for owner, text, found in zip(owners, texts, steps, strict=True)
            for step in found
        ]
        values = _values(value, [text for _, text, _ in candidates])
        pools: list[list[tuple[float, Tokens, bool]]] = [[] for _ in prompts]
        for (owner, text, ended), v in zip(candidates, values, strict=True):
            pools[owner].append((v, text, ended))
        for i, pool in enumerate(pools):
            counts[i] += len(pool)
            best = sorted(pool, key=lambda one: -one[0])[:beam]
            finished[i] += [(v, text) for v, text, ended in best if ended]
            scored[i] = [(v, text) for v, text, ended in best if not ended]
            live[i] = [text for _, text in scored[i]]
    results = []
    for i in range(len(prompts)):
        v, text = max(finished[i] or scored[i], key=lambda one: one[0])
        results.append(SearchResult(text, v, bool(finished[i]), counts[i]))
    return results


def best_of_k(
    propose: Callable[[int], Sequence[tuple[Choice, Tokens]]], value: Value, k: int
) -> tuple[Choice, float]:
    """Of k proposed actions, the one whose state afterwards has the highest value.

    Args:
        propose: k -> pairs of an action and the text after it.
        value: of texts.
        k: >= 1.

    Returns:
        The action and its value; of equal ones the first.

    Raises:
        ConfigurationError: k below 1.
        InputError: no proposal.

    Examples:
        >>> best_of_k(lambda k: [(i, (i % 3,)) for i in range(k)], lambda t: [x[0] for x in t], 5)
        (2, 2.0)

    Source: arXiv 2412.16145, Section 5 (ALFWorld).
    """
    if k < 1:
        raise ConfigurationError(f"k is {k}; it must be >= 1")
    proposals = list(propose(k))
    if not proposals:
        raise InputError("propose gave no action")
    values = _values(value, [text for _, text in proposals])
    best = max(range(len(values)), key=lambda i: values[i])
    return proposals[best][0], values[best]


def _values(value: Value, texts: list[Tokens]) -> list[float]:
    found = [float(v) for v in value(texts)]
    if len(found) != len(texts) or any(v != v for v in found):  # noqa: PLR0124 - nan
        raise InputError(
            f"value gave {len(found)} numbers for {len(texts)} texts, or a nan; expected one each"
        )
    return found
