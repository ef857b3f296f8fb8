"""The networks and steps of the convergence-radius study: scikit-learn's digits, six architectures.

Source: Ghosts of Softmax (arXiv 2603.13552), the architecture grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from entropilot.errors import require
from entropilot.learning.convergence_radius import slope_spread
from entropilot.learning.logit_slopes import logit_slopes, norm

Direction = dict[str, Tensor]

N_CLASSES: Final = 10
N_PIXELS: Final = 64


@dataclass(frozen=True)
class Digits:
    """A stratified split of the 1797 digits, pixels in [0, 1]."""

    x: Tensor  # [N, 64]
    y: Tensor  # [N]
    test_x: Tensor
    test_y: Tensor


def digits(seed: int, n: int | None = None) -> Digits:
    """Four fifths to train on, one to test on, each class alike.

    Args:
        seed: of the split.
        n: so many training samples at most; None takes all.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    datasets = require("sklearn.datasets", extra="learn", purpose="the digits data set")
    selection = require("sklearn.model_selection", extra="learn", purpose="a stratified split")
    x, y = datasets.load_digits(return_X_y=True)
    parts = selection.train_test_split(
        (x / 16).astype(np.float32), y, test_size=0.2, stratify=y, random_state=seed
    )
    train_x, test_x, train_y, test_y = (torch.as_tensor(part) for part in parts)
    return Digits(train_x[:n], train_y[:n].long(), test_x, test_y.long())


class OneTokenTransformer(nn.Module):
    """Linear(64, 32) as one token, pre-LayerNorm attention, a GELU MLP of four times the width."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(N_PIXELS, width)
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.head = nn.Linear(width, N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 64] pixels -> [B, 10] logits."""
        h = self.embed(x)[:, None]
        n = self.norm1(h)
        h = h + self.attention(n, n, n, need_weights=False)[0]
        h = h + self.down(functional.gelu(self.up(self.norm2(h))))
        logits: Tensor = self.head(h[:, 0])
        return logits


def _convolutions(*, batch_norm: bool) -> nn.Module:
    layers: list[nn.Module] = [nn.Unflatten(1, (1, N_PIXELS))]
    for inputs in (1, 32):
        layers.append(nn.Conv1d(inputs, 32, 3, padding=1))
        layers += [nn.BatchNorm1d(32)] if batch_norm else []
        layers.append(nn.ReLU())
    pooled = 1 if batch_norm else 8
    layers += [nn.AdaptiveAvgPool1d(pooled), nn.Flatten(), nn.Linear(32 * pooled, N_CLASSES)]
    return nn.Sequential(*layers)


def _normalised_mlp() -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(N_PIXELS, 64), nn.LayerNorm(64), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(64, N_CLASSES))


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(N_PIXELS, 128), nn.ReLU(), nn.Linear(128, N_CLASSES))


def _smooth_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(N_PIXELS, 128),
        nn.GELU(),
        nn.Linear(128, 128),
        nn.GELU(),
        nn.Linear(128, N_CLASSES),
    )


#: The six of the paper, in its order.
ARCHITECTURES: Final = ("linear", "MLP", "CNN", "MLP+LN", "CNN+BN", "transformer")


def network(name: str, seed: int) -> nn.Module:
    """A freshly initialised network; torch's global generator is left as it was.

    Examples:
        >>> network("linear", 0)(torch.zeros(2, 64)).shape
        torch.Size([2, 10])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "linear":
            return nn.Linear(N_PIXELS, N_CLASSES)
        if name == "smooth MLP":
            return _smooth_mlp()
        if name == "MLP+LN":
            return _normalised_mlp()
        if name == "transformer":
            return OneTokenTransformer()
        if name == "MLP":
            return _mlp()
        return _convolutions(batch_norm=name == "CNN+BN")


def batches(n: int, size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Row numbers of each step's batch: shuffled passes, the last short batch left out."""
    generator = torch.Generator().manual_seed(seed)
    order: Tensor = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if size >= n:
            yield torch.arange(n)
            continue
        if len(order) < size:
            order = torch.randperm(n, generator=generator)
        yield order[:size]
        order = order[size:]


def train(
    model: nn.Module,
    data: Digits,
    *,
    steps: int,
    lr: float,
    batch: int,
    seed: int,
    temperature: float = 1.0,
) -> nn.Module:
    """Adam on the cross-entropy of logits / temperature; ends in eval mode."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    for rows in batches(len(data.x), batch, steps, seed):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(data.x[rows]) / temperature, data.y[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


@torch.no_grad()
def settle(model: nn.Module, data: Digits, passes: int = 40) -> None:
    """Let BatchNorm's running statistics catch up with the weights; ends in eval mode.

    They follow by a tenth a step, and lag behind weights that moved fast to the end.
    """
    if any(isinstance(part, nn.BatchNorm1d) for part in model.modules()):
        model.train()
        for _ in range(passes):
            model(data.x)
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of right classes, in the mode the model is in."""
    return float((model(x).argmax(-1) == y).float().mean())


@torch.no_grad()
def loss_of(model: nn.Module, x: Tensor, y: Tensor, temperature: float = 1.0) -> float:
    """Mean cross-entropy, nats."""
    return float(functional.cross_entropy(model(x) / temperature, y))


def downhill(model: nn.Module, data: Digits, temperature: float = 1.0) -> Direction:
    """Unit vector along minus the gradient of the full training loss."""
    parameters = dict(model.named_parameters())
    loss = functional.cross_entropy(model(data.x) / temperature, data.y)
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    length = norm(gradients)
    return {name: -g / length for name, g in zip(parameters, gradients, strict=True)}


def random_direction(model: nn.Module, seed: int) -> Direction:
    """Unit vector, uniform on the sphere of all parameters."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(p.shape, generator=generator) for n, p in model.named_parameters()}
    length = norm(drawn.values())
    return {name: v / length for name, v in drawn.items()}


def slopes_along(model: nn.Module, v: Direction, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and slopes [N, 10] along a direction."""
    return logit_slopes(model, dict(model.named_parameters()), v, x)


def radius_along(model: nn.Module, v: Direction, x: Tensor, temperature: float = 1.0) -> float:
    """Pi T / the largest spread over samples."""
    _, slopes = slopes_along(model, v, x)
    return math.pi * temperature / float(slope_spread(slopes).max())


@torch.no_grad()
def after_steps(
    model: nn.Module,
    v: Direction,
    lengths: Sequence[float],
    data: Digits,
    temperature: float = 1.0,
) -> Iterator[tuple[float, float]]:
    """Training loss and test accuracy after one step of each length from where the model is."""
    parameters = dict(model.named_parameters())
    start = {name: p.clone() for name, p in parameters.items()}
    try:
        for length in lengths:
            _place(parameters, start, v, length)
            yield (
                loss_of(model, data.x, data.y, temperature),
                accuracy(model, data.test_x, data.test_y),
            )
    finally:
        _place(parameters, start, v, 0.0)


def _place(
    parameters: Mapping[str, Tensor], start: Mapping[str, Tensor], v: Direction, length: float
) -> None:
    for name, p in parameters.items():
        p.copy_(start[name] + length * v[name])


def curvature(model: nn.Module, v: Direction, data: Digits) -> tuple[float, float]:
    """V' H v of the training loss, and the slope of the loss along v."""
    parameters = dict(model.named_parameters())
    loss = functional.cross_entropy(model(data.x), data.y)
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    slope = torch.stack(
        [(g * v[name]).sum() for name, g in zip(parameters, gradients, strict=True)]
    ).sum()
    second = torch.autograd.grad(slope, list(parameters.values()), allow_unused=True)
    bend = sum(
        float((h * v[name]).sum())
        for name, h in zip(parameters, second, strict=True)
        if h is not None
    )
    return bend, float(slope.detach())
