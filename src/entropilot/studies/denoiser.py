"""A small diffusion model of 8x8 digits: network, training and a deterministic sampler."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from entropilot.information.noise_schedule import alpha_bar

EVERY: Final = 5  # steps of the 1,000-step linear schedule make one of these
ABAR: Final = alpha_bar()[EVERY - 1 :: EVERY]
N_TIMESTEPS: Final = len(ABAR)
BATCH: Final = 128
CODE: Final = 64  # numbers of the sinusoidal code of t
AVERAGE: Final = 0.995  # of the moving average of the weights
SAMPLER_STEPS: Final = 50


class Block(nn.Module):
    """LayerNorm, linear, SiLU, linear, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.code = nn.Linear(CODE, width)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """[B, width] and [B, 64]."""
        inner = nn.functional.silu(self.first(self.norm(x)) + self.code(code))
        added: Tensor = x + self.second(inner)
        return added


class Denoiser(nn.Module):
    """Predicts the noise in [B, 64] pixels at timestep t."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start, self.end = nn.Linear(64, width), nn.Linear(width, 64)
        self.blocks = nn.ModuleList(Block(width) for _ in range(3))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The predicted noise, [B, 64]."""
        code = time_code(t)
        x = self.start(x)
        for block in self.blocks:
            x = block(x, code)
        found: Tensor = self.end(x)
        return found


def time_code(t: Tensor) -> Tensor:
    """Sines and cosines of EVERY t, [B, 64].

    Examples:
        >>> time_code(torch.tensor([0, 3])).shape
        torch.Size([2, 64])
    """
    rates = torch.exp(-math.log(10_000) * torch.arange(CODE // 2) / (CODE // 2))
    angle = EVERY * t[:, None].float() * rates
    return torch.cat([angle.sin(), angle.cos()], 1)


def train(
    data: Tensor,
    steps: int,
    seed: int,
    width: int,
    sample: Callable[[torch.Generator], Tensor],
    tell: Callable[[int, float, nn.Module], None],
) -> nn.Module:
    """Usual training of a noise predictor, whatever draws the timesteps.

    Args:
        data: [N, 64] in [-1, 1].
        steps: of Adam.
        seed: of weights, data, noise and timesteps.
        width: of the network.
        sample: timesteps of a batch.
        tell: called after a step with its number, its loss and the averaged network.

    Returns:
        The averaged network.
    """
    torch.manual_seed(seed)
    net = Denoiser(width)
    averaged = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    draw = torch.Generator().manual_seed(seed)
    abar = torch.tensor(ABAR, dtype=torch.float32)
    for step in range(1, steps + 1):
        x0 = data[torch.randint(len(data), (BATCH,), generator=draw)]
        t, eps = sample(draw), torch.randn(BATCH, 64, generator=draw)
        a = abar[t][:, None]
        loss = (net(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            pairs = zip(averaged.parameters(), net.parameters(), strict=True)
            for old, new in pairs:
                old.lerp_(new, 1 - AVERAGE)
        tell(step, float(loss.detach()), averaged)
    return averaged


def draw_samples(net: nn.Module, n: int, seed: int) -> NDArray[np.float32]:
    """Deterministic DDIM in 50 steps, the predicted image clipped to [-1, 1]; [n, 64]."""
    x = torch.randn(n, 64, generator=torch.Generator().manual_seed(seed))
    times = np.rint(np.linspace(N_TIMESTEPS - 1, 0, SAMPLER_STEPS)).astype(int)
    clean = x
    with torch.no_grad():
        for i, t in enumerate(times):
            a = float(ABAR[t])
            noise = net(x, torch.full((n,), int(t)))
            clean = ((x - (1 - a) ** 0.5 * noise) / a**0.5).clamp(-1, 1)
            if i + 1 < len(times):
                noise = (x - a**0.5 * clean) / (1 - a) ** 0.5
                b = float(ABAR[times[i + 1]])
                x = b**0.5 * clean + (1 - b) ** 0.5 * noise
    found: NDArray[np.float32] = clean.numpy()
    return found
