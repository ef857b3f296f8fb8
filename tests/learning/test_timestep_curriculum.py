"""Clusters of timesteps, pacing, sampling, resuming, bad input."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.information.noise_schedule import alpha_bar, signal_to_noise
from entropilot.learning.timestep_curriculum import Order, TimestepCurriculum
from entropilot.learning.timestep_difficulty import (
    ClusterKind,
    cluster_timesteps,
    convergence_steps,
    quantile_clusters,
)

SNR = signal_to_noise(alpha_bar(T=100, beta_first=0.001, beta_last=0.2))
KINDS: tuple[ClusterKind, ...] = ("log_snr", "uniform", "snr_interval", "log_snr_interval")


def spread(z: Any, bounds: list[int]) -> float:
    """What interval clustering minimises."""
    total = 0.0
    for left, end in itertools.pairwise([*bounds, len(z)]):
        if end - left > 1:
            total += float(np.abs(z[left:end] - z[round((left + end) / 2)]).sum())
    return total


def test_clusters_are_the_golden_ones(golden: Callable[[str], Any]) -> None:
    want = golden("denoising-curriculum")
    equal = cluster_timesteps(signal_to_noise(alpha_bar()), 20)
    assert [len(c) for c in equal] == want["uniform_log_snr_20"]["sizes"]
    for name, bounds in want["clusters"]["left_bounds"].items():
        kind, _, n = name.rpartition("_")
        ours = [int(c[0]) for c in cluster_timesteps(SNR, int(n), f"{kind}_interval")]
        # the reference's "left bounds" are last steps of the cluster before
        theirs = [0, *[b + 1 for b in bounds[1:]]]
        if kind == "log_snr":
            assert ours == theirs
        else:  # it refuses splits that cost nothing, which are the best ones here
            assert spread(SNR, ours) <= spread(SNR, theirs)


@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_interval_clusters_are_the_best_of_all(T: int, n: int, seed: int) -> None:
    n = min(n, T)
    z = -np.cumsum(np.random.default_rng(seed).exponential(size=T))
    ours = [int(c[0]) for c in cluster_timesteps(np.exp(z), n, "log_snr_interval")]
    every = itertools.combinations(range(1, T), n - 1)
    best = min(spread(z, [0, *bounds]) for bounds in every)
    assert len(ours) == n
    assert spread(z, ours) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 3, 8])
def test_clusters_partition_the_timesteps(kind: ClusterKind, n: int) -> None:
    found = cluster_timesteps(SNR, n, kind)
    assert len(found) == n
    assert np.concatenate(found).tolist() == list(range(100))
    if kind == "uniform":
        assert max(map(len, found)) - min(map(len, found)) <= 1


def test_empty_bins_are_merged_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="2 of 5 bins .* 3 clusters are left"):
        found = cluster_timesteps([1e8, 1.0, 0.9, 0.8, 1e-8], 5)
    assert [c.tolist() for c in found] == [[0], [1, 2, 3], [4]]
    assert [c.tolist() for c in cluster_timesteps([2.0], 1)] == [[0]]


def test_pacing_is_the_golden_one(golden: Callable[[str], Any]) -> None:
    for case in golden("denoising-curriculum")["pacing"]:
        clusters = [[i] for i in range(case["clusters"])]
        curriculum = TimestepCurriculum(clusters, case["patience"], case["smoothing"])
        stages = []
        for step, loss in enumerate(case["losses"], 1):
            stages.append(curriculum.stage)
            curriculum.update(loss, step=step)
        assert stages == case["stage_before_each_step"]


@pytest.mark.parametrize("order", ["easy_first", "hard_first", "random"])
def test_a_stage_adds_exactly_one_cluster(order: Order) -> None:
    clusters = cluster_timesteps(SNR, 6)
    curriculum = TimestepCurriculum(clusters, 1, order=order, n_timesteps=100)
    draw = torch.Generator().manual_seed(0)
    before: set[int] = set()
    for stage in range(1, 7):
        allowed = set(curriculum.allowed().tolist())
        (added,) = [c for c in clusters if not set(c.tolist()) <= before and set(c) <= allowed]
        assert allowed == before | set(added.tolist())
        assert curriculum.stage == stage
        drawn = curriculum.sample(3000, draw)
        assert set(drawn.tolist()) <= allowed
        counts = np.bincount(drawn.numpy(), minlength=100)[sorted(allowed)]
        assert abs(counts - 3000 / len(allowed)).max() < 6 * (3000 / len(allowed)) ** 0.5 + 6
        drawn_np = curriculum.sample(500, np.random.default_rng(0))
        assert isinstance(drawn_np, np.ndarray)
        assert set(drawn_np.tolist()) <= allowed
        before = allowed
        curriculum.update(1.0)
        curriculum.update(1.0)
    assert before == set(range(100))
    assert curriculum.steps_before_all == 10
    if order == "easy_first":
        assert clusters[-1][0] == 100 - len(clusters[-1])


def test_one_cluster_is_the_usual_training_bit_for_bit() -> None:
    def train(sample: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
        torch.manual_seed(0)
        draw, net = torch.Generator().manual_seed(1), torch.nn.Linear(4, 4)
        abar = torch.tensor(alpha_bar(T=50), dtype=torch.float32)
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(20):
            x0, t = torch.randn(8, 4, generator=draw), sample(draw)
            eps, a = torch.randn(8, 4, generator=draw), abar[t][:, None]
            loss = (net(a.sqrt() * x0 + (1 - a).sqrt() * eps) - eps).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curriculum.update(loss.item())
        return net.weight.detach()

    curriculum = TimestepCurriculum([range(50)], patience=1)
    plain = train(lambda draw: torch.randint(0, 50, (8,), generator=draw))
    assert torch.equal(train(lambda draw: curriculum.sample(8, draw)), plain)


def test_the_state_goes_on_in_mid_stage() -> None:
    losses = np.random.default_rng(0).random(60).tolist()
    clusters = cluster_timesteps(SNR, 5)
    whole, first = (TimestepCurriculum(clusters, 4, 0.5) for _ in range(2))
    course = [whole.update(loss) for loss in losses]
    start = [first.update(loss) for loss in losses[:23]]
    again = TimestepCurriculum(clusters, 4, 0.5)
    state = first.state_dict()
    again.load_state_dict(state)
    assert start + [again.update(v, step=24 + i) for i, v in enumerate(losses[23:])] == course
    assert again.allowed().tolist() == whole.allowed().tolist()
    assert json.loads(json.dumps(first.state_dict()))["stage"] == first.stage
    with pytest.raises(ConfigurationError, match="other clusters"):
        TimestepCurriculum(cluster_timesteps(SNR, 4), 4).load_state_dict(state)
    with pytest.raises(ConfigurationError, match="lacks stage"):
        again.load_state_dict({k: v for k, v in state.items() if k != "stage"})


def test_resuming_without_the_state_is_found_out() -> None:
    clusters = cluster_timesteps(SNR, 5)
    with pytest.raises(ConfigurationError, match="step 5001 and the curriculum has seen 0"):
        TimestepCurriculum(clusters).update(0.1, step=5001)
    told = TimestepCurriculum(clusters, start_stage=4)
    assert told.update(0.1, step=5001) == 4


def test_a_cap_ends_a_stage_and_exposure_counts_it() -> None:
    curriculum = TimestepCurriculum([[0, 1], [2, 3]], 100, max_stage_steps=3)
    for loss in np.linspace(1, 0.1, 5):
        curriculum.update(loss)
    assert curriculum.stage_steps == [3, 2]
    np.testing.assert_allclose(curriculum.exposure(), [0.1, 0.1, 0.4, 0.4])


def test_continuous_levels() -> None:
    curriculum = TimestepCurriculum(quantile_clusters(4), 1, 0.0)
    u = curriculum.sample(4000, torch.Generator().manual_seed(0))
    assert 0.75 <= float(u.min()) <= float(u.max()) < 1
    curriculum.update(1.0)
    curriculum.update(1.0)
    u = curriculum.sample(4000, np.random.default_rng(0))
    assert u.min() >= 0.5
    assert u.mean() == pytest.approx(0.75, abs=0.01)
    assert curriculum.allowed_intervals() == [(0.5, 0.75), (0.75, 1.0)]
    both = TimestepCurriculum(quantile_clusters(4), order="random", start_stage=4)
    assert both.sample(4000, torch.Generator().manual_seed(0)).mean() == pytest.approx(
        0.5, abs=0.02
    )
    for ask in (curriculum.allowed, curriculum.exposure):
        with pytest.raises(InputError, match="continuous"):
            ask()


def test_weights_of_an_importance_sampler_are_masked() -> None:
    curriculum = TimestepCurriculum([[0, 1], [2, 3]])
    found = curriculum.mask_weights(torch.tensor([5.0, 1.0, 1.0, 3.0]))
    assert found.tolist() == [0, 0, 0.25, 0.75]
    with pytest.raises(InputError, match="hold 4 timesteps"):
        curriculum.mask_weights(torch.ones(5))
    with pytest.raises(InputError, match="sum above 0"):
        curriculum.mask_weights(torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_convergence_steps() -> None:
    n = np.arange(3000)
    curves = np.exp(-n / np.array([[50.0], [200.0], [10.0]]))
    found = convergence_steps(curves)
    assert abs(found - np.array([50, 200, 10]) * np.log(10)).max() <= 1
    np.testing.assert_array_equal(convergence_steps(7 * curves + 3), found)
    assert abs(convergence_steps(curves, window=20) - found).max() <= 1  # a shift keeps the shape
    with pytest.warns(UserWarning, match="curve 1 ends no lower"):
        assert np.isnan(convergence_steps([[1, 0.5, 0.1], [1, 2, 3]])[1])
    with pytest.raises(InputError, match="q is 1"):
        convergence_steps(curves, q=1)
    with pytest.raises(InputError, match="window is 3000"):
        convergence_steps(curves, window=3000)
    with pytest.raises(BrokenNumbersError, match="loss 1 of curve 0"):
        convergence_steps([1.0, np.nan, 0.5])
    with pytest.raises(InputError, match="steps >= 2"):
        convergence_steps([1.0])


def test_bad_settings_and_clusters() -> None:
    for n in (0, 101):
        with pytest.raises(ConfigurationError, match=f"n is {n}"):
            cluster_timesteps(SNR, n)
    with pytest.raises(ConfigurationError, match="unknown kind of cluster"):
        cluster_timesteps(SNR, 2, "snr")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"does not fall at t = 2 \(2, then 3\)"):
        cluster_timesteps([4.0, 2.0, 3.0], 2)
    with pytest.raises(InputError, match="above 0"):
        cluster_timesteps([4.0, 0.0], 2)
    with pytest.raises(InputError, match=r"expected \[T\]"):
        cluster_timesteps([[1.0]], 1)
    with pytest.raises(ConfigurationError, match="at least 1"):
        quantile_clusters(0)
    good = [[0, 1], [2, 3]]
    for settings_, words in (
        ({"patience": 0}, "patience is 0"),
        ({"smoothing": 1.0}, "smoothing is 1"),
        ({"order": "hard"}, "unknown order"),
        ({"max_stage_steps": 0}, "max_stage_steps is 0"),
        ({"n_timesteps": 1000}, "hold 4 timesteps and the model has 1000"),
        ({"start_stage": 3}, "stages 1 to 2"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            TimestepCurriculum(good, **settings_)
    for clusters, words in (
        ([], "no clusters"),
        ([[2, 3], [0, 1]], "place 0 holds 2"),
        ([[0, 1], []], "at least one timestep"),
        ([(0.0, 0.5), (0.6, 1.0)], "without gaps"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            TimestepCurriculum(clusters)  # type: ignore[arg-type]
    for loss in (float("nan"), float("inf")):
        with pytest.raises(BrokenNumbersError, match="the loss of stage 1"):
            TimestepCurriculum(good).update(loss)
