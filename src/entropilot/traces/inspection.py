"""Reading a chain of reasoning with an inspector model: entropy of the answer after every step.

Source: Measuring Reasoning Utility in LLMs via Conditional Entropy Reduction, arXiv 2508.20395. The
paper leaves the connector text, the step rule and the online form open; those here are ours.

Legend: K steps of a chain, M tokens of the answer, V vocabulary.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from entropilot.errors import ConfigurationError, InputError
from entropilot.traces.inspectors import BranchingInspector, Inspector, ListingInspector
from entropilot.traces.steps.splitting import split_text
from entropilot.traces.utility import (
    SpanEntropy,
    SpanMode,
    Trajectory,
    Which,
    answer_entropy_of_span,
    trajectory_of_spans,
)

CONNECTOR: Final = "\nThe answer is "
SHORTEST_STEP: Final = 3  # tokens; a shorter step joins the next
SETTLED: Final = 0.05  # nats; below it twice in a row the answer no longer changes
UNSETTLED: Final = 1.0  # nats; a flat chain above it is not getting anywhere

_MARKER: Final = re.compile(
    r"^\s*(?:(?:A|Answer|Final answer)\s*:\s*\S.{0,60}"
    r"|\#{2,}\s*\S.{0,60}|\$?\\boxed\{.*\}\$?\.?)\s*$",
    re.IGNORECASE,
)


def utility_steps(
    text: str, rule: str = "auto", *, count: Callable[[str], int] | None = None
) -> list[str]:
    r"""Steps of a chain, as the utility of steps needs them.

    A last line that only states the answer ("A: 18", "#### 18", "\boxed{18}") is dropped, the text
    is split, and a step of fewer than three tokens joins the next (the last one the one before).

    Args:
        text: the chain.
        rule: of ``split_text``; "auto" takes blank lines, else lines, else sentences.
        count: tokens of a text; words and signs by default.

    Returns:
        Steps without white space at their ends.

    Examples:
        >>> utility_steps("She has 16 - 3 = 13 eggs.\nSo:\nShe sells 13 * 2 = 26.\nA: 26")
        ['She has 16 - 3 = 13 eggs.', 'So:\nShe sells 13 * 2 = 26.']
    """
    lines = text.rstrip().split("\n")
    if _MARKER.match(lines[-1]):
        lines = lines[:-1]
    length = count or (lambda part: len(re.findall(r"\w+|[^\w\s]", part)))
    steps: list[str] = []
    short = ""
    for part in split_text("\n".join(lines), rule):
        step = f"{short}\n{part.strip()}" if short else part.strip()
        if step and length(step) < SHORTEST_STEP:
            short = step
        elif step:
            steps.append(step)
            short = ""
    if short and steps:
        steps[-1] = f"{steps[-1]}\n{short}"
    elif short:
        steps.append(short)
    return steps


def leak_step(steps: Sequence[str], answer: str) -> int | None:
    """Number (from 1) of the first step that contains the answer; None when none does.

    A number counts only as a whole: 8 is neither in 18 nor in 8.5. Thousands commas do not matter.

    Examples:
        >>> leak_step(["He has 118.", "So 18 in all."], "18"), leak_step(["No."], "18")
        (2, None)
    """
    bare = re.escape(_plain(answer))
    pattern = re.compile(rf"(?<![\w])(?<!\d\.){bare}(?!\w)(?!\.\d)")
    return next((k for k, step in enumerate(steps, 1) if pattern.search(_plain(step))), None)


def entropy_trajectory(
    inspector: Inspector | ListingInspector,
    question: str,
    steps: Sequence[str],
    answer: str,
    *,
    connector: str = CONNECTOR,
    which: Which = "gold",
    chain: str | None = None,
    estimate: SpanMode = "lump",
) -> Trajectory:
    r"""Entropy of the answer after 0, 1, ... K steps, by teacher forcing.

    The inspector reads question, "\n" and step for the first k steps, connector, answer. Question,
    steps and connector are tokenised one by one, so that every prefix is a prefix in tokens too.

    Args:
        inspector: one with ``branches`` reads the chain in one go; one with ``answer_lists`` shows
            the most likely tokens only, and the trajectory then has bounds.
        question: the problem.
        steps: texts of the K steps; none are fine.
        answer: the reference answer for "gold", the chain's final answer for "own".
        connector: text between chain and answer, the same for all k.
        which: whose answer it is. "gold" is an oracle study; "own" asks if the inspector is sure.
        chain: the whole text in which the "own" answer must stand; the steps by default.
        estimate: of lists of the most likely tokens, see ``answer_entropy_of_span``; logits need
            none.

    Returns:
        The trajectory, with NLL and the step from which a fall is mere copying.

    Raises:
        InputError: empty question or answer, steps that are not texts, or an "own" answer that
            does not stand in the chain.
        ConfigurationError: estimate "bounds" where the lists do not bound the entropy from above.

    Source: arXiv 2508.20395, teacher-forced conditional entropy.
    """
    _check_chain(question, steps, answer, chain, which)
    texts = [question.rstrip(), *("\n" + step.strip() for step in steps)]
    if isinstance(inspector, ListingInspector):
        spans, lengths = _listed_spans(inspector, texts, connector, answer.strip(), estimate)
    else:
        spans, lengths = _full_spans(inspector, texts, connector, answer.strip())
    return trajectory_of_spans(
        spans,
        which=which,
        connector=connector,
        answer=answer,
        step_tokens=lengths,
        leak_step=leak_step(steps, answer),
    )


def _check_chain(
    question: str, steps: Sequence[str], answer: str, chain: str | None, which: Which
) -> None:
    if not question.strip():
        raise InputError("the question is empty; the inspector needs the problem to read")
    if not answer.strip():
        raise InputError("the answer is empty; give the text whose entropy is asked for")
    for k, step in enumerate(steps, 1):
        if not isinstance(step, str):
            raise InputError(
                f"step {k} is {type(step).__name__}; give texts, not token ids: "
                "the inspector has its own tokens"
            )
        if not step.strip():
            raise InputError(f"step {k} is empty; leave it out")
    text = chain if chain is not None else "\n".join(steps)
    if which == "own" and leak_step([text], answer) is None:
        raise InputError(
            f"the answer {answer[:40]!r} does not stand in the chain; for which='own' give the "
            "chain's own final answer, or pass the whole text as chain="
        )


def _full_spans(
    inspector: Inspector, texts: Sequence[str], connector: str, answer: str
) -> tuple[list[SpanEntropy], list[int]]:
    segments = [inspector.tokenize(text) for text in texts]
    link, target = answer_tokens(inspector.tokenize, connector, answer)
    fed, last = [*link, *target[:-1]], len(target)
    if isinstance(inspector, BranchingInspector):
        logits = inspector.branches(segments, fed, last)
    else:
        prefixes = itertools.accumulate(segments, lambda read, step: [*read, *step])
        logits = np.stack([inspector.logits([*ids, *fed], last) for ids in prefixes])
    spans = [answer_entropy_of_span(rows, target) for rows in logits]
    return spans, [len(segment) for segment in segments[1:]]


def _listed_spans(
    inspector: ListingInspector,
    texts: Sequence[str],
    connector: str,
    answer: str,
    estimate: SpanMode,
) -> tuple[list[SpanEntropy], list[int]]:
    rows, target, lengths = inspector.answer_lists(texts, connector, answer)
    spans = [answer_entropy_of_span(one, target, mode=estimate) for one in rows]
    if not all(np.isfinite(span.mean) for span in spans):
        raise ConfigurationError(
            f"the estimate {estimate!r} is infinite: the lists leave mass over for a vocabulary "
            "of unknown size. Give the vocabulary size, or take the estimate 'lump'"
        )
    return spans, list(lengths)


def answer_tokens(
    tokenize: Callable[[str], list[int]], connector: str, answer: str
) -> tuple[list[int], list[int]]:
    """Tokens of the connector, and of the answer as it is written after the connector.

    Where a token would reach over the border, the connector's last space goes to the answer. A
    token that still does belongs to the answer.

    Raises:
        InputError: the connector has no token of its own.
    """
    for link, tail in ((connector, answer), (connector.rstrip(), f" {answer}")):
        alone, whole = tokenize(link), tokenize(link + tail)
        common = 0
        while common < min(len(alone), len(whole)) and alone[common] == whole[common]:
            common += 1
        if common == len(alone) and len(whole) > common:
            break
    if not common or len(whole) == common:
        raise InputError(
            f"the connector {connector!r} and the answer {answer!r} can't be told apart in the "
            "inspector's tokens; use a connector that ends with a space or a sign"
        )
    return whole[:common], whole[common:]


class AnswerNow(NamedTuple):
    """What the inspector would answer after some steps, and how undecided it is, nats."""

    entropy: float  # mean over the drawn tokens
    ids: tuple[int, ...]


def answer_now_entropy(
    inspector: Inspector,
    question: str,
    steps: Sequence[str],
    *,
    connector: str = CONNECTOR,
    max_tokens: int = 4,
    ends: Sequence[int] = (),
) -> AnswerNow:
    """Entropy of the answer that the inspector itself gives when it must answer now.

    It needs no reference answer, and is another quantity than the trajectory's: the tokens are the
    inspector's own most likely ones.

    Args:
        inspector: the model that reads.
        question: the problem.
        steps: the steps so far.
        connector: text before the answer; its last space is left to the answer.
        max_tokens: tokens of the answer that are drawn, >= 1.
        ends: ids that end an answer; they are not counted, unless the first one is such.

    Returns:
        Mean entropy over the drawn tokens, and the tokens.
    """
    if max_tokens < 1:
        raise ConfigurationError(f"max_tokens is {max_tokens}; an answer has at least 1 token")
    ids = inspector.tokenize(question.rstrip())
    for step in steps:
        ids = [*ids, *inspector.tokenize("\n" + step.strip())]
    ids = [*ids, *inspector.tokenize(connector.rstrip())]
    drawn: list[int] = []
    entropies: list[float] = []
    for _ in range(max_tokens):
        row = inspector.logits([*ids, *drawn], 1)
        token = int(np.argmax(row[0]))
        if token in ends and drawn:
            break
        entropies.append(answer_entropy_of_span(row, [token]).mean)
        drawn.append(token)
        if token in ends:
            break
    return AnswerNow(float(np.mean(entropies)), tuple(drawn))


Decision = Literal["continue", "stop", "prune"]


def decide(
    entropies: Sequence[float],
    *,
    settled: float = SETTLED,
    patience: int = 2,
    unsettled: float = UNSETTLED,
    window: int = 4,
) -> Decision:
    """Whether to go on with a chain, from its ``answer_now_entropy`` after each step so far.

    "stop" when the last ``patience`` values are below ``settled``; "prune" when the slope over the
    last ``window`` values is not negative and the last one is above ``unsettled``.

    Args:
        entropies: nats, after 0, 1, ... steps.
        settled: nats, >= 0; higher stops sooner.
        patience: steps, >= 1.
        unsettled: nats, above ``settled``.
        window: steps, >= 2; shorter prunes sooner.

    Examples:
        >>> decide([2.0, 0.04, 0.01]), decide([1.5, 1.6, 1.6, 1.7]), decide([2.0, 1.0])
        ('stop', 'prune', 'continue')
    """
    checks = {"settled": settled >= 0, "patience": patience >= 1, "window": window >= 2}
    checks["unsettled"] = unsettled > settled
    for name, is_good in checks.items():
        if not is_good:
            raise ConfigurationError(
                f"{name} is out of range; expected settled >= 0, unsettled > settled, "
                "patience >= 1 and window >= 2"
            )
    h = np.asarray(entropies, dtype=float)
    if len(h) >= patience and (h[-patience:] < settled).all():
        return "stop"
    if len(h) >= window and h[-1] > unsettled:
        x = np.arange(window) - (window - 1) / 2
        if x @ h[-window:] >= 0:
            return "prune"
    return "continue"


def _plain(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "", text)
