"""Modular paths: walk from a start to a target by small operations, all modulo a prime.

A step-by-step task with many right answers, so that accuracy and diversity both show, small enough
for a policy of 100 000 parameters on a CPU.

    values      0 .. modulus-1
    operations  +1  +3  -2  *2  *3  *5, each modulo ``modulus``
    prompt      begin  start  target
    response    up to ``n_steps`` pairs (operation, value), then the end token

The reward is 1 when the end token comes after at least one pair, every operation token is an
operation, every value is the operation applied to the value before it, and the last one is the
target; otherwise 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import ConfigurationError
from entropilot.policy.tasks.responses import (
    distinct_responses,
    first_index,
    prompt_array,
    response_array,
    rewards_of,
    verdicts_of,
)
from entropilot.policy.tasks.task import (
    Demonstrations,
    Ints,
    Problem,
    Rewards,
    Verdict,
    problem_generator,
)

OPERATIONS: Final = ("+1", "+3", "-2", "*2", "*3", "*5")
REASONS: Final = (
    *("right", "no end", "no pair", "half a pair"),
    *("not an operation", "wrong value", "wrong target"),
)


@dataclass(frozen=True)
class ModularPaths:
    """The task; see the module.

    Args:
        modulus: values are 0 .. modulus-1; 2 to 1000.
        n_steps: most pairs of a response, 1 to 100.

    Examples:
        >>> task = ModularPaths()
        >>> task.n_vocab, task.max_tokens
        (38, 11)
        >>> problem = task.problem(start=3, target=7)
        >>> response = task.encode("*2 6 +1 7 <eos>")
        >>> task.rewards([problem], [response], np.ones((1, 5), bool)).reward.tolist()
        [1.0]
    """

    name: ClassVar[str] = "modular-paths"
    modulus: int = 29
    n_steps: int = 5

    def __post_init__(self) -> None:
        if not 2 <= self.modulus <= 1000:
            raise ConfigurationError(f"modulus is {self.modulus}; it must be 2 to 1000")
        if not 1 <= self.n_steps <= 100:
            raise ConfigurationError(f"n_steps is {self.n_steps}; it must be 1 to 100")

    @property
    def n_vocab(self) -> int:
        """Values, operations, begin, end and padding."""
        return self.modulus + len(OPERATIONS) + 3

    @property
    def bos(self) -> int:
        """Token that begins a prompt."""
        return self.modulus + len(OPERATIONS)

    @property
    def eos(self) -> int:
        """Token that ends a response."""
        return self.bos + 1

    @property
    def pad(self) -> int:
        """Token after the end."""
        return self.bos + 2

    @property
    def max_tokens(self) -> int:
        """Longest response, its end token included."""
        return 2 * self.n_steps + 1

    def applied(self) -> Ints:
        """Table [operations, modulus] of what each operation makes of each value."""
        v = np.arange(self.modulus)
        return np.stack([v + 1, v + 3, v - 2, v * 2, v * 3, v * 5]) % self.modulus

    def problem(self, start: int, target: int, name: str = "path") -> Problem:
        """The problem of one start and target."""
        for value in (start, target):
            if not 0 <= value < self.modulus:
                raise ConfigurationError(
                    f"{value} is not a value; expected 0 to {self.modulus - 1}"
                )
        meta = {"start": start, "target": target}
        prompt = f"{start} -> {target} mod {self.modulus}"
        return Problem(name, prompt, str(target), (self.bos, start, target), meta)

    def problems(self, n: int, seed: int = 0) -> list[Problem]:
        """``n`` problems with start and target uniform and independent; some may be equal.

        Examples:
            >>> ModularPaths().problems(2)[0].id
            'path-0-0'
        """
        random = problem_generator(self.name, n, seed)
        pairs = random.integers(0, self.modulus, (n, 2)).tolist()
        return [self.problem(s, t, f"path-{seed}-{i}") for i, (s, t) in enumerate(pairs)]

    def demonstrations(self, n: int, generator: np.random.Generator) -> Demonstrations:
        """``n`` random walks: start, length 1 .. n_steps and operations uniform.

        The target is where the walk ended, so every demonstration is right.

        Args:
            n: walks.
            generator: draws them.

        Returns:
            prompt [n,3], response [n, 2*n_steps+1], mask.

        Examples:
            >>> ModularPaths().demonstrations(4, np.random.default_rng(0)).response.shape
            (4, 11)
        """
        table = self.applied()
        start = generator.integers(0, self.modulus, n)
        length = generator.integers(1, self.n_steps + 1, n)
        chosen = generator.integers(0, len(OPERATIONS), (n, self.n_steps))
        response = np.full((n, self.max_tokens), self.pad, dtype=np.int64)
        value, target = start, start
        for step in range(self.n_steps):
            value = table[chosen[:, step], value]
            response[:, 2 * step] = self.modulus + chosen[:, step]
            response[:, 2 * step + 1] = value
            target = np.where(length == step + 1, value, target)
        column = np.arange(self.max_tokens)
        end = 2 * length[:, None]
        response = np.where(column == end, self.eos, np.where(column > end, self.pad, response))
        prompt = np.column_stack([np.full(n, self.bos), start, target])
        return Demonstrations(prompt, response, column <= end)

    def rewards(self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike) -> Rewards:
        """1 for right responses and 0 for the others; see the module.

        Args:
            problems: [B], one for each response.
            tokens: [B,T] token ids.
            mask: [B,T] bool, True on the response, its end token included.

        Returns:
            reward [B] and correct [B].

        Raises:
            InputError: shapes that do not fit, or problems of another task.
        """
        clean = self._clean(tokens, mask)
        return rewards_of(self._codes(problems, clean))

    def verify_tokens(
        self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike
    ) -> list[Verdict]:
        """The verdicts with their reasons; the answer is the value before the end token."""
        clean = self._clean(tokens, mask)
        codes = self._codes(problems, clean)
        ends = first_index(clean == self.eos)
        answers = [
            str(row[end - 1]) if 0 < end < len(row) and 0 <= row[end - 1] < self.modulus else None
            for row, end in zip(clean.tolist(), ends.tolist(), strict=True)
        ]
        return verdicts_of(codes, REASONS, answers)

    def distinct_right(
        self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike, group: ArrayLike
    ) -> Ints:
        """Different right responses [G] of each group; ``group`` [B] is the problem's number."""
        correct = self.rewards(problems, tokens, mask).correct
        return distinct_responses(tokens, mask, group, correct)

    def render(self, tokens: Sequence[int] | Ints) -> str:
        """Tokens with spaces between them.

        Examples:
            >>> ModularPaths().render([29, 4, 36])
            '+1 4 <eos>'
        """
        names = self._names()
        return " ".join(names[t] if 0 <= t < len(names) else f"<{t}?>" for t in map(int, tokens))

    def encode(self, text: str) -> list[int]:
        """Ids of tokens with spaces between them, the other way round than ``render``."""
        ids = {name: i for i, name in enumerate(self._names())}
        unknown = [word for word in text.split() if word not in ids]
        if unknown:
            raise ConfigurationError(f"{unknown[0]!r} is no token of {self.name}")
        return [ids[word] for word in text.split()]

    def _names(self) -> tuple[str, ...]:
        return (*map(str, range(self.modulus)), *OPERATIONS, "<bos>", "<eos>", "<pad>")

    def _clean(self, tokens: ArrayLike, mask: ArrayLike) -> Ints:
        return response_array(tokens, mask, pad=self.pad, width=self.max_tokens)

    def _codes(self, problems: Sequence[Problem], clean: Ints) -> Ints:
        """Index [B] into ``REASONS``: the first thing that is wrong."""
        P, L = self.modulus, self.n_steps
        prompt = prompt_array(problems, len(clean), 3)
        operation, value = clean[:, 0 : 2 * L : 2] - P, clean[:, 1 : 2 * L : 2]
        before = np.concatenate([prompt[:, 1:2], value[:, :-1]], axis=1)
        end = first_index(clean == self.eos)
        n_pairs = end // 2
        written = np.arange(L) < n_pairs[:, None]
        is_operation = (operation >= 0) & (operation < len(OPERATIONS))
        wanted = self.applied()[operation.clip(0, len(OPERATIONS) - 1), before.clip(0, P - 1)]
        last = np.take_along_axis(value, (n_pairs - 1).clip(0, L - 1)[:, None], axis=1)[:, 0]
        return np.select(
            [
                end >= self.max_tokens,
                n_pairs == 0,
                end % 2 == 1,
                (written & ~is_operation).any(axis=1),
                (written & (value != wanted)).any(axis=1),
                last != prompt[:, 2],
            ],
            [1, 2, 3, 4, 5, 6],
            default=0,
        )
