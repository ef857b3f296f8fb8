"""Normalised logistic steps for a torch training loop; the perceptron's step for any network.

``LogisticStep`` is Normalized LR+GD (arXiv 2412.08424, Section 6) as a wrapper of an optimizer: the
learning rate of a step is multiplied by beta, the inverse of the mean predicted probability of
error. With plain SGD, the mean logistic loss and a linear head that is the paper's method; with
another network or optimizer it is a heuristic. Probability of error of sample i: sigmoid(-y_i
logit_i) for logits [n], and 1 - p(label) for logits [n, K].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError

_LARGEST: Final = 3.4e38  # of float32


def log_error_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Log of the predicted probability that the label is wrong, [n] float64.

    Args:
        logits: [n] with labels of -1 and 1 or 0 and 1, or [n, K] with labels of 0 to K - 1.
        labels: [n].

    Raises:
        InputError: shapes or labels that don't fit.
        BrokenNumbersError: logits that are nan.

    Examples:
        >>> log_error_probability(torch.zeros(2), torch.tensor([0, 1])).exp().tolist()
        [0.5, 0.5]
    """
    if logits.ndim not in (1, 2) or labels.shape != logits.shape[:1] or not len(labels):
        raise InputError(
            f"logits have shape {tuple(logits.shape)}, labels {tuple(labels.shape)}; expected [n] "
            "or [n, K] beside [n], n > 0"
        )
    x = logits.detach().double()
    if x.isnan().any():
        raise BrokenNumbersError("logits hold nan; the model is broken before this step")
    if x.ndim == 1:
        seen = set(labels.tolist())
        if not (seen <= {-1, 1} or seen <= {0, 1}):
            raise InputError(f"labels are {sorted(seen)[:5]}; expected -1 and 1, or 0 and 1")
        signs = torch.where(labels > 0, 1.0, -1.0).to(x)
        return nn.functional.logsigmoid(-signs * x)
    if x.shape[1] < 2 or int(labels.min()) < 0 or int(labels.max()) >= x.shape[1]:
        raise InputError(f"labels reach {int(labels.max())}; expected 0 to K - 1, K >= 2")
    others = x.scatter(1, labels.long()[:, None], -torch.inf)
    return others.logsumexp(1) - x.logsumexp(1)


class LogisticStep:
    """An optimizer whose learning rate is multiplied by beta at every step.

    Args:
        optimizer: plain ``torch.optim.SGD`` gives Normalized LR+GD; its own learning rate is gamma
            and is restored after each step, so that schedulers work.

    Examples:
        >>> head = nn.Linear(2, 1, bias=False)
        >>> step = LogisticStep(torch.optim.SGD(head.parameters(), lr=1.0))
        >>> x, y = torch.tensor([[1.0, -1.0], [-1.0, -4.0]]), torch.tensor([1, -1])
        >>> step.zero_grad()
        >>> logits = head(x)[:, 0]
        >>> nn.functional.softplus(-y * logits).mean().backward()
        >>> step.step(logits, y) >= 1
        True
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ConfigurationError(
                f"optimizer is a {type(optimizer).__name__}; expected a torch.optim.Optimizer"
            )
        self.optimizer = optimizer

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=set_to_none)

    def step(
        self, logits: Tensor, labels: Tensor, closure: Callable[[], Tensor] | None = None
    ) -> float:
        """One step of gamma beta; the gradient is that of the mean loss at these logits.

        Args:
            logits: [n] or [n, K], of the whole batch that the gradient came from.
            labels: [n].
            closure: handed to the optimizer.

        Returns:
            beta = 1 / mean probability of error, at least 1. When all probabilities vanish in
            float64 (the gradient did before) it is capped at the largest float of float32.

        Raises:
            InputError: shapes or labels that don't fit.
            BrokenNumbersError: logits that are nan.
        """
        log_w = log_error_probability(logits, labels)
        log_mean = float(log_w.logsumexp(0)) - math.log(len(log_w))
        beta = math.exp(min(-log_mean, math.log(_LARGEST)))
        rates = [group["lr"] for group in self.optimizer.param_groups]
        try:
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr"] * beta
            self.optimizer.step(closure)  # type: ignore[arg-type]
        finally:
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        return beta

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state; the wrapper has none."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        self.optimizer.load_state_dict(state)


def generalised_perceptron_step(
    model: nn.Module, x: Tensor, y: Tensor, *, step_size: float = 1.0, normalized: bool = False
) -> int:
    """Add step_size times the mean of y grad g over wrong samples; a heuristic without theory.

    Args:
        model: maps x to scores g, [n] or [n, 1].
        x: samples.
        y: labels [n], -1 and 1.
        step_size: factor of the update, positive.
        normalized: divide by the number of wrong samples instead of by n.

    Returns:
        The number of wrong samples before the step; 0 means that nothing was changed.

    Raises:
        InputError: labels other than -1 and 1, or scores of another number.
        ConfigurationError: a step size that is not positive.

    Examples:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> x, y = torch.tensor([[1.0, -1.0], [-1.0, -4.0]]), torch.tensor([1, -1])
        >>> wrong = [generalised_perceptron_step(model, x, y) for _ in range(40)]
        >>> wrong[-1]
        0
    """
    if not step_size > 0:
        raise ConfigurationError(f"step_size is {step_size}; expected a positive number")
    if not set(y.tolist()) <= {-1, 1}:
        raise InputError("y must hold -1 and 1 only; map 0 to -1 with 2 * y - 1")
    with torch.enable_grad():
        scores = model(x).reshape(-1)
        if scores.shape != y.shape:
            raise InputError(
                f"the model gave {len(scores)} scores for {len(y)} labels; expected one a sample"
            )
        wrong = (y * scores).detach() <= 0
        count = int(wrong.sum())
        if not count:
            return 0
        free = [p for p in model.parameters() if p.requires_grad]
        total = (y * scores)[wrong].sum() / (count if normalized else len(y))
        slopes = torch.autograd.grad(total, free, allow_unused=True)
    with torch.no_grad():
        for parameter, slope in zip(free, slopes, strict=True):
            if slope is not None:
                parameter.add_(slope, alpha=step_size)
    return count
