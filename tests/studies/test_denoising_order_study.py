from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from entropilot.studies.denoiser import ABAR, N_TIMESTEPS, draw_samples, train
from entropilot.studies.denoising_order import STUDY


def test_what_the_recorded_run_says(recorded: Any, by_statement: Any) -> None:
    findings = STUDY.judge(recorded("denoising-curriculum"))
    assert by_statement(findings, "FFHQ").holds is None
    assert by_statement(findings, "converge more slowly").holds is True


def test_other_numbers_turn_the_findings(recorded: Any, by_statement: Any) -> None:
    changed = recorded("denoising-curriculum")
    for m in changed:
        m["arms"]["easy first"]["distance"] = [0.1] * 4
    findings = STUDY.judge(changed)
    for words in ("better samples than all", "gets there sooner", "The order matters"):
        assert by_statement(findings, words).holds is True
    changed[0]["arms"]["easy first"]["steps_before_all"] = None
    changed[0]["intervals"].reverse()
    changed[0]["kl"]["all"].reverse()
    findings = STUDY.judge(changed)
    for words in ("reaches all", "converge more slowly", "higher loss", "changes most", "beta^2"):
        assert by_statement(findings, words).holds is False
    assert "not reached in 1 seeds" in by_statement(findings, "reaches all").measured


class Perfect(nn.Module):
    """Knows that the data are one image."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()
        self.image = image

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        a = torch.tensor(ABAR, dtype=torch.float32)[t][:, None]
        return (x - a.sqrt() * self.image) / (1 - a).sqrt()


def test_the_sampler_finds_what_a_perfect_denoiser_knows() -> None:
    image = torch.linspace(-0.9, 0.9, 64)
    found = draw_samples(Perfect(image), 3, 0)
    np.testing.assert_allclose(found, image.expand(3, 64).numpy(), atol=1e-4)


def test_training_repeats_itself_and_learns() -> None:
    data = torch.zeros(50, 64)
    losses: list[list[float]] = [[], []]
    for run in losses:

        def tell(_step: int, loss: float, _net: nn.Module, run: list[float] = run) -> None:
            run.append(loss)

        train(data, 30, 0, 16, lambda g: torch.randint(N_TIMESTEPS, (128,), generator=g), tell)
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]
