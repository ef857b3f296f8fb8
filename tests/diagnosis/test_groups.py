"""Several samples of a problem: agreement, pass@k, dead groups."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from entropilot.diagnosis.groups import agreement, group_view

SAMPLES = pl.DataFrame(
    {
        "group": ["q", "q", "q", "r", "r", "r", "s", "s", "s", None, "lone"],
        "answer": ["8", "8.0", "9", "1", "2", None, "5", "5", "5", "7", "4"],
        "correct": [True, True, False, False, False, False, True, True, True, True, None],
    }
)


def test_counts_entropy_and_majority() -> None:
    found = group_view(SAMPLES)
    assert found is not None
    rows = {row["group"]: row for row in found.frame.to_dicts()}
    assert set(rows) == {"q", "r", "s"}
    expected = -(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)
    assert rows["q"]["answer_entropy"] == pytest.approx(expected, abs=1e-12)
    assert rows["s"]["answer_entropy"] == 0.0
    assert (rows["r"]["majority_answer"], rows["r"]["majority_right"]) == ("1", False)  # first seen
    assert rows["r"]["majority_share"] == pytest.approx(1 / 3)  # the sample without answer counts
    assert (found.n_all_right, found.n_all_wrong) == (1, 1)
    assert found.majority_accuracy is not None
    assert found.majority_accuracy.value == pytest.approx(2 / 3)


def test_pass_at_k_by_hand() -> None:
    found = group_view(SAMPLES)
    assert found is not None
    curve = {k: interval.value for k, interval in found.pass_at_k}
    # right of three: 2, 0, 3.  pass@1 = mean(2/3, 0, 1); pass@2 = mean(1, 0, 1)
    assert curve[1] == pytest.approx(5 / 9)
    assert curve[2] == pytest.approx(2 / 3)
    assert curve[3] == pytest.approx(2 / 3)
    values = list(curve.values())
    assert values == sorted(values)


def test_agreement_rows() -> None:
    found = agreement(SAMPLES)
    assert found["agrees"].to_list() == [
        True, True, False, True, False, None, True, True, True, None, None,
    ]  # fmt: skip
    assert found["n_samples"].to_list() == [3] * 9 + [1, 1]
    assert found["answer_key"][1] == "8"


def test_without_labels_only_answers_speak() -> None:
    found = group_view(SAMPLES.with_columns(correct=pl.lit(None, dtype=pl.Boolean)))
    assert found is not None
    assert found.pass_at_k == ()
    assert found.majority_accuracy is None
    assert found.answer_entropy_auc is None
    assert (found.n_all_right, found.n_all_wrong) == (0, 0)
    assert found.frame["n_right"].null_count() == 3


def test_no_groups_no_view() -> None:
    assert group_view(pl.DataFrame({"answer": ["1", "2"]})) is None
    assert group_view(SAMPLES.filter(pl.col("group") == "lone")) is None


def test_entropy_of_answers_tells_wrong_majorities_where_planted() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for q in range(60):
        sure = q % 2 == 0
        for _ in range(8):
            right = rng.random() < (0.95 if sure else 0.15)
            answer = "right" if right else str(rng.integers(0, 3))
            rows.append({"group": str(q), "answer": answer, "correct": right})
    found = group_view(pl.DataFrame(rows))
    assert found is not None
    assert found.answer_entropy_auc is not None
    assert found.answer_entropy_auc.low > 0.7
