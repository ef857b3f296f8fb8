"""Does attention in residual blocks act as a step size that follows stiffness?

Source: StepNet (arXiv 2308.09939). Two parts: networks that follow stiff trajectories of an
oscillator, and networks that classify digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from entropilot.information.stiffness import rate_index, stiffness_match
from entropilot.learning.step_gate import GateKind, ResidualBlock, ResidualStage, StepGate
from entropilot.learning.stiffness_profile import stiffness_profile
from entropilot.policy.training.threads import one_thread
from entropilot.studies.digit_images import digits
from entropilot.studies.stiff_depth_figure import draw
from entropilot.studies.stiff_depth_judge import judge
from entropilot.studies.stiff_trajectories import van_der_pol
from entropilot.studies.study import Measurement, Progress, Scale, Study


@dataclass(frozen=True)
class Arm:
    """A branch's hidden units, and what its gate sees."""

    hidden: int
    gate: GateKind | None


@dataclass(frozen=True)
class Sizes:
    """What a scale runs."""

    n_train: int
    n_test: int
    steps: int  # of the trajectories
    digit_steps: int


TRAJECTORY_ARMS: Final = {
    "plain": Arm(16, None),
    "plain, wider": Arm(24, None),  # as many parameters as with gates
    "sam": Arm(16, "sam"),
    "step": Arm(16, "step"),
}
DIGIT_ARMS: Final = {"plain": Arm(32, None), "sam": Arm(32, "sam"), "step": Arm(32, "step")}
SIZES: Final[dict[Scale, Sizes]] = {
    "smoke": Sizes(200, 50, 20, 20),
    "quick": Sizes(2000, 300, 1500, 700),
    "full": Sizes(2000, 300, 6000, 700),
}
DEPTH: Final = 12
DIGIT_DEPTH: Final = 10
STARTS_SHOWN: Final = 3
POINTS_SHOWN: Final = 400  # of gate against rate


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """One seed of both parts.

    Args:
        scale: "smoke" takes a few steps.
        seed: of starts, split, initialisation and batches.
        progress: called with the share done.

    Returns:
        {"truth", "trajectories", "digits"}: numbers.
    """
    with one_thread():
        return _measure(SIZES[scale], seed, progress)


def _measure(size: Sizes, seed: int, progress: Progress) -> Measurement:
    progress(0.0, "integrating the oscillator")
    data = van_der_pol(size.n_train, size.n_test, seed)
    truth = rate_index(data.train)
    shown = np.argsort(-rate_index(data.test).max(1))[:: max(1, size.n_test // STARTS_SHOWN)]
    shown = shown[:STARTS_SHOWN]
    found: Measurement = {
        "truth": {
            "quantiles": [float(q) for q in np.quantile(truth, (0.1, 0.5, 0.9, 0.99))],
            "shown": _rounded(rate_index(data.test)[shown]),
        },
        "trajectories": {},
        "digits": {},
    }
    for number, (name, arm) in enumerate(TRAJECTORY_ARMS.items()):
        progress(0.02 + 0.18 * number, f"trajectories, {name}")
        train, test = torch.tensor(data.train), torch.tensor(data.test)
        found["trajectories"][name] = _follow(arm, train, test, size.steps, seed, shown)
    for number, (name, arm) in enumerate(DIGIT_ARMS.items()):
        progress(0.75 + 0.08 * number, f"digits, {name}")
        found["digits"][name] = _classify(arm, size.digit_steps, seed)
    return found


def stage(width: int, depth: int, arm: Arm, n_hidden_layers: int = 1) -> ResidualStage:
    """Residual blocks with tanh branches."""
    blocks = []
    for _ in range(depth):
        layers: list[nn.Module] = [nn.Linear(width, arm.hidden), nn.Tanh()]
        for _ in range(n_hidden_layers - 1):
            layers += [nn.Linear(arm.hidden, arm.hidden), nn.Tanh()]
        layers.append(nn.Linear(arm.hidden, width))
        gate = None if arm.gate is None else StepGate(width, arm.gate)
        blocks.append(ResidualBlock(nn.Sequential(*layers), gate))
    return ResidualStage(*blocks)


def states_of(network: ResidualStage, x: Tensor) -> Tensor:
    """States before, between and after the blocks, [B, T + 1, ...]."""
    found, previous = [x], None
    for block in network:
        x, previous = block(x, previous)
        found.append(x)
    return torch.stack(found, 1)


def gates_of(network: ResidualStage, x: Tensor) -> Tensor:
    """Mean gate of every sample and block, [B, T]."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen.append(output.detach().flatten(1).mean(1))

    hooks = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, StepGate)]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return torch.stack(seen, 1)


def _follow(
    arm: Arm, train: Tensor, test: Tensor, steps: int, seed: int, shown: Any
) -> dict[str, Any]:
    torch.manual_seed(seed)
    network = stage(2, DEPTH, arm)
    before = stiffness_match(states_of(network, test[:, 0]).detach(), test)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    order = torch.Generator().manual_seed(seed)
    for step in range(steps):
        if step == 2 * steps // 3:
            optimizer.param_groups[0]["lr"] = 1e-3
        rows = torch.randint(len(train), (128,), generator=order)
        loss = functional.mse_loss(states_of(network, train[rows, 0])[:, 1:], train[rows, 1:])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        states = states_of(network, test[:, 0])
    rate = rate_index(states)
    row = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "rmse": float(functional.mse_loss(states[:, 1:], test[:, 1:]).sqrt()),
        "rates": stiffness_match(states, test),
        "rates_before": before,
        "shown": _rounded(rate[torch.as_tensor(shown)].numpy()),
    }
    if arm.gate is not None:
        gate = gates_of(network, test[:, 0])
        row["gate_correlation"] = _correlation(gate, rate)
        picked = torch.linspace(0, gate.numel() - 1, POINTS_SHOWN).long()
        row["gate"] = _rounded(gate.flatten()[picked].numpy())
        row["gate_rate"] = _rounded(rate.flatten()[picked].numpy())
    return row


def _classify(arm: Arm, steps: int, seed: int) -> dict[str, Any]:
    found = digits(seed)
    x, y = torch.tensor(found.images, dtype=torch.float32), torch.tensor(found.labels)
    torch.manual_seed(seed)
    body = stage(32, DIGIT_DEPTH, arm)
    model = nn.Sequential(nn.Linear(64, 32), body, nn.Linear(32, 10))
    train, test = slice(0, 400), slice(400, 1400)
    before = stiffness_profile(model, (x[test], None), ["1.*"])
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.02)
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(400, (64,), generator=order)
        loss = functional.cross_entropy(model(x[train][rows]), y[train][rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    after = stiffness_profile(model, (x[test], None), ["1.*"])
    with torch.no_grad():
        right = (model(x[test]).argmax(1) == y[test]).float().mean()
        rate = rate_index(states_of(body, model[0](x[test])))
        states = model[0](x[test])
    row = {
        "accuracy": float(right),
        "rate_before": _rounded(np.array(before["rate_mean"])),
        "rate": _rounded(np.array(after["rate_mean"])),
        "lipschitz": _rounded(np.array(after["lipschitz_mean"])),
        "peak_to_median": after["peak_to_median"],
    }
    if arm.gate is not None:
        row["gate_correlation"] = _correlation(gates_of(body, states), rate)
    return row


def _correlation(a: Tensor, b: Tensor) -> float:
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def _rounded(values: Any) -> list[Any]:
    """Four significant digits."""
    rounded: list[Any] = np.vectorize(lambda v: float(f"{v:.4g}"))(values).tolist()
    return rounded


STUDY: Final = Study(
    slug="stepnet",
    title="Attention in a residual block as a step size that follows stiffness",
    paper="2308.09939",
    claim=(
        "Features of residual networks show stiffness, short stretches of fast change; attention "
        "in a block acts as a step size, and the more it sees of stiffness (StepNet) the better "
        "the network follows."
    ),
    scales={
        "smoke": "20 steps of every network; seconds",
        "quick": "four networks on an oscillator for 1,500 steps, three on digits for 700; about "
        "80 s a seed",
        "full": "6,000 steps on the oscillator; about 5 minutes a seed (estimated)",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "The paper's text could not be had: index and gates are our reading of its abstract, and "
        "no parity is claimed. Trajectories are those of Van der Pol's oscillator (mu = 6), 13 "
        "states 0.35 apart, a block of the network for each step; digits are 400 of "
        "scikit-learn's to train and 1,000 to test. ResNets on CIFAR-100 and ImageNet need GPUs "
        "and were not run."
    ),
)
