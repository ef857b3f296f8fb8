"""Tokens of peak entropy: the most open choices of each answer, and the mean entropy over them.

Source: SIREN, arXiv 2509.25133.
Departs from the reference code: the quantile is taken once, over tokens that count, in the dtype of
the entropies, and an answer in which nothing is kept is left out of the mean instead of counting
as 0.

Legend: B answers, T tokens. Nats.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError


class SelectedEntropy(NamedTuple):
    """Mean entropy of the tokens that were kept."""

    mean: Tensor  # scalar with gradient; 0 where nothing was kept
    kept: Tensor  # [B, T] bool
    n_left_out: int  # answers with tokens that count of which none was kept

    @property
    def is_empty(self) -> bool:
        """No token was kept anywhere, so there is no mean."""
        return not bool(self.kept.any())


def peak_entropy_mask(entropy: Tensor, mask: Tensor, tau: float = 0.8) -> Tensor:
    """Tokens whose entropy is above the tau-quantile of their own answer.

        kept = mask & (entropy > quantile_tau(entropy of the answer's tokens that count))

    The quantile interpolates linearly and the comparison is strict, so an answer of equal
    entropies, or of one token, keeps nothing. Nothing is differentiated.

    Args:
        entropy: [B, T] nats; anything where the mask is False.
        mask: [B, T] bool, tokens that count.
        tau: in [0, 1); 0.8 keeps about the top 20 %.

    Returns:
        [B, T] bool.

    Raises:
        ConfigurationError: tau outside [0, 1).
        InputError: shapes differ.

    Examples:
        >>> entropy = torch.tensor([[0.1, 0.9, 0.5, 9.0]])
        >>> mask = torch.tensor([[True, True, True, False]])
        >>> peak_entropy_mask(entropy, mask, 0.5).tolist()
        [[False, True, False, False]]

    Source: arXiv 2509.25133; ``mask_by_quantile`` of the reference code, which computes in float32
    and over padded positions as well.
    """
    check_tau(tau)
    _check_shapes(entropy, mask)
    values = torch.where(mask, entropy.detach(), torch.inf)
    ordered = values.sort(-1).values
    last = (mask.sum(-1, keepdim=True) - 1).clamp(min=0)
    position = tau * last.double()
    low = position.long()
    high = torch.minimum(low + 1, last)
    start, end = ordered.gather(-1, low), ordered.gather(-1, high)
    step = torch.where(torch.isfinite(start), end - start, 0)  # an empty answer holds no number
    threshold = start + step * (position - low).to(start.dtype)
    return mask & (values > threshold)


def selected_mean(
    entropy: Tensor, mask: Tensor, *, tau: float = 0.8, use_peak: bool = True
) -> SelectedEntropy:
    """Mean over answers of the mean entropy over each answer's kept tokens.

        h_i  = mean over kept tokens of answer i of entropy        (gradient; the choice has none)
        mean = mean of h_i over the answers in which a token is kept

    Args:
        entropy: [B, T] nats, with gradient; anything where the mask is False.
        mask: [B, T] bool, tokens that count.
        tau: see ``peak_entropy_mask``.
        use_peak: False keeps every token that counts.

    Returns:
        Mean, kept tokens, and how many answers were left out.

    Raises:
        ConfigurationError: tau outside [0, 1).
        InputError: shapes differ.

    Examples:
        >>> entropy = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3]])
        >>> found = selected_mean(entropy, torch.ones(2, 3).bool(), tau=0.5)
        >>> round(found.mean.item(), 4), found.n_left_out
        (0.9, 1)
    """
    _check_shapes(entropy, mask)
    kept = peak_entropy_mask(entropy, mask, tau) if use_peak else mask
    n_kept = kept.sum(-1)
    per_answer = torch.where(kept, entropy, 0).sum(-1) / n_kept.clamp(min=1)
    answers = n_kept > 0
    mean = per_answer.sum() / answers.sum().clamp(min=1)
    return SelectedEntropy(mean, kept, int((mask.any(-1) & ~answers).sum()))


def check_tau(tau: float) -> None:
    """Reject a quantile above which no token can be.

    Raises:
        ConfigurationError: tau outside [0, 1).

    Examples:
        >>> check_tau(0.8)
    """
    if not 0 <= tau < 1:
        raise ConfigurationError(f"tau is {tau}; a quantile that leaves tokens above it, in [0, 1)")


def _check_shapes(entropy: Tensor, mask: Tensor) -> None:
    if entropy.shape != mask.shape or entropy.ndim != 2:
        raise InputError(
            f"the entropies have shape {tuple(entropy.shape)}, the mask {tuple(mask.shape)}; both "
            "must be [B, T]"
        )
