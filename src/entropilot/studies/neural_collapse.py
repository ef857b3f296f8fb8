"""Study of neural collapse: do networks find the closed-form geometry, balanced or not?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from entropilot.learning.collapse_geometry import UFMSolution, min_count_before_collapse, ufm_mse
from entropilot.learning.collapse_meter import CollapseMeter
from entropilot.learning.collapse_metrics import nc_metrics
from entropilot.learning.recorder import MeterRecorder
from entropilot.studies.digit_images import digits, with_counts
from entropilot.studies.neural_collapse_figure import draw
from entropilot.studies.neural_collapse_judge import judge
from entropilot.studies.study import Measurement, Progress, Scale, Study

COUNTS: Final = (200, 100, 50, 50)
DECAY: Final = 5e-4
BALANCED: Final = (100,) * 10
IMBALANCED: Final = tuple(range(150, 14, -15))
DIGIT_DECAY: Final = 1e-3


@dataclass(frozen=True)
class Sizes:
    """How much of each part a scale runs."""

    width: int
    sgd_steps: int
    solver_steps: int
    sweep: tuple[int, ...]
    sweep_width: int
    starts: int
    epochs: int


SIZES: Final = {
    "smoke": Sizes(16, 40, 4, (2, 30), 8, 1, 2),
    "quick": Sizes(64, 30_000, 60, (*range(1, 25), 30, 45, 70, 100), 8, 3, 600),
    "full": Sizes(64, 30_000, 100, tuple(range(1, 101)), 16, 5, 2000),
}


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """The unconstrained problem, the sweep of a small class, and two networks on digits."""
    sizes = SIZES[scale]
    synthetic = {}
    for i, depth in enumerate((1, 3)):
        progress(0.3 * i / 2, f"unconstrained features, {depth} layers")
        synthetic[str(depth)] = _synthetic(depth, sizes, seed)
    sweep = {}
    for i, depth in enumerate((1, 3)):

        def share(part: float, i: int = i, depth: int = depth) -> None:
            progress(0.3 + 0.2 * (i + part), f"minority sweep, {depth} layers")

        sweep[str(depth)] = _sweep(depth, sizes, seed, share)
    networks = {}
    for i, (name, counts) in enumerate((("balanced", BALANCED), ("imbalanced", IMBALANCED))):
        progress(0.7 + 0.15 * i, f"digits, {name}")
        networks[name] = _network(counts, sizes.epochs, seed)
    return {"synthetic": synthetic, "sweep": sweep, "networks": networks}


@dataclass(frozen=True)
class Problem:
    """Free features and linear layers."""

    layers: list[Tensor]  # W_M first
    features: Tensor  # [d, N]
    labels: Tensor  # [N]
    decay: float

    def value(self) -> Tensor:
        """The objective."""
        n = self.features.shape[1]
        out = self.product() @ self.features
        target = nn.functional.one_hot(self.labels, len(self.layers[0])).double().T
        decay = sum(w.square().sum() for w in self.layers) + self.features.square().sum()
        return (out - target).square().sum() / (2 * n) + self.decay / 2 * decay

    def product(self) -> Tensor:
        """W_M ... W_1."""
        product = self.layers[0]
        for w in self.layers[1:]:
            product = product @ w
        return product

    @property
    def free(self) -> list[Tensor]:
        """What is minimised over."""
        return [*self.layers, self.features]


def start_of(
    counts: Sequence[int], depth: int, width: int, decay: float, seed: int, std: float
) -> Problem:
    """Random layers and features of N(0, std^2)."""
    draw_from = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    shapes = [(len(counts), width), *[(width, width)] * (depth - 1), (width, len(labels))]
    made = [torch.randn(s, generator=draw_from, dtype=torch.float64) * std for s in shapes]
    for tensor in made:
        tensor.requires_grad_(True)
    return Problem(made[:-1], made[-1], labels, decay)


def solve(problem: Problem, rounds: int, look: Callable[[int], None] = lambda _n: None) -> None:
    """L-BFGS in rounds of 20 iterations; ``look`` is called after each."""
    solver = torch.optim.LBFGS(
        problem.free,
        max_iter=20,
        history_size=20,
        tolerance_grad=1e-11,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        solver.zero_grad()
        value = problem.value()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    for n in range(rounds):
        before = problem.value().item()
        solver.step(closure)  # type: ignore[no-untyped-call]
        look(n + 1)
        if abs(before - problem.value().item()) < 1e-15:
            break


def _synthetic(depth: int, sizes: Sizes, seed: int) -> dict[str, Any]:
    solution = ufm_mse(COUNTS, DECAY, DECAY, depth)
    exact = start_of(COUNTS, depth, sizes.width, DECAY, seed, 0.1)
    solve(exact, sizes.solver_steps)
    descent = start_of(COUNTS, depth, sizes.width, DECAY, seed, 0.1)
    looks = sorted({round(x) for x in np.geomspace(1, sizes.sgd_steps, 25)})
    course = []
    optimizer = torch.optim.SGD(descent.free, lr=0.1, momentum=0.9)
    for step in range(1, sizes.sgd_steps + 1):
        optimizer.zero_grad()
        descent.value().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in looks:
            course.append({"step": step, **_geometry(descent, solution)})
    return {
        "course": course,
        "end": _geometry(exact, solution),
        "objective": exact.value().item(),
        "objective_closed": solution.objective,
        "w_sq": _row_squares(exact),
        "w_sq_sgd": _row_squares(descent),
        "w_sq_closed": solution.S2.tolist(),
        "layer_sv": [_singular(w, len(COUNTS)) for w in exact.layers],
        "layer_sv_sgd": [_singular(w, len(COUNTS)) for w in descent.layers],
        "layer_sv_closed": solution.layer_sv.tolist(),
    }


def _geometry(problem: Problem, solution: UFMSolution) -> dict[str, float]:
    found = nc_metrics(
        problem.features.detach().T, problem.labels, problem.product().detach(), targets=solution
    )
    return {name: found[name] for name in ("nc1", "nc2_w", "nc2_h", "nc3", "self_dual")}


def _row_squares(problem: Problem) -> list[float]:
    squares: list[float] = problem.product().detach().square().sum(1).tolist()
    return squares


def _singular(matrix: Tensor, n: int) -> list[float]:
    values: list[float] = torch.linalg.svdvals(matrix.detach())[:n].tolist()
    return values


def sweep_decay(depth: int, smallest: float = 12.0) -> float:
    """The common decay at which a class of 12 beside three of 100 is on the edge."""
    low, high = 1e-8, 1.0
    for _ in range(200):
        middle = float(np.sqrt(low * high))
        below = min_count_before_collapse(300 + smallest, middle, middle, depth) < smallest
        low, high = (middle, high) if below else (low, middle)
    return low


def _sweep(
    depth: int, sizes: Sizes, seed: int, share: Callable[[float], None]
) -> list[dict[str, float]]:
    decay, rows = sweep_decay(depth), []
    for i, m in enumerate(sizes.sweep):
        share(i / len(sizes.sweep))
        counts = (100, 100, 100, m)
        closed = ufm_mse(counts, decay, decay, depth)
        ends = []
        for start in range(sizes.starts):
            std = (0.3, 0.8, 1.5)[start % 3]  # small starts fall into the zero solution
            problem = start_of(counts, depth, sizes.sweep_width, decay, 100 * seed + start, std)
            solve(problem, sizes.solver_steps)
            ends.append((problem.value().item(), float(np.sqrt(_row_squares(problem)[3]))))
        best = min(ends)
        rows.append({
            "m": m, "w": best[1], "w_closed": float(closed.w_norm[3]), "objective": best[0],
            "objective_closed": closed.objective, "agreeing": sum(
                abs(e[1] - closed.w_norm[3]) < 0.02 * closed.w_norm[0] for e in ends
            ) / len(ends),
        })  # fmt: skip
    return rows


def _network(counts: Sequence[int], epochs: int, seed: int) -> dict[str, Any]:
    """An MLP whose last layer has no bias, by MSE with decay of features and last layer."""
    found = with_counts(digits(seed), counts)
    x = torch.tensor(found.images, dtype=torch.float32)
    y, n = torch.tensor(found.labels), len(found.labels)
    target = nn.functional.one_hot(y, 10).float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        head = nn.Linear(256, 10, bias=False)
    model = nn.Sequential(body, head)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    draw_from = torch.Generator().manual_seed(seed)
    closed = ufm_mse(counts, DIGIT_DECAY, DIGIT_DECAY)
    meter = CollapseMeter(10, heads=("1",), targets=closed)
    looks = sorted({round(e) for e in np.geomspace(1, epochs, 20)} | {min(10, epochs)})
    course = []
    with MeterRecorder(model, None, [meter], ["1"], probe=(x, y)) as recorder:
        for epoch in range(1, epochs + 1):
            for rows in torch.split(torch.randperm(n, generator=draw_from), 128):
                h = body(x[rows])
                fit = (head(h) - target[rows]).square().sum() / (2 * len(rows))
                decay = head.weight.square().sum() + h.square().sum() * (n / len(rows))
                loss = fit + DIGIT_DECAY / 2 * decay
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if epoch in looks:
                row = recorder.measure()
                course.append({
                    "epoch": epoch, **{k.split("/")[1].split("@")[0]: v for k, v in row.items()},
                })  # fmt: skip
        right = float((model(x).argmax(1) == y).float().mean())
    norms: list[float] = head.weight.detach().square().sum(1).tolist()
    return {
        "counts": list(counts), "course": course, "accuracy": right,
        "w_sq": norms, "w_sq_closed": closed.S2.tolist(),
    }  # fmt: skip


STUDY = Study(
    slug="neural-collapse",
    title="Neural collapse beside its closed forms",
    paper="2301.00437",
    claim=(
        "At every global minimum features of a class are one point, and class means and classifier "
        "are orthogonal and aligned, with lengths that grow with the class; a class below a "
        "threshold of samples vanishes."
    ),
    scales={
        "smoke": "a few steps of every part; seconds",
        "quick": "free features by L-BFGS and by 30,000 steps of SGD, a sweep of 28 class sizes, "
        "two networks for 600 epochs; 2 min a seed",
        "full": "every class size to 100, 2,000 epochs; 10 min a seed (estimated)",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "The unconstrained problem and the sweep are minimised from random starts by L-BFGS in "
        "float64, the best of three in the sweep, of spread 0.3, 0.8 and 1.5: all zeros is a local "
        "minimum with three layers, and smaller starts fall into it. The course is that of SGD. "
        "The networks are 64-256-256-10 on scikit-learn's digits with a bias-free last layer; the "
        "closed form leaves out their body, so that only geometry and order are compared."
    ),
)
