"""A task bound to a vocabulary: what the trainer needs to know of it, and no more.

Legend: B answers, T tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.phases import phase_masks
from entropilot.policy.probing import split_steps
from entropilot.policy.tasks.task import Problem, TextTask, TokenTask
from entropilot.policy.verifiers.verifier import Verifier, VerifierCounts

if TYPE_CHECKING:
    from entropilot.models.loaders import LanguageModel


class Graded(NamedTuple):
    """Verdicts on a batch of answers."""

    reward: Tensor  # [B] float32
    correct: Tensor  # [B] bool
    answers: list[str | None]  # extracted, for diversity and reports
    failures: Mapping[str, int] = {}


@dataclass(frozen=True)
class BoundTask:
    """Problems, prompts as tokens, and the verifier.

    Args:
        name: of the task.
        problems: (n, seed) -> problems; equal for equal seeds.
        encode: prompt tokens of a problem.
        grade: (problem of each answer, tokens [B, T], mask [B, T]) -> verdicts.
        eos: tokens that end an answer.
        max_tokens: longest answer.
        render: tokens of an answer as text.
        annotate: (tokens, mask) -> fields of ``Rollouts`` that the task knows, such as phases.
    """

    name: str
    problems: Callable[[int, int], Sequence[Problem]]
    encode: Callable[[Problem], tuple[int, ...]]
    grade: Callable[[Sequence[Problem], Tensor, Tensor], Graded]
    eos: tuple[int, ...]
    max_tokens: int
    render: Callable[[Sequence[int]], str]
    annotate: Callable[[Tensor, Tensor], dict[str, Tensor]] = field(
        default=lambda _tokens, _mask: {}
    )


def bind_token_task(task: TokenTask) -> BoundTask:
    """A task that has a vocabulary of its own, such as ``ModularPaths``.

    Where the task names the token that ends thinking (``think_end``), the rollouts get the masks of
    both phases; where it names the one that ends a step (``step_end``), they get step ids.

    Examples:
        >>> from entropilot.policy.tasks.modular_paths import ModularPaths
        >>> bind_token_task(ModularPaths()).max_tokens
        11
    """

    def grade(problems: Sequence[Problem], tokens: Tensor, mask: Tensor) -> Graded:
        ids, valid = tokens.cpu().numpy(), mask.cpu().numpy()
        reward, correct = task.rewards(problems, ids, valid)
        texts: list[str | None] = [
            task.render(row[keep].tolist()) for row, keep in zip(ids, valid, strict=True)
        ]
        return Graded(torch.as_tensor(reward).float(), torch.as_tensor(correct).bool(), texts)

    def encode(problem: Problem) -> tuple[int, ...]:
        if problem.tokens is None:
            raise InputError(
                f"problem {problem.id!r} has no tokens; a task with its own vocabulary gives them"
            )
        return problem.tokens

    def annotate(tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        think_end, step_end = (getattr(task, name, None) for name in ("think_end", "step_end"))
        if think_end is None:
            return {}
        phases = phase_masks(tokens, think_end, mask)
        found = {"think": phases.think, "answer": phases.answer}
        if step_end is not None:
            found["step_id"] = split_steps(tokens, mask, (step_end,), think_end).step_id
        return found

    return BoundTask(
        name=task.name,
        problems=task.problems,
        encode=encode,
        grade=grade,
        eos=(task.eos,),
        max_tokens=task.max_tokens,
        render=task.render,
        annotate=annotate,
    )


def bind_text_task(
    task: TextTask,
    language_model: LanguageModel,
    verifier: Verifier | None = None,
    *,
    max_tokens: int = 64,
    stop: Sequence[str] | None = None,
    chat: bool = False,
) -> BoundTask:
    r"""A task in words, for a language model.

    An answer ends at the model's end token and at each token that has a stop string in it; the text
    before the stop string is graded. A stop string that comes in pieces over several tokens cuts
    the graded text, but not the answer.

    Args:
        task: problems in words.
        language_model: its tokenizer is used.
        verifier: what decides; None takes the task's own. Failures are counted in each batch and
            worth 0.
        max_tokens: longest answer, >= 1.
        stop: strings that end an answer; None takes the task's ``stop``, where it has one.
        chat: wrap each prompt in the model's chat template.

    Raises:
        ConfigurationError: a setting out of range, or ``chat`` without a chat template.

    Examples:
        >>> from entropilot.models.loaders import load_model
        >>> from entropilot.policy.tasks.word_problems import WordProblemTask
        >>> bound = bind_text_task(WordProblemTask(), load_model("tiny"))
        >>> bound.eos, bound.render([65, 10])
        ((10, 256), 'A\n')
    """
    if max_tokens < 1:
        raise ConfigurationError(f"max_tokens is {max_tokens}; it must be >= 1")
    stops = tuple(getattr(task, "stop", ()) if stop is None else stop)
    if "" in stops:
        raise ConfigurationError("a stop string is empty; every answer would end at once")
    if chat and not getattr(language_model.tokenizer, "chat_template", None):
        raise ConfigurationError(
            f"the model {language_model.name} has no chat template; set chat = false"
        )
    verify = verifier or getattr(task, "verify", None)
    if not isinstance(verify, Verifier):
        verify = Verifier(task.verify_text)

    told: list[bool] = []

    def encode(problem: Problem) -> tuple[int, ...]:
        ids = (_chat if chat else language_model.encode)(problem.prompt)
        return tuple(ids)

    def _chat(prompt: str) -> list[int]:
        found: Any = language_model.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=True
        )
        ids: list[int] = found["input_ids"]
        return ids

    def grade(problems: Sequence[Problem], tokens: Tensor, mask: Tensor) -> Graded:
        rows = [row[keep].tolist() for row, keep in zip(tokens.cpu(), mask.cpu(), strict=True)]
        texts = [
            before_stop(language_model.decode(_without_end(row, language_model.eos)), stops)
            for row in rows
        ]
        before = verify.counts
        verdicts = verify.verify_many(problems, texts)
        failures = failures_since(before, verify.counts)
        if failures and not told:  # the counts of later batches are in the metrics
            told.append(True)
            warnings.warn(_failed(verify, failures, len(texts)), stacklevel=2)
        return Graded(
            torch.tensor([verdict.reward for verdict in verdicts]).float(),
            torch.tensor([verdict.correct for verdict in verdicts]),
            [verdict.answer for verdict in verdicts],
            failures,
        )

    return BoundTask(
        name=task.name,
        problems=task.problems,
        encode=encode,
        grade=grade,
        eos=stop_tokens(language_model, stops),
        max_tokens=max_tokens,
        render=language_model.decode,
    )


def stop_tokens(language_model: LanguageModel, stop: Sequence[str]) -> tuple[int, ...]:
    """The model's end tokens and those with a stop string in their text, rising."""
    marks = [mark.encode() for mark in stop]
    found = {token for token in language_model.eos if token < language_model.n_vocab}
    if marks:
        for token in range(language_model.n_vocab):
            text = language_model.token_bytes(token)
            if any(mark in text for mark in marks):
                found.add(token)
    return tuple(sorted(found))


def before_stop(text: str, stop: Sequence[str]) -> str:
    r"""The text up to the first stop string.

    Examples:
        >>> before_stop("so 9.\n\nQuestion:", ("\n",))
        'so 9.'
    """
    ends = [place for mark in stop if (place := text.find(mark)) >= 0]
    return text[: min(ends)] if ends else text


def failures_since(before: VerifierCounts, after: VerifierCounts) -> dict[str, int]:
    """How many answers got no verdict, by kind; kinds that never came are left out.

    Examples:
        >>> failures_since(VerifierCounts(), VerifierCounts(n_answers=3, n_raised=2))
        {'raised': 2}
    """
    kinds = ("raised", "timed_out", "died")
    counts = {kind: getattr(after, f"n_{kind}") - getattr(before, f"n_{kind}") for kind in kinds}
    return {kind: n for kind, n in counts.items() if n}


def _failed(verify: Verifier, failures: Mapping[str, int], n: int) -> str:
    kinds = ", ".join(f"{kind.replace('_', ' ')} {k}" for kind, k in failures.items())
    return (
        f"the verifier {verify.name!r} gave no verdict on {sum(failures.values())} of {n} answers "
        f"({kinds}); they are worth 0 and the run goes on. The first said: "
        f"{verify.counts.first_error}. All are counted in the metrics, as verifier/..."
    )


def _without_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    return ids[:-1] if ids and ids[-1] in ends else ids
