"""Forking tokens: learn only where the policy hesitates, the top share of tokens by entropy.

Legend: B answers, T tokens. Nats. Detached; the denominator of the loss stays.

Source: Beyond the 80/20 Rule (arXiv 2506.01939); TRL's ``top_entropy_quantile``.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError
from entropilot.policy.covariance import masked_quantile_of
from entropilot.policy.idle_warning import counted_idle
from entropilot.policy.rollouts import check_finite
from entropilot.policy.term import Applied, State, Term, View

_IDLE: Final = "All tokens are kept: lower share, where their entropies are not all equal"


def forking_mask(entropy: Tensor, mask: Tensor, share: float = 0.2) -> Tensor:
    """The tokens of the highest entropy: at or above the (1 - share) quantile of all that count.

    Padding takes no part in the quantile, whatever it holds.

    Args:
        entropy: [B, T] nats.
        mask: [B, T] bool.
        share: in (0, 1]; 1 keeps all.

    Returns:
        [B, T] bool, False off the mask; all False where no token counts.

    Raises:
        ConfigurationError: share out of range.
        InputError: an entropy that counts is nan.

    Examples:
        >>> forking_mask(torch.tensor([[0.1, 0.9, 9.0]]), torch.tensor([[True, True, False]]),
        ...     0.5).tolist()
        [[False, True, False]]
    """
    if not 0 < share <= 1:
        raise ConfigurationError(f"share is {share}; it must be in (0, 1]")
    if not bool(mask.any()):
        return mask
    check_finite("entropy", entropy, mask)
    known = torch.where(mask, entropy.detach(), 0)
    return mask & (known >= masked_quantile_of(known, mask, 1 - share))


def forking_tokens(share: float = 0.2) -> Term:
    """Weight term: 1 on forking tokens, 0 on the others; see ``forking_mask``.

    When this does nothing: ``share`` 1, or equal entropies everywhere, of which all are kept. The
    denominator stays, so the loss shrinks with the tokens that are left out. Choosing anew on each
    part of a batch changes the choice: hand in the whole batch.

    Args:
        share: in (0, 1]; raising it lets more tokens learn. TRL's ``top_entropy_quantile``.

    Returns:
        The term. Metric: ``forking/selected_fraction``.

    Raises:
        ConfigurationError: share out of range.

    Examples:
        >>> forking_tokens().settings
        {'share': 0.2}
    """
    if not 0 < share <= 1:
        raise ConfigurationError(f"share is {share}; it must be in (0, 1]")

    def apply(view: View, state: State) -> Applied:
        kept = forking_mask(view.policy.get("entropy"), view.mask, share)
        n = view.mask.sum().clamp(min=1)
        weight = kept.to(view.advantages.dtype)
        idle = counted_idle(state, bool((kept != view.mask).any()), term="forking", why=_IDLE)
        return Applied(weight, idle, {"forking/selected_fraction": kept.sum() / n})

    return Term("forking", apply, needs=frozenset({"entropy"}), settings={"share": share})
