"""A small observer of automata: a circular residual convolution that predicts all cells at once.

Its reach, (layers + 1) * (kernel // 2) cells to either side, must be at least the automaton's
steps; otherwise even a shift looks like noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from entropilot.information import prequential_epiplexity
from entropilot.learning.requential import FactorisedTargets, RequentialEstimator

Cells = NDArray[np.uint8]
Source = Callable[[int, np.random.Generator], tuple[Cells, Cells]]

BITS = 1 / math.log(2)
WARM_UP = 50
DECAY_SHARE = 0.3
HELD_OUT_ROWS = 512
CURVE_POINTS = 60


@dataclass(frozen=True)
class ObserverSettings:
    """Size and training of an observer."""

    channels: int = 24
    kernel: int = 9
    layers: int = 4
    rate: float = 0.003
    n_steps: int = 600
    batch: int = 32


class CircularObserver(nn.Module):
    """Logits [B, W] of cells, from cells [B, W]."""

    def __init__(self, settings: ObserverSettings) -> None:
        super().__init__()
        c, k = settings.channels, settings.kernel
        self.pad = k // 2
        self.first = nn.Conv1d(1, c, k)
        self.layers = nn.ModuleList(nn.Conv1d(c, c, k) for _ in range(settings.layers))
        self.last = nn.Conv1d(c, 1, 1)

    def forward(self, cells: Tensor) -> Tensor:
        """Logits that a cell is 1."""
        x = functional.gelu(self.first(self._wrapped(cells[:, None])))
        for layer in self.layers:
            x = x + functional.gelu(layer(self._wrapped(x)))
        found: Tensor = self.last(x)[:, 0]
        return found

    def _wrapped(self, x: Tensor) -> Tensor:
        return functional.pad(x, (self.pad, self.pad), mode="circular")


def rate_factor(step: int, n_steps: int) -> float:
    """Of the learning rate: linear warm-up, constant, linear decay at the end.

    Examples:
        >>> [rate_factor(step, 1000) for step in (0, 49, 500, 850, 999)]
        [0.02, 1.0, 1.0, 0.5, 0.0033333333333333335]
    """
    decay = max(1.0, DECAY_SHARE * n_steps)
    return min(1.0, (step + 1) / WARM_UP, (n_steps - step) / decay)


def learn_online(source: Source, settings: ObserverSettings, seed: int) -> dict[str, Any]:
    """Prequential S and held-out H of one observer on fresh pairs of a source.

    Returns:
        ``S`` bits, ``H`` bits a cell, ``cells`` learnt from, ``parameters``, and ``curve``: mean
        bits a cell in each of 60 stretches of the run.
    """
    model, data, (x, y) = _start(source, settings, seed)
    optimizer = _adam(model.parameters(), settings)
    losses = []
    for step, batch in enumerate(data):
        optimizer.param_groups[0]["lr"] = settings.rate * rate_factor(step, settings.n_steps)
        loss = functional.binary_cross_entropy_with_logits(model(batch[0]), batch[1])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.detach())
    with torch.no_grad():
        final = float(functional.binary_cross_entropy_with_logits(model(x), y))
    nats = torch.stack(losses).cpu().numpy().astype(np.float64)
    cells = settings.batch * x.shape[1]
    return {
        "S": _signed(nats, cells, final),
        "H": final * BITS,
        "cells": cells * settings.n_steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "curve": _curve(nats),
    }


def learn_as_student(source: Source, settings: ObserverSettings, seed: int) -> dict[str, Any]:
    """Requential S and held-out H: the same observer, taught by a twin that sees the data."""
    model, data, held_out = _start(source, settings, seed)
    twin, _, _ = _start(source, settings, seed)
    run = RequentialEstimator(
        model,
        twin,
        FactorisedTargets(),
        optimizer=lambda parameters: _adam(parameters, settings),
        schedule=lambda step: rate_factor(step, settings.n_steps),
        seed=seed,
    )
    kl = []
    for batch in data:
        state = run.step(batch)
        kl.append(state.last_kl)
    return {
        "S": state.S_bits,
        "H": run.held_out_loss(held_out) * BITS,
        "cells": state.student_tokens,
        "curve": _curve(np.array(kl)),
    }


def _start(
    source: Source, settings: ObserverSettings, seed: int
) -> tuple[CircularObserver, list[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]:
    """Model, fresh batches and held-out rows; the same for the same arguments."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CircularObserver(settings)
    rng = np.random.default_rng([seed, 11])
    n = settings.n_steps * settings.batch
    x, y = (torch.from_numpy(a).float().to(device) for a in source(n + HELD_OUT_ROWS, rng))
    size = settings.batch
    data = list(zip(torch.split(x[:n], size), torch.split(y[:n], size), strict=True))
    return model.to(device), data, (x[n:], y[n:])


def _adam(parameters: Any, settings: ObserverSettings) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, settings.rate, betas=(0.9, 0.95))


def _signed(nats: NDArray[np.float64], cells: int, final: float) -> float:
    """S in bits; a run that learnt nothing may end a little below 0, which is no news here."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return prequential_epiplexity(nats, np.full(len(nats), cells), final)


def _curve(nats: NDArray[np.float64]) -> list[float]:
    parts = np.array_split(nats * BITS, min(CURVE_POINTS, len(nats)))
    return [round(float(part.mean()), 6) for part in parts]
