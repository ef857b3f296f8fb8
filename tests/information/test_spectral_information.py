"""Diffusion spectral mutual information: golden values, behaviour, bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, InputError
from entropilot.information.spectral_entropy import dse, shannon_binned
from entropilot.information.spectral_information import dsmi

RNG = np.random.default_rng(0)
Y = np.arange(120) % 4
Z = RNG.normal(size=(120, 3)) + 60 * np.eye(4, 3)[Y]


def test_it_is_the_reference_with_its_subsets_and_with_our_draws(
    golden: Callable[[str], Any],
) -> None:
    case = golden("dse")
    for row in case["dsmi"]:
        z = np.array(case["data"][row["data"]], float)
        b = row.get("labels", z[:, 0])
        for subsets in (row["subsets"], None):
            found = dsmi(z, b, row["sigma"], row["t"], n_clusters=4, subsets=subsets)
            assert found.value == pytest.approx(row["value"], abs=1e-9)


def test_labels_that_fit_say_more_than_labels_that_do_not() -> None:
    right = dsmi(Z, Y, t=2)
    wrong = dsmi(Z, RNG.permutation(Y), t=2)
    assert right.value == pytest.approx(2, abs=0.1)  # four tight clusters
    assert abs(wrong.value) < 0.1
    assert right.per_class.shape == (4,)
    assert right.std < 0.05


def test_the_printed_form_is_larger_by_the_size_bias() -> None:
    assert dsmi(Z, Y, size_matched=False).value > dsmi(Z, Y).value
    expected = dse(Z) - np.mean([dse(Z[c == Y]) for c in range(4)])
    assert dsmi(Z, Y, size_matched=False).value == pytest.approx(expected)


def test_names_of_groups_and_order_do_not_matter() -> None:
    named = np.array(["d", "a", "c", "b"])[Y]
    assert dsmi(Z, named).value == pytest.approx(dsmi(Z, Y).value)
    assert dsmi(Z, Y[:, None]).value == pytest.approx(dsmi(Z, Y).value)


def test_another_measure_and_continuous_references() -> None:
    binned = dsmi(Z, Y, measure=lambda z: shannon_binned(z, 2))
    assert np.isfinite(binned.value)
    assert np.isnan(binned.sigma)
    assert dsmi(Z, Z[:, 0], n_clusters=3).clusters.max() <= 2
    vectors = dsmi(Z, Z + 0.1, n_clusters=4, t=2)
    assert vectors.value == pytest.approx(dsmi(Z, Y, t=2).value, abs=0.05)


def test_a_group_of_one_counts_with_entropy_zero_and_a_warning() -> None:
    labels = np.append(np.zeros(119, int), 1)
    with pytest.warns(UserWarning, match="group 1 has a single point"):
        found = dsmi(Z, labels)
    assert found.per_class[1] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"B": Y[:5]}, "5 labels for 120 points"),
        ({"B": Y.astype(float)}, "discrete=True"),
        ({"B": np.where(Y == 0, np.nan, 0.5)}, "30 entries of B are not finite"),
        ({"B": np.full(120, 0.5)}, "B is constant"),
        ({"B": Y, "subsets": [[[0, 1]]]}, "subsets of 1 groups"),
        ({"B": Y, "clusters": np.zeros((120, 2))}, r"give \[N\]"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        dsmi(Z, arguments.pop("B"), **arguments)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigurationError, match="repetitions is 0"):
        dsmi(Z, Y, repetitions=0)
    with pytest.raises(ConfigurationError, match="n_clusters is 1"):
        dsmi(Z, Z[:, 0], n_clusters=1)
    assert dsmi(Z, Y.astype(float), discrete=True).value == pytest.approx(dsmi(Z, Y).value)
