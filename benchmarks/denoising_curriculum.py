"""What does a curriculum of timesteps cost a training step, and its measures of difficulty?

    python benchmarks/denoising_curriculum.py [--repeats 5]

One thread, CPU seconds, median of the repeats. Rivals on the same work: ``torch.randint``,
the usual sampler; for KL(p_{t-1} || p_t) of a mixture by sampling, scipy's ``logsumexp``. The
bound of the KL is numpy's exponential of as many numbers. The rest is shown against its goal.
"""

import argparse
import platform

import numpy as np
import torch
from scipy.special import logsumexp

from _timing import seconds_of
from entropilot.information import alpha_bar, frechet_distance, mixture_step_kl, signal_to_noise
from entropilot.learning.timestep_curriculum import TimestepCurriculum
from entropilot.learning.timestep_difficulty import cluster_timesteps

DRAWS, COMPONENTS = 10_000, 8


def with_scipy(means, std, abar, steps):
    """The same estimator, [D = 2], a step at a time."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(COMPONENTS, DRAWS)
    data = means[chosen] + std * rng.normal(size=(DRAWS, 2))
    noise = rng.normal(size=data.shape)

    def log_density(x, a):
        v = a * std**2 + 1 - a
        square = ((x[:, None] - np.sqrt(a) * means) ** 2).sum(-1)
        return logsumexp(-square / (2 * v), axis=1) - np.log(2 * np.pi * v * COMPONENTS)

    found = []
    for t in steps:
        x = np.sqrt(abar[t - 1]) * data + np.sqrt(1 - abar[t - 1]) * noise
        ratio = log_density(x, abar[t]) - log_density(x, abar[t - 1])
        found.append(np.mean(np.expm1(ratio) - ratio))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    abar = alpha_bar()
    snr = signal_to_noise(abar)
    curriculum = TimestepCurriculum(cluster_timesteps(snr, 20))

    def step():
        curriculum.sample(128)
        curriculum.update(1.0)

    ours, _ = seconds_of(step, repeats, times=20_000)
    plain, _ = seconds_of(lambda: torch.randint(0, 1000, (128,)), repeats, times=20_000)
    cut, _ = seconds_of(lambda: cluster_timesteps(snr, 20, "log_snr_interval"), repeats)
    rng = np.random.default_rng(1)
    means, std = rng.normal(size=(COMPONENTS, 2)), 0.1
    every = np.arange(1, 1000)
    weights = np.full(COMPONENTS, 1 / COMPONENTS)
    kl, found = seconds_of(
        lambda: mixture_step_kl(weights, means, std, abar, every, "monte_carlo", DRAWS), repeats
    )
    some = every[::20]
    rival, check = seconds_of(lambda: with_scipy(means, std, abar, some), min(3, repeats))
    rival *= len(every) / len(some)
    near = np.abs(check - found.value[::20]) <= 5 * found.stderr[::20]
    numbers = -rng.random((DRAWS, 2 * COMPONENTS))
    exponentials, _ = seconds_of(lambda: np.exp(numbers), repeats, times=5)
    exponentials *= len(every)
    a, b = rng.normal(size=(2000, 64)), rng.normal(size=(1797, 64))
    distance, _ = seconds_of(lambda: frechet_distance(a, b), repeats)
    print(f"numpy {np.__version__}, torch {torch.__version__}, {platform.machine()}, one thread")
    print(
        f"draw of 128 and update {ours * 1e6:.1f} us a step (torch.randint alone {plain * 1e6:.1f})"
    )
    print(f"clusters by SNR, T = 1000, N = 20: {cut * 1e3:.0f} ms")
    print(
        f"KL of 999 steps, 10,000 draws in 2-D, 8 components: {kl:.2f} s, scipy {rival:.1f} s ",
        end="",
    )
    print(
        f"({rival / kl:.1f} x), exponentials alone {exponentials:.2f} s; agree: {bool(near.all())}"
    )
    print(f"Frechet distance of 2,000 and 1,797 points in 64 dimensions: {distance * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
