"""Softmax policies over a few final answers, trained by groups: RL with nothing else in the way.

A problem is a categorical distribution over M answers. Training draws a group of answers, gives
each the reward less the group's mean over its spread, and follows the gradient. The policy is a
table (own logits for every problem) or linear in features that the problems share, so that they
interfere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AnswerProblems:
    """Problems with a base policy."""

    logits: Floats  # [Q, M] of the base
    right: NDArray[np.bool_]  # [Q, M]

    @property
    def base(self) -> Floats:
        """[Q, M] probabilities of the base."""
        return softmax(self.logits)


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis.

    Examples:
        >>> softmax(np.array([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def make_problems(
    n_problems: int,
    n_answers: int,
    n_right: int,
    *,
    spread: float,
    advantage: float,
    rng: np.random.Generator,
) -> AnswerProblems:
    """Problems whose right answers are likelier than wrong ones on average, by a varying margin.

    Args:
        n_problems: Q.
        n_answers: M.
        n_right: right answers of each problem, the first ones.
        spread: standard deviation of all logits.
        advantage: mean logit of right answers above wrong ones.
        rng: source of randomness.

    Examples:
        >>> found = make_problems(
        ...     3, 4, 1, spread=1.0, advantage=1.0, rng=np.random.default_rng(0)
        ... )
        >>> found.base.shape, int(found.right.sum())
        ((3, 4), 3)
    """
    right = np.zeros((n_problems, n_answers), dtype=np.bool_)
    right[:, :n_right] = True
    right = rng.permuted(right, axis=1)
    logits = rng.normal(size=(n_problems, n_answers)) * spread + advantage * right
    return AnswerProblems(logits, right)


def train_by_groups(
    problems: AnswerProblems,
    *,
    n_updates: int,
    group: int,
    batch: int,
    step: float,
    features: int | None,
    rng: np.random.Generator,
) -> Floats:
    """Policy-gradient training with advantages normalised within groups.

        A_i = (r_i - mean r) / std r        (0 where all answers of a group are equally rewarded)
        logits_q += step * sum_i A_i (onehot(y_i) - pi_q) / group           (table)
        W        += step * features * sum_q phi_q (the same)^T / batch      (shared: base + W phi)

    Args:
        problems: base and right answers.
        n_updates: batches.
        group: answers drawn per problem.
        batch: problems per update.
        step: size of an update.
        features: None for a table; else the number of random unit features all problems share.
        rng: source of randomness.

    Returns:
        [Q, M] probabilities after training.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> problems = make_problems(4, 3, 1, spread=1.0, advantage=0.0, rng=rng)
        >>> pi = train_by_groups(
        ...     problems, n_updates=200, group=8, batch=4, step=0.5, features=None, rng=rng
        ... )
        >>> bool(pi[problems.right].mean() > problems.base[problems.right].mean())
        True
    """
    q, m = problems.logits.shape
    shift = np.zeros((q, m))
    weights, phi = None, None
    if features is not None:
        phi = rng.normal(size=(q, features))
        phi /= np.linalg.norm(phi, axis=1, keepdims=True)
        weights = np.zeros((features, m))
    for _ in range(n_updates):
        chosen = rng.choice(q, size=min(batch, q), replace=False)
        now = problems.logits[chosen] + (
            shift[chosen] if phi is None else phi[chosen] @ np.asarray(weights)
        )
        direction = _group_gradient(softmax(now), problems.right[chosen], group, rng)
        if phi is None or weights is None:
            shift[chosen] += step * direction
        else:
            weights += step * features_scale(phi) * phi[chosen].T @ direction / len(chosen)
    if phi is not None and weights is not None:
        shift = phi @ weights
    return softmax(problems.logits + shift)


def features_scale(phi: Floats) -> float:
    """Factor that makes one shared update move a problem's logits as far as the table's would.

    Examples:
        >>> features_scale(np.eye(3))
        3.0
    """
    return float(phi.shape[1])


def draw_answers(pi: Floats, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """[Q, n] answers drawn from [Q, M] probabilities.

    Examples:
        >>> draw_answers(np.array([[0.0, 1.0]]), 3, np.random.default_rng(0)).tolist()
        [[1, 1, 1]]
    """
    cumulative = np.cumsum(pi, axis=1)
    cumulative[:, -1] = 1.0
    return np.asarray((rng.random((len(pi), n))[..., None] >= cumulative[:, None, :]).sum(axis=-1))


def _group_gradient(
    pi: Floats, right: NDArray[np.bool_], group: int, rng: np.random.Generator
) -> Floats:
    """[B, M] mean over the group of advantage times score."""
    answers = draw_answers(pi, group, rng)
    reward = np.take_along_axis(right, answers, axis=1).astype(np.float64)
    advantage = reward - reward.mean(axis=1, keepdims=True)
    spread = reward.std(axis=1, keepdims=True)
    advantage = np.where(spread > 0, advantage / np.where(spread > 0, spread, 1), 0.0)
    pushed = np.zeros_like(pi)
    rows = np.arange(len(pi)).repeat(group)
    np.add.at(pushed, (rows, answers.ravel()), advantage.ravel())
    # The advantages of a group sum to 0, so the -pi part of the score cancels.
    return pushed / group
