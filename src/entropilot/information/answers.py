"""Diversity of final answers: entropy over distinct answers, and the majority among k of them.

Source: The Invisible Leash (arXiv 2507.14843), answer-level entropy; the correction is
Miller (1955), which the paper does not apply.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information._backend import Array, is_torch
from entropilot.information.counts import reject, whole_numbers
from entropilot.information.intervals import Floats

MISSING_SHARE = 0.2  # above it the "no answer" class is probably truncation
ZERO_SHARE = 0.5  # of token entropies that are exactly 0: a sign of a cut distribution


def answer_entropy(
    answers: ArrayLike, correction: str | None = None, *, missing: str | int | None = "NA"
) -> Floats:
    """Entropy over the distinct final answers to each problem.

        H = -sum_j p_j log p_j,   p_j = share of answer j;     "miller-madow": H + (M-1)/(2N)

    Args:
        answers: [Q, N] answers of any one kind, N samples of each of Q problems. A sample without
            an answer belongs in one class of its own, ``missing``.
        correction: None (plug-in, biased low by about (M-1)/(2N)) or "miller-madow".
        missing: the value that stands for "no answer"; it is a class like any other, and above
            20 % a warning suggests that answers were cut off.

    Returns:
        [Q] nats.

    Raises:
        InputError: for another shape, or an unknown correction.

    Examples:
        >>> answer_entropy([["7", "7", "7", "7"], ["7", "8", "NA", "7"]]).round(3).tolist()
        [0.0, 1.04]
    """
    table = np.asarray(answers)
    if table.ndim != 2 or table.shape[1] == 0:
        raise InputError(
            f"answers has shape {table.shape}; expected [problems, samples]. For problems with "
            f"different numbers of samples use answer_entropy_of_groups"
        )
    if missing is not None and table.size:
        share = float(np.mean(table == missing))
        if share > MISSING_SHARE:
            warnings.warn(
                f"{share:.0%} of the answers are missing ({missing!r}); were answers cut off by "
                f"the token limit?",
                stacklevel=2,
            )
    _, index = np.unique(table, return_inverse=True)
    groups = np.arange(len(table)).repeat(table.shape[1])
    return answer_entropy_of_groups(groups, index.ravel(), correction)


def answer_entropy_of_groups(
    group_index: ArrayLike, answer_index: ArrayLike, correction: str | None = None
) -> Floats:
    """Answer entropy of groups of any sizes: ``answer_entropy`` in flat form.

    Args:
        group_index: [n] group of each answer, 0 .. G-1.
        answer_index: [n] number of each answer, >= 0; equal numbers mean the same answer.
        correction: None or "miller-madow".

    Returns:
        [G] nats; nan for a group without answers.

    Raises:
        InputError: for lengths that differ, negative numbers, or an unknown correction.

    Examples:
        >>> answer_entropy_of_groups([0, 0, 1], [5, 6, 5]).round(4).tolist()
        [0.6931, 0.0]
    """
    if correction not in (None, "miller-madow"):
        raise InputError(f"correction is {correction!r}; expected None or 'miller-madow'")
    groups, answers = (
        whole_numbers(group_index, "group_index"),
        whole_numbers(answer_index, "answer_index"),
    )
    if groups.shape != answers.shape or groups.ndim != 1:
        raise InputError(
            f"group_index has shape {groups.shape} and answer_index {answers.shape}; expected one "
            f"list each, of one length"
        )
    reject(groups < 0, groups, "group_index counts from 0")
    reject(answers < 0, answers, "answer_index counts from 0; give missing answers a number too")
    if len(groups) == 0:
        return np.zeros(0)
    n_groups, n_answers = int(groups.max()) + 1, int(answers.max()) + 1
    pair_group, pair_count = _pair_counts(groups, answers, n_groups, n_answers)
    total = np.bincount(groups, minlength=n_groups).astype(np.float64)
    kinds = np.bincount(pair_group, minlength=n_groups)
    c_log_c = np.bincount(pair_group, pair_count * np.log(pair_count), n_groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.log(total) - c_log_c / total
        if correction == "miller-madow":
            entropy = entropy + (kinds - 1) / (2 * total)
    return np.where(total > 0, np.maximum(entropy, 0.0), np.nan)


def _pair_counts(
    groups: NDArray[np.int64], answers: NDArray[np.int64], n_groups: int, n_answers: int
) -> tuple[NDArray[np.int64], Floats]:
    """Group and count of every (group, answer) pair that occurs."""
    if n_groups * n_answers <= 8 * len(groups):  # a dense table is small
        counts = np.bincount(groups * n_answers + answers, minlength=n_groups * n_answers)
        pairs = np.flatnonzero(counts)
        return pairs // n_answers, counts[pairs].astype(np.float64)
    if n_groups > (1 << 62) // n_answers:
        _, answers = np.unique(answers, return_inverse=True)
        n_answers = int(answers.max()) + 1
    pairs, counts = np.unique(groups * n_answers + answers, return_counts=True)
    return pairs // n_answers, counts.astype(np.float64)


def majority_at_k(
    answers: ArrayLike,
    right: ArrayLike,
    k: int,
    *,
    n_resamples: int = 1000,
    rng: np.random.Generator | None = None,
) -> Floats:
    """Chance that the most frequent of k answers is right; ties share evenly.

    The k answers are drawn without replacement from the N at hand. k = 1 and k = N are exact; in
    between, the mean over random subsets, the same subsets for every problem.

    Args:
        answers: [Q, N] answers of any one kind.
        right: [Q] the right answer of each problem, of the same kind.
        k: 1 <= k <= N.
        n_resamples: random subsets; the error is at most 0.5 / sqrt(n_resamples).
        rng: source of randomness; None means seed 0.

    Returns:
        [Q] in [0, 1].

    Raises:
        InputError: for k outside 1..N, or shapes that do not fit.

    Examples:
        >>> majority_at_k([["7", "7", "8"], ["1", "2", "3"]], ["7", "3"], 3).round(3).tolist()
        [1.0, 0.333]
    """
    table, truth = np.asarray(answers), np.asarray(right)
    if table.ndim != 2 or truth.shape != table.shape[:1]:
        raise InputError(
            f"answers has shape {table.shape} and right {truth.shape}; expected [problems, "
            f"samples] and [problems]"
        )
    n = table.shape[1]
    if not 1 <= k <= n:
        raise InputError(f"k is {k}, but each problem has {n} answers; expected 1 <= k <= {n}")
    _, index = np.unique(np.concatenate([table, truth[:, None]], axis=1), return_inverse=True)
    index = index.reshape(len(table), n + 1)
    if k == 1:
        return np.asarray((index[:, :n] == index[:, n:]).mean(axis=1))
    # Answers of one problem numbered from 0; the right one is 0.
    local = np.zeros((len(table), n), dtype=np.int64)
    for q in range(len(table)):
        _, number = np.unique(index[q, :n], return_inverse=True)
        local[q] = np.where(index[q, :n] == index[q, n], 0, number + 1)
    rounds = 1 if k == n else n_resamples
    source = np.random.default_rng(0) if rng is None else rng
    swaps = source.integers(0, n - np.arange(k), size=(rounds, k))  # Fisher-Yates, first k
    out = np.empty(len(table))
    _majority(local, swaps, out)
    return out


@njit(cache=True, nogil=True)
def _majority(answers: NDArray[Any], swaps: NDArray[Any], out: NDArray[Any]) -> None:
    n, k = answers.shape[1], swaps.shape[1]
    deck = np.empty(n, dtype=np.int64)
    for q in range(answers.shape[0]):
        share = 0.0
        for r in range(swaps.shape[0]):
            deck[:] = answers[q]
            votes = np.zeros(n + 2, dtype=np.int64)
            for i in range(k):
                j = i + swaps[r, i]
                deck[i], deck[j] = deck[j], deck[i]
                votes[deck[i]] += 1
            best = votes.max()
            if votes[0] == best:
                share += 1.0 / (votes == best).sum()
        out[q] = share / swaps.shape[0]


def token_entropy_mean(entropy: Array, mask: Array) -> float:
    """Mean over sequences of each sequence's mean token entropy.

    Args:
        entropy: [B, T] full-vocabulary entropies, nats; array or tensor.
        mask: [B, T] bool, True where a token counts. Sequences without tokens are left out.

    Returns:
        Nats; nan, with a warning, if no token counts. Warns also when over half of the entropies
        are exactly 0, as after a top-p cut.

    Raises:
        InputError: for shapes that differ.

    Examples:
        >>> token_entropy_mean([[1.0, 3.0], [4.0, 9.0]], [[True, True], [True, False]])
        3.0
    """
    h, valid = (x.detach().cpu() if is_torch(x) else x for x in (entropy, mask))
    h, valid = np.asarray(h, dtype=np.float64), np.asarray(valid, dtype=np.bool_)
    if h.shape != valid.shape or h.ndim != 2:
        raise InputError(
            f"entropy has shape {h.shape} and mask {valid.shape}; expected [sequences, "
            f"tokens] twice"
        )
    counts = valid.sum(axis=1)
    if not counts.any():
        warnings.warn("no token counts, so the mean entropy is nan", stacklevel=2)
        return float("nan")
    zero_share = float((h[valid] == 0).mean())
    if zero_share > ZERO_SHARE:
        warnings.warn(
            f"{zero_share:.0%} of the token entropies are exactly 0; were they computed after a "
            f"top-p or top-k cut? Take them from the full distribution",
            stacklevel=2,
        )
    sums = np.where(valid, h, 0.0).sum(axis=1)
    return float((sums[counts > 0] / counts[counts > 0]).mean())
