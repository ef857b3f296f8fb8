from __future__ import annotations

import numpy as np
import pytest

from entropilot.studies.digit_ladder import (
    LadderTask,
    digit_probabilities,
    digit_sampler,
    train_ladder,
)
from entropilot.studies.passuntil import STUDY

torch = pytest.importorskip("torch")


def test_every_finding_counts_its_seeds(recorded):
    assert all("3 seeds" in f.measured for f in STUDY.judge(recorded("passuntil")))


def test_judgement_sees_a_biased_estimator(recorded):
    measurements = recorded("passuntil")
    for m in measurements:
        for row in m["estimator_bins"]:
            row["sum_error"] = 10 * row["sum_square"] ** 0.5
    assert STUDY.judge(measurements)[0].holds is False


def test_one_seed_gives_one_ladder():
    found = train_ladder(LadderTask(1), [3, 5], n_steps=1, batch=16, seed=1)
    again = train_ladder(LadderTask(1), [3, 5], n_steps=1, batch=16, seed=1)
    for first, second in zip(found["models"], again["models"], strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
    assert [w.shape for w in found["models"][1]] == [(5, 42), (5,), (10, 5), (10,)]


def test_sampler_passes_at_the_exact_rate():
    task = LadderTask(2)
    model = train_ladder(task, [4], n_steps=50, batch=64)["models"][0]
    p, right = digit_probabilities(model, np.array([[17, 85]]), task)
    assert right.tolist() == [[1, 0, 2]]
    exact = np.prod([p[0, i, d] for i, d in enumerate(right[0])])
    n = 200_000
    passed = digit_sampler(p[0], right[0])(n, np.random.default_rng(0)).mean()
    assert abs(passed - exact) < 4 * np.sqrt(exact / n)


def test_inputs_hold_the_digits_so_far_and_no_more():
    task = LadderTask(2)
    model = train_ladder(task, [4], n_steps=1, batch=8)["models"][0]
    # 17 + 85 = 102 and 17 + 86 = 103 share operands' first digits and the answer's first two;
    # what is known before the last digit differs in the operand alone, so a change of the
    # answer's last digit can't leak: the same operands give the same distribution in any batch.
    one, _ = digit_probabilities(model, np.array([[17, 85]]), task)
    two, _ = digit_probabilities(model, np.array([[99, 99], [17, 85]]), task)
    np.testing.assert_allclose(one[0], two[1], rtol=1e-12)
    w1 = model[0].copy()
    w1[:, 2 * 2 * 10 + 2 * 10 : 2 * 2 * 10 + 3 * 10] += 100.0  # columns of the last answer digit
    changed, _ = digit_probabilities((w1, *model[1:]), np.array([[17, 85]]), task)
    np.testing.assert_array_equal(one, changed)  # the digit to predict is never an input
