"""A ladder of tiny digit predictors: one addition task, learned by hidden layers of rising width.

Each is one hidden layer that predicts the digits of a sum from left to right: one-hot operands,
one-hot digits so far, and the position go in; ten logits come out. All widths are trained side by
side on the same batches; Adam acts on every weight alone, so that equals training them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import require

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LadderTask:
    """Addition of two numbers of ``n_digits`` digits each, answered in ``n_digits + 1`` digits."""

    n_digits: int = 2

    @property
    def n_out(self) -> int:
        """Digits of the answer."""
        return self.n_digits + 1

    @property
    def n_features(self) -> int:
        """Width of the one-hot input."""
        return 2 * self.n_digits * 10 + self.n_out * 11


def train_ladder(
    task: LadderTask,
    widths: Sequence[int],
    *,
    n_steps: int,
    batch: int = 512,
    learning_rate: float = 3e-3,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Train one predictor of each width on fresh random problems.

    Args:
        task: which addition.
        widths: hidden units of each predictor.
        n_steps: Adam steps.
        batch: problems per step.
        learning_rate: of Adam, constant.
        seed: of weights and problems.
        progress: called now and then with the share done.

    Returns:
        "models": list of (W1 [H, F], b1 [H], W2 [10, H], b2 [10]) float32 arrays;
        "parameters": how many weights each has.

    Examples:
        >>> found = train_ladder(LadderTask(1), [2, 3], n_steps=2, batch=8)
        >>> found["parameters"]
        [116, 169]
    """
    torch = require("torch", extra="torch", purpose="training the ladder of digit predictors")
    generator = torch.Generator().manual_seed(seed)
    total = sum(widths)
    # PyTorch's usual start of a linear layer, drawn for all widths from one generator.
    first = _uniform(torch, (total, task.n_features), task.n_features, generator)
    first_bias = _uniform(torch, (total,), task.n_features, generator)
    second = [_uniform(torch, (10, h), h, generator) for h in widths]
    second_bias = [_uniform(torch, (10,), h, generator) for h in widths]
    weights = [first, first_bias, *second, *second_bias]
    optimizer = torch.optim.Adam(weights, lr=learning_rate, foreach=True)
    loss_of = torch.nn.functional.cross_entropy
    for step in range(n_steps):
        operands = torch.randint(0, 10**task.n_digits, (batch, 2), generator=generator)
        x, y = _encode(torch, operands, task)
        hidden = torch.tanh(torch.addmm(first_bias, x.flatten(0, 1), first.T)).split(
            list(widths), dim=1
        )
        y = y.flatten()
        loss = sum(
            loss_of(torch.addmm(b, h, w.T), y)
            for h, w, b in zip(hidden, second, second_bias, strict=True)
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if progress is not None and step % 100 == 0:
            progress(step / n_steps)
    parts = zip(
        torch.split(first.detach(), list(widths)),
        torch.split(first_bias.detach(), list(widths)),
        second,
        second_bias,
        strict=True,
    )
    models = [tuple(w.detach().numpy() for w in model) for model in parts]
    return {"models": models, "parameters": [sum(w.size for w in model) for model in models]}


def digit_probabilities(
    model: tuple[NDArray[Any], ...], operands: NDArray[np.int64], task: LadderTask
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distribution of each answer digit, given the operands and the right digits before it.

    Args:
        model: (W1, b1, W2, b2) of ``train_ladder``.
        operands: [Q, 2] numbers.
        task: which addition.

    Returns:
        [Q, O, 10] probabilities and [Q, O] right digits. The chance that a sampled answer is right
        is the product over positions of the right digit's probability.

    Examples:
        >>> found = train_ladder(LadderTask(1), [2], n_steps=1, batch=8)
        >>> p, right = digit_probabilities(found["models"][0], np.array([[3, 9]]), LadderTask(1))
        >>> p.shape, right.tolist(), round(float(p[0, 0].sum()), 6)
        ((1, 2, 10), [[1, 2]], 1.0)
    """
    torch = require("torch", extra="torch", purpose="running the digit predictors")
    x, y = _encode(torch, torch.from_numpy(operands), task)
    w1, b1, w2, b2 = (np.asarray(w, dtype=np.float64) for w in model)
    logits = np.tanh(x.numpy().astype(np.float64) @ w1.T + b1) @ w2.T + b2
    logits -= logits.max(axis=-1, keepdims=True)
    p = np.exp(logits)
    return p / p.sum(axis=-1, keepdims=True), y.numpy()


def digit_sampler(
    probabilities: NDArray[np.float64], right: NDArray[np.int64]
) -> Callable[[int, np.random.Generator], NDArray[np.bool_]]:
    """Sampler of verdicts on one problem: digit by digit, an answer ends at its first wrong one.

    Args:
        probabilities: [O, 10] of each digit after a right beginning.
        right: [O] right digits.

    Returns:
        ``sample(n, rng)`` -> bool [n], True where all digits are right.

    Examples:
        >>> sample = digit_sampler(np.full((2, 10), 0.1), np.array([1, 2]))
        >>> bool(0.005 < sample(10_000, np.random.default_rng(0)).mean() < 0.015)
        True
    """
    cumulative = np.cumsum(probabilities, axis=1)
    cumulative[:, -1] = 1.0

    def sample(n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        alive = np.arange(n)
        for position, digit in enumerate(right):
            drawn = np.searchsorted(cumulative[position], rng.random(len(alive)), side="right")
            alive = alive[drawn == digit]
        verdict = np.zeros(n, dtype=np.bool_)
        verdict[alive] = True
        return verdict

    return sample


def _uniform(torch: Any, shape: tuple[int, ...], fan_in: int, generator: Any) -> Tensor:
    bound = fan_in**-0.5
    w: Tensor = (torch.rand(shape, generator=generator) * 2 - 1) * bound
    return w.requires_grad_()


def _digits(torch: Any, numbers: Tensor, n: int) -> Tensor:
    """[...] -> [..., n] decimal digits, first digit first."""
    powers = 10 ** torch.arange(n - 1, -1, -1)
    digits: Tensor = torch.div(numbers[..., None], powers, rounding_mode="floor") % 10
    return digits


def _encode(torch: Any, operands: Tensor, task: LadderTask) -> tuple[Tensor, Tensor]:
    """[Q, 2] operands -> one-hot inputs [Q, O, F] with right digits so far, and digits [Q, O]."""
    d, o = task.n_digits, task.n_out
    q = len(operands)
    y = _digits(torch, operands.sum(1), o)
    x = torch.zeros(q, o, task.n_features)
    columns = _digits(torch, operands, d).flatten(1) + 10 * torch.arange(2 * d)
    x.scatter_(2, columns[:, None, :].expand(q, o, 2 * d), 1.0)
    position = torch.arange(o)
    seen = 20 * d + 10 * position[:-1] + y[:, :-1]  # column of each digit that can be behind us
    behind = (position[:, None] > position[:-1]).float()  # [O, O-1]
    x.scatter_(2, seen[:, None, :].expand(q, o, o - 1), behind.expand(q, o, o - 1).contiguous())
    x[:, position, 20 * d + 10 * o + position] = 1.0
    return x, y
