"""Length buckets: the best split of all, checked against trying every one."""

from __future__ import annotations

import functools
import operator
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from entropilot.models.length_buckets import length_buckets


def work(groups: list[list[int]], lengths: list[int], per_pass: int) -> int:
    return sum(max(lengths[i] for i in g) * len(g) + per_pass for g in groups)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=9), st.integers(0, 30))
def test_no_split_is_cheaper(lengths: list[int], per_pass: int) -> None:
    found = [group.tolist() for group in length_buckets(lengths, per_pass)]
    assert sorted(functools.reduce(operator.iadd, found, [])) == list(range(len(lengths)))
    assert [lengths[i] for g in found for i in g] == sorted(lengths, reverse=True)
    order = np.argsort([-n for n in lengths], kind="stable").tolist()
    least = min(
        work(
            [order[a:b] for a, b in zip((0, *cut), (*cut, len(order)), strict=True)],
            lengths,
            per_pass,
        )
        for k in range(len(order))
        for cut in combinations(range(1, len(order)), k)
    )
    assert work(found, lengths, per_pass) == least


def test_nothing_makes_no_group() -> None:
    assert length_buckets([], 3) == []
