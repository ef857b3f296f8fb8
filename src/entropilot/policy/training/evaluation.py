"""Evaluation on fixed problems: pass@k, entropy, diversity of right answers, length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from entropilot.information import masked_mean, pass_at_k
from entropilot.policy.models import PolicyModel
from entropilot.policy.rollout.sampling import Samples, sample_rollouts
from entropilot.policy.tasks.task import Problem
from entropilot.policy.training.bound_task import BoundTask, Graded
from entropilot.policy.training.settings import TrainSettings

EVAL_SEED = 0x45564C  # problems of evaluations are never those of training


@dataclass(frozen=True)
class Evaluation:
    """What a policy does on fixed problems. Plain numbers, for JSON.

    Args:
        n: answers a problem.
        n_correct: [Q] right answers of each problem.
        n_distinct: [Q] different right answers of each problem.
        answer_entropy: [Q] entropy of the distribution over extracted answers, nats (plug-in).
        entropy: mean token entropy, nats.
        length: mean answer tokens.
        truncated: share stopped by the length limit.
    """

    n: int
    n_correct: list[int]
    n_distinct: list[int]
    answer_entropy: list[float]
    entropy: float
    length: float
    truncated: float

    def pass_at(self, k: int) -> float:
        """Unbiased pass@k, mean over problems.

        Raises:
            InputError: k is above n.
        """
        return float(np.mean(pass_at_k(self.n, np.asarray(self.n_correct), k)))

    def metrics(self) -> dict[str, float]:
        """Rows of the metrics file."""
        return {
            "eval/pass@1": self.pass_at(1),
            f"eval/pass@{self.n}": self.pass_at(self.n),
            "eval/entropy": self.entropy,
            "eval/distinct": float(np.mean(self.n_distinct)),
            "eval/answer_entropy": float(np.mean(self.answer_entropy)),
            "eval/length": self.length,
            "eval/truncated": self.truncated,
        }


@dataclass(frozen=True)
class EvaluatedAnswers:
    """An evaluation with the answers it was made of, for traces and examples."""

    evaluation: Evaluation
    problems: Sequence[Problem]
    samples: Samples
    graded: Graded


def evaluate(
    policy: PolicyModel,
    task: BoundTask,
    settings: TrainSettings,
    *,
    n_problems: int | None = None,
    n_answers: int | None = None,
    seed: int = 0,
    problems: Sequence[Problem] | None = None,
) -> EvaluatedAnswers:
    """Answers to fixed problems at the sampling settings, and what they say.

    Args:
        policy: the network.
        task: problems and verifier.
        settings: sampling settings and default sizes.
        n_problems: how many; None takes the settings'.
        n_answers: answers to each; None takes the settings'.
        seed: of the draws; the problems are always the same.
        problems: other problems than the task's fixed ones.
    """
    asked = problems or task.problems(n_problems or settings.n_eval_problems, EVAL_SEED)
    n = n_answers or settings.n_eval_answers
    samples = sample_rollouts(
        policy.decoder(),
        [task.encode(problem) for problem in asked],
        n,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens or task.max_tokens,
        eos=task.eos,
        seed=stream_seed(EVAL_SEED, seed),
    )
    index = samples.prompt_index.tolist()
    graded = task.grade([asked[i] for i in index], samples.tokens, samples.mask)
    return EvaluatedAnswers(_summed(len(asked), n, samples, graded), asked, samples, graded)


def _summed(n_problems: int, n: int, samples: Samples, graded: Graded) -> Evaluation:
    right = graded.correct.reshape(n_problems, n)
    distinct, spread = [], []
    for q in range(n_problems):
        rows = slice(q * n, (q + 1) * n)
        answers = graded.answers[rows]
        hits = zip(answers, right[q].tolist(), strict=True)
        distinct.append(len({answer for answer, hit in hits if hit}))
        _, counts = np.unique([a if a is not None else "\0" for a in answers], return_counts=True)
        share = counts / n
        spread.append(float(-(share * np.log(share)).sum()))
    return Evaluation(
        n=n,
        n_correct=right.sum(-1).tolist(),
        n_distinct=distinct,
        answer_entropy=spread,
        entropy=float(masked_mean(samples.entropy, samples.mask)),
        length=float(samples.mask.sum(-1).float().mean()),
        truncated=float(samples.truncated.float().mean()),
    )


def plain(evaluation: Evaluation) -> dict[str, Any]:
    """Fields as JSON values."""
    return {
        "n": evaluation.n,
        "n_correct": evaluation.n_correct,
        "n_distinct": evaluation.n_distinct,
        "answer_entropy": evaluation.answer_entropy,
        "entropy": evaluation.entropy,
        "length": evaluation.length,
        "truncated": evaluation.truncated,
    }


def stream_seed(*numbers: int) -> int:
    """One seed for a stream that is keyed by several numbers.

    Examples:
        >>> stream_seed(1, 2) == stream_seed(2, 1)
        False
    """
    high, low = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return int(high) << 31 | int(low) >> 1


def seeded(*numbers: int) -> torch.Generator:
    """A torch generator keyed by several numbers."""
    return torch.Generator().manual_seed(stream_seed(*numbers))
