"""OREO's training: a policy and a value network on written answers (arXiv 2412.16145).

Each step: values V and log-ratios D of the batch; the value network moves by its residuals with D
held; the policy moves by its residuals with the old V held. Both come from one forward pass of each
network, and one optimizer holds both, so that a step is done or it isn't.

With a folder a fit is checkpointed, and one that was killed ends with the same weights, bit for
bit.

Legend: n answers of a batch, L tokens of prompt and answer, V vocabulary.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.offline_data import OfflineAnswers
from entropilot.policy.offline_losses import OfflineLosses, offline_losses, reference_logprobs
from entropilot.policy.offline_settings import OfflineSettings
from entropilot.policy.training.checkpoints import (
    checkpoints,
    differing,
    restore_optimizer,
    restore_weights,
    save_checkpoint,
)


@dataclass
class OfflineFit:
    """What a fit leaves behind.

    Args:
        policy: trained in place.
        value: trained in place.
        reference: the frozen policy it was held to.
        history: a row of numbers a step.
        average: moving average of the policy, where the settings ask for one.
    """

    policy: nn.Module
    value: nn.Module
    reference: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    average: nn.Module | None = None


def fit_offline(
    policy: nn.Module,
    value: nn.Module,
    data: OfflineAnswers,
    settings: OfflineSettings,
    *,
    generator: torch.Generator,
    reference: nn.Module | None = None,
    report: Callable[[int, int, dict[str, float]], None] | None = None,
    folder: Path | None = None,
    save_every: int = 100,
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
        folder: of checkpoints. Called again with the same start, data and settings, a fit that was
            stopped goes on from the last one and ends as if it had not been. None keeps nothing.
        save_every: steps between checkpoints, >= 1; the last step is saved too.

    Returns:
        ``OfflineFit``; history has value_loss, policy_loss, kl, residual_rms (of the soft Bellman
        equation, single steps), d_mean (mean log-ratio of an answer), and alpha where it moves.

    Raises:
        InputError: the step level without step starts, policy and reference that differ in V, a
            loss that is not finite, or a folder of another fit.
        ConfigurationError: save_every below 1.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> from entropilot.policy.offline_data import offline_answers
        >>> from entropilot.policy.value_network import ValueNetwork
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
    if save_every < 1:
        raise ConfigurationError(f"save_every is {save_every}; it must be >= 1")
    run = _Run.begun(policy, value, reference, settings)
    name = _identity(run, data, settings) if folder is not None else {}
    if folder is not None:
        run.restore(folder, name, generator)
    base = reference_logprobs(run.reference, data) if settings.kl == "k3" else None
    per_epoch = -(-len(data) // settings.batch)
    total = per_epoch * settings.epochs
    first_epoch = max(0, len(run.history) - 1) // per_epoch  # the epoch of the last step done
    for epoch in range(first_epoch, settings.epochs):
        before = generator.get_state()
        order = torch.randperm(len(data), generator=generator)
        done = len(run.history) - epoch * per_epoch
        for rows in torch.split(order, settings.batch)[done:]:
            known = None if base is None else base[rows]
            numbers = run.step(data.select(rows), settings, known)
            step = len(run.history)
            if report is not None:
                report(step, total, numbers)
            if folder is not None and (step % save_every == 0 or step == total):
                run.save(folder, name, before)
    return OfflineFit(run.policy, run.value, run.reference, run.history, run.average)


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
    folder: Path | None = None,
) -> list[OfflineFit]:
    """Train, sample fresh answers with the trained policy, train again from it.

    Args:
        policy: see ``fit_offline``.
        value: see ``fit_offline``; goes on from round to round.
        data: answers of the first round.
        settings: of every round.
        sample: (policy, round) -> answers for that round, from the second round (1) on. A function
            of the two alone, if rounds are to be resumed.
        rounds: >= 1.
        generator: orders the data.
        reference: hold later rounds to the policy at the very start, or to that of the round
            before. The paper does not say which.
        folder: of checkpoints, a folder a round; see ``fit_offline``.

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
        own = None if folder is None else folder / f"round-{number}"
        fits.append(
            fit_offline(
                policy, value, part, settings, generator=generator, reference=held, folder=own
            )
        )
    return fits


class _Coefficient(nn.Module):
    """The logarithm of alpha, where it moves."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(alpha)))


@dataclass
class _Run:
    """Everything that changes from step to step."""

    policy: nn.Module
    value: nn.Module
    reference: nn.Module
    average: nn.Module | None
    coefficient: _Coefficient | None
    optimizer: torch.optim.Optimizer
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def begun(
        cls, policy: nn.Module, value: nn.Module, reference: nn.Module | None, how: OfflineSettings
    ) -> _Run:
        frozen = copy.deepcopy(policy) if reference is None else reference
        average = None if how.average_decay is None else copy.deepcopy(policy)
        for network in (frozen, average):
            for parameter in () if network is None else network.parameters():
                parameter.requires_grad_(False)
        groups: list[dict[str, Any]] = [
            {"params": list(policy.parameters()), "lr": how.learning_rate},
            {"params": list(value.parameters()), "lr": how.value_learning_rate},
        ]
        coefficient = None if how.kl_target is None else _Coefficient(how.alpha)
        if coefficient is not None:
            groups.append({"params": [coefficient.log], "lr": how.kl_learning_rate})
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        return cls(policy, value, frozen, average, coefficient, optimizer)

    def step(
        self, part: OfflineAnswers, how: OfflineSettings, known: Tensor | None
    ) -> dict[str, float]:
        alpha = None if self.coefficient is None else float(self.coefficient.log.exp().detach())
        known = None if known is None else known[:, : part.tokens.shape[1] - 1]
        losses = offline_losses(
            self.policy, self.value, self.reference, part, how,
            alpha=alpha, average=self.average, reference_logprob=known,
        )  # fmt: skip
        numbers = losses.numbers if alpha is None else {**losses.numbers, "alpha": alpha}
        _check_finite(numbers, len(self.history))
        moves = len(self.history) >= how.warm_up
        self._backward(losses, how, moves)
        self.optimizer.step()
        if self.average is not None and moves and how.average_decay is not None:
            _follow(self.average, self.policy, how.average_decay)
        self.history.append(numbers)
        return numbers

    def _backward(self, losses: OfflineLosses, how: OfflineSettings, moves: bool) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.value)
        nn.utils.clip_grad_norm_(self.value.parameters(), how.grad_clip)
        if not moves:
            return
        torch.autograd.backward(losses.policy)
        nn.utils.clip_grad_norm_(self.policy.parameters(), how.grad_clip)
        if self.coefficient is not None and how.kl_target is not None:
            above = losses.numbers["kl"] - how.kl_target
            self.coefficient.log.grad = torch.full_like(self.coefficient.log, -above)

    @property
    def networks(self) -> nn.ModuleDict:
        """All that is trained, under one roof."""
        parts = {
            "policy": self.policy,
            "value": self.value,
            "average": self.average,
            "coefficient": self.coefficient,
        }
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    def save(self, folder: Path, name: dict[str, Any], before: Tensor) -> None:
        """Write a checkpoint; ``before`` is the generator at the start of this epoch."""
        state = {
            "identity": name,
            "history": self.history,
            "generator": bytes(before.tolist()).hex(),
        }
        weights = self.networks.state_dict()
        save_checkpoint(folder, len(self.history), weights, self.optimizer, state)

    def restore(self, folder: Path, name: dict[str, Any], generator: torch.Generator) -> None:
        """Go on from the last checkpoint, if there is one."""
        found = checkpoints(folder)
        if not found:
            return
        state = found[-1].state()
        other = differing(state.get("identity", {}), name)
        if other:
            raise InputError(
                f"{folder} holds another fit: {', '.join(other)} differ. Name another folder, or "
                "call with the same start, data and settings to go on"
            )
        restore_weights(found[-1], self.networks)
        restore_optimizer(found[-1], self.optimizer)
        self.history = state["history"]
        generator.set_state(
            torch.tensor(list(bytes.fromhex(state["generator"])), dtype=torch.uint8)
        )


def _identity(run: _Run, data: OfflineAnswers, settings: OfflineSettings) -> dict[str, Any]:
    """What makes a fit this one and no other: its settings, data and reference."""
    tables = [data.tokens, data.action, data.reward, data.step_start]
    content = hashlib.sha256()
    for table in tables:
        content.update(b"" if table is None else table.cpu().numpy().tobytes())
    held = hashlib.sha256()
    for parameter in run.reference.parameters():
        held.update(f"{tuple(parameter.shape)} {float(parameter.double().sum())!r} ".encode())
    return {**asdict(settings), "data": content.hexdigest(), "reference": held.hexdigest()}


@torch.no_grad()
def _follow(average: nn.Module, policy: nn.Module, decay: float) -> None:
    for mean, now in zip(average.parameters(), policy.parameters(), strict=True):
        mean.lerp_(now, 1 - decay)


def _check_finite(numbers: dict[str, float], done: int) -> None:
    bad = [name for name, number in numbers.items() if not math.isfinite(number)]
    if bad:
        raise InputError(
            f"{', '.join(bad)} of step {done + 1} is not finite; the networks are as after step "
            f"{done}. Lower a learning rate, or set clip_log"
        )
