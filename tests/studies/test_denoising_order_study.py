from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from entropilot.studies.denoiser import ABAR, N_TIMESTEPS, draw_samples, train
from entropilot.studies.denoising_order import STUDY
from entropilot.studies.study import Finding, verdict


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, Any]]:
    path = resources.files("entropilot.studies") / "recorded" / "denoising-curriculum.quick.json"
    return [row["measurement"] for row in json.loads(path.read_text())["seeds"]]


def by_statement(findings: list[Finding], words: str) -> Finding:
    (found,) = [finding for finding in findings if words in finding.statement]
    return found


@pytest.mark.slow
def test_smoke_run_is_plain_json_and_is_judged_and_drawn() -> None:
    measurement = STUDY.measure("smoke", 0, lambda share, what: None)
    assert json.loads(json.dumps(measurement, allow_nan=False)) == measurement
    assert verdict(STUDY.judge([measurement])) in ("holds", "in part", "not here")
    assert len(STUDY.draw([measurement]).axes) == 7  # one of six has a second scale


def test_the_recorded_run_is_judged_and_drawn(recorded: list[dict[str, Any]]) -> None:
    findings = STUDY.judge(recorded)
    assert by_statement(findings, "FFHQ").holds is None
    assert by_statement(findings, "converge more slowly").holds is True
    assert all(axes.get_xlabel() for axes in STUDY.draw(recorded).axes)


def test_other_numbers_turn_the_findings(recorded: list[dict[str, Any]]) -> None:
    changed = copy.deepcopy(recorded)
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
