"""From per-token losses to one number: the modes of verl and TRL, under one name each.

Legend: B answers, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.token_kernels import n_true

Mode = Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)

#: TRL's ``loss_type`` with the same value on one batch without empty answers.
TRL_NAMES: Final[dict[str, Mode]] = {
    "dapo": "token-mean",
    "bnpo": "token-mean",
    "grpo": "seq-mean-token-mean",
    "dr_grpo": "seq-mean-token-sum-norm",
}


@dataclass(frozen=True)
class Aggregation:
    """How per-token losses become a scalar.

    Args:
        mode: ``token-mean`` divides the sum by the tokens that count (verl's default, TRL's dapo
            and bnpo); ``seq-mean-token-sum`` and ``seq-mean-token-mean`` (TRL's grpo) average sums
            or means of answers over the answers that are not empty; ``seq-mean-token-sum-norm``
            (Dr.GRPO) divides the sum by B times ``norm_length``.
        norm_length: constant of ``seq-mean-token-sum-norm``, such as the length limit.
        per_row: False leaves out the division by B in ``seq-mean-token-sum-norm``, as verl does.

    Raises:
        ConfigurationError: unknown mode, or ``norm_length`` missing or not above 0.

    Examples:
        >>> Aggregation("token-mean")(torch.tensor([[1.0, 3.0]]), torch.tensor([[True, True]]))
        tensor(2.)
    """

    mode: Mode = "token-mean"
    norm_length: float | None = None
    per_row: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            known = (*MODES, *TRL_NAMES)
            raise ConfigurationError(unknown_name("aggregation", self.mode, known))
        if self.mode == "seq-mean-token-sum-norm" and not (self.norm_length or 0) > 0:
            raise ConfigurationError(
                f"aggregation seq-mean-token-sum-norm has norm_length {self.norm_length}; give a "
                "constant above 0, such as the longest answer in tokens"
            )

    def __call__(self, loss: Tensor, mask: Tensor, *, n_tokens: float | None = None) -> Tensor:
        """The scalar.

        Args:
            loss: [B, T]; anything where the mask is False.
            mask: [B, T] bool.
            n_tokens: tokens of the global batch, where this is a part of it (``token-mean`` only).

        Raises:
            InputError: no token counts.
        """
        if loss.shape != mask.shape:
            raise InputError(
                f"the loss has shape {tuple(loss.shape)}, the mask {tuple(mask.shape)}; they must "
                "agree"
            )
        if not bool(mask.any()):
            raise InputError("no token counts, so the loss has no mean; leave such batches out")
        kept = torch.where(mask, loss, 0)
        if self.mode == "token-mean":
            return kept.sum() / (n_true(mask) if n_tokens is None else n_tokens)
        if self.mode == "seq-mean-token-sum-norm":
            rows = mask.shape[0] if self.per_row else 1
            return kept.sum() / (rows * float(self.norm_length or 1))
        length = mask.sum(-1)
        n_rows = (length > 0).sum()
        per_answer = kept.sum(-1)
        if self.mode == "seq-mean-token-mean":
            per_answer = per_answer / length.clamp(min=1)
        return per_answer.sum() / n_rows


def aggregation(
    name: str, *, norm_length: float | None = None, per_row: bool = True
) -> Aggregation:
    """The aggregation of a name, verl's or TRL's.

    Args:
        name: one of verl's modes, or TRL's ``dapo``, ``bnpo``, ``grpo``, ``dr_grpo``.
        norm_length: see ``Aggregation``.
        per_row: see ``Aggregation``.

    Examples:
        >>> aggregation("dapo").mode
        'token-mean'
    """
    return Aggregation(TRL_NAMES.get(name, name), norm_length, per_row)  # type: ignore[arg-type]
