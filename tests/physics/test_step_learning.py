"""Networks of time steps: trained, kept, and read from files that may be hostile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from entropilot.errors import InputError
from entropilot.physics.step_learning import (
    StepNetwork,
    load_network,
    save_network,
    train_network,
)
from entropilot.physics.step_policies import FixedStep, evaluate


def network(hidden: int = 4) -> StepNetwork:
    rng = np.random.default_rng(0)
    sizes = [(hidden, 13), (10, hidden)]
    weights = tuple(rng.normal(size=size).astype(np.float32) for size in sizes)
    return StepNetwork(weights, tuple(np.zeros(size[0], np.float32) for size in sizes))


def test_a_network_comes_back_from_its_file(tmp_path: Path) -> None:
    made = network()
    again = load_network(save_network(tmp_path / "a.safetensors", made, {"seed": 0}))
    seen = np.random.default_rng(1).normal(size=(5, 13)).astype(np.float32)
    np.testing.assert_array_equal(again.values(seen), made.values(seen))


def test_the_entropy_of_a_choice_is_that_of_its_softmax() -> None:
    seen = np.random.default_rng(1).normal(size=(5, 13)).astype(np.float32)
    logits = network().values(seen).astype(float) / 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(network().entropy(seen, 2.0), -(p * np.log(p)).sum(1), rtol=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        b"not a network",
        b"",
        save({"weight.0": np.zeros((10, 12), np.float32), "bias.0": np.zeros(10, np.float32)}),
        save({"weight.0": np.zeros((9, 13), np.float32), "bias.0": np.zeros(9, np.float32)}),
        save({"weight.0": np.zeros((10, 13), np.float32), "bias.0": np.zeros(3, np.float32)}),
        save({"other": np.zeros(3, np.float32)}),
    ],
)
def test_a_file_that_is_no_such_network_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.safetensors"):
        load_network(path)


def test_the_network_that_ships_beats_a_coarse_step() -> None:
    seeds = range(200_000, 200_008)
    learned = evaluate(load_network(), seeds, horizon=100)
    assert learned.summary()["mean"] < evaluate(FixedStep(9), seeds, horizon=100).summary()["mean"]


@pytest.mark.slow
def test_training_repeats_itself() -> None:
    pytest.importorskip("stable_baselines3", reason="learning needs stable-baselines3")
    heard: list[int] = []
    first = train_network(episodes=3, hidden=(8,), seed=5, heard=lambda e, _: heard.append(e))
    again = train_network(episodes=3, hidden=(8,), seed=5)
    assert heard == [1, 2, 3]
    for a, b in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_episode_is_an_error() -> None:
    with pytest.raises(InputError, match="episodes is 0"):
        train_network(episodes=0)
