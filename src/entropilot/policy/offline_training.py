"""OREO's training: a policy and a value network on written answers (arXiv 2412.16145).

Each step: values V and log-ratios D of the batch; the value network moves by its residuals with D
held; the policy moves by its residuals with the old V held. D for the value comes from the same
forward pass as the policy's loss, which is one pass less than the reference code and the same
numbers.

Legend: n answers of a batch, L tokens of prompt and answer, D width, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.offline import (
    LEVELS,
    Level,
    importance_weights,
    kl_to_reference,
    oreo_policy_loss,
    oreo_value_loss,
)
from entropilot.policy.offline_data import OfflineAnswers
from entropilot.policy.soft_bellman import check_beta, soft_bellman_residual, suffix_log_ratio


@dataclass(frozen=True)
class OfflineSettings:
    """How to train; the defaults are the paper's where it has a number that fits a small network.

    Args:
        beta: > 0; strength of the KL penalty in the soft Bellman equation.
        alpha: >= 0; weight of the exact KL to the reference in the loss (0.1 fits the step level,
            0.3 the response level).
        level: "token", "step" or "response".
        epochs: passes over the data, >= 1.
        batch: answers a step, >= 1.
        learning_rate: of the policy (AdamW).
        value_learning_rate: of the value network (AdamW).
        grad_clip: largest gradient norm, > 0.
        warm_up: steps at the start that move the value network only.
        clip_log: see ``oreo_value_loss``.
        pcl: see ``oreo_policy_loss``.
        one_step: see ``oreo_policy_loss``.
        hinge: see ``oreo_policy_loss``; an answer is right if its reward is above 0.
        importance: weight answers by ``importance_weights``.

    Raises:
        ConfigurationError: a value is out of range.

    Examples:
        >>> OfflineSettings(level="response", alpha=0.3).beta
        0.03
    """

    beta: float = 0.03
    alpha: float = 0.01
    level: Level = "token"
    epochs: int = 2
    batch: int = 128
    learning_rate: float = 3e-4
    value_learning_rate: float = 1e-3
    grad_clip: float = 1.0
    warm_up: int = 0
    clip_log: float | None = None
    pcl: bool = False
    one_step: bool = False
    hinge: float = 0.0
    importance: bool = False

    def __post_init__(self) -> None:
        check_beta(self.beta)
        if self.level not in LEVELS:
            raise ConfigurationError(unknown_name("level", self.level, LEVELS))
        for name, least in (("alpha", 0), ("epochs", 1), ("batch", 1), ("warm_up", 0)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be >= {least}")
        for name in ("learning_rate", "value_learning_rate", "grad_clip"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be above 0")


class ValueNetwork(nn.Module):
    """A copy of a transformer with one number a position: the value of the text so far.

    Starts as the constant ``start``; the head has zero weights and no activation.

    Args:
        trunk: has ``hidden(tokens, valid) -> [n, L, D]`` and ``config.width``; it is copied.
        start: first value everywhere, such as the mean reward of the data.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> value = ValueNetwork(SmallTransformer.seeded(TransformerConfig(9), 0), 0.5)
        >>> value(torch.tensor([[1, 2]])).tolist()
        [[0.5, 0.5]]
    """

    def __init__(self, trunk: Any, start: float = 0.0) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        self.weight = nn.Parameter(torch.zeros(trunk.config.width))
        self.start: Tensor
        self.register_buffer("start", torch.tensor(start))

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """[n, L] values, one for the text that ends with each token."""
        hidden: Tensor = self.trunk.hidden(tokens, valid)
        return hidden @ self.weight + self.start


@dataclass
class OfflineFit:
    """What a fit leaves behind.

    Args:
        policy: trained in place.
        value: trained in place.
        reference: the frozen policy it was held to.
        history: a row of numbers a step.
    """

    policy: nn.Module
    value: nn.Module
    reference: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)


def fit_offline(
    policy: nn.Module,
    value: nn.Module,
    data: OfflineAnswers,
    settings: OfflineSettings,
    *,
    generator: torch.Generator,
    reference: nn.Module | None = None,
    report: Callable[[int, int, dict[str, float]], None] | None = None,
) -> OfflineFit:
    """Train policy and value on written answers; both are changed in place.

    Args:
        policy: (tokens [n, L], valid [n, L]) -> logits [n, L, V] of the next token.
        value: (tokens, valid) -> [n, L].
        data: the answers.
        settings: how.
        generator: orders the data.
        reference: frozen policy; None freezes a copy of the policy as it is.
        report: called with step, steps and the step's numbers.

    Returns:
        ``OfflineFit``; history has value_loss, policy_loss, kl, residual_rms (of the soft Bellman
        equation, single steps), d_mean (mean log-ratio of an answer).

    Raises:
        InputError: the step level without step starts, or policy and reference that differ in V.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> from entropilot.policy.offline_data import offline_answers
        >>> policy = SmallTransformer.seeded(TransformerConfig(9), 0)
        >>> data = offline_answers([[1], [1]], [[2, 3], [4]], [1.0, 0.0])
        >>> fit = fit_offline(policy, ValueNetwork(policy, 0.5), data, OfflineSettings(),
        ...                   generator=torch.Generator().manual_seed(0))
        >>> len(fit.history)
        2

    Source: arXiv 2412.16145, Algorithm 1; the reference trainer's ``training_step``.
    """
    if settings.level == "step" and data.step_start is None:
        raise InputError("the step level needs step_start; give step_ends to offline_answers")
    frozen = copy.deepcopy(policy) if reference is None else reference
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    of_policy = torch.optim.AdamW(policy.parameters(), settings.learning_rate, weight_decay=0.0)
    of_value = torch.optim.AdamW(value.parameters(), settings.value_learning_rate, weight_decay=0.0)
    fit = OfflineFit(policy, value, frozen)
    per_epoch = -(-len(data) // settings.batch)
    for _ in range(settings.epochs):
        order = torch.randperm(len(data), generator=generator)
        for rows in torch.split(order, settings.batch):
            part = data.select(rows)
            moves = len(fit.history) >= settings.warm_up
            losses = offline_losses(policy, value, frozen, part, settings)
            _step(of_value, losses.value, value, settings.grad_clip)
            if moves:
                _step(of_policy, losses.policy, policy, settings.grad_clip)
            fit.history.append(losses.numbers)
            if report is not None:
                report(len(fit.history), per_epoch * settings.epochs, losses.numbers)
    return fit


@dataclass(frozen=True)
class OfflineLosses:
    """Losses of one batch, each with gradient into the network it is named for."""

    value: Tensor
    policy: Tensor
    numbers: dict[str, float]


def offline_losses(
    policy: nn.Module,
    value: nn.Module,
    reference: nn.Module,
    part: OfflineAnswers,
    settings: OfflineSettings,
) -> OfflineLosses:
    """Both losses of a batch, from one forward pass of each of the three networks.

    Args:
        policy: see ``fit_offline``.
        value: see ``fit_offline``.
        reference: frozen policy.
        part: answers of this batch.
        settings: see ``OfflineSettings``.
    """
    context, valid = part.tokens[:, :-1], part.valid[:, :-1]
    targets, actions = part.tokens[:, 1:], part.action[:, 1:]
    reward = part.reward if part.reward.ndim == 1 else part.reward[:, 1:]
    steps = None if part.step_start is None else part.step_start[:, 1:]
    states = steps if settings.level == "step" else None
    logits = policy(context, valid)
    with torch.no_grad():
        base = reference(context, valid)
    if base.shape != logits.shape:
        raise InputError(
            f"the policy has {logits.shape[-1]} tokens, the reference {base.shape[-1]}; both need "
            "the same vocabulary"
        )
    logprob, base_logprob = (_chosen(z, targets) for z in (logits, base))
    values = value(context, valid)
    suffix = suffix_log_ratio(logprob, base_logprob, actions)
    weight = importance_weights(logprob, base_logprob, actions) if settings.importance else None
    of_value = oreo_value_loss(
        values, suffix, reward, actions, states,
        beta=settings.beta, clip_log=settings.clip_log, importance=weight,
    )  # fmt: skip
    of_policy = oreo_policy_loss(
        logprob, base_logprob, values, reward, actions, states, settings.level, settings.beta,
        pcl=settings.pcl, one_step=settings.one_step, hinge=settings.hinge,
        correct=part.total_reward > 0, importance=weight,
    )  # fmt: skip
    kl = kl_to_reference(logits, base, actions)
    residual = soft_bellman_residual(logprob, base_logprob, values, reward, actions, settings.beta)
    numbers = {
        "value_loss": float(of_value.detach()),
        "policy_loss": float(of_policy.detach()),
        "kl": float(kl.detach()),
        "residual_rms": float((residual[actions] ** 2).mean().sqrt()),
        "d_mean": float(torch.where(actions, logprob - base_logprob, 0).sum(1).mean().detach()),
    }
    return OfflineLosses(of_value, of_policy + settings.alpha * kl, numbers)


def fit_rounds(
    policy: nn.Module,
    value: nn.Module,
    data: OfflineAnswers,
    settings: OfflineSettings,
    sample: Callable[[nn.Module, int], OfflineAnswers],
    *,
    rounds: int,
    generator: torch.Generator,
    reference: Literal["initial", "previous"] = "initial",
) -> list[OfflineFit]:
    """Train, sample fresh answers with the trained policy, train again from it.

    Args:
        policy: see ``fit_offline``.
        value: see ``fit_offline``; goes on from round to round.
        data: answers of the first round.
        settings: of every round.
        sample: (policy, round) -> answers for that round, from the second round (1) on.
        rounds: >= 1.
        generator: orders the data.
        reference: hold later rounds to the policy at the very start, or to that of the round
            before. The paper does not say which.

    Returns:
        One fit a round; ``policy`` and ``value`` are the same objects in all.

    Raises:
        ConfigurationError: rounds below 1, or an unknown reference.
    """
    if rounds < 1:
        raise ConfigurationError(f"rounds is {rounds}; it must be >= 1")
    if reference not in ("initial", "previous"):
        raise ConfigurationError(unknown_name("reference", reference, ("initial", "previous")))
    first = copy.deepcopy(policy)
    fits = []
    for number in range(rounds):
        part = data if number == 0 else sample(policy, number)
        held = first if reference == "initial" else None
        fits.append(fit_offline(policy, value, part, settings, generator=generator, reference=held))
    return fits


def _chosen(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, network: nn.Module, clip: float) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimiser.step()
