from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from entropilot.learning.convergence_radius import radius_bound, slope_spread
from entropilot.studies.convergence_radius import STUDY
from entropilot.studies.convergence_radius_judge import RADII, onsets
from entropilot.studies.radius_networks import (
    ARCHITECTURES,
    after_steps,
    batches,
    curvature,
    digits,
    downhill,
    loss_of,
    network,
    radius_along,
    random_direction,
    slopes_along,
)


def test_what_the_recorded_run_says(recorded: Any, by_statement: Any) -> None:
    findings = STUDY.judge(recorded("ghosts"))
    assert by_statement(findings, "CIFAR-10").holds is None
    assert by_statement(findings, "never below the bound").holds is True
    assert sum(f.holds is not None for f in findings) == 13


def test_a_collapse_inside_the_radius_fails_the_claims(recorded: Any, by_statement: Any) -> None:
    changed = recorded("ghosts")
    row = changed[0]["networks"]["MLP"]
    row["accuracy"] = [a if r < 0.1 else 0.1 for r, a in zip(RADII, row["accuracy"], strict=True)]
    findings = STUDY.judge(changed)
    assert by_statement(findings, "downhill of at most 0.9").holds is False
    assert by_statement(findings, "at one radius or later").holds is False
    changed[1]["lasting"]["0.01"]["Adam"]["after"] = 0.9
    assert by_statement(STUDY.judge(changed), "Adam does not survive").holds is False


def test_an_untrained_network_does_not_count(recorded: Any, by_statement: Any) -> None:
    changed = recorded("ghosts")
    for m in changed:
        m["networks"]["CNN+BN"]["start"]["accuracy"] = 0.3
    assert (
        "trained below 0.6: CNN+BN"
        in by_statement(STUDY.judge(changed), "downhill of at most 0.9").measured
    )


def test_an_onset_lies_between_the_radii_around_it() -> None:
    accuracy = [0.9 if r <= 1 else 0.5 for r in RADII]
    row = {"start": {"accuracy": 0.9}, "rho": 2.0, "accuracy": accuracy, "random": []}
    ((downward, rho, r),) = onsets(row)
    assert downward
    assert rho == 2.0
    assert 1 < r < RADII[21]
    row["accuracy"] = [0.9] * len(RADII)
    assert list(onsets(row)) == []


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_networks_and_steps(name: str) -> None:
    data = digits(0, 64)
    model = network(name, 0).eval()
    assert model(data.x).shape == (64, 10)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    v = random_direction(model, 3)
    assert sum(float((t**2).sum()) for t in v.values()) == pytest.approx(1, rel=1e-4)
    rho = radius_along(model, v, data.x)
    _, slopes = slopes_along(model, v, data.x)
    assert rho == pytest.approx(float(radius_bound(slope_spread(slopes)).min()))
    losses = [loss for loss, _ in after_steps(model, v, [0.0, rho], data)]
    assert losses[0] == pytest.approx(loss_of(model, data.x, data.y))
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.equal(before, after)


def test_curvature_is_that_of_finite_differences() -> None:
    data = digits(0, 100)
    model = network("smooth MLP", 0)
    v = downhill(model, data)
    bend, slope = curvature(model, v, data)
    h = 0.02
    low, middle, high = (loss for loss, _ in after_steps(model, v, [-h, 0.0, h], data))
    assert (high - low) / (2 * h) == pytest.approx(slope, rel=1e-2)
    assert (high - 2 * middle + low) / h**2 == pytest.approx(bend, rel=0.1, abs=0.02)


def test_the_split_is_stratified_and_batches_are_passes() -> None:
    data = digits(1)
    assert (len(data.x), len(data.test_x)) == (1437, 360)
    counts = np.bincount(data.test_y.numpy(), minlength=10)
    assert counts.min() >= 34
    rows = torch.cat(list(batches(10, 3, 3, seed=0)))
    assert len(set(rows.tolist())) == 9
    assert [len(r) for r in batches(10, 20, 2, seed=0)] == [10, 10]
