from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    answer_entropy,
    answer_entropy_of_groups,
    majority_at_k,
    token_entropy_mean,
)


def test_golden_values(golden):
    rows = golden("invisible-leash")["answer_entropy"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one row has a quarter of its answers missing
        for row in rows:
            found = answer_entropy([row["answers"]])
            assert found[0] == pytest.approx(row["entropy"], rel=1e-12, abs=1e-15)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_ragged_groups_agree_with_a_loop(rows):
    group, answer = np.array(rows).T
    found = answer_entropy_of_groups(group, answer)
    corrected = answer_entropy_of_groups(group, answer * 10**15, "miller-madow")
    for g in range(group.max() + 1):
        counts = np.unique(answer[group == g], return_counts=True)[1]
        if len(counts) == 0:
            assert np.isnan(found[g])
            continue
        p = counts / counts.sum()
        plain = -(p * np.log(p)).sum()
        assert found[g] == pytest.approx(plain, abs=1e-12)
        expected = plain + (len(p) - 1) / (2 * counts.sum())
        assert corrected[g] == pytest.approx(expected, abs=1e-12)


def test_correction_removes_most_of_the_bias():
    rng = np.random.default_rng(0)
    draws = rng.integers(0, 6, (4000, 32))
    plain, corrected = answer_entropy(draws).mean(), answer_entropy(draws, "miller-madow").mean()
    assert plain < np.log(6) - 0.05
    assert corrected == pytest.approx(np.log(6), abs=0.01)


def test_missing_answers_are_warned_of():
    with pytest.warns(UserWarning, match=r"40% of the answers are missing"):
        answer_entropy([["NA", "1", "NA", "2", "3"]])


def test_majority_at_one_and_all_is_exact():
    answers = [["7", "7", "8", "9"], ["1", "2", "2", "1"]]
    np.testing.assert_allclose(majority_at_k(answers, ["7", "1"], 1), [0.5, 0.5])
    np.testing.assert_allclose(majority_at_k(answers, ["7", "1"], 4), [1.0, 0.5])


def test_majority_agrees_with_all_subsets():
    from itertools import combinations

    answers, right, k = np.array([0, 0, 0, 1, 1, 2, 3]), 0, 3
    exact = []
    for chosen in combinations(range(7), k):
        votes = np.bincount(answers[list(chosen)], minlength=4)
        exact.append((votes[right] == votes.max()) / (votes == votes.max()).sum())
    found = majority_at_k([answers], [right], k, n_resamples=40_000)[0]
    assert found == pytest.approx(np.mean(exact), abs=4 * np.std(exact) / 200)


def test_token_entropy_weighs_sequences_equally():
    entropy = [[1.0, 1.0, 1.0], [5.0, 9.0, 9.0], [7.0, 7.0, 7.0]]
    mask = [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert token_entropy_mean(entropy, mask) == 3.0
    tensor = torch.tensor(entropy, requires_grad=True)  # as a training step has it
    assert token_entropy_mean(tensor, torch.tensor(mask)) == 3.0
    with pytest.warns(UserWarning, match="exactly 0"):
        token_entropy_mean([[0.0, 0.0, 1.0]], [[1, 1, 1]])
    with pytest.warns(UserWarning, match="no token counts"):
        assert np.isnan(token_entropy_mean([[1.0]], [[0]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: answer_entropy(["a"]), "problems, samples"),
        (lambda: answer_entropy([["a"]], "chao"), "correction is 'chao'"),
        (lambda: answer_entropy_of_groups([0], [1, 2]), "one length"),
        (lambda: answer_entropy_of_groups([-1], [1]), "counts from 0"),
        (lambda: answer_entropy_of_groups([0], [-1]), "missing answers"),
        (lambda: majority_at_k([[1, 2]], [1], 3), "1 <= k <= 2"),
        (lambda: majority_at_k([[1, 2]], [1, 2], 1), r"\[problems\]"),
        (lambda: token_entropy_mean([1.0], [True]), "sequences, tokens"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
