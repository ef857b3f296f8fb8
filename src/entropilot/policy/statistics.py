"""What an objective may know of the current policy: statistics of its next-token distributions.

Legend: B answers, T tokens, V vocabulary. Nats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name

DIFFERENTIABLE: Final = (
    *("logprob", "entropy", "varentropy", "nucleus_entropy", "kl_to_reference", "value"),
)


@dataclass(frozen=True)
class PolicyStatistics:
    """Statistics [B, T] of the distributions that predict the tokens of a rollout batch.

    Those that were not asked for are None. Gradients flow through ``logprob``, ``entropy``,
    ``varentropy``, ``nucleus_entropy``, ``kl_to_reference`` and ``value``; the rest is constant.

    Args:
        logprob: of the token that was drawn.
        entropy: of the whole distribution.
        varentropy: variance of the surprisal.
        nucleus_entropy: entropy of the renormalised nucleus (top-p set).
        sum_p2: sum of p^2.
        sum_p2_logp: sum of p^2 log p.
        kl_to_reference: KL from this policy to the reference policy, exact over the vocabulary.
        value: of a value network, where there is one.

    Examples:
        >>> now = PolicyStatistics(logprob=torch.tensor([[-1.0]]))
        >>> now.entropy is None
        True
    """

    logprob: Tensor
    entropy: Tensor | None = None
    varentropy: Tensor | None = None
    nucleus_entropy: Tensor | None = None
    sum_p2: Tensor | None = None
    sum_p2_logp: Tensor | None = None
    kl_to_reference: Tensor | None = None
    value: Tensor | None = None

    def get(self, name: str) -> Tensor:
        """A statistic that must be there.

        Raises:
            InputError: it was not measured.
        """
        value: Tensor | None = getattr(self, name, None)
        if value is None:
            raise InputError(
                f"the statistic {name!r} was not measured; ask for it, for example "
                f'statistics_from_logits(logits, tokens, wants=("logprob", "{name}"))'
            )
        return value

    def map(self, change: Callable[[Tensor], Tensor]) -> PolicyStatistics:
        """The same function applied to every statistic that is there."""
        fields: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        changed: dict[str, Any] = {n: None if v is None else change(v) for n, v in fields.items()}
        return dataclasses.replace(self, **changed)

    def select(self, rows: Tensor) -> PolicyStatistics:
        """The statistics of some answers."""
        return self.map(lambda value: value[rows])

    def detached(self) -> PolicyStatistics:
        """The same values without gradient."""
        return self.map(lambda value: value.detach())

    def leaves(self) -> PolicyStatistics:
        """Copies that collect gradients: dLoss/dstatistic lands in their ``grad``.

        With them an objective is evaluated apart from the network, over the whole batch, and the
        network runs backward in parts of any size.
        """
        fields: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                value = value.detach()
                value = value.requires_grad_() if field.name in DIFFERENTIABLE else value
            fields[field.name] = value
        return PolicyStatistics(**fields)

    @property
    def vocab_mean(self) -> Tensor:
        """N = H sum p^2 + sum p^2 log p, the mean of S_v = p_v (H + log p_v) under p; detached."""
        entropy = self.get("entropy").detach()
        return entropy * self.get("sum_p2").detach() + self.get("sum_p2_logp").detach()


def joined(pieces: Sequence[PolicyStatistics]) -> PolicyStatistics:
    """The answers of all pieces, one after another; what the first lacks is left out.

    Examples:
        >>> joined([PolicyStatistics(torch.zeros(2, 3)), PolicyStatistics(torch.ones(1, 3))]
        ...     ).logprob.shape
        torch.Size([3, 3])
    """
    fields: dict[str, Any] = {
        name: torch.cat([piece.get(name) for piece in pieces])
        for name in FIELDS
        if getattr(pieces[0], name) is not None
    }
    return PolicyStatistics(**fields)


FIELDS: Final = tuple(field.name for field in dataclasses.fields(PolicyStatistics))


def check_wants(wants: Iterable[str]) -> None:
    """Reject names that are no statistic.

    Raises:
        ConfigurationError: with the near names.
    """
    for name in wants:
        if name not in FIELDS:
            raise ConfigurationError(unknown_name("statistic", name, FIELDS))


def statistics_from_logits(
    logits: Tensor,
    tokens: Tensor,
    *,
    wants: Iterable[str] = ("logprob", "entropy"),
    top_p: float = 0.8,
    reference_logits: Tensor | None = None,
) -> PolicyStatistics:
    """Statistics of logits that are at hand, with gradient where the logits carry it.

    For small vocabularies. The logits must already be divided by the sampling temperature. Large
    vocabularies go through ``information.head_statistics``, which stores no logits.

    Args:
        logits: [..., V]; -inf marks an impossible token.
        tokens: [...] int64 tokens that were drawn.
        wants: fields of ``PolicyStatistics``.
        top_p: mass of the nucleus of ``nucleus_entropy``.
        reference_logits: [..., V] of the reference policy, for ``kl_to_reference``.

    Returns:
        Statistics of shape [...], float32 or float64.

    Raises:
        ConfigurationError: an unknown name in ``wants``.
        InputError: ``kl_to_reference`` without reference logits, or ``value``: no logits hold it.

    Examples:
        >>> logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
        >>> now = statistics_from_logits(logits, torch.tensor([0]))
        >>> round(now.logprob.item(), 4), round(now.entropy.item(), 4)
        (-0.6931, 1.0397)
    """
    wanted = frozenset(wants) | {"logprob"}
    check_wants(wanted)
    if "value" in wanted:
        raise InputError("logits hold no value; a value network gives it")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    log_p = torch.log_softmax(wide, -1)
    fields: dict[str, Tensor] = {
        "logprob": log_p.gather(-1, tokens.long().unsqueeze(-1)).squeeze(-1)
    }
    measured = wanted - {"logprob", "nucleus_entropy"}
    if measured:
        fields |= _moments(log_p, measured, reference_logits)
    if "nucleus_entropy" in wanted:
        from entropilot.information import (
            nucleus_entropy,
            with_gradient,
        )

        fields["nucleus_entropy"] = with_gradient(nucleus_entropy)(wide, top_p)
    return PolicyStatistics(**fields)


def _moments(
    log_p: Tensor, wanted: frozenset[str], reference_logits: Tensor | None
) -> dict[str, Tensor]:
    """Sums over the vocabulary; an impossible token adds 0 to each, in the gradient too."""
    fields: dict[str, Tensor] = {}
    p = log_p.exp()
    finite = torch.where(p > 0, log_p, 0)
    if wanted & {"entropy", "varentropy"}:
        entropy = -(p * finite).sum(-1)
        fields["entropy"] = entropy.clamp(min=0)
        if "varentropy" in wanted:
            fields["varentropy"] = (p * (finite + entropy.unsqueeze(-1)) ** 2).sum(-1)
    if wanted & {"sum_p2", "sum_p2_logp"}:
        square = p.detach() ** 2
        fields["sum_p2"] = square.sum(-1)
        fields["sum_p2_logp"] = (square * finite.detach()).sum(-1)
    if "kl_to_reference" in wanted:
        if reference_logits is None:
            raise InputError("kl_to_reference needs reference_logits, those of the frozen policy")
        reference = torch.log_softmax(reference_logits.to(log_p.dtype), -1).detach()
        gap = torch.where(p > 0, finite - reference, 0)
        fields["kl_to_reference"] = (p * gap).sum(-1)
    return {name: value for name, value in fields.items() if name in wanted}
