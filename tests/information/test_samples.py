from __future__ import annotations

import numpy as np
import pytest

from entropilot.errors import InputError
from entropilot.information import compare_settings, count_samples, match_problems


def test_counts_in_order_of_first_sight():
    found = count_samples(["b", "a", "b"], [True, True, True], ["0", "0", "1"])
    assert found.problem == ("b", "a")
    assert found.c.tolist() == found.n.tolist() == [2, 1]


def test_doubled_sample_is_refused():
    with pytest.raises(
        InputError, match=r"sample 's' of problem 'p' occurs twice \(rows 0 and 2\)"
    ):
        count_samples(["p", "q", "p"], [True, False, False], ["s", "s", "s"])


def test_lengths_must_agree():
    with pytest.raises(InputError, match="one of each per sample"):
        count_samples(["p"], [True, False])


def test_problems_match_by_id():
    a, b = match_problems(["x", "y", "z"], ["z", "x", "y"])
    base, new = np.array(["x", "y", "z"]), np.array(["z", "x", "y"])
    assert (base[a] == new[b]).all()


def test_missing_problems_are_listed():
    with pytest.raises(
        InputError, match=r"'a' missing in the new run; 'c' missing in the base run"
    ):
        match_problems(["a", "b"], ["b", "c"])
    with pytest.raises(InputError, match="and 2 more"):
        match_problems([str(i) for i in range(8)], ["7"])
    with pytest.raises(InputError, match="'a' occurs twice in the new run"):
        match_problems(["a"], ["a", "a"])


def test_settings_that_differ_are_warned_of():
    with pytest.warns(UserWarning, match=r"temperature is 0\.6 in the base run and 1\.0"):
        found = compare_settings({"temperature": 0.6, "n": 1}, {"temperature": 1.0, "n": 1})
    assert len(found) == 1
