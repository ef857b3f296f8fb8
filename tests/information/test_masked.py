"""Averages over valid tokens: hand-computed, padding invariant, honest when empty."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import check_entropy, check_logprob, masked_mean, masked_quantile

values = st.lists(st.floats(-100, 100), min_size=1, max_size=20)


def test_six_tokens_by_hand():
    """Prompt, prompt, answer, answer, answer, padding: only the answer counts."""
    entropy = np.array([9.0, 9.0, 0.5, 1.0, 1.5, 1.0e9])
    valid = np.array([False, False, True, True, True, False])
    assert masked_mean(entropy, valid) == 1.0
    assert masked_quantile(entropy, valid, 0.5) == 1.0
    assert masked_quantile(entropy, valid, [0.0, 0.75, 1.0]).tolist() == [0.5, 1.25, 1.5]


@given(values, st.integers(1, 10), st.sampled_from([np.nan, np.inf, -1.0, 1.0]))
def test_padding_changes_nothing(numbers, n_padding, filler):
    x = np.array(numbers)
    padded = np.append(x, np.full(n_padding, filler))
    valid = np.arange(len(padded)) < len(x)
    everything = np.ones(len(x), bool)
    assert masked_mean(padded, valid) == pytest.approx(x.mean(), abs=1e-9)
    assert masked_quantile(padded, valid, 0.8) == masked_quantile(x, everything, 0.8)
    assert masked_quantile(x, everything, 0.8) == pytest.approx(np.quantile(x, 0.8), abs=1e-9)
    t, m = torch.tensor(padded), torch.tensor(valid)
    assert masked_mean(t, m).item() == pytest.approx(x.mean(), abs=1e-9)
    assert masked_quantile(t, m, [0.1, 0.8]).tolist() == pytest.approx(
        np.quantile(x, [0.1, 0.8]).tolist(), abs=1e-9
    )


def test_quantiles_pool_the_whole_batch():
    """The quantile of a batch is not the mean of the quantiles of its parts."""
    parts = [np.array([0.1, 0.2, 0.3, 0.4]), np.array([2.0])]
    padded = np.full((2, 4), np.nan)  # ranks of one batch, each with its own padding
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    pooled = masked_quantile(padded, ~np.isnan(padded), 0.8)
    assert pooled == pytest.approx(np.quantile(np.concatenate(parts), 0.8))
    assert pooled != pytest.approx(np.mean([np.quantile(part, 0.8) for part in parts]))


def test_rows_average_by_axis():
    x = torch.tensor([[1.0, 3.0], [5.0, float("nan")]])
    valid = torch.tensor([[True, True], [True, False]])
    assert masked_mean(x, valid, axis=-1).tolist() == [2.0, 5.0]


def test_nothing_valid_is_counted_and_keeps_the_graph():
    x = torch.ones(2, 3, requires_grad=True)
    none = torch.zeros(2, 3, dtype=torch.bool)
    with pytest.warns(UserWarning, match="no valid value in the mean; set to 0"):
        mean = masked_mean(x, none)
    mean.backward()
    assert mean.item() == 0
    assert (x.grad == 0).all()
    none[0, 0] = True
    with pytest.warns(UserWarning, match="no valid value in 1 of 2 means"):
        assert masked_mean(x, none, axis=1).tolist() == [1.0, 0.0]
    for empty in (np.zeros(3), np.zeros(0), torch.zeros(3), torch.zeros(0)):
        with pytest.warns(UserWarning, match="no valid value"):
            assert np.isnan(float(masked_quantile(empty, empty > 0, 0.5)))


def test_gradient_skips_invalid_positions():
    x = torch.tensor([1.0, float("nan"), 3.0], requires_grad=True)
    masked_mean(x, torch.tensor([True, False, True])).backward()
    assert x.grad.tolist() == [0.5, 0.0, 0.5]


def test_sentinels_are_rejected_by_name():
    """A +1 in padded positions once became a negative 'entropy' of a whole run."""
    with pytest.raises(InputError, match=r"1 of 3 values are out of range .*sentinels"):
        check_entropy([0.2, 0.3, -1.0])
    with pytest.raises(InputError, match="1 of 2"):
        check_entropy([5.0, 0.3], n_vocab=50)
    check_entropy([0.2, -1.0], [True, False], n_vocab=2)
    with pytest.raises(InputError, match=r"first: 1\); natural-log .* mask it"):
        check_logprob([-0.2, 1.0])
    with pytest.raises(InputError, match="nan"):
        check_logprob(torch.tensor([float("nan")]))


def test_bad_input():
    with pytest.raises(InputError, match="one flag a value"):
        masked_mean([1.0, 2.0], [True])
    with pytest.raises(InputError, match="nan"):
        masked_quantile([1.0, np.nan], [True, True], 0.5)
    with pytest.raises(ConfigurationError, match="q is 20"):
        masked_quantile([1.0], [True], 20)
