"""Are low timesteps harder to denoise, and does it pay to learn them last?

Source: Denoising task difficulty (arXiv 2403.10348). A small diffusion model of scikit-learn's
digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from entropilot.information.frechet import frechet_distance
from entropilot.information.marginal_divergence import sample_step_kl
from entropilot.information.noise_schedule import signal_to_noise
from entropilot.learning.timestep_curriculum import Order, TimestepCurriculum
from entropilot.learning.timestep_difficulty import cluster_timesteps, convergence_steps
from entropilot.policy.training.threads import one_thread
from entropilot.studies.denoiser import ABAR, BATCH, N_TIMESTEPS, draw_samples, train
from entropilot.studies.denoising_order_figure import draw
from entropilot.studies.denoising_order_judge import judge
from entropilot.studies.digit_images import digits
from entropilot.studies.study import Measurement, Progress, Scale, Study


@dataclass(frozen=True)
class Sizes:
    """What a scale runs."""

    steps: int  # of an arm
    looks: tuple[int, ...]
    n_samples: int
    interval_steps: int


SIZES: Final[dict[Scale, Sizes]] = {
    "smoke": Sizes(40, (20, 40), 100, 60),
    "quick": Sizes(4000, (1000, 2000, 3000, 4000), 2000, 400),
    "full": Sizes(20_000, (1000, 2000, 4000, 8000, 12_000, 16_000, 20_000), 10_000, 2000),
}
ARMS: Final[dict[str, Order | None]] = {
    "uniform": None,
    "easy first": "easy_first",
    "hard first": "hard_first",
}
N_CLUSTERS: Final = 5
PATIENCE: Final = 12
WIDTH: Final = 192
N_INTERVALS: Final = 8
INTERVAL_WIDTH: Final = 128
WINDOW: Final = 20  # of the moving average of a loss


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Difficulty of timesteps by two measures, and three orders of learning them.

    Args:
        scale: "smoke" takes a few steps.
        seed: of weights, batches and samples.
        progress: called with the share done.

    Returns:
        {"kl", "intervals", "arms"}: numbers.
    """
    size = SIZES[scale]
    images = 2 * digits().images - 1
    data = torch.tensor(images, dtype=torch.float32)
    with one_thread():
        found: Measurement = {"kl": _divergences(images), "intervals": [], "arms": {}}
        for i in range(N_INTERVALS):
            progress(0.015 * i, f"model of interval {i + 1} of {N_INTERVALS}")
            found["intervals"].append(_interval(data, i, size.interval_steps, seed))
        curves = [row.pop("losses") for row in found["intervals"]]
        for row, n in zip(found["intervals"], convergence_steps(curves, 0.1, WINDOW), strict=True):
            row["n_tenth"] = None if np.isnan(n) else float(n)
        for number, (name, order) in enumerate(ARMS.items()):

            def share(part: float, number: int = number, name: str = name) -> None:
                progress(0.12 + 0.88 * (number + part) / len(ARMS), f"training '{name}'")

            found["arms"][name] = _arm(data, images, order, size, seed, share)
    return found


def _divergences(images: Any) -> dict[str, Any]:
    """Moment KL of all pixels and of those that vary, mean left out, by timestep from 1 on."""
    centred = images - images.mean(0)
    varies = centred.std(0) > 0
    beta = 1 - ABAR[1:] / ABAR[:-1]
    found: dict[str, Any] = {"beta": _short(beta)}
    for name, pixels in (("all", centred), ("varying", centred[:, varies])):
        found[name] = _short(sample_step_kl(pixels, ABAR, dims=None))
    found["n_varying"] = int(varies.sum())
    return found


def _interval(data: Tensor, i: int, steps: int, seed: int) -> dict[str, Any]:
    """A model of one eighth of the timesteps."""
    length = N_TIMESTEPS // N_INTERVALS
    losses: list[float] = []

    def sample(generator: torch.Generator) -> Tensor:
        return torch.randint(i * length, (i + 1) * length, (BATCH,), generator=generator)

    def tell(_step: int, loss: float, _net: nn.Module) -> None:
        losses.append(loss)

    train(data, steps, seed, INTERVAL_WIDTH, sample, tell)
    smooth = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), "valid")
    return {
        "first": i * length,
        "last": (i + 1) * length - 1,
        "end": float(np.mean(losses[-max(1, steps // 10) :])),
        "losses": losses,
        "course": _short(smooth[:: max(1, steps // 40)]),
    }


def _arm(
    data: Tensor, images: Any, order: Order | None, size: Sizes, seed: int, share: Any
) -> dict[str, Any]:
    clusters = cluster_timesteps(signal_to_noise(ABAR), N_CLUSTERS)
    if order is None:
        clusters = [np.arange(N_TIMESTEPS)]  # one stage: the usual training
    curriculum = TimestepCurriculum(
        clusters, PATIENCE, order=order or "easy_first", n_timesteps=N_TIMESTEPS
    )
    row: dict[str, Any] = {"steps": list(size.looks), "distance": [], "loss": []}
    losses: list[float] = []

    def tell(step: int, loss: float, net: nn.Module) -> None:
        curriculum.update(loss, step)
        losses.append(loss)
        if step % 50 == 0:
            share(step / size.steps)
        if step in size.looks:
            made = draw_samples(net, size.n_samples, seed)
            row["distance"].append(frechet_distance(made, images))

    train(data, size.steps, seed, WIDTH, lambda g: curriculum.sample(BATCH, g), tell)
    row["loss"] = _short(np.array(losses)[:: max(1, size.steps // 80)])
    row["stage_steps"] = curriculum.stage_steps
    row["steps_before_all"] = curriculum.steps_before_all
    row["exposure"] = _short(curriculum.exposure()[:: max(1, N_TIMESTEPS // 40)])
    return row


def _short(values: Any) -> list[float]:
    return [float(f"{v:.4g}") for v in values]


STUDY: Final = Study(
    slug="denoising-curriculum",
    title="Denoising steps from easy to hard",
    paper="2403.10348",
    claim=(
        "Denoising at low timesteps (little noise) is harder: it converges more slowly, and the "
        "law of the data changes more from step to step; training from easy to hard timesteps, "
        "cluster by cluster, gives better samples sooner."
    ),
    scales={
        "smoke": "40 steps an arm; seconds",
        "quick": "digits, 8 interval models of 400 steps, three orders of 4,000 steps; about 2 "
        "minutes a seed",
        "full": "20,000 steps an arm; about 8 minutes a seed (estimated)",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "8x8 digits, every fifth of 1,000 linear timesteps, a residual MLP that predicts the "
        "noise, 50-step DDIM, Frechet distance in pixels of 2,000 samples to all 1,797 images. "
        "Five clusters of equal width in ln SNR, patience 12 of a smoothed loss. At this budget a "
        "longer patience leaves the lowest timesteps untrained. Images of DiT's and EDM's size "
        "need GPUs and were not run."
    ),
)
