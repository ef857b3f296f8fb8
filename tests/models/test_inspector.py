"""Reading a chain in one pass equals reading every prefix on its own."""

from __future__ import annotations

import numpy as np
import pytest

from entropilot.errors import InputError
from entropilot.models.inspector import NaiveInspector, TreeInspector
from entropilot.models.loaders import LanguageModel, load_model
from entropilot.models.tree_attention import tree_mask
from entropilot.traces.inspection import answer_now_entropy, entropy_trajectory

STEPS = ["She has 16 - 3 = 13 eggs.", "She sells 13.", "13 * 2 = 26", "So she makes $26 a day."]


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return load_model("tiny")


@pytest.mark.parametrize("n_steps", [0, 1, 4])
@pytest.mark.parametrize("connector", ["\nThe answer is ", "\nA:"])
def test_tree_equals_naive(tiny: LanguageModel, n_steps: int, connector: str) -> None:
    one, other = (
        entropy_trajectory(
            kind(tiny), "How much?", STEPS[:n_steps], "$26 a day", connector=connector
        )
        for kind in (TreeInspector, NaiveInspector)
    )
    assert one.per_token.shape == (n_steps + 1, 9)
    np.testing.assert_allclose(one.per_token, other.per_token, atol=1e-5)  # float32
    np.testing.assert_allclose(one.nll, other.nll, atol=1e-5)


def test_a_branch_sees_its_prefix_and_itself_only() -> None:
    mask = tree_mask(5, np.array([2, 3, 5]), np.array([2, 2, 2]))
    assert mask.shape == (11, 11)
    assert (mask[:5, :5] == np.tri(5, dtype=bool)).all()
    assert not mask[:5, 5:].any()
    for k, end in enumerate((2, 3, 5)):
        rows = slice(5 + 2 * k, 7 + 2 * k)
        assert mask[rows, :end].all()
        assert not mask[rows, end:5].any()
        assert mask[rows, 5:].sum() == 3  # causal in itself
        assert (mask[rows, rows] == np.tri(2, dtype=bool)).all()


def test_later_steps_do_not_change_earlier_points(tiny: LanguageModel) -> None:
    whole = entropy_trajectory(TreeInspector(tiny), "How much?", STEPS, "26")
    part = entropy_trajectory(TreeInspector(tiny), "How much?", STEPS[:2], "26")
    np.testing.assert_allclose(whole.h[:3], part.h, atol=1e-5)


def test_a_chain_that_does_not_fit_is_named(tiny: LanguageModel) -> None:
    with pytest.raises(InputError, match=r"\d{4} tokens to the inspector.*context of 4096"):
        entropy_trajectory(TreeInspector(tiny), "q", ["x" * 4090], "26")
    with pytest.raises(InputError, match="context of 4096"):
        entropy_trajectory(NaiveInspector(tiny), "q", ["x" * 4090], "26")


def test_rows_out_of_range(tiny: LanguageModel) -> None:
    with pytest.raises(InputError, match="3 rows asked for from 2 tokens"):
        NaiveInspector(tiny).logits([1, 2], 3)
    with pytest.raises(InputError, match="0 rows asked for from a suffix of 1"):
        TreeInspector(tiny).branches([[1]], [2], 0)
    with pytest.raises(InputError, match="question has no tokens"):
        TreeInspector(tiny).branches([[], [1]], [2], 1)


def test_answer_now_draws_the_most_likely_tokens(tiny: LanguageModel) -> None:
    inspector = TreeInspector(tiny)
    now = answer_now_entropy(inspector, "How much?", STEPS, max_tokens=3)
    ids = inspector.tokenize("How much?")
    for step in STEPS:
        ids += inspector.tokenize("\n" + step)
    ids += inspector.tokenize("\nThe answer is")
    drawn = []
    for _ in range(3):
        drawn.append(int(inspector.logits([*ids, *drawn], 1)[0].argmax()))
    assert now.ids == tuple(drawn)
    assert 0 < now.entropy < np.log(257)
    cut = answer_now_entropy(inspector, "How much?", STEPS, max_tokens=3, ends=[drawn[1]])
    assert cut.ids == tuple(drawn[:1])


@pytest.mark.model
@pytest.mark.slow
def test_tree_equals_naive_on_a_real_model(real_model: LanguageModel) -> None:
    one, other = (
        entropy_trajectory(kind(real_model), "How much does she make?", STEPS, "26")
        for kind in (TreeInspector, NaiveInspector)
    )
    np.testing.assert_allclose(one.per_token, other.per_token, atol=1e-4)  # float32, 30 layers
    assert one.h[-1] < one.h[0]
