"""The pieces an objective is composed of: what a term sees and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics

#: Memory of a term: None, or a dict that JSON can hold, so that it can be saved and compared.
State = dict[str, Any] | None
Metrics = Mapping[str, float | Tensor]
NO_METRICS: Final[Metrics] = MappingProxyType({})


@dataclass(frozen=True)
class View:
    """What a term may see. Legend: B answers, T tokens.

    Args:
        rollouts: the batch.
        now: statistics of the current policy; None in the reward and advantage stages.
        reward: [B] after the reward terms so far.
        advantages: [B, T] after the advantage terms so far, detached; zeros in the reward stage.
        mask: [B, T] bool; tokens left by the shrink masks so far. Regularisers see the mask of the
            rollouts.
        generator: for terms that draw.
    """

    rollouts: Rollouts
    now: PolicyStatistics | None
    reward: Tensor
    advantages: Tensor
    mask: Tensor
    generator: torch.Generator | None = None

    @property
    def policy(self) -> PolicyStatistics:
        """The current policy's statistics, which exist from the mask stage on."""
        if self.now is None:
            raise RuntimeError("the reward and advantage stages see no current policy")
        return self.now


class Applied(NamedTuple):
    """What a term gives back."""

    value: Tensor
    state: State = None
    metrics: Metrics = NO_METRICS


def no_state(_view: View) -> State:
    """The state of a term without memory."""
    return None


@dataclass(frozen=True)
class Term:
    """One piece of an objective: a pure function with an explicit state.

    What ``value`` is depends on the slot that the term is put in:

        reward       [B]     the reward from here on
        advantage    [B, T]  the advantages from here on
        mask         [B, T]  bool, tokens that stay (shrinks the mask, so also the denominator)
        weight       [B, T]  factor of the per-token loss (the denominator stays)
        surrogate    [B, T]  per-token loss, to be minimised
        regulariser  scalar  added to the loss, its coefficient inside

    Args:
        name: shown in metrics and reports; unique in an objective.
        apply: (view, state) -> value, next state, metrics.
        init: (view) -> first state; reads the first batch before any update.
        needs: statistics of the current policy that ``apply`` reads.
        settings: for reports and files, plain values.

    Examples:
        >>> halve = Term("halve", lambda view, state: Applied(view.reward / 2, state))
        >>> halve.name, halve.settings
        ('halve', {})
    """

    name: str
    apply: Callable[[View, State], Applied]
    init: Callable[[View], State] = no_state
    needs: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)
