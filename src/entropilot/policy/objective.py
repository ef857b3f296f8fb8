"""The objective of policy-gradient training, composed of small terms in five slots.

An objective is a function of per-token statistics, never of logits. Whoever holds the network
(the built-in trainer, TRL, verl, your own loop) measures the statistics in ``needs`` for the tokens
of a rollout batch; the objective turns them into a scalar; autograd gives dLoss/dstatistic. So a
choice over the whole batch does not depend on how the batch is cut for memory.

Order, always the same:

    rewards -> advantages (before any mask) -> masks (shrink) -> weights (product)
            -> surrogate (over the shrunk mask) -> aggregation -> regularisers (the original mask)

Legend: B answers, T tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.policy.advantages import group_normalised, group_shares
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.reward_checks import within_group_variance_warning
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import DIFFERENTIABLE, PolicyStatistics, check_wants
from entropilot.policy.surrogates import clipped_ratio
from entropilot.policy.term import State, Term, View

#: State of an objective: state of each term by its name. JSON can hold it.
ObjectiveState = dict[str, State]


class NonFiniteError(BrokenNumbersError):
    """A term gave a number that is not finite; ``term`` is its name."""

    def __init__(self, term: str, what: str) -> None:
        super().__init__(
            f"the term {term!r} gave {what}. Its inputs were finite, so look at its settings, or "
            "at a log-ratio that has run away (lower the learning rate or the updates a rollout)"
        )
        self.term = term


@dataclass(frozen=True)
class Prepared:
    """A rollout batch with its rewards and advantages, ready for updates."""

    rollouts: Rollouts
    reward: Tensor  # [B]
    advantages: Tensor  # [B, T], detached
    state: ObjectiveState
    metrics: Mapping[str, float]

    def select(self, rows: Tensor) -> Prepared:
        """Some of the answers, for an update on a part of the batch.

        Args:
            rows: [b] int64 or [B] bool.
        """
        return Prepared(
            self.rollouts.select(rows),
            self.reward[rows],
            self.advantages[rows],
            self.state,
            self.metrics,
        )


class ObjectiveOutput(NamedTuple):
    """What an objective says of one update."""

    loss: Tensor  # scalar, with gradient into the statistics
    per_token_loss: Tensor  # [B, T] after weights, detached
    kept_mask: Tensor  # [B, T] bool after the shrink masks
    state: ObjectiveState
    metrics: dict[str, float]


@dataclass(frozen=True)
class Objective:
    """Terms in five slots and an aggregation; nothing is on unless it is named.

    Args:
        rewards: terms that change the reward of answers, in order.
        advantages: terms that make or change advantages, in order.
        masks: terms that drop tokens, denominator included.
        weights: terms whose product multiplies the per-token loss.
        surrogate: the one term that gives the per-token loss.
        regularisers: terms that are added to the loss.
        aggregation: from per-token losses to the loss.

    Raises:
        ConfigurationError: two terms of one name, no advantage term, or a term that needs an
            unknown statistic.

    Examples:
        >>> Objective().describe()
        'group-advantage; clipped-ratio(eps_low=0.2, eps_high=0.2); token-mean'
    """

    rewards: tuple[Term, ...] = ()
    advantages: tuple[Term, ...] = field(default_factory=lambda: (group_normalised(),))
    masks: tuple[Term, ...] = ()
    weights: tuple[Term, ...] = ()
    surrogate: Term = field(default_factory=clipped_ratio)
    regularisers: tuple[Term, ...] = ()
    aggregation: Aggregation = field(default_factory=Aggregation)

    def __post_init__(self) -> None:
        if not isinstance(self.surrogate, Term):
            raise ConfigurationError(
                f"surrogate is {self.surrogate!r}; an objective has exactly one surrogate term. "
                "Clip-Cov and KL-Cov both replace it, so they can't be combined"
            )
        if not self.advantages:
            raise ConfigurationError(
                "advantages is empty; without one the loss is 0. Use group_normalised()"
            )
        twice = [n for n, c in Counter(term.name for term in self.terms).items() if c > 1]
        if twice:
            raise ConfigurationError(f"the objective has two terms named {twice[0]!r}; keep one")
        check_wants(self.needs)

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms in their order."""
        return (
            *(*self.rewards, *self.advantages, *self.masks, *self.weights),
            *(self.surrogate, *self.regularisers),
        )

    @property
    def needs(self) -> frozenset[str]:
        """Statistics of the current policy that the terms read, ``logprob`` always."""
        return frozenset({"logprob"}).union(*(term.needs for term in self.terms))

    @property
    def top_p(self) -> float:
        """Mass of the nucleus whose entropy the terms read; 0.8 where none does.

        Raises:
            ConfigurationError: two terms want different ones.
        """
        asked = {
            float(term.settings["top_p"])
            for term in self.terms
            if "nucleus_entropy" in term.needs and "top_p" in term.settings
        }
        if len(asked) > 1:
            raise ConfigurationError(
                f"terms ask for nuclei of mass {sorted(asked)}; one objective measures one nucleus"
            )
        return asked.pop() if asked else 0.8

    def describe(self) -> str:
        """The objective in words: each term with the settings that are not at their plain value."""
        parts = [_phrase(term) for term in self.terms]
        return "; ".join((*parts, self.aggregation.mode))

    def prepare(
        self,
        rollouts: Rollouts,
        state: ObjectiveState | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Prepared:
        """Rewards and advantages of a rollout batch: once, before the updates on it.

        Args:
            rollouts: the whole batch.
            state: of the batch before; None at the start.
            generator: for terms that draw.

        Returns:
            The batch with reward, advantages, state and metrics. Metrics tell groups that teach
            nothing apart: all wrong, all right.

        Raises:
            NonFiniteError: a term gave nan or an infinity.
        """
        state = dict(state or {})
        metrics: dict[str, float] = {}
        zeros = torch.zeros_like(rollouts.old_logprob)
        view = View(rollouts, None, rollouts.scores, zeros, rollouts.mask, generator)
        with torch.no_grad():
            for term in self.rewards:
                reward = _run(term, view, state, metrics)
                within_group_variance_warning(term.name, view.reward, reward, rollouts.group)
                view = View(rollouts, None, reward, zeros, rollouts.mask, generator)
            metrics |= group_shares(view.reward, rollouts.group, rollouts.correct)
            for term in self.advantages:
                value = _run(term, view, state, metrics)
                value = torch.where(rollouts.mask, value, 0)
                view = View(rollouts, None, view.reward, value, rollouts.mask, generator)
        return Prepared(rollouts, view.reward, view.advantages.detach(), state, metrics)

    def loss(
        self,
        prepared: Prepared,
        now: PolicyStatistics,
        state: ObjectiveState | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> ObjectiveOutput:
        """The loss of one update.

        Args:
            prepared: the batch, or the part of it that this update learns from.
            now: statistics of the current policy on the same tokens, [B, T].
            state: of the update before; None means the state of ``prepared``.
            generator: for terms that draw.

        Returns:
            Loss with gradient into the statistics, and what a log wants to know.

        Raises:
            InputError: a statistic that a term needs is missing, has another shape, or is not
                finite where tokens count.
            NonFiniteError: a term gave nan or an infinity.
        """
        rollouts = prepared.rollouts
        now = _cleaned(now, self.needs, rollouts)
        state = dict(prepared.state if state is None else state)
        metrics: dict[str, float] = {}

        def view(mask: Tensor) -> View:
            return View(rollouts, now, prepared.reward, prepared.advantages, mask, generator)

        mask = rollouts.mask
        for term in self.masks:
            mask = mask & _run(term, view(mask), state, metrics)
        weight: Tensor | None = None
        for term in self.weights:
            factor = _run(term, view(mask), state, metrics)
            weight = factor if weight is None else weight * factor
        per_token = _run(self.surrogate, view(mask), state, metrics)
        if weight is not None:
            per_token = per_token * torch.where(mask, weight, 0)
        metrics["kept_fraction"] = float(mask.sum() / rollouts.mask.sum())
        if bool(mask.any()):
            loss = self.aggregation(per_token, mask)
        else:  # every token was dropped: no gradient, but the graph stays
            loss = torch.where(mask, per_token, 0).sum()
        metrics["surrogate/loss"] = float(loss.detach())
        for term in self.regularisers:
            penalty = _run(term, view(rollouts.mask), state, metrics)
            metrics[f"{term.name}/loss"] = float(penalty.detach())
            loss = loss + penalty
        return ObjectiveOutput(loss, torch.where(mask, per_token, 0).detach(), mask, state, metrics)


def _run(term: Term, view: View, state: ObjectiveState, metrics: dict[str, float]) -> Tensor:
    """Apply a term, keep its state and metrics, and stop at the first number that is not finite."""
    if term.name not in state:
        state[term.name] = term.init(view)
    value, state[term.name], found = term.apply(view, state[term.name])
    for name, metric in found.items():
        metrics[name] = float(metric)
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        n = int((~torch.isfinite(value)).sum())
        raise NonFiniteError(term.name, f"{n} of {value.numel()} values that are not finite")
    return value


def _cleaned(now: PolicyStatistics, needs: Iterable[str], rollouts: Rollouts) -> PolicyStatistics:
    """The statistics that are needed, 0 where no token counts, checked once."""
    fields: dict[str, Any] = {}
    for name in needs:
        value = now.get(name)
        if value.shape != rollouts.mask.shape:
            raise InputError(
                f"the statistic {name} has shape {tuple(value.shape)}; the rollouts have "
                f"{tuple(rollouts.mask.shape)}"
            )
        bad = rollouts.mask & ~torch.isfinite(value.detach())
        if bool(bad.any()):
            row, token = (int(i) for i in bad.nonzero()[0])
            raise NonFiniteError(
                f"policy statistics ({name})",
                f"{int(bad.sum())} values that are not finite, the first at answer {row}, token "
                f"{token}: the network itself gives them",
            )
        value = torch.where(rollouts.mask, value, 0)
        fields[name] = value if name in DIFFERENTIABLE else value.detach()
    return PolicyStatistics(**fields)


def _phrase(term: Term) -> str:
    plain = term.name == "group-advantage" and term.settings["scale"] == "std"
    if plain or not term.settings:
        return term.name
    shown = {k: v for k, v in term.settings.items() if v is not None}
    return f"{term.name}({', '.join(f'{k}={v}' for k, v in shown.items())})"
