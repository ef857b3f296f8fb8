"""Learn which time step to take, by deep Q-learning (stable-baselines3), and keep what was learned.

The setting of arXiv 2502.12809 with three departures: epsilon decays over all steps and not anew in
each episode, starts for evaluation are not among those of training, and hidden layers have weights
of their own. A trained network is a safetensors file; playing it needs numpy alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError, require
from entropilot.files import replacing
from entropilot.physics.step_policies import Actions
from entropilot.physics.three_bodies import Array
from entropilot.physics.three_body_batch import ACTIONS

TRAINED: Final = Path(__file__).with_name("three_body_step.safetensors")
LARGEST_FILE: Final = 50_000_000  # bytes of a network


@dataclass(frozen=True)
class StepNetwork:
    """A policy that takes the action of the largest value.

    Args:
        weights: of each layer, [out, in]; ReLU between layers.
        biases: of each layer, [out].

    Examples:
        >>> network = StepNetwork((np.eye(10, 13, dtype=np.float32),), (np.zeros(10, np.float32),))
        >>> network.act(np.eye(13, dtype=np.float32)[[4]]).tolist()
        [4]
    """

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]

    def values(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """Q [n, 10] of observations [n, 13]."""
        hidden = seen
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = (np.maximum(hidden, 0) if number else hidden) @ weight.T + bias
        return hidden

    def entropy(self, seen: NDArray[np.float32], temperature: float = 1.0) -> Array:
        """Entropy [n], nats, of softmax(Q / temperature): how undecided the choice is."""
        from entropilot.information import entropy_from_logits

        found = entropy_from_logits(self.values(seen).astype(float), temperature=temperature)
        return np.asarray(found)

    def start(self, _n: int, /) -> None:
        """Nothing to forget."""

    def act(self, seen: NDArray[np.float32], /) -> Actions:
        """The actions of the largest values."""
        return np.asarray(self.values(seen).argmax(axis=1))

    def review(self, change: Array, _which: NDArray[np.bool_], /) -> NDArray[np.bool_]:
        """Nothing is redone."""
        return np.zeros(len(change), bool)


def save_network(path: str | Path, network: StepNetwork, about: dict[str, Any]) -> Path:
    """Write a network and what it was trained with; whole or not at all."""
    from safetensors.numpy import save

    tensors = {f"weight.{i}": w for i, w in enumerate(network.weights)}
    tensors |= {f"bias.{i}": b for i, b in enumerate(network.biases)}
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, {"about": json.dumps(about)}))
    return Path(path)


def load_network(path: str | Path = TRAINED) -> StepNetwork:
    """Read a network; the one that comes with the package by default.

    Raises:
        InputError: not such a file, or layers that do not follow each other from 13 or 3 numbers to
            ten actions.

    Examples:
        >>> load_network().values(np.zeros((1, 13), np.float32)).shape
        (1, 10)
    """
    require("safetensors", extra="torch", purpose="reading a network")
    from safetensors.numpy import load

    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST_FILE:,}")
        held = load(path.read_bytes())
        count = len(held) // 2
        weights = tuple(np.asarray(held[f"weight.{i}"], np.float32) for i in range(count))
        biases = tuple(np.asarray(held[f"bias.{i}"], np.float32) for i in range(count))
    except InputError:
        raise
    except Exception as error:  # the library has errors of its own kind
        raise InputError(f"{path} is not a network of time steps ({error})") from error
    sizes = [w.shape for w in weights if w.ndim == 2]
    fits = len(sizes) == count > 0 and sizes[-1][0] == len(ACTIONS) and sizes[0][1] in (3, 13)
    fits = fits and all(a[0] == b[1] for a, b in itertools.pairwise(sizes))
    if not fits or any(b.shape != (s[0],) for b, s in zip(biases, sizes, strict=True)):
        raise InputError(f"{path} has layers {sizes}; expected 13 or 3 numbers in, ten actions out")
    return StepNetwork(weights, biases)


def train_network(
    *,
    episodes: int = 400,
    hidden: tuple[int, ...] = (128, 128),
    seed: int = 0,
    train_every: int = 2,
    heard: Callable[[int, float], None] = lambda _episode, _reward: None,
    **settings: Any,
) -> StepNetwork:
    """Train by deep Q-learning; the same seed gives the same network on one machine.

    Args:
        episodes: of at most 100 decisions.
        hidden: widths of hidden layers.
        seed: of network, exploration and starts.
        train_every: decisions to one update of 128 transitions.
        heard: called with the number of each episode that ended, and its reward.
        settings: of the environment, see ``ThreeBodyEnv``.

    Raises:
        MissingExtraError: stable-baselines3 is not installed.
        InputError: no episode.
    """
    if episodes < 1:
        raise InputError(f"episodes is {episodes}; expected at least 1")
    learning = require("stable_baselines3", extra="physics", purpose="learning time steps")
    from stable_baselines3.common.callbacks import BaseCallback

    from entropilot.physics.three_body_env import ThreeBodyEnv
    from entropilot.policy.training.threads import one_thread

    class Count(BaseCallback):  # type: ignore[misc, unused-ignore]
        done, total = 0, 0.0

        def _on_step(self) -> bool:
            self.total += float(self.locals["rewards"][0])
            if self.locals["dones"][0]:
                self.done += 1
                heard(self.done, self.total)
                self.total = 0.0
            return self.done < episodes

    with one_thread():
        model = learning.DQN(
            "MlpPolicy",
            ThreeBodyEnv(**settings),
            learning_rate=1e-3,
            buffer_size=10_000,
            learning_starts=128,
            batch_size=128,
            tau=0.005,
            gamma=0.99,
            train_freq=train_every,
            gradient_steps=1,
            target_update_interval=1,
            exploration_initial_eps=0.9,
            exploration_final_eps=0.05,
            exploration_fraction=0.25,
            max_grad_norm=100.0,
            policy_kwargs={"net_arch": list(hidden)},
            seed=seed,
            device="cpu",
        )
        model.learn(total_timesteps=100 * episodes, callback=Count())
    layers = [layer for layer in model.q_net.q_net if hasattr(layer, "weight")]
    return StepNetwork(
        tuple(layer.weight.detach().numpy().copy() for layer in layers),
        tuple(layer.bias.detach().numpy().copy() for layer in layers),
    )
