"""What a task is: problems with answers that a program can check.

A text task shows its prompts to any language model and reads what it writes. A token task has a
small vocabulary of its own, so that a tiny policy can be trained on it within minutes.

Legend: B answers, T tokens of the longest response, P tokens of a prompt.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError

MOST_PROBLEMS: Final = 1_000_000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Problem:
    """One problem: what is asked, and what is right.

    Args:
        id: unique within a list of problems.
        prompt: the question as text.
        answer: the reference as text; "" where only a program can say what is right.
        tokens: the prompt in the task's own vocabulary; None for a text task.
        meta: more about the problem; values that JSON can hold.

    Examples:
        >>> Problem("a", "1+1=", "2").tokens is None
        True
    """

    id: str
    prompt: str
    answer: str
    tokens: tuple[int, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a verifier says about one response.

    Args:
        reward: finite; 1 for right and 0 for wrong unless the verifier grades.
        correct: whether the answer is right.
        answer: the answer that was found in the response; None where there is none.
        reason: a few words: "right", or what is wrong.

    Examples:
        >>> Verdict(1.0, True, "2", "right").correct
        True
    """

    reward: float
    correct: bool
    answer: str | None
    reason: str


class Rewards(NamedTuple):
    """Verdicts of many responses as arrays: reward [B] float and correct [B] bool."""

    reward: Floats
    correct: Bools


class Demonstrations(NamedTuple):
    """Examples for supervised warm-up: prompt [B,P], response [B,T] and its mask [B,T] bool."""

    prompt: Ints
    response: Ints
    mask: Bools


class Task(Protocol):
    """A source of problems."""

    @property
    def name(self) -> str:
        """As a user types it."""

    def problems(self, n: int, seed: int = 0) -> list[Problem]:
        """``n`` problems, equal for equal seeds; a longer list begins with the shorter one."""


@runtime_checkable
class TextTask(Task, Protocol):
    """A task for language models."""

    def verify_text(self, problem: Problem, text: str) -> Verdict:
        """Is the response right? ``text`` is hostile."""


@runtime_checkable
class TokenTask(Task, Protocol):
    """A task with a vocabulary of its own."""

    @property
    def n_vocab(self) -> int:
        """Tokens of the vocabulary; ids are 0 .. n_vocab-1."""

    @property
    def eos(self) -> int:
        """Id of the token that ends a response."""

    @property
    def pad(self) -> int:
        """Id of the token that fills a row after the response."""

    @property
    def max_tokens(self) -> int:
        """Longest response, its end token included; a longer one is wrong."""

    def render(self, tokens: Sequence[int] | Ints) -> str:
        """Tokens as a person reads them."""

    def rewards(self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike) -> Rewards:
        """Rewards of responses; row b of ``tokens`` [B,T] answers ``problems[b]``."""

    def verify_tokens(
        self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike
    ) -> list[Verdict]:
        """The same with the answer found and the reason, for reports."""

    def demonstrations(self, n: int, generator: np.random.Generator) -> Demonstrations:
        """``n`` fresh examples."""


def problem_generator(name: str, n: int, seed: int) -> np.random.Generator:
    """The generator of a task's problems: a stream of its own for each task and seed.

    Args:
        name: of the task.
        n: how many problems are asked for, 1 to ``MOST_PROBLEMS``.
        seed: >= 0.

    Raises:
        ConfigurationError: n or the seed is out of range.

    Examples:
        >>> int(problem_generator("x", 1, 0).integers(10)) == int(
        ...     problem_generator("x", 9, 0).integers(10))
        True
    """
    if not 1 <= n <= MOST_PROBLEMS:
        raise ConfigurationError(
            f"{n} problems of {name} asked for; there can be 1 to {MOST_PROBLEMS}"
        )
    if seed < 0:
        raise ConfigurationError(f"the seed of {name} is {seed}; it must be 0 or more")
    return np.random.default_rng([zlib.crc32(name.encode()), seed])
