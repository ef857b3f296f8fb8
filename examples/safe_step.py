"""A spike of the learning rate, with and without SafeStep: a CNN on scikit-learn's digits.

python examples/safe_step.py
"""

import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from entropilot.learning.lr_finder import lr_finder, lr_range_figure
from entropilot.learning.safe_step import SafeStep

x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(y)
train, test = slice(0, 1437), slice(1437, None)
folder = Path(tempfile.mkdtemp())


def network() -> nn.Module:
    """Two convolutions and a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def loss(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Of one batch."""
    return functional.cross_entropy(model(x[rows]), y[rows])


def accuracy(safe: bool) -> float:
    """After 120 steps with a spike on the way."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    if safe:  # the one line
        optimizer = SafeStep(optimizer, model, every=5, record=folder / "metrics.jsonl")
    for step, rows in enumerate(torch.randperm(1437)[:1280].split(64) * 6):
        optimizer.param_groups[0]["lr"] = 2.0 if 60 <= step < 65 else 2e-3  # the spike
        optimizer.zero_grad()
        loss(model, rows).backward()
        optimizer.step()
    return float((model(x[test]).argmax(-1) == y[test]).float().mean())


print(f"Adam:     {accuracy(safe=False):.3f} of the test digits, 55 steps after the spike")
print(f"SafeStep: {accuracy(safe=True):.3f}")
print((folder / "metrics.jsonl").read_text().splitlines()[60])

model = network()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
found = lr_finder(model, optimizer, loss, torch.arange(1280).split(64), steps=20)
print(found.summary())
lr_range_figure(found).savefig(folder / "learning_rate.png")
print(f"picture: {folder / 'learning_rate.png'}")
