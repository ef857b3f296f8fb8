"""Step-size gates in a small residual CNN on scikit-learn's digits, and where it is stiff.

A network trains; then gates are attached to its blocks, which changes no output until they learn,
and only they are trained. The meter measures stiffness along depth while it trains.

python examples/step_gates.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from entropilot.learning.gated_resnet import attach_gates
from entropilot.learning.recorder import MeterRecorder
from entropilot.learning.stiffness_profile import StiffnessMeter, stiffness_profile


class BasicBlock(nn.Module):
    """As torchvision's ResNets have it; attach_gates takes those as they come."""

    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)
        self.relu, self.downsample = nn.ReLU(), None

    def forward(self, x):
        """[B, width, H, W]."""
        return self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


torch.manual_seed(0)
x, y = (torch.tensor(v) for v in load_digits(return_X_y=True))
x = x.float().reshape(-1, 1, 8, 8) / 16
stage = nn.Sequential(*[BasicBlock(8) for _ in range(4)])
model = nn.Sequential(nn.Conv2d(1, 8, 3), stage, nn.Flatten(), nn.Linear(8 * 36, 10))


def train(parameters, steps, recorder=None):
    """Test accuracy after so many steps."""
    optimizer = torch.optim.AdamW(parameters, 3e-3)
    for _ in range(steps):
        rows = torch.randint(1200, (64,))
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if recorder and (row := recorder.step(loss=loss.item())):
            rates = [round(v, 2) for name, v in row.items() if "/rate@" in name]
            print(f"step {row['step']}: rate along depth", rates)
    right = float((model.eval()(x[1200:]).argmax(1) == y[1200:]).float().mean())
    model.train()
    return round(right, 3)


probe = (x[1200:], None)
with MeterRecorder(model, None, [StiffnessMeter()], ["1.*"], every=40, probe=probe) as recorder:
    print("accuracy without gates:", train(model.parameters(), 160, recorder))
print("gates in blocks", attach_gates(model, "step"))
gates = [p for name, p in model.named_parameters() if ".gate." in name]
print("accuracy, gates trained:", train(gates, 80))
print("rate along depth:", stiffness_profile(model, probe, ["1.*"])["rate_mean"])
