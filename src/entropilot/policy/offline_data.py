"""Written answers with rewards, for learning offline.

Legend: N answers, L tokens of prompt and answer.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError


@dataclass(frozen=True)
class OfflineAnswers:
    """Prompts and answers as token ids, padded on the right.

    Args:
        tokens: [N, L] int64, prompt then answer.
        valid: [N, L] bool; False is padding.
        action: [N, L] bool; tokens of the answer, the end token included.
        reward: [N], or [N, L] process rewards.
        step_start: [N, L] bool; first token of each step; None: no steps are known.

    Raises:
        InputError: shapes or dtypes are wrong, a reward is not finite, an answer has no token.

    Examples:
        >>> data = offline_answers([[1, 2]], [[3, 4]], [1.0])
        >>> data.tokens.tolist(), data.action.int().tolist()
        ([[1, 2, 3, 4]], [[0, 0, 1, 1]])
    """

    tokens: Tensor
    valid: Tensor
    action: Tensor
    reward: Tensor
    step_start: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.tokens.shape)
        for name in ("valid", "action", "step_start"):
            value = getattr(self, name)
            if value is not None and (tuple(value.shape) != shape or value.dtype != torch.bool):
                raise InputError(
                    f"{name} has dtype {value.dtype} and shape {tuple(value.shape)}; expected "
                    f"bool, {shape}"
                )
        if tuple(self.reward.shape) not in (shape, shape[:1]):
            raise InputError(
                f"reward has shape {tuple(self.reward.shape)}; expected {shape[:1]} or {shape}"
            )
        counted = self.reward if self.reward.ndim == 1 else self.reward[self.action]
        if not bool(torch.isfinite(counted).all()):
            raise InputError("a reward is not finite; leave its answer out")
        empty = ~self.action.any(1)
        if bool(empty.any()):
            raise InputError(f"answer {int(empty.nonzero()[0, 0])} has no token; leave it out")
        if bool(self.action[:, 0].any()):
            raise InputError("an answer begins at position 0; it needs a prompt token before it")

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    @property
    def total_reward(self) -> Tensor:
        """[N] reward of each answer."""
        if self.reward.ndim == 1:
            return self.reward
        return torch.where(self.action, self.reward, 0).sum(1)

    def select(self, rows: Tensor) -> OfflineAnswers:
        """Some of the answers, without columns that are padding in all of them.

        Args:
            rows: [n] int64 or [N] bool.
        """
        width = int(self.valid[rows].sum(1).max()) if self.valid[rows].numel() else 0
        steps = None if self.step_start is None else self.step_start[rows, :width]
        reward = self.reward[rows]
        return OfflineAnswers(
            self.tokens[rows, :width],
            self.valid[rows, :width],
            self.action[rows, :width],
            reward if reward.ndim == 1 else reward[:, :width],
            steps,
        )


def offline_answers(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    rewards: Sequence[float] | Tensor,
    *,
    step_ends: Collection[int] = (),
    end: int | None = None,
) -> OfflineAnswers:
    """Pad prompts and answers into one table, and say what may spoil the learning.

    Args:
        prompts: token ids, at least one each.
        answers: token ids, the end token included.
        rewards: one an answer.
        step_ends: tokens after which a new step begins; empty: no steps.
        end: the end token; with it, answers that were cut but count as right are warned of.

    Returns:
        ``OfflineAnswers``.

    Raises:
        InputError: counts differ, an empty prompt or answer, or a reward that is not finite.

    Examples:
        >>> data = offline_answers([[1], [1]], [[5, 7, 6], [5]], [1.0, 0.0], step_ends=[7])
        >>> data.step_start.int().tolist()
        [[0, 1, 0, 1], [0, 1, 0, 0]]
    """
    if not len(prompts) == len(answers) == len(rewards) or not len(answers):
        raise InputError(
            f"there are {len(prompts)} prompts, {len(answers)} answers and {len(rewards)} rewards; "
            "expected the same number, at least 1"
        )
    length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    tokens = torch.zeros(len(answers), length, dtype=torch.int64)
    valid, action, starts = (torch.zeros(tokens.shape, dtype=torch.bool) for _ in range(3))
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if not len(prompt) or not len(answer):
            raise InputError(f"answer {row} has {len(prompt)} prompt and {len(answer)} own tokens")
        n, m = len(prompt), len(prompt) + len(answer)
        tokens[row, :m] = torch.as_tensor([*prompt, *answer])
        valid[row, :m] = True
        action[row, n:m] = True
        starts[row, n] = True
        starts[row, n + 1 : m] = torch.tensor([t in step_ends for t in answer[:-1]]).bool()
    reward = torch.as_tensor(rewards, dtype=torch.float32)
    data = OfflineAnswers(tokens, valid, action, reward, starts if step_ends else None)
    _warn(data, prompts, answers, end)
    return data


def read_offline_answers(
    path: Path,
    encode: Callable[[str], Sequence[int]],
    *,
    step_ends: Collection[int] = (),
    end: int | None = None,
) -> OfflineAnswers:
    r"""Read a JSON-lines file of {"prompt", "response", "reward"}.

    Args:
        path: the file.
        encode: text to token ids; the response's should include the end token.
        step_ends: see ``offline_answers``.
        end: see ``offline_answers``.

    Raises:
        InputError: names file, line and field.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "answers.jsonl"
        >>> _ = file.write_text('{"prompt": "1+1=", "response": "2", "reward": 1}\n' * 2)
        >>> len(read_offline_answers(file, lambda text: list(text.encode())))
        2
    """
    prompts, answers, rewards = [], [], []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompts.append(encode(row["prompt"]))
            answers.append(encode(row["response"]))
            rewards.append(float(row["reward"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, line {number}: {type(error).__name__} {error}; expected an object with "
                "prompt and response (text) and reward (number)"
            ) from error
    return offline_answers(prompts, answers, rewards, step_ends=step_ends, end=end)


def balanced_rows(
    correct: Tensor, group: Tensor, *, generator: torch.Generator, at_most: int = 4
) -> Tensor:
    """Which answers to learn from, so that right and wrong ones of a prompt weigh the same.

    Of each prompt at most ``at_most`` right and as many wrong answers stay, drawn at random; the
    right ones are cut down to the number of wrong ones, but one stays if there is any.

    Args:
        correct: [N] bool.
        group: [N] int64, which prompt an answer belongs to.
        generator: draws.
        at_most: >= 1; the paper has 4, of 16 answers a prompt, for its 7B model.

    Returns:
        [n] int64 rows, rising.

    Raises:
        InputError: ``correct`` is not bool, or the shapes differ.
        ConfigurationError: at_most below 1.

    Examples:
        >>> correct, draw = torch.tensor([True, True, True, False]), torch.Generator()
        >>> len(balanced_rows(correct, torch.zeros(4, dtype=torch.int64), generator=draw))
        2

    Source: arXiv 2412.16145, data of DeepSeekMath-7B.
    """
    if correct.dtype != torch.bool or correct.ndim != 1 or correct.shape != group.shape:
        raise InputError(
            f"correct has dtype {correct.dtype} and shape {tuple(correct.shape)}, group "
            f"{tuple(group.shape)}; expected bool, one verdict an answer, and its prompt"
        )
    if at_most < 1:
        raise ConfigurationError(f"at_most is {at_most}; it must be >= 1")
    shuffled = torch.randperm(len(correct), generator=generator)
    kept = []
    for number in sorted(set(group.tolist())):
        own = shuffled[group[shuffled] == number]
        right, wrong = own[correct[own]], own[~correct[own]][:at_most]
        kept += [wrong, right[: min(at_most, max(1, len(wrong)))]]
    return torch.cat(kept).sort().values if kept else shuffled


def _warn(
    data: OfflineAnswers,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    end: int | None,
) -> None:
    n = len(data)
    if n > 1 and bool((data.reward == data.reward[0]).all()):
        warnings.warn(
            f"all {n} rewards are {float(data.reward[0]):g}: the value learns a constant, and the "
            "policy only its distance to the reference",
            stacklevel=3,
        )
    if data.step_start is not None:
        share = float((data.step_start.sum(1) == 1).float().mean())
        if share > 0:
            warnings.warn(
                f"{share:.0%} of the answers hold no step end; for them the step level is the "
                "response level",
                stacklevel=3,
            )
    texts = {(tuple(p), tuple(a)) for p, a in zip(prompts, answers, strict=True)}
    if len(texts) < n:
        warnings.warn(f"{n - len(texts)} answers are duplicates; they are kept", stacklevel=3)
    if end is not None:
        cut = sum(a[-1] != end and float(r) > 0 for a, r in zip(answers, data.reward, strict=True))
        if cut:
            warnings.warn(
                f"{cut} answers do not end with token {end} but have a reward above 0; were they "
                "cut by the length limit?",
                stacklevel=3,
            )
