from __future__ import annotations

import math

import pytest

from entropilot.studies.seed_numbers import mean_interval, smooth, spread


def test_one_seed_has_no_interval() -> None:
    assert math.isnan(mean_interval([1.0]).low)
    assert spread([1.0], ".1f") == "1.0"


def test_the_interval_is_students() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5  # t(2 degrees, 0.975) times the standard error, 1 / sqrt(3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


def test_the_range_is_of_all_seeds_and_the_last_window_is_short() -> None:
    assert spread([3.0, 1.0, 2.0], ".0f") == "2 [1, 3]"
    assert smooth([1.0, 3.0, 8.0], 2) == [2.0, 8.0]
