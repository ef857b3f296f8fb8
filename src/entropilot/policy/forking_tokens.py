"""Forking tokens: learn from the tokens of highest entropy only.

A few tokens, where the answer could go several ways, have most of the entropy; most tokens spell
out what is decided. Training on the top fifth matches training on all of them in the paper's runs.

Legend: B answers, T tokens. Nats. Everything is detached.

Source: Beyond the 80/20 Rule (arXiv 2506.01939), equation 5; TRL's ``top_entropy_quantile``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import masked_quantile
from entropilot.policy.term import Applied, State, Term, View


def high_entropy_mask(entropy: Tensor, mask: Tensor, share: float = 0.2) -> Tensor:
    """Tokens whose entropy is at least the (1 - share) quantile of all tokens that count.

    The quantile is that of the pooled tokens of the batch, by linear interpolation; padding never
    enters it. Ties at the quantile all stay.

    Args:
        entropy: [B, T] nats.
        mask: [B, T] bool.
        share: in (0, 1], of the tokens that stay; 1 keeps all.

    Returns:
        [B, T] bool; all False where no token counts.

    Raises:
        ConfigurationError: share outside (0, 1].
        InputError: shapes differ, or nan where a token counts.

    Examples:
        >>> entropy = torch.tensor([[0.1, 2.0, 0.3, 9.0]])
        >>> high_entropy_mask(entropy, torch.tensor([[True, True, True, False]]), 0.5).tolist()
        [[False, True, True, False]]
    """
    _check(share)
    if entropy.shape != mask.shape:
        raise InputError(
            f"entropy has shape {tuple(entropy.shape)}, the mask {tuple(mask.shape)}; there must "
            "be one number a token in both"
        )
    if share == 1 or not bool(mask.any()):
        return mask
    wide = entropy.detach() if entropy.dtype == torch.float64 else entropy.detach().float()
    threshold: Tensor = masked_quantile(wide, mask, 1 - share)
    return mask & (wide >= threshold)


def forking_tokens(share: float = 0.2) -> Term:
    """Weight term: 1 for the tokens of highest entropy, 0 for the rest; see ``high_entropy_mask``.

    As in TRL the denominator of the loss stays, so the loss is about ``share`` times as large as
    over all tokens. The quantile is taken over the tokens that the shrink masks left, of the whole
    update.

    When this does nothing: at ``share=1``. Where all entropies are equal, ties keep every token.

    Args:
        share: in (0, 1]; TRL's ``top_entropy_quantile``. The paper has 0.2.

    Raises:
        ConfigurationError: share outside (0, 1].

    Examples:
        >>> forking_tokens().settings
        {'share': 0.2}
    """
    _check(share)

    def apply(view: View, state: State) -> Applied:
        entropy = view.policy.get("entropy").detach()
        kept = high_entropy_mask(entropy, view.mask, share)
        n = view.mask.sum()
        lowest = torch.where(kept, entropy, torch.inf).min()
        metrics = {
            "forking-tokens/n_tokens": n,
            "forking-tokens/kept_fraction": kept.sum() / n.clamp(min=1),
            "forking-tokens/threshold": torch.where(lowest.isinf(), 0, lowest),
        }
        return Applied(kept.to(entropy.dtype), state, metrics)

    needs = frozenset({"entropy"})
    return Term("forking-tokens", apply, needs=needs, settings={"share": share})


def _check(share: float) -> None:
    if not 0 < share <= 1:
        raise ConfigurationError(
            f"share is {share}; it is the share of tokens that stay, in (0, 1]. TRL's "
            "top_entropy_quantile is this number"
        )
